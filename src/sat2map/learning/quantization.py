"""A trained network in whole numbers of 8 bits: the verb `export`.

Scales are calibrated on training patches, and the graph is kept only if it draws nearly the map of the one it was
made from, on ground kept for validation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nncf
import numpy as np
import openvino

from sat2map.errors import ModelError
from sat2map.learning.fitting import plan_run
from sat2map.learning.packing import remove_int8
from sat2map.learning.plan import Plan
from sat2map.mapmodel import MapModel, load_model
from sat2map.outputs import Classes
from sat2map.progress import track
from sat2map.runs import RunFolder, read_call
from sat2map.splits import Area, spread_windows

log = logging.getLogger(__name__)
nncf.set_log_level(logging.ERROR)

LEAST_AGREEMENT = 0.995
"""Share of pixels that must get the class they get in float32."""

PATCHES = 100
"""Windows on which the scales are calibrated, and at most on which agreement is measured."""

LAST = 3
"""So many convolutions before the scores may stay in float: those of a decoder's finest level, and of the scores."""


@dataclass(frozen=True)
class Export:
    """What `export` found.

    Args:
        model: The model's folder.
        agreement: Share of valid pixels of the validation ground whose class is that of float32.
        kept: Whether that is enough, and the graph was kept.
    """

    model: Path
    agreement: float
    kept: bool


def export(run: Path | str) -> Export:
    """Add a graph in int8 to the model of a finished run, for `predict --precision int8`.

    Args:
        run: The folder of the run; its imagery has to be where it was.

    Raises:
        UserError: There is no finished run, or its imagery is gone.
    """
    folder = RunFolder(Path(run))
    model = load_model(run)
    if not folder.call.exists():
        raise ModelError(f"{run} is a model without its run. Name the run's folder: int8 needs its training imagery.")
    source, options = read_call(folder)
    if not isinstance(model.output, Classes):
        raise ModelError(f"{run} draws map pictures; int8 is for class maps, whose agreement can be counted.")
    plan = plan_run(source, folder, replace(options, resume=True))
    samples, judges = (list(_windows(plan, plan.split.part(part))) for part in ("train", "val"))
    agreement = 0.0
    for what, in_float in ATTEMPTS.items():
        quantized = _quantize(model, samples, in_float)
        agreement = _agreement(model, quantized, judges)
        log.info("With %s, %.2f%% of the pixels are as in float32", what, 100 * agreement)
        if agreement >= LEAST_AGREEMENT:
            openvino.save_model(quantized, model.int8_graph, compress_to_fp16=False)
            replace(model, int8_agreement=agreement).save()
            return Export(model.folder, agreement, True)
    remove_int8(model)  # of an export before
    if model.int8_agreement is not None:
        replace(model, int8_agreement=None).save()
    return Export(model.folder, agreement, False)


def _ends(graph: openvino.Model) -> list[str]:
    """Return the names of each network's first convolutions and of its last three, where rounding is felt most."""
    ops = graph.get_ordered_ops()
    before = _convolutions_on_the_way(ops, "Parameter", lambda op: [value.get_node() for value in op.input_values()])
    after = _convolutions_on_the_way(
        ops[::-1], "Result", lambda op: [end.get_node() for value in op.outputs() for end in value.get_target_inputs()]
    )
    convolutions = [op.get_friendly_name() for op in ops if _is_convolution(op)]
    return [name for name in convolutions if before[name] == 0 or after[name] < LAST]


def _convolutions_on_the_way(
    ops: list[openvino.Node], begin: str, came_from: Callable[[openvino.Node], list[openvino.Node]]
) -> dict[str, int]:
    """Return how many convolutions the longest way to each operation passes, by its name; none to where none leads.

    Args:
        ops: In the order of the ways.
        begin: The type of the operations at which ways begin.
        came_from: The operations a step before one.
    """
    passed: dict[str, int] = {}
    for op in ops:
        steps = [(passed.get(one.get_friendly_name()), _is_convolution(one)) for one in came_from(op)]
        ways = [count + met for count, met in steps if count is not None]
        if ways or op.get_type_name() == begin:
            passed[op.get_friendly_name()] = max(ways, default=0)
    return passed


def _is_convolution(op: openvino.Node) -> bool:
    return bool(op.get_type_name() == "Convolution")


ATTEMPTS: dict[str, Callable[[openvino.Model], list[str]]] = {
    "all layers in int8": lambda _: [],
    "the first and the last convolutions of each network in float": _ends,
}
"""What stays in float, the fastest first."""


def _quantize(
    model: MapModel, samples: list[np.ndarray], in_float: Callable[[openvino.Model], list[str]]
) -> openvino.Model:
    graph = openvino.Core().read_model(model.graph)
    return nncf.quantize(
        graph,
        nncf.Dataset(samples),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(names=in_float(graph)),
    )


def _windows(plan: Plan, areas: tuple[Area, ...]) -> Iterator[np.ndarray]:
    """Yield up to `PATCHES` windows spread over the areas, as the network is shown them, `(1, C, size, size)`."""
    for area, window in spread_windows(areas, plan.tiling.size, PATCHES):
        image_CHW, _ = plan.samples.read(area, window)
        if image_CHW.any():
            yield image_CHW[None]


def _agreement(model: MapModel, quantized: openvino.Model, windows: list[np.ndarray]) -> float:
    """Return the share of pixels with data to which both graphs give the same class."""
    core, hints = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    exact, coarse = (core.compile_model(made, "CPU", hints) for made in (core.read_model(model.graph), quantized))
    same = total = 0
    for x_NCHW in track(windows, "Comparing", len(windows)):
        known = x_NCHW.any(axis=1)
        agreed = exact(x_NCHW)[0].argmax(axis=1) == coarse(x_NCHW)[0].argmax(axis=1)
        same, total = same + int(agreed[known].sum()), total + int(known.sum())
    return same / max(total, 1)
