"""A trained network in whole numbers of 8 bits: the verb `export`.

Scales are calibrated on training patches, and the graph is kept only if it draws nearly the map of the one it was
made from, on ground kept for validation.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nncf
import numpy as np
import openvino

from sat2map.errors import ModelError
from sat2map.learning.fitting import plan_run
from sat2map.learning.plan import Plan
from sat2map.mapmodel import load_model
from sat2map.progress import track
from sat2map.runs import RunFolder, read_call
from sat2map.splits import Area
from sat2map.tiling import Window, grid

log = logging.getLogger(__name__)
nncf.set_log_level(logging.ERROR)

LEAST_AGREEMENT = 0.995
"""Share of pixels that must get the class they get in float32."""

PATCHES = 100
"""Windows on which the scales are calibrated, and at most on which agreement is measured."""


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
    plan = plan_run(source, folder, replace(options, resume=True))
    core = openvino.Core()
    graph = core.read_model(model.graph)
    samples = list(track(_windows(plan, plan.split.part("train")), "Reading patches", PATCHES))
    quantized = nncf.quantize(graph, nncf.Dataset(samples), subset_size=len(samples))
    agreement = _agreement(core, graph, quantized, _windows(plan, plan.split.part("val")))
    kept = agreement >= LEAST_AGREEMENT
    if kept:
        openvino.save_model(quantized, model.int8_graph, compress_to_fp16=False)
        replace(model, int8_agreement=agreement).save()
    return Export(model.folder, agreement, kept)


def _windows(plan: Plan, areas: tuple[Area, ...]) -> Iterator[np.ndarray]:
    """Yield up to `PATCHES` windows spread over the areas, as the network is shown them, `(1, C, size, size)`."""
    size = plan.tiling.size
    cells = [(area, cell) for area in areas for cell in grid(area.window, size)]
    for area, cell in cells[:: -(-len(cells) // PATCHES)]:
        image_CHW, _ = plan.samples.read(area, Window(cell.row, cell.col, size, size))
        if image_CHW.any():
            yield image_CHW[None]


def _agreement(
    core: openvino.Core, graph: openvino.Model, quantized: openvino.Model, windows: Iterator[np.ndarray]
) -> float:
    """Return the share of pixels with data to which both graphs give the same class."""
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    exact, coarse = (core.compile_model(made, "CPU", hints) for made in (graph, quantized))
    same = total = 0
    for x_NCHW in track(windows, "Comparing", PATCHES):
        known = x_NCHW.any(axis=1)
        agreed = exact(x_NCHW)[0].argmax(axis=1) == coarse(x_NCHW)[0].argmax(axis=1)
        same, total = same + int(agreed[known].sum()), total + int(known.sum())
    return same / max(total, 1)
