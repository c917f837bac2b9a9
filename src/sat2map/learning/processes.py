"""Who trains together: processes that lightning-fabric starts here, or that torchrun has started on many machines."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sat2map.errors import BadOption
from sat2map.options import TrainOptions


@dataclass(frozen=True)
class Crew:
    """The processes of a training, as one of them sees it.

    Args:
        first: Whether this is the one that writes: all others only learn.
        devices: How many there are on each machine.
        machines: How many machines there are.
        started: Whether all are running already, started by torchrun.
    """

    first: bool
    devices: int
    machines: int
    started: bool

    @property
    def size(self) -> int:
        """How many processes there are in all."""
        return self.devices * self.machines


def is_first() -> bool:
    """Return whether this process is the one that writes, of all that train together."""
    return not _by_torchrun() or os.environ["RANK"] == "0"


def crew_of(options: TrainOptions) -> Crew:
    """Return who trains with these options.

    Raises:
        BadOption: torchrun has started another number of processes than is asked for.
    """
    if not _by_torchrun():
        return Crew(first=True, devices=options.devices, machines=1, started=False)
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    if options.devices != here:
        raise BadOption(
            f"torchrun started {here} processes on this machine, but --devices is {options.devices}. Make them equal."
        )
    if options.tune:
        raise BadOption("A search by --tune starts its own processes. Leave out torchrun.")
    return Crew(first=is_first(), devices=here, machines=everywhere // here, started=True)


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ  # as torch.distributed.is_torchelastic_launched, without torch
