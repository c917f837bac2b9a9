"""Windows, blocks and the lattice of model windows over a scene.

Knows shapes only: no pixels, no files, no coordinates on the ground. The lattice belongs to the *scene*, never to
the block that is being computed, so the map does not depend on how the work was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
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
class Axis:
    """The windows along one side of a scene, and the seams across which neighbours are blended.

    Two windows share a seam, and no pixel lies in two seams. The pixels from the start of a window's first seam to
    the start of its last are the window's cell: they are finished as soon as this window and those before it are known.

    Args:
        length: The scene's side in pixels.
        size: A window's side in pixels.
        starts: Where the windows start.
        seams: The first pixel of each seam; seam `i` lies between windows `i` and `i + 1`.
        width: The width of a seam in pixels.
    """

    length: int
    size: int
    starts: tuple[int, ...]
    seams: tuple[int, ...]
    width: int

    def cell(self, i: int) -> tuple[int, int]:
        """Return the first pixel that window `i` finishes, and the one behind the last."""
        edges = (0, *self.seams, self.length)
        return edges[i], edges[i + 1]

    def reach(self, i: int) -> tuple[int, int]:
        """Return the first pixel on which window `i` has weight, and the one behind the last: its cell and a seam."""
        first, end = self.cell(i)
        return first, end + self.width if i < len(self.seams) else end

    def over(self, first: int, end: int) -> range:
        """Return the windows that have weight on any pixel from `first` up to `end`."""
        reaching = [i for i in range(len(self.starts)) if self.reach(i)[1] > first and self.cell(i)[0] < end]
        return range(reaching[0], reaching[-1] + 1)


@dataclass(frozen=True)
class Tiling:
    """The lattice of overlapping model windows over a scene.

    Windows are spread evenly, so that they cover the scene with little beyond it. Neighbours are blended across
    `overlap` pixels by weights that sum to one at each pixel (a partition of unity).

    A network that halves its input sees the same ground alike only if it is shifted by whole units of its deepest
    level (docs/prediction.md). So windows start at multiples of `unit`; the last reaches beyond the scene by less.

    Args:
        size: Side of a window in pixels.
        overlap: Width in pixels of the seam across which neighbours are blended; at most half of `size`.
        unit: What windows start at multiples of, in pixels, where their size and overlap leave room for that.
    """

    size: int = 512
    overlap: int = 64
    unit: int = 1

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.overlap <= self.size // 2:
            raise BadOption(
                f"Windows of {self.size} pixels cannot overlap by {self.overlap}. "
                f"Take a size of at least 1 and an overlap from 0 to half the size."
            )

    def axis(self, length: int) -> Axis:
        """Return the windows along a side of `length` pixels."""
        count = self._count(length)
        units = -(-max(length - self.size, 0) // self._unit)
        starts = tuple(i * units // max(count - 1, 1) * self._unit for i in range(count))
        width = min(self.overlap, *(b - a for a, b in pairwise(starts))) if count > 1 else 0
        seams = tuple((a + b + self.size - width) // 2 for a, b in pairwise(starts))
        return Axis(length, self.size, starts, seams, width)

    def fitted(self, shape: tuple[int, int], unit: int) -> Tiling:
        """Return windows of about this size, in multiples of `unit`, that cover a scene with the fewest pixels."""
        sizes = range(-(-self.size * 3 // 4 // unit) * unit, self.size * 5 // 4 + 1, unit)
        tilings = [replace(self, size=size) for size in sizes if size >= 2 * self.overlap] or [self]
        return min(tilings, key=lambda t: (t._count(shape[0]) * t._count(shape[1]) * t.size**2, -t.size))

    def blocks(self, shape: tuple[int, int], height: int, width: int) -> Iterator[Window]:
        """Cut a scene into blocks of whole cells, of about `height` and `width`, row by row."""
        for row, bottom in _groups(self.axis(shape[0]), height):
            for col, right in _groups(self.axis(shape[1]), width):
                yield Window(row, col, bottom - row, right - col)

    def _count(self, length: int) -> int:
        """Return how many windows are needed along a side."""
        step = (self.size - self.overlap) // self._unit * self._unit
        return 1 + -(-max(length - self.size, 0) // step)

    @property
    def _unit(self) -> int:
        return self.unit if self.unit <= self.size - self.overlap else 1


def ramp(width: int) -> np.ndarray:
    """Return weights that rise from 0 to 1 along half a cosine, `(width,)` float32, at the centres of the pixels."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(width) + 0.5) / max(width, 1))).astype(np.float32)


def _groups(axis: Axis, length: int) -> Iterator[tuple[int, int]]:
    """Yield the first pixel and the one behind the last of runs of cells: as many cells in each, of about `length`."""
    cells = len(axis.starts)
    count = min(-(-axis.length // length), cells)
    for first, end in pairwise(i * cells // count for i in range(count + 1)):
        yield axis.cell(first)[0], axis.cell(end - 1)[1]
