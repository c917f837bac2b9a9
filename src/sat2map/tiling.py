"""Windows, blocks and the lattice of model windows over a scene.

Knows shapes only: no pixels, no files, no coordinates on the ground. The lattice belongs to the *scene*, never to
the block that is being computed, so the map does not depend on how the work was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, pairwise
from typing import NamedTuple, TypeVar

import numpy as np

from sat2map.errors import BadOption

Item = TypeVar("Item")


class Window(NamedTuple):
    """A rectangle of pixels: `row` and `col` of its upper left corner (may be negative), `height`, `width`."""

    row: int
    col: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """First row below the window."""
        return self.row + self.height

    @property
    def right(self) -> int:
        """First column right of the window."""
        return self.col + self.width

    @property
    def empty(self) -> bool:
        """Whether the window holds no pixel."""
        return self.height <= 0 or self.width <= 0

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices into an array that starts at the scene's origin."""
        return slice(self.row, self.bottom), slice(self.col, self.right)

    def intersect(self, other: Window) -> Window:
        """Return the common part; `empty` where there is none."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Window(row, col, max(bottom - row, 0), max(right - col, 0))

    def within(self, outer: Window) -> Window:
        """Return the same window in coordinates that start at `outer`'s corner."""
        return Window(self.row - outer.row, self.col - outer.col, self.height, self.width)

    def pad(self, pixels: int) -> Window:
        """Return the window grown by `pixels` on each side (shrunk where negative)."""
        return Window(self.row - pixels, self.col - pixels, self.height + 2 * pixels, self.width + 2 * pixels)


def whole(shape: tuple[int, int]) -> Window:
    """Return the window over all of a scene of `shape` (height, width)."""
    return Window(0, 0, *shape)


def grid(area: Window, size: int) -> Iterator[Window]:
    """Cut `area` into non-overlapping windows of `size`, smaller at the right and lower edge, row by row."""
    for row in range(area.row, area.bottom, size):
        for col in range(area.col, area.right, size):
            yield Window(row, col, size, size).intersect(area)


def chunks(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    """Yield items in tuples of `size`; the last one may be shorter."""
    rest = iter(items)
    while chunk := tuple(islice(rest, size)):
        yield chunk


@dataclass(frozen=True)
class Tiling:
    """The lattice of overlapping model windows over a scene.

    Windows are spread evenly, so that all of them lie inside a scene that is at least one window large. Neighbours
    are blended across `overlap` pixels by weights that sum to one at each pixel (a partition of unity).

    Args:
        size: Side of a window in pixels.
        overlap: Width in pixels of the seam across which neighbours are blended; at most half of `size`.
    """

    size: int = 512
    overlap: int = 128

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.overlap <= self.size // 2:
            raise BadOption(
                f"Windows of {self.size} pixels cannot overlap by {self.overlap}. "
                f"Take a size of at least 1 and an overlap from 0 to half the size."
            )

    def starts(self, length: int) -> tuple[int, ...]:
        """Return where the windows start along a side of `length` pixels."""
        if length <= self.size:
            return (0,)
        count = -(-(length - self.overlap) // (self.size - self.overlap))
        return tuple(round(i * (length - self.size) / (count - 1)) for i in range(count))

    def windows(self, shape: tuple[int, int], over: Window | None = None) -> Iterator[Window]:
        """Yield the windows of the scene's lattice, row by row; only those that count somewhere in `over`, if given."""
        over = over or whole(shape)
        for i, row in enumerate(self.starts(shape[0])):
            if not _counts(self._seams(shape[0], i), over.row, over.bottom):
                continue
            for j, col in enumerate(self.starts(shape[1])):
                if _counts(self._seams(shape[1], j), over.col, over.right):
                    yield Window(row, col, self.size, self.size)

    def weights(self, shape: tuple[int, int], window: Window) -> np.ndarray:
        """Return the blending weights `(size, size)` float32 of one window of the lattice over a scene of `shape`."""
        rows = self._axis_weights(shape[0], self.starts(shape[0]).index(window.row))
        cols = self._axis_weights(shape[1], self.starts(shape[1]).index(window.col))
        return rows[:, None] * cols[None, :]

    def _seams(self, length: int, i: int) -> tuple[float, float, float, float]:
        """Return where the weight of window `i` starts to rise, is one, starts to fall, is zero again."""
        starts = self.starts(length)
        rise, full = self._seam(starts, i - 1) if i > 0 else (-np.inf, -np.inf)
        fall, zero = self._seam(starts, i) if i + 1 < len(starts) else (np.inf, np.inf)
        return rise, full, fall, zero

    def _seam(self, starts: tuple[int, ...], i: int) -> tuple[float, float]:
        """Return the seam between windows `i` and `i + 1`: centred in what they share, at most one step wide."""
        centre = (starts[i + 1] + starts[i] + self.size) / 2
        steps = [b - a for a, b in pairwise(starts)]
        half = min(self.overlap, *steps) / 2
        return centre - half, centre + half

    def _axis_weights(self, length: int, i: int) -> np.ndarray:
        return _ramps(self._seams(length, i), self.starts(length)[i], self.size)


def _counts(seams: tuple[float, float, float, float], first: int, end: int) -> bool:
    """Tell whether a window with these seams has weight on any pixel from `first` up to `end`."""
    return end > seams[0] and first < seams[3]


@lru_cache(maxsize=4096)
def _ramps(seams: tuple[float, float, float, float], start: int, size: int) -> np.ndarray:
    """Return weights along one axis: raised-cosine ramps, so that both sides of a seam sum to one."""
    centres = start + np.arange(size) + 0.5
    rise, full, fall, zero = seams
    weights = np.ones(size)
    if np.isfinite(rise):
        weights *= _smooth(centres, rise, full)
    if np.isfinite(fall):
        weights *= 1 - _smooth(centres, fall, zero)
    weights = weights.astype(np.float32)
    weights.flags.writeable = False
    return weights


def _smooth(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rise from 0 at `low` to 1 at `high` along half a cosine; a step where both are equal."""
    if high <= low:
        return (x >= low).astype(float)
    return 0.5 - 0.5 * np.cos(np.pi * np.clip((x - low) / (high - low), 0, 1))
