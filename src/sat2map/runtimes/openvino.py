"""OpenVINO: prediction on processors without torch; bf16 where the processor is made for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from sat2map.errors import ModelError
from sat2map.mapmodel import MapModel


@dataclass(frozen=True)
class OpenvinoRuntime:
    """A compiled graph; the soft-max is part of it."""

    compiled: Any
    description: str

    def __call__(self, batch_NCHW: np.ndarray) -> np.ndarray:
        """Return probabilities `(N, K, H, W)` float32."""
        return np.asarray(self.compiled(batch_NCHW)[0], np.float32)


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def open_openvino(model: MapModel, batch: int, size: int, precision: str = "auto") -> OpenvinoRuntime:
    """Compile a model's graph for a fixed batch shape.

    Raises:
        ModelError: The graph is damaged, or made for windows of another size.
    """
    if size != model.tiling.size:  # it would run, but with the padding of its own size, and its scores would be wrong
        raise ModelError(
            f"The model's graph was made for windows of {model.tiling.size} pixels, not of {size}. "
            "Leave out --window, or take --runtime torch."
        )
    try:
        graph = _core().read_model(model.graph)
        graph.reshape([batch, len(model.inputs.bands), size, size])
        chosen = precision if precision != "auto" else "bf16" if has_bf16() else "fp32"
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(chosen, chosen)}
        compiled = _core().compile_model(graph, "CPU", hints)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].rstrip(".")
        raise ModelError(f"{model.graph} does not run: {reason}. Train again, or copy the model anew.") from None
    return OpenvinoRuntime(compiled, f"OpenVINO on the processor in {chosen}")


def has_bf16() -> bool:
    """Tell whether the processor computes in bfloat16 faster than in float32."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
