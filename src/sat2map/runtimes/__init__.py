"""What runs a network over windows: the same probabilities from the same model.

A runtime is opened for a fixed batch shape, so that the result of a window does not depend on its company.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from typing import Protocol

import numpy as np

from sat2map.errors import MissingExtra, ModelError
from sat2map.mapmodel import MapModel
from sat2map.runtimes.openvino import open_openvino


class Runtime(Protocol):
    """Runs a network."""

    @property
    def description(self) -> str:
        """What runs where in which precision, for one line of text."""
        ...

    def __call__(self, batch_NCHW: np.ndarray) -> np.ndarray:
        """Turn float32 inputs `(N, C, H, W)` of the shape it was opened for into probabilities `(N, K, H, W)`."""
        ...


def _open_torch(model: MapModel, batch: int, size: int, precision: str) -> Runtime:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("The runtime torch", "train")
    from sat2map.runtimes.torch import open_torch

    return open_torch(model, batch, size, precision)


RUNTIMES: dict[str, Callable[[MapModel, int, int, str], Runtime]] = {
    "openvino": open_openvino,
    "torch": _open_torch,
}
"""How a runtime is opened: model, windows in a batch, side of a window, precision."""


def open_runtime(model: MapModel, *, batch: int, size: int, runtime: str = "auto", precision: str = "auto") -> Runtime:
    """Open a model for batches of `batch` windows with sides of `size` pixels.

    Raises:
        ModelError: The model holds neither a graph nor weights that the runtime can take.
        MissingExtra: The runtime is not installed.
    """
    if runtime == "auto":
        runtime = "torch" if _has_gpu() or not model.graph.exists() else "openvino"
    needed = model.graph if runtime == "openvino" else model.weights
    if not needed.exists():
        raise ModelError(f"The model has no {needed.name}, which --runtime {runtime} needs. Train or copy it anew.")
    return RUNTIMES[runtime](model, batch, size, precision)


def _has_gpu() -> bool:
    if shutil.which("nvidia-smi") is None or importlib.util.find_spec("torch") is None:
        return False  # importing torch only to hear that there is none takes seconds
    import torch

    return torch.cuda.is_available()
