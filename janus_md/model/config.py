"""What a MatRIS-MoE is made of."""

from __future__ import annotations

from ase.data import atomic_numbers, chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_ELEMENT = 103
ALL_ELEMENTS = chemical_symbols[1 : MAX_ELEMENT + 1]


class ModelConfig(BaseModel):
    """Architecture of a model; lengths in Å. Together with the weights it is the whole model."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    elements: list[str] = Field(ALL_ELEMENTS, description="symbols the model knows, in order")
    tasks: list[str] = Field(["default"], description="data sets or levels of theory")

    cutoff: float = Field(6.0, gt=0, description="edges of the atom graph, Å")
    line_cutoff: float = Field(4.5, gt=0, description="edges that take part in angles, Å")
    num_radial: int = Field(8, ge=2, description="Bessel functions")
    num_reduced: int = Field(
        8, ge=0, description="Gaussians of the length in units of the covalent radii"
    )
    num_angular: int = Field(8, ge=2, description="Chebyshev polynomials of the angle")

    blocks: int = Field(3, ge=1)
    width: int = Field(128, ge=4, description="channels of an atom")
    edge_width: int = Field(64, ge=4, description="channels of an edge")
    heads: int = Field(4, ge=1, description="attention heads, of atoms and of edges")
    key_width: int = Field(8, ge=1, description="width of a query or key per head")
    line_blocks: int | None = Field(
        None, ge=0, description="leading blocks in which edges attend to edges; all if null"
    )

    message_hidden: int = Field(128, ge=1, description="hidden units of one message expert")
    feature_hidden: int = Field(128, ge=1, description="hidden units of one feature expert")
    readout_hidden: int = Field(64, ge=1)
    num_message_experts: int = Field(
        0, ge=0, description="routed message experts of a block; 0 for dense messages"
    )
    num_feature_experts: int = Field(
        0, ge=0, description="routed feature experts of a block; 0 for dense features"
    )
    top_k: int = Field(0, ge=0, description="routed experts of a layer that an element uses")
    num_shared_experts: int = Field(
        1, ge=0, description="experts of a layer every element uses; a dense layer has at least one"
    )

    charge: bool = Field(False, description="embed the total charge")
    spin: bool = Field(False, description="embed the spin multiplicity")
    composition: bool = Field(False, description="embed the composition; couples distant fragments")
    magmoms: bool = Field(False, description="predict magnetic moments")

    @field_validator("elements")
    @classmethod
    def _known_elements(cls, symbols: list[str]) -> list[str]:
        unknown = [symbol for symbol in symbols if symbol not in atomic_numbers or symbol == "X"]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a chemical symbol")
        if len(set(symbols)) != len(symbols) or not symbols:
            raise ValueError("elements must be a non-empty list without repetition")
        return sorted(symbols, key=lambda symbol: atomic_numbers[symbol])

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if self.line_cutoff > self.cutoff:
            raise ValueError("line_cutoff must not exceed cutoff")
        for routed in (self.num_message_experts, self.num_feature_experts):
            if routed and not 1 <= self.top_k <= routed:
                raise ValueError("top_k must be between 1 and the number of routed experts")
        if self.width % self.heads or self.edge_width % self.heads:
            raise ValueError("width and edge_width must be multiples of heads")
        return self

    @property
    def num_line_blocks(self) -> int:
        """Leading blocks with line attention."""
        return self.blocks if self.line_blocks is None else min(self.line_blocks, self.blocks)

    @property
    def num_lengths(self) -> int:
        """Functions of an edge's length, of both kinds."""
        return self.num_radial + self.num_reduced

    @property
    def floats_per_edge(self) -> int:
        """Rough number of values that the backward pass keeps for an edge, over all blocks."""
        routed = self.top_k if self.num_message_experts else 0
        shared = self.num_shared_experts if routed else max(1, self.num_shared_experts)
        hidden = self.message_hidden * (routed + shared)
        return self.blocks * (2 * hidden + 8 * self.width + 10 * self.edge_width)

    @property
    def atomic_numbers(self) -> list[int]:
        """Atomic numbers of the elements, in order."""
        return [atomic_numbers[symbol] for symbol in self.elements]
