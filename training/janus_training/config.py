"""The configuration of a training run, one pydantic model per part.

Precedence: defaults here < preset of the model < recipe file < ``--set key.sub=value``. The resolved
configuration is written to ``RUN/config.yaml`` and alone reproduces the run; where settings changed on the way, with
the ``RUN/config-until-step-N.yaml`` beside it.
Times are minutes, lengths Å, energies eV.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, model_validator

from janus_md.errors import UserError
from janus_md.io import LabelKeys

Decay = Annotated[float, Field(ge=0, lt=1)]
"""Share of a running mean that a step keeps."""


class Part(BaseModel):
    """Unknown keys are refused everywhere, and values cannot change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class KeysConfig(Part):
    """Names of the labels in the files of a set; ``null`` is ASE's own place, ``ignore`` leaves it out."""

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None
    magmoms: str | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> KeysConfig:
        try:
            self.label_keys()
        except UserError as fault:
            raise ValueError(str(fault)) from None
        return self

    def label_keys(self) -> LabelKeys:
        return LabelKeys(**self.model_dump())


class SetConfig(Part):
    """One data set. Paths are relative to ``data.root``."""

    path: str
    task: str | None = Field(
        None,
        min_length=1,
        description="Data set or functional the energies belong to; null: what each frame states, else 'default'.",
    )
    valid: str | None = Field(
        None, description="File to validate on; without it a share is split off."
    )
    valid_fraction: float | None = Field(
        None, ge=0, lt=1, description="Overrides data.valid_fraction."
    )
    isolated_atoms: str | None = Field(
        None, description="File of isolated atoms: reference energies."
    )
    max_force: float | None = Field(None, gt=0, description="Overrides data.max_force.")
    keys: KeysConfig = KeysConfig()


class DataConfig(Part):
    root: str = Field(".", description="Folder the paths below are relative to.")
    sets: list[SetConfig] = Field(min_length=1)
    seed: int = Field(
        0, ge=0, lt=2**63, description="Decides the split into training and validation."
    )
    valid_fraction: float = Field(0.1, ge=0, lt=1)
    max_force: float | None = Field(
        None, gt=0, description="Frames with a larger force on any atom (eV/Å) are dropped."
    )
    graph_memory: float = Field(
        4.0,
        ge=0,
        description="GB of graphs kept between epochs; others are built again when needed.",
    )
    prefetch: PositiveInt = Field(4, description="Batches prepared ahead of the step.")

    def locate(self, path: str) -> Path:
        return Path(self.root) / path


class BatchConfig(Part):
    """Budget of one batch; every limit that is given holds."""

    structures: PositiveInt | None = None
    atoms: PositiveInt | None = None
    edges: PositiveInt | None = None
    angles: PositiveInt | None = None

    @model_validator(mode="after")
    def _some_limit(self) -> BatchConfig:
        if all(limit is None for limit in (self.structures, self.atoms, self.edges, self.angles)):
            raise ValueError("give at least one of structures, atoms, edges and angles")
        return self


class Ramp(Part):
    """A weight that goes from ``start`` to ``end`` while the run's progress goes from ``begin`` to ``finish``."""

    start: float = Field(ge=0)
    end: float = Field(ge=0)
    begin: float = Field(0.0, ge=0, le=1)
    finish: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> Ramp:
        if self.finish < self.begin:
            raise ValueError("finish must not come before begin")
        return self


class TermConfig(Part):
    """One term of the loss. ``norm`` (forces only) is the length of the difference of two 3-vectors."""

    weight: NonNegativeFloat | Ramp = 0.0
    form: Literal["l1", "l2", "huber", "norm"] = "huber"
    delta: float = Field(
        0.1, gt=0, description="Huber: where the square becomes a line, in the label's unit."
    )


class StressConfig(TermConfig):
    """Stresses in eV/Å³ are smaller numbers than the rest."""

    delta: float = Field(0.01, gt=0, description="As of the other terms.")


class LossConfig(Part):
    """Energy per atom (eV), forces (eV/Å), stress (eV/Å³), magnetic moments (Bohr magnetons)."""

    energy: TermConfig = TermConfig(weight=Ramp(start=0.5, end=2.0, begin=0.4, finish=0.9))
    forces: TermConfig = TermConfig(weight=1.0)
    stress: StressConfig = StressConfig()
    magmoms: TermConfig = TermConfig()

    @model_validator(mode="after")
    def _norm_is_for_forces(self) -> LossConfig:
        for name in ("energy", "stress", "magmoms"):
            if getattr(self, name).form == "norm":
                raise ValueError(f"{name}.form cannot be 'norm', which is for forces")
        return self

    @model_validator(mode="after")
    def _some_weight(self) -> LossConfig:
        terms = (self.energy, self.forces, self.stress, self.magmoms)
        ends = [max(w.start, w.end) if isinstance(w := t.weight, Ramp) else w for t in terms]
        if not any(ends):
            raise ValueError("give at least one term a weight above 0")
        return self


class OptimiserConfig(Part):
    method: Literal["muon", "soap", "adamw"] = Field(
        "soap",
        description="Muon or SOAP for weight matrices and AdamW for the rest, or AdamW for all.",
    )
    lr: float = Field(3e-3, gt=0, description="Peak learning rate.")
    lr_batch: float | None = Field(
        None,
        gt=0,
        description="Structures per batch that lr is meant for; lr then grows with √batch.",
    )
    betas: tuple[Decay, Decay] = (0.9, 0.98)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(1e-3, ge=0, description="Not on norms, biases and tables.")
    clip: float | None = Field(10.0, gt=0, description="Largest global norm of the gradient.")


