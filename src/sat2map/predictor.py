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
from sat2map.legend import CERTAIN, IGNORED
from sat2map.mapmodel import MapModel
from sat2map.options import RuntimeOptions
from sat2map.raster import Raster
from sat2map.runtimes import Runtime, Shape, open_runtime
from sat2map.scenes import Scene
from sat2map.tiling import Tiling, Window, chunks

Item = TypeVar("Item")
Result = TypeVar("Result")

READ_AHEAD = 3
"""Windows that are read before the network asks for them."""

LARGE = 1024
"""Side in pixels of the windows over scenes that are much larger: fewer pixels are computed twice."""

QUARTER_TURNS = {"none": ((0, False),), "flips": tuple((k, m) for k in (0, 2) for m in (False, True))} | {
    "d4": tuple((k, m) for k in range(4) for m in (False, True))
}
"""How a window is turned (by quarters) and mirrored for the network; what it sees in all is averaged."""


LAYERS: dict[str, Callable[[int], int]] = {"scores": lambda channels: channels, "confidence": lambda _: 1}
"""What a map can have beside its classes, and how many bands that is: all probabilities, or the largest one."""


class Strip(NamedTuple):
    """Finished pixels.

    Args:
        window: Where in the scene.
        pixels: The map, as `Output.decode` gives it: ids `(height, width)`, or a picture `(4, height, width)`.
        layers: What else is asked for by name, `(bands, height, width)` uint8: 0 to 254, and 255 without data.
        unreadable: Parts of the original scene that could not be read so far and were passed over.
    """

    window: Window
    pixels: np.ndarray
    layers: Mapping[str, np.ndarray]
    unreadable: tuple[Window, ...] = ()


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to compute parts of one scene, or of scenes like it.

    Args:
        model: What pixels mean and what scores mean.
        tiling: The windows the network sees.
        runtime: Runs the network on a fixed number of windows at a time.
        tta: A name of `QUARTER_TURNS`: in which positions each window is shown.
        keep: Names of `LAYERS` that strips hold beside the classes.
    """

    model: MapModel
    tiling: Tiling
    runtime: Runtime
    tta: str = "none"
    keep: tuple[str, ...] = ()

    def strips(self, scene: Scene, over: Window) -> Iterator[Strip]:
        """Compute a part of a scene, from top to bottom: each strip is a row of the lattice.

        Memory grows with the width of the part, not with its height.
        """
        rows, cols = (self.tiling.axis(side) for side in scene.shape)
        blender = Blender(rows, cols, over, self.model.output.channels)
        computed = zip(blender.places, self._computed(scene, [blender.window(*p) for p in blender.places]), strict=True)
        for i, row in groupby(computed, key=lambda item: item[0][0]):
            strip = self._empty(blender.row(i).intersect(over))
            for (_, j), (raster, scores_KHW) in row:
                finished_KHW = blender.finish(i, j, scores_KHW)
                self._fill(strip, finished_KHW, raster, blender.cell(i, j), blender.window(i, j))
            if not strip.window.empty:
                yield strip

    def block(self, scene: Scene, block: Window) -> np.ndarray:
        """Return the map of one part of a scene: ids `(height, width)`, or a picture `(4, height, width)`."""
        return np.concatenate([strip.pixels for strip in self.strips(scene, block)], axis=-2)

    def _empty(self, window: Window) -> Strip:
        counts = {name: LAYERS[name](self.model.output.channels) for name in self.keep}
        layers = {name: np.full((count, *window.shape), IGNORED, np.uint8) for name, count in counts.items()}
        return Strip(window, self.model.output.blank(window.shape), layers)

    def _fill(self, strip: Strip, scores_KHW: np.ndarray, raster: Raster, cell: Window, window: Window) -> None:
        """Write a finished cell, or what of it belongs to the strip."""
        common = cell.intersect(strip.window)
        valid = raster.valid[common.within(window).slices]
        if common.empty or not valid.any():
            return
        there, part_KHW = common.within(strip.window).slices, scores_KHW[:, *common.within(cell).slices]
        strip.pixels[..., *there] = self.model.output.decode(part_KHW, valid)
        for layer in strip.layers.values():
            shown = part_KHW if len(layer) == len(part_KHW) else part_KHW.max(axis=0, keepdims=True)
            layer[:, *there] = np.where(valid, np.rint(shown * CERTAIN), IGNORED)

    def _computed(self, scene: Scene, windows: Sequence[Window]) -> Iterator[tuple[Raster, np.ndarray]]:
        """Yield each window and its activated scores `(K, size, size)`, in order; reading and network run ahead."""
        bands = self.model.inputs.choose(scene)
        with ThreadPoolExecutor(1) as reader:
            rasters = in_flight(lambda w: reader.submit(scene.read, w, bands).result, windows, READ_AHEAD)
            groups = chunks(rasters, self.runtime.batch)
            for group, activated in in_flight(self._start, groups, self.runtime.ahead):
                yield from zip(group, activated, strict=False)

    def _start(self, group: Sequence[Raster]) -> Callable[[], tuple[Sequence[Raster], Iterable[np.ndarray]]]:
        """Start the network on a batch; windows without data are not shown to it."""
        if not any(raster.valid.any() for raster in group):
            nothing = np.zeros((len(group), self.model.output.channels, *group[0].valid.shape), np.float32)
            return lambda: (group, nothing)
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

    def _averaged(self, pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return the mean of the activated scores over all positions, each turned back."""
        turns = QUARTER_TURNS[self.tta]
        shown = ((_turned(pixels, *turn), _turned(valid, *turn)) for turn in turns)
        results = in_flight(lambda pair: self.runtime.start(*pair), shown, self.runtime.ahead)
        total = np.zeros((), np.float32)
        for turn, result in zip(turns, results, strict=True):
            total = total + _turned_back(result, *turn)
        return total / np.float32(len(turns))


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


def predictors(model: MapModel, options: RuntimeOptions, *, keep: tuple[str, ...] = ()) -> Callable[[Scene], Predictor]:
    """Return what opens a model for a scene; for scenes alike in type and size it is opened once.

    It raises `ModelError` if the model does not run on such windows, or lacks what the runtime needs.
    """

    @lru_cache(maxsize=8)
    def opened(tiling: Tiling, dtype: str) -> Predictor:
        shape = Shape(tiling.size, dtype, options.batch)
        runtime = open_runtime(model, shape, runtime=options.runtime, precision=options.precision)
        return Predictor(model, tiling, runtime, options.tta, keep)

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
