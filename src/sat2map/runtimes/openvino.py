"""OpenVINO: prediction on processors without torch; bf16 where the processor is made for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from sat2map.errors import ModelError
from sat2map.inputs import Inputs
from sat2map.mapmodel import MapModel
from sat2map.runtimes.computed import Computed

SCALED_IN_GRAPH = "uint8"
"""Pixels of this type are scaled by the graph: a byte is exact in bfloat16. Others are scaled before, in float32."""


@dataclass(frozen=True)
class OpenvinoRuntime:
    """A compiled graph with several requests in turn; scaling and activation are part of it."""

    inputs: Inputs
    requests: Any
    scaled_in_graph: bool
    batch: int
    ahead: int
    description: str

    def start(self, pixels_NCHW: np.ndarray, valid_NHW: np.ndarray) -> Callable[[], Computed]:
        """Start a step; see `Runtime.start`."""
        if self.scaled_in_graph:
            given = [pixels_NCHW, valid_NHW[:, None].astype(np.uint8)]
        else:
            pairs = zip(pixels_NCHW, valid_NHW, strict=True)
            given = [np.stack([self.inputs.scale(pixels, valid) for pixels, valid in pairs])]
        request = next(self.requests)
        request.start_async(given, share_inputs=True)

        def result() -> Computed:
            request.wait()
            return Computed(*(tensor.data for tensor in request.output_tensors))

        return result


def open_openvino(model: MapModel, size: int, dtype: str, batch: int = 1, precision: str = "auto") -> OpenvinoRuntime:
    """Compile a model's graph for batches of a fixed shape.

    Raises:
        ModelError: The graph is damaged, or made for windows of another size.
    """
    _check_size(model, size)
    scaled_in_graph = dtype == SCALED_IN_GRAPH
    fastest = "bf16" if has_bf16() else "fp32"
    chosen = fastest if precision == "auto" else precision
    path = _int8_graph(model) if chosen == "int8" else model.graph
    floats = fastest if chosen == "int8" else chosen  # what is not in whole numbers
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(floats, floats)}
    if threads := os.environ.get("OMP_NUM_THREADS"):  # a worker that shares its machine is told so by this name
        hints["INFERENCE_NUM_THREADS"] = threads
    try:
        graph = _core().read_model(path)
        graph.reshape([batch, len(model.inputs.bands), size, size])
        compiled = _core().compile_model(_scaling(graph, model.inputs) if scaled_in_graph else graph, "CPU", hints)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].rstrip(".")
        raise ModelError(f"{path} does not run: {reason}. Train again, or copy the model anew.") from None
    ahead = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    requests = cycle([compiled.create_infer_request() for _ in range(ahead + 2)])
    description = f"OpenVINO on the processor in {chosen}"
    return OpenvinoRuntime(model.inputs, requests, scaled_in_graph, batch, ahead, description)


def _int8_graph(model: MapModel) -> Path:
    if model.int8_agreement is None or not model.int8_graph.exists():
        raise ModelError("The model has no int8 graph. Make one with `sat2map export RUN`, or leave out --precision.")
    return model.int8_graph


def _check_size(model: MapModel, size: int) -> None:
    if size == model.tiling.size or (model.unit is not None and size % model.unit == 0):
        return
    sizes = f"of {model.tiling.size} pixels" if model.unit is None else f"that are multiples of {model.unit} pixels"
    raise ModelError(
        f"The model's graph takes windows {sizes}, not of {size}. Give another --window, or take --runtime torch."
    )


def _scaling(graph: Any, inputs: Inputs) -> Any:
    """Put `Inputs.scale` before a graph: it then takes bytes, and which of them are valid."""
    import openvino
    from openvino import opset13 as ops

    first = graph.get_parameters()[0]
    count, bands, height, width = first.shape
    pixels = ops.parameter([count, bands, height, width], np.uint8)
    valid = ops.parameter([count, 1, height, width], np.uint8)
    mean, factor = (constant[None] for constant in inputs.constants)
    scaled = ops.multiply(ops.subtract(ops.convert(pixels, "f32"), mean), factor)
    shown = ops.select(ops.convert(valid, "boolean"), scaled, np.float32(0))
    first.output(0).replace(shown.output(0))
    return openvino.Model(graph.get_results(), [pixels, valid], "scaled")


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def has_bf16() -> bool:
    """Tell whether the processor computes in bfloat16 faster than in float32."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
