"""A model at work: windows of a scene in, finished strips of its map out.

Reading, the network and blending run at the same time: a thread reads ahead, the runtime computes what was started,
and meanwhile the caller's thread blends. A strip is computed from whole windows of the lattice that belongs to the
scene, added up in the lattice's order. So any part can be computed alone, and the map does not depend on how the
scene was cut.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple, TypeVar

import numpy as np

from sat2map.blend import Blender
from sat2map.domain import COVERED
from sat2map.layers import LAYERS
from sat2map.mapmodel import MapModel
from sat2map.options import RuntimeOptions
from sat2map.raster import Raster
from sat2map.runtimes import Computed, Runtime, Shape, open_runtime
from sat2map.scenes import Scene
from sat2map.tiling import Tiling, Window, chunks

Item = TypeVar("Item")
Result = TypeVar("Result")

READ_AHEAD = 3
"""Windows that are read before the network asks for them."""

LARGE = 1024
"""Side in pixels of the windows over scenes that are much larger: fewer pixels are computed twice."""

LIMIT = 0.5
"""Windows of a larger novelty look unlike all that the model has learnt from."""

QUARTER_TURNS = {"none": ((0, False),), "flips": tuple((k, m) for k in (0, 2) for m in (False, True))} | {
    "d4": tuple((k, m) for k in range(4) for m in (False, True))
}
"""How a window is turned (by quarters) and mirrored for the network; what it sees in all is averaged."""


class Strip(NamedTuple):
    """Finished pixels.

    Args:
        window: Where in the scene.
        pixels: The map, as `Output.decode` gives it: ids `(height, width)`, or a picture `(4, height, width)`.
        layers: What else is asked for by names of `LAYERS`, `(bands, height, width)`: 0 to 254, and 255 without data.
        strange: Parts that look unlike all that the model has learnt from; none without data.
        unreadable: Parts of the original scene that could not be read so far and were passed over.
    """

    window: Window
    pixels: np.ndarray
    layers: Mapping[str, np.ndarray]
    strange: tuple[Window, ...] = ()
    unreadable: tuple[Window, ...] = ()


class Seen(NamedTuple):
    """A window that was computed.

    Args:
        raster: Its pixels.
        scores_KHW: Activated scores.
        novelty: How unlike all that the model has learnt from it is, 0 to 1: 0.5 is the limit.
    """

    raster: Raster
    scores_KHW: np.ndarray
    novelty: float


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to compute parts of one scene, or of scenes like it.

    Args:
        model: What pixels mean and what scores mean.
        tiling: The windows the network sees.
        runtime: Runs the network on a fixed number of windows at a time.
        tta: A name of `QUARTER_TURNS`: in which positions each window is shown.
        keep: Names of `LAYERS` that strips hold beside the classes.
        abstain: Pixels whose largest probability is below this get the id after the last class.
    """

    model: MapModel
    tiling: Tiling
    runtime: Runtime
    tta: str = "none"
    keep: tuple[str, ...] = ()
    abstain: float | None = None

    def strips(self, scene: Scene, over: Window) -> Iterator[Strip]:
        """Compute a part of a scene, from top to bottom: each strip is a row of the lattice.

        Memory grows with the width of the part, not with its height.
        """
        rows, cols = (self.tiling.axis(side) for side in scene.shape)
        blender = Blender(rows, cols, over, self.model.output.channels)
        computed = zip(blender.places, self._computed(scene, [blender.window(*p) for p in blender.places]), strict=True)
        for i, row in groupby(computed, key=lambda item: item[0][0]):
            strip, strange = self._empty(blender.row(i).intersect(over)), []
            for (_, j), seen in row:
                finished = seen._replace(scores_KHW=blender.finish(i, j, seen.scores_KHW))
                cell = blender.cell(i, j)
                self._fill(strip, finished, cell, blender.window(i, j))
                if seen.novelty > LIMIT and seen.raster.valid[cell.within(blender.window(i, j)).slices].any():
                    strange.append(cell.intersect(strip.window))
            if not strip.window.empty:
                yield strip._replace(strange=tuple(part for part in strange if not part.empty))

    def block(self, scene: Scene, block: Window) -> Strip:
        """Compute one part of a scene at once."""
        strips = list(self.strips(scene, block))
        pixels = np.concatenate([strip.pixels for strip in strips], axis=-2)
        layers = {name: np.concatenate([strip.layers[name] for strip in strips], axis=-2) for name in self.keep}
        return Strip(block, pixels, layers)

    def _empty(self, window: Window) -> Strip:
        output = self.model.output
        layers = {name: LAYERS[name].blank(output.channels, window.shape) for name in self.keep}
        return Strip(window, output.blank(window.shape), layers)

    def _fill(self, strip: Strip, seen: Seen, cell: Window, window: Window) -> None:
        """Write a finished cell, or what of it belongs to the strip; pixels with scores of NaN have no data."""
        common = cell.intersect(strip.window)
        valid = seen.raster.valid[common.within(window).slices]
        if common.empty or not valid.any():
            return
        there, part_KHW = common.within(strip.window).slices, seen.scores_KHW[:, *common.within(cell).slices]
        if not np.isfinite(part_KHW.sum()):  # numbers have left float32 within the network
            valid = valid & np.isfinite(part_KHW).all(axis=0)
            part_KHW = np.where(valid, part_KHW, np.float32(0))
        calibrated_KHW = self._calibrated(part_KHW)
        decisive_KHW = part_KHW if self._keeps_classes else calibrated_KHW
        pixels = self.model.output.decode(decisive_KHW, valid)
        if self.abstain is not None:
            pixels[valid & (calibrated_KHW.max(axis=0) < self.abstain)] = self.model.output.channels
        strip.pixels[..., *there] = pixels
        for name, layer in strip.layers.items():
            kind = LAYERS[name]
            measured = kind.measure(part_KHW if kind.raw else calibrated_KHW, seen.novelty)
            layer[:, *there] = np.where(valid, kind.stored(measured), layer[:, *there])

    @property
    def _keeps_classes(self) -> bool:
        return self.model.calibration is None or self.model.calibration.keeps_classes

    def _calibrated(self, probabilities_KHW: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, if they can be and someone asks for them."""
        calibration = self.model.calibration
        asked = self.abstain is not None or not self._keeps_classes or any(not LAYERS[n].raw for n in self.keep)
        return calibration.apply(probabilities_KHW) if calibration and asked else probabilities_KHW

    def _computed(self, scene: Scene, windows: Sequence[Window]) -> Iterator[Seen]:
        """Yield each window with its activated scores `(K, size, size)`, in order; reading and network run ahead."""
        bands = self.model.inputs.choose(scene)
        with ThreadPoolExecutor(1) as reader:
            rasters = in_flight(lambda w: reader.submit(scene.read, w, bands).result, windows, READ_AHEAD)
            groups = chunks(rasters, self.runtime.batch)
            for group, computed in in_flight(self._start, groups, self.runtime.ahead):
                yield from map(Seen, group, computed.activated, self._novelties(group, computed.inner))

    def _novelties(self, group: Sequence[Raster], inner_ND: np.ndarray | None) -> Iterable[float]:
        domain = self.model.domain
        if domain is None or inner_ND is None:
            return [0.0] * len(group)
        novelties = np.nan_to_num(domain.novelty(domain.strangeness(inner_ND[: len(group)])), nan=1.0)
        judged = (raster.valid.mean() > COVERED for raster in group)
        return [float(n) if known else 0.0 for known, n in zip(judged, novelties, strict=True)]

    def _start(self, group: Sequence[Raster]) -> Callable[[], tuple[Sequence[Raster], Computed]]:
        """Start the network on a batch; windows without data are not shown to it."""
        if not any(raster.valid.any() for raster in group):
            nothing = np.zeros((len(group), self.model.output.channels, *group[0].valid.shape), np.float32)
            return lambda: (group, Computed(nothing))
        first = group[0].pixels
        pixels = np.zeros((self.runtime.batch, *first.shape), first.dtype)
        valid = np.zeros((self.runtime.batch, *first.shape[1:]), bool)
        for i, raster in enumerate(group):
            pixels[i], valid[i] = raster.pixels, raster.valid
        turns = QUARTER_TURNS[self.tta]
        if len(turns) == 1:
            result = self.runtime.start(pixels, valid)
            return lambda: (group, result())
        return lambda: (group, self._averaged(pixels, valid))

    def _averaged(self, pixels: np.ndarray, valid: np.ndarray) -> Computed:
        """Return the mean of the activated scores over all positions, each turned back, and of the inner features."""
        turns = QUARTER_TURNS[self.tta]
        shown = ((_turned(pixels, *turn), _turned(valid, *turn)) for turn in turns)
        results = in_flight(lambda pair: self.runtime.start(*pair), shown, self.runtime.ahead)
        total, inners = np.zeros((), np.float32), []
        for turn, result in zip(turns, results, strict=True):
            total = total + _turned_back(result.activated, *turn)
            if result.inner is not None:
                inners.append(result.inner.copy())  # a runtime writes later results to the same place
        return Computed(total / np.float32(len(turns)), np.mean(inners, axis=0) if inners else None)


def _turned(array: np.ndarray, quarters: int, mirrored: bool) -> np.ndarray:
    turned = np.rot90(array, quarters, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if mirrored else turned)


def _turned_back(array: np.ndarray, quarters: int, mirrored: bool) -> np.ndarray:
    return np.rot90(array[..., ::-1] if mirrored else array, -quarters, axes=(-2, -1))


def in_flight(start: Callable[[Item], Callable[[], Result]], items: Iterable[Item], depth: int) -> Iterator[Result]:
    """Yield the results in order while up to `depth` later ones are under way."""
    waiting: deque[Callable[[], Result]] = deque()
    for item in items:
        waiting.append(start(item))
        if len(waiting) > depth:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()


def predictors(
    model: MapModel, options: RuntimeOptions, *, keep: tuple[str, ...] = (), abstain: float | None = None
) -> Callable[[Scene], Predictor]:
    """Return what opens a model for a scene; for scenes alike in type and size it is opened once.

    It raises `ModelError` if the model does not run on such windows, or lacks what the runtime needs.
    """

    @lru_cache(maxsize=8)
    def opened(tiling: Tiling, dtype: str) -> Predictor:
        shape = Shape(tiling.size, dtype, options.batch)
        runtime = open_runtime(model, shape, runtime=options.runtime, precision=options.precision)
        return Predictor(model, tiling, runtime, options.tta, keep, abstain)

    return lambda scene: opened(choose_tiling(model, options, scene.shape), scene.dtype)


def choose_tiling(model: MapModel, options: RuntimeOptions, shape: tuple[int, int]) -> Tiling:
    """Return the windows for a scene: those that are asked for, or the model's own, or larger ones that just cover it.

    It depends on model, options and scene alone, so that each who computes a part takes the same lattice.
    """
    own = model.tiling
    overlap = own.overlap if options.overlap is None else options.overlap
    if options.window is not None:
        least = min(overlap, options.window // 2) if options.overlap is None else overlap
        return Tiling(options.window, least, own.unit)
    if model.unit is None or max(shape) <= 2 * own.size or own.size >= LARGE:
        return replace(own, overlap=overlap)
    return Tiling(LARGE, overlap, own.unit).fitted(shape, model.unit)
