"""What runs a network over windows: the same scores, activated, from the same model.

A runtime is opened for a fixed shape of its batches, so that the result of a window does not depend on its company.
It takes pixels as they are in the scene: scaling them is its work, in the graph or on the device.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sat2map.errors import BadOption, MissingExtra, ModelError
from sat2map.mapmodel import MapModel
from sat2map.runtimes.computed import Computed
from sat2map.runtimes.openvino import open_openvino

__all__ = ["RUNTIMES", "Computed", "Runtime", "Shape", "open_runtime"]


@dataclass(frozen=True)
class Shape:
    """What a runtime is opened for.

    Args:
        size: Side of a window in pixels.
        dtype: NumPy name of the pixels' type.
        batch: Windows in a step; what suits the device if None.
    """

    size: int
    dtype: str = "float32"
    batch: int | None = None


class Runtime(Protocol):
    """Runs a network."""

    @property
    def description(self) -> str:
        """What runs where in which precision, for one line of text."""
        ...

    @property
    def batch(self) -> int:
        """Windows in a step."""
        ...

    @property
    def ahead(self) -> int:
        """How many steps are worth starting before the first one's result is taken."""
        ...

    def start(self, pixels_NCHW: np.ndarray, valid_NHW: np.ndarray) -> Callable[[], Computed]:
        """Start a step on pixels of the shape and type it was opened for, and which of them are valid.

        Returns:
            What waits for the result. Its arrays may be written to, and stand until `ahead` more steps were started
            after the one that follows.
        """
        ...


def _open_torch(model: MapModel, shape: Shape, precision: str) -> Runtime:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("The runtime torch", "train")
    from sat2map.runtimes.torch import open_torch

    return open_torch(model, shape.batch, precision)


def _open_openvino(model: MapModel, shape: Shape, precision: str) -> Runtime:
    return open_openvino(model, shape.size, shape.dtype, shape.batch or 1, precision)


RUNTIMES: dict[str, Callable[[MapModel, Shape, str], Runtime]] = {
    "openvino": _open_openvino,
    "torch": _open_torch,
}
"""How a runtime is opened: model, shape of its batches, precision."""


def open_runtime(model: MapModel, shape: Shape, *, runtime: str = "auto", precision: str = "auto") -> Runtime:
    """Open a model for windows of one shape.

    Raises:
        BadOption: The runtime does not compute in this precision.
        ModelError: The model holds neither a graph nor weights that the runtime can take.
        MissingExtra: The runtime is not installed.
    """
    if runtime == "auto":
        runtime = "openvino" if precision == "int8" or (model.graph.exists() and not _has_gpu()) else "torch"
    if runtime == "torch" and precision == "int8":
        raise BadOption("--runtime torch does not compute in int8. Take --runtime openvino, or --precision bf16.")
    needed = model.graph if runtime == "openvino" else model.weights
    if not needed.exists():
        raise ModelError(f"The model has no {needed.name}, which --runtime {runtime} needs. Train or copy it anew.")
    model.check()
    return RUNTIMES[runtime](model, shape, precision)


def _has_gpu() -> bool:
    if shutil.which("nvidia-smi") is None or importlib.util.find_spec("torch") is None:
        return False  # importing torch only to hear that there is none takes seconds
    import torch

    return torch.cuda.is_available()
