"""Patches to learn from, the same ones for the same (seed, epoch, number), whoever reads them and when.

A patch starts from an anchor, a cell of the grid over the training ground that holds labels. Pixels of other parts'
ground are never seen: what lies outside an area and its context is not valid, and labels outside the area are ignored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from sat2map.errors import SourceError
from sat2map.inputs import Inputs
from sat2map.learning.augment import Augmentation
from sat2map.outputs import Output
from sat2map.progress import track_map
from sat2map.sources import Pair
from sat2map.splits import Area
from sat2map.tiling import Window, grid

Batch = tuple[np.ndarray, np.ndarray]
"""Inputs `(N, C, H, W)` float32 and the maps they should become, uint8: ids `(N, H, W)`, or pictures `(N, 4, H, W)`."""

TRIES = 4
"""How often a patch is cut at random, until it holds labels."""


@dataclass(frozen=True)
class Anchor:
    """A cell with labels: where patches are cut, and what it holds of them, as `Output.count` tells."""

    area: Area
    cell: Window
    counts: np.ndarray = field(repr=False)


def find_anchors(pairs: Mapping[str, Pair], areas: Sequence[Area], output: Output, *, size: int | None) -> list[Anchor]:
    """List the cells of `size` pixels, or the whole areas, that hold labels.

    Raises:
        SourceError: There are none.
    """
    found = track_map(lambda area: _anchors_of(pairs[area.pair], area, output, size), areas, "Reading labels")
    anchors = [anchor for anchors in found for anchor in anchors]
    if not anchors:
        raise SourceError("The training ground holds no labels. Look at the labels with `sat2map inspect`.")
    return anchors


def _anchors_of(pair: Pair, area: Area, output: Output, size: int | None) -> list[Anchor]:
    anchors = []
    for cell in [area.window] if size is None else grid(area.window, size):
        counts = output.count(output.truth(pair.target.read(cell), np.ones(cell.shape, bool)))
        if counts.any():
            anchors.append(Anchor(area, cell, counts))
    return anchors


@dataclass(frozen=True)
class Samples:
    """All patches of all epochs.

    Args:
        pairs: Images and labels by name.
        anchors: Where patches are cut.
        inputs: What the network is shown.
        output: What it should make of it.
        size: Side of a patch in pixels.
        augmentation: How patches are varied.
        crops: Whether patches are cut at random around their anchor, or are the anchor's cell itself.
        balance: Whether anchors with rare classes are drawn more often.
        seed: Where the random numbers start.
    """

    pairs: Mapping[str, Pair]
    anchors: Sequence[Anchor]
    inputs: Inputs
    output: Output
    size: int
    augmentation: Augmentation
    crops: bool = True
    balance: bool = False
    seed: int = 0

    def order(self, epoch: int) -> np.ndarray:
        """Return the anchors of an epoch, `(anchors,)`: each once, or drawn by weight where rare classes count more."""
        rng = np.random.default_rng([self.seed, epoch])
        if self.balance:
            return rng.choice(len(self.anchors), len(self.anchors), p=_rarity(self.anchors))
        return rng.permutation(len(self.anchors))

    def batches(self, epoch: int, batch: int, *, part: int = 0, parts: int = 1, threads: int = 1) -> Iterator[Batch]:
        """Yield the batches of an epoch, read ahead by threads; an incomplete last one is filled from the first.

        Args:
            epoch: Counted from 0.
            batch: Patches in a batch of all processes together.
            part: Which process asks; it gets each `parts`-th patch of a batch.
            parts: How many processes there are.
            threads: How many threads read.
        """
        order = self.order(epoch)
        steps = -(-len(order) // batch)
        numbers = np.resize(np.arange(len(order)), steps * batch).reshape(steps, batch)[:, part::parts]
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[list[Future[Batch]]] = deque()
            try:
                for row in numbers:
                    waiting.append([pool.submit(self.sample, epoch, int(i), int(order[i])) for i in row])
                    if len(waiting) > 2:
                        yield _stack(waiting.popleft())
                while waiting:
                    yield _stack(waiting.popleft())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def sample(self, epoch: int, number: int, anchor: int) -> Batch:
        """Return inputs `(C, size, size)` and truth of one patch."""
        rng = np.random.default_rng([self.seed, epoch, number])
        chosen = self.anchors[anchor]
        for window in self._windows(chosen, rng):
            change = self.augmentation.draw(rng, len(self.inputs.bands))
            image, truth = change.apply(*self.read(chosen.area, window.pad(change.margin(self.size))), size=self.size)
            if self.output.count(truth).any():
                break
        return image, truth

    def _windows(self, anchor: Anchor, rng: np.random.Generator) -> Iterator[Window]:
        """Yield where the patch may be cut, until one holds labels: at last the cell, which does.

        Shifted by up to half its side, but kept inside an area that is larger; from a cell that is larger itself, from
        anywhere in it.
        """
        cell, area, size = anchor.cell, anchor.area.window, self.size
        first = Window(cell.row, cell.col, size, size)
        for _ in range(TRIES if self.crops else 0):
            if max(cell.shape) > size:
                row, col = (int(rng.integers(max(side - size, 0) + 1)) for side in cell.shape)
            else:
                row, col = (int(v) for v in rng.integers(-(size // 2), size // 2 + 1, 2))
            yield first._replace(
                row=_clamp(cell.row + row, area.row, area.bottom - size),
                col=_clamp(cell.col + col, area.col, area.right - size),
            )
        yield first

    def read(self, area: Area, window: Window) -> Batch:
        """Return inputs and truth of a window, without what belongs to other parts or is not valid."""
        pair = self.pairs[area.pair]
        raster = pair.image.read(window, self.inputs.choose(pair.image))
        image = self.inputs.apply(raster)
        image[:, ~_mask(window, area.window.pad(area.context))] = 0
        return image, self._truth(area, window, raster.valid)

    def _truth(self, area: Area, window: Window, known: np.ndarray) -> np.ndarray:
        target = self.pairs[area.pair].target.read(window)
        return self.output.truth(target, known & _mask(window, area.window))


def _clamp(value: int, low: int, high: int) -> int:
    """Return the value between both; the low one where there is no room."""
    return max(min(value, high), low)


def _mask(window: Window, area: Window) -> np.ndarray:
    """Return `(height, width)` bool of a window: True inside of `area`."""
    inside = np.zeros(window.shape, bool)
    common = window.intersect(area)
    if not common.empty:
        inside[common.within(window).slices] = True
    return inside


def _rarity(anchors: Sequence[Anchor]) -> np.ndarray:
    """Return the chance of each anchor: its pixels weighted by the inverse root of their class's frequency."""
    counts = np.array([a.counts for a in anchors], float)
    weights = counts @ (1 / np.sqrt(np.maximum(counts.sum(axis=0), 1)))
    chances: np.ndarray = weights / weights.sum()
    return chances


def _stack(futures: Sequence[Future[Batch]]) -> Batch:
    images, truths = zip(*(f.result() for f in futures), strict=True)
    return np.stack(images), np.stack(truths)
