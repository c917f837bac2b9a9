"""Where torch computes and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sat2map.errors import BadOption


@dataclass(frozen=True)
class Place:
    """A device and the precision of its arithmetic (`fp32` or `bf16`, which is autocast with float32 weights)."""

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context in which networks run in this precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def fabric_precision(self) -> Literal["bf16-mixed", "32-true"]:
        """The precision as lightning-fabric calls it."""
        return "bf16-mixed" if self.precision == "bf16" else "32-true"


def choose_place(device: str = "auto", precision: str = "auto") -> Place:
    """Choose a device and a precision: bf16 where the processor or GPU is made for it.

    Raises:
        BadOption: The device is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        usable = ", ".join(name for name, usable in there.items() if usable)
        raise BadOption(f"There is no device {device!r} here. There is: {usable}.")
    if precision == "auto":
        precision = "bf16" if _fast_bf16(device) else "fp32"
    return Place(torch.device(device), precision)


def _fast_bf16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return device == "cpu" and any(getattr(torch.cpu, check, bool)() for check in checks)
