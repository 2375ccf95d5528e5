"""Machines as YAML files: how fast they compute, how much they hold, how fast they send."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from janus_md.errors import UserError
from janus_md.validation import explain
from janus_training import yaml_files


class Link(BaseModel):
    """Of one device to others: GB/s that it sends, and µs from one message to the next."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bandwidth: float = Field(gt=0, description="GB/s that one device sends.")
    latency: float = Field(ge=0, description="µs a message takes whatever its size.")


class Machine(BaseModel):
    """So many nodes of so many devices, one rank each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = ""
    nodes: PositiveInt = 1
    devices: PositiveInt = Field(description="Devices of a node, one rank each.")
    memory: float = Field(gt=0, description="GB of a device.")
    runtime: float = Field(
        0.5, ge=0, description="GB of a device that the program takes before any model."
    )
    peak: float = Field(gt=0, description="TFLOPS in FP32 of a device.")
    achieved: float = Field(
        gt=0, le=1, description="Share of the peak that products of matrices reach."
    )
    traffic: float = Field(gt=0, description="GB/s that operators read and write memory with.")
    overhead: float = Field(ge=0, description="µs of an operator's call whatever its size.")
    ahead: bool = Field(
        True, description="Calls are made while the device computes, as on GPUs; false on CPUs."
    )
    cores: PositiveInt | None = Field(
        None, description="Cores of a node that ranks share; null where each has a device."
    )
    crowding: float = Field(
        1.0, ge=1, description="Time of work with all devices or cores busy over that with one."
    )
    inside: Link = Field(description="Between devices of a node.")
    between: Link | None = Field(None, description="Between nodes.")
    hidden: float = Field(
        0.0, ge=0, le=1, description="Share of an exchange begun early that computing hides."
    )

    @property
    def device(self) -> torch.device:
        """The kind that batches are put into tables for."""
        return torch.device("cuda" if self.ahead else "cpu")

    @property
    def ranks(self) -> int:
        """All its devices."""
        return self.nodes * self.devices

    def link(self, reach: int) -> Link:
        """What ranks use whose numbers lie up to ``reach`` apart.

        Raises ``UserError`` where they are on several nodes and the file does not say what connects these.
        """
        if reach < self.devices or self.nodes == 1:
            return self.inside
        if self.between is None:
            raise UserError(
                f"the machine {self.name or 'file'} has {self.nodes} nodes and no 'between'; "
                "add bandwidth and latency between nodes"
            )
        return self.between


def load_machine(path: Path) -> Machine:
    """The machine of a file, or the shipped one of that name.

    Raises ``UserError`` where there is none, or what it says cannot be.
    """
    path = yaml_files.find(path, [Path(__file__).parent / "machines"], "machine")
    content = yaml_files.read(path, example="'devices: 8'")
    try:
        return Machine.model_validate({"name": path.stem} | content)
    except ValidationError as fault:
        raise UserError(f"{path}: {explain(fault, Machine)}") from None


def write_machine(machine: Machine, path: Path) -> None:
    """YAML that :func:`load_machine` reads back."""
    content = machine.model_dump(exclude_defaults=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