class ScheduleConfig(Part):
    """Shares of the run: a linear warm-up, a cosine, and a stretch at the end value."""

    warmup: float = Field(0.02, ge=0, lt=1)
    final: float = Field(0.03, ge=0, lt=1)
    lr_end: float = Field(
        0.01, ge=0, le=1, description="Last learning rate as a share of the peak."
    )

    @model_validator(mode="after")
    def _leaves_a_middle(self) -> ScheduleConfig:
        if self.warmup + self.final >= 1:
            raise ValueError("warmup and final together must leave a middle")
        return self


class EmaConfig(Part):
    decay: Decay = Field(0.995, description="0 turns averaging off.")


class TrainConfig(Part):
    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    max_minutes: float | None = Field(
        None, gt=0, description="Wall time of the whole run; the schedule is fitted to it."
    )
    seed: int = Field(0, ge=0, lt=2**63)
    dtype: Literal["float32", "float64"] = "float32"
    device: str = Field("cpu", description="cpu, cuda, or auto: the GPU where there is one.")
    threads: PositiveInt | None = Field(
        None, description="CPU threads of the step; null leaves torch's choice."
    )
    compile: bool = Field(
        False,
        description="Compile the step: minutes at the first start of an architecture, then steps several times faster.",
    )
    memory: float | None = Field(
        None,
        ge=0,
        description="GB of activations; a batch that needs more recomputes its blocks. Null: never recompute.",
    )
    validate_every: PositiveInt | None = Field(None, description="Steps; null: once an epoch.")
    checkpoint_minutes: float = Field(2.0, ge=0, description="Also saved after every validation.")
    checkpoint_behind: bool = Field(
        True,
        description="Write checkpoints while training goes on, from a copy of weights and moments.",
    )
    log_every: PositiveInt = 10

    @model_validator(mode="after")
    def _some_end(self) -> TrainConfig:
        if self.epochs is None and self.steps is None and self.max_minutes is None:
            raise ValueError("say when to stop: give epochs, steps or max_minutes")
        return self

    @model_validator(mode="after")
    def _recomputed_or_compiled(self) -> TrainConfig:
        if self.compile and self.memory is not None:
            raise ValueError(
                "a compiled step cannot recompute its blocks: set compile=false or memory=null"
            )
        return self


class ParallelConfig(Part):
    """How a run uses several ranks. None of it changes the result of a step, only its cost."""

    unit: PositiveInt = Field(
        1,
        description="Ranks that share parameters, graphs and experts; units are replicated over the other ranks.",
    )
    replicate: PositiveInt | Literal["auto"] = Field(
        "auto", description="Number of units; checked against the number of ranks if given."
    )
    shard_parameters: bool = Field(True, description="Divide weights and optimiser over a unit.")
    shard_experts: bool = Field(
        True, description="Divide experts over a unit and restore only those a step needs."
    )
    shard_graphs: bool | Literal["auto"] = Field(
        "auto", description="Divide graphs over a unit: none, all, or those beyond train.memory."
    )
    regather: bool | Literal["auto"] = Field(
        "auto",
        description="Restore a block's weights anew in each phase; auto: where train.memory is set and they exceed it.",
    )
    recompute: bool | Literal["auto"] = Field(
        "auto",
        description="Compute blocks again in each phase; auto: for batches beyond train.memory.",
    )
    compress_experts: Literal["none", "fp16"] = Field(
        "none", description="What experts' weights and tokens travel in between ranks."
    )
    overlap: bool = Field(True, description="Compute while messages are under way.")

    @model_validator(mode="after")
    def _ranks_to_share_with(self) -> ParallelConfig:
        asked = self.of_several()
        if self.unit == 1 and asked:
            name, usual = next(iter(asked.items()))
            raise ValueError(
                f"a unit of one rank has no other to share with: set {name}={usual} or unit=N above 1"
            )
        return self

    def of_several(self) -> dict[str, str]:
        """What is asked for that only units of several ranks can do, and what to set instead."""
        shared = {"regather": True, "shard_graphs": True, "compress_experts": "fp16"}
        asked = [name for name, value in shared.items() if getattr(self, name) == value]
        return {name: type(self).model_fields[name].default for name in asked}


class StartConfig(Part):
    """A trained model to go on from, in place of random weights; architecture and elements are that model's."""

    run: str = Field(
        description="Folder of a run (its best checkpoint) or of a checkpoint; relative to the working directory."
    )
    task: str | None = Field(
        None,
        description="Its task that new ones begin as; null: its only one. A task of the same name goes on.",
    )


class TrackConfig(Part):
    """Where metrics go besides ``metrics.jsonl`` and ``metrics.csv``."""

    tensorboard: bool = False
    wandb: str | None = Field(None, description="Name of the Weights & Biases project.")


class Config(Part):
    """A whole run. ``model`` holds ``preset`` and any field of ``janus_md.model.ModelConfig``."""

    model: dict[str, Any] = Field(default_factory=lambda: {"preset": "lean"})
    start: StartConfig | None = None
    data: DataConfig
    batch: BatchConfig = BatchConfig(structures=4)
    loss: LossConfig = LossConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    ema: EmaConfig = EmaConfig()
    train: TrainConfig
    parallel: ParallelConfig = ParallelConfig()
    track: TrackConfig = TrackConfig()

    @model_validator(mode="after")
    def _compiled_or_sharded(self) -> Config:
        if self.train.compile and self.parallel.unit > 1:
            raise ValueError(
                "a compiled step cannot share its weights: set train.compile=false or parallel.unit=1"
            )
        if self.train.compile and self.parallel.recompute is True:
            raise ValueError(
                "a compiled step cannot recompute its blocks: "
                "set train.compile=false or parallel.recompute=auto"
            )
        return self
