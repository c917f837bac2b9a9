"""What a model remembers of the ground it learnt from: its pixels, and what the network sees of windows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import openvino

from sat2map.domain import COVERED, Domain, fit_domain, fit_familiar, glimpse
from sat2map.learning.plan import Plan
from sat2map.mapmodel import MapModel
from sat2map.options import RuntimeOptions
from sat2map.predictor import choose_tiling
from sat2map.progress import track
from sat2map.raster import Raster
from sat2map.runtimes.openvino import has_bf16
from sat2map.scenes import Scene
from sat2map.scenes.mosaic import lay_together
from sat2map.splits import Area, spread_windows
from sat2map.tiling import Window

WINDOWS = 100
"""From at most so many windows the model's domain is taken, and at most so many of validation ground are its judges."""

Grounds = Mapping[str, tuple[Scene, Window]]
"""The scene that the image of each pair is a part of, such as a mosaic of all, and where in it the image lies."""


def learn_domain(plan: Plan, model: MapModel, tap: str | None) -> Domain | None:
    """Look once more at training windows, as pixels and as the exported network sees them, and at validation windows.

    Windows are as large as those by which such ground is mapped: the model's own and, where scenes are much larger, the
    larger ones by which these are mapped, a share of all that costs as much. Chips of one scene are looked at together.

    Args:
        plan: Where the ground is.
        model: What is exported; its graph tells inner features if there is a tap.
        tap: The network's module of inner features.

    Returns:
        None if no training window has enough valid pixels.
    """
    pairs = plan.samples.pairs
    grounds: Grounds = dict(zip(pairs, lay_together([pair.image for pair in pairs.values()]), strict=True))
    glimpses, learnt, places, unseen = [], [], [], []
    for size, most in _sizes(model, grounds).items():
        see = _inner(model, size) if tap is not None else None
        for area, raster in track(_windows(plan, grounds, "train", size, most), "Remembering", most):
            if size == model.tiling.size:  # larger ones have more margin around the ground, which is not like it
                glimpses.append(glimpse(raster))
            if see:
                learnt.append(see(raster))
                places.append(area)
        if see:
            judges = track(_windows(plan, grounds, "val", size, most), "Judging", most)
            unseen += [see(raster) for _, raster in judges]
    if tap is None:
        return fit_domain(glimpses)
    return fit_domain(glimpses, tap, fit_familiar(np.array(learnt), np.array(unseen), _places(plan, places)))


def _sizes(model: MapModel, grounds: Grounds) -> dict[int, int]:
    """Return how large windows are looked at, and how many of each size."""
    own = model.tiling.size
    largest = max((scene.shape for scene, _ in grounds.values()), key=max)
    sizes = {own, choose_tiling(model, RuntimeOptions(), largest).size}
    return {size: max(WINDOWS * own**2 // size**2, 1) for size in sorted(sizes)}


def _windows(plan: Plan, grounds: Grounds, part: str, size: int, most: int) -> Iterator[tuple[Area, Raster]]:
    """Yield up to `most` windows spread over a part's ground, with what lies around it, as the network will see it.

    So what is known of pixels may be of other parts' ground too, where areas are smaller than windows; labels are not
    looked at.
    """
    for area, window in spread_windows(plan.split.part(part), size, most):
        scene, place = grounds[area.pair]
        moved = window._replace(row=place.row + window.row, col=place.col + window.col)
        raster = scene.read(moved, plan.inputs.choose(scene))
        if raster.valid.mean() > COVERED:
            yield area, raster


def _inner(model: MapModel, size: int) -> Callable[[Raster], np.ndarray]:
    """Return what gives the inner feature `(D,)` of a window of `size` pixels; the decoder is left out."""
    graph = openvino.Core().read_model(model.graph)
    graph.reshape([1, len(model.inputs.bands), size, size])
    seen = openvino.Model([graph.get_results()[1]], graph.get_parameters(), "inner")
    precision = "bf16" if has_bf16() else "f32"  # as maps are made
    compiled = openvino.compile_model(seen, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda raster: compiled(model.inputs.apply(raster)[None])[0][0]


def _places(plan: Plan, areas: Sequence[Area]) -> list[str]:
    """Return which place each area belongs to: its group, if there are several, else its picture, else itself."""
    pairs = plan.samples.pairs
    by_group, by_picture = [pairs[area.pair].group for area in areas], [area.pair for area in areas]
    by_area = [f"{area.pair} {area.window}" for area in areas]
    return next((places for places in (by_group, by_picture) if len(set(places)) > 1), by_area)
