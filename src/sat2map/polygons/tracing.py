"""Outlines of equal values, traced from strips of rows as they come: the same outlines however the rows are cut.

Pixels of one value are one component where they share an edge, not where they touch at a corner. The outline of a
component is told by its corners alone: sorted by rows they are, in pairs, the ends of its horizontal sides; sorted by
columns, those of its vertical sides. So of components that are not finished only the corners are kept, and there are
no pieces to stitch. All is computed on arrays of whole numbers. Knows neither files nor coordinates on the ground.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import shapely

NORTH, SOUTH = WEST, EAST = slice(None, -1), slice(1, None)
"""Of rows (or columns), those before and those behind each line between two of them."""

SIDES = ((0, 0), (1, 1))
"""One column on either side."""


@dataclass(frozen=True)
class Outlines:
    """Polygons of finished components, as ragged arrays.

    Args:
        points: Whole columns and rows `(points, 2)` of the rings, each ring closed and without needless points.
        rings: Where each ring starts in `points`, and their end `(rings + 1,)`.
        polygons: Where each polygon starts in `rings`, and their end `(polygons + 1,)`; its first ring is its shell.
        values: The value of each polygon's pixels.
        pixels: Their number.
        weights: The sum of their weights; zero where none were given.
    """

    points: np.ndarray
    rings: np.ndarray
    polygons: np.ndarray
    values: np.ndarray
    pixels: np.ndarray
    weights: np.ndarray

    def shapes(self, part: slice) -> np.ndarray:
        """Return some of the polygons as shapely's."""
        polygons = self.polygons[part.start : part.stop + 1]
        rings = self.rings[polygons[0] : polygons[-1] + 1]
        points = self.points[rings[0] : rings[-1]].astype(float)
        offsets = (rings - rings[0], polygons - polygons[0])
        shapes: np.ndarray = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, offsets)
        return shapes


def trace(strips: Iterable[tuple[np.ndarray, np.ndarray | None]], outside: int) -> Iterator[Outlines]:
    """Yield the outlines of components as soon as they are finished.

    Args:
        strips: From top to bottom, each with whole numbers `(rows, width)`, and weights of the same shape or None.
        outside: The value of pixels that belong to no polygon.

    Yields:
        The outlines that each strip finished, their order that of their first pixels (top row, then left).
    """
    open_ = None
    for values, weights in strips:
        open_ = open_ or _Open.nothing(values[:1], outside)
        done, open_ = open_.grow(values, weights)
        yield done
    if open_ is not None:
        yield open_.grow(np.full_like(open_.last[:, 1:-1], outside), None)[0]


@dataclass(frozen=True)
class _Open:
    """What is known below a row of pixels about the components that reach it.

    Args:
        last: The row's values `(1, width + 2)`, with a pixel outside on either side.
        labels: The component of each of these, alike.
        values: The value of each component.
        tallies: Number and weight of its pixels so far `(2, components)`.
        corners: Those found so far: component, row, column, whether their pixel lies south, and east `(5, n)`.
        row: The first row that has not come.
        outside: The value that belongs to no polygon.
    """

    last: np.ndarray
    labels: np.ndarray
    values: np.ndarray
    tallies: np.ndarray
    corners: np.ndarray
    row: int
    outside: int

    @classmethod
    def nothing(cls, first: np.ndarray, outside: int) -> _Open:
        """Start above the first row."""
        last = np.pad(np.full_like(first, outside), SIDES, constant_values=outside)
        labels = np.zeros(last.shape, np.int32)
        return cls(last, labels, np.array([outside]), np.zeros((2, 1)), np.empty((5, 0), np.int32), 0, outside)

    def grow(self, values: np.ndarray, weights: np.ndarray | None) -> tuple[Outlines, _Open]:
        """Take the next rows in; return what they finished, and what is open below them."""
        block = np.vstack((self.last, np.pad(values, SIDES, constant_values=self.outside)))
        starts = np.ones(block.shape, bool)
        np.not_equal(block[:, EAST], block[:, WEST], out=starts[:, EAST])
        runs, labels = self._components(block, starts)
        first = np.flatnonzero(starts[1:])
        kinds = np.empty(labels.max() + 1, block.dtype)
        kinds[labels] = np.concatenate((self.values, block[1:].ravel()[first]))
        each = np.hstack((self.tallies, _tallies(first, block[1:].size, weights)))
        tallies = np.stack([np.bincount(labels, tally) for tally in each])
        found = _corners(block, self.outside, self.row)
        found[0] = labels[runs.ravel()[found[0]]]
        corners = np.hstack((self.corners, found))
        corners[0, : self.corners.shape[1]] = labels[self.corners[0]]
        last = labels[runs[-1:]]
        return _divide(_Open(block[-1:], last, kinds, tallies, corners, self.row + len(values), self.outside))

    def _components(self, block: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number the runs of equal pixels in the rows, behind the open components, and join those that are one.

        Returns:
            The run of each pixel of the block, and the component of each run.
        """
        runs = np.empty(block.shape, np.int32)
        runs[0] = self.labels
        np.cumsum(starts[1:], dtype=np.int32, out=runs[1:].reshape(-1))
        runs[1:] += len(self.values) - 1
        meet = (block[NORTH] == block[SOUTH]) & (starts[NORTH] | starts[SOUTH])  # once for each two runs
        return runs, _joined(int(runs[-1, -1]) + 1, runs[NORTH][meet], runs[SOUTH][meet])


def _tallies(first: np.ndarray, size: int, weights: np.ndarray | None) -> np.ndarray:
    """Return number and weight of the pixels of each run `(2, runs)`, given the first pixel of each."""
    pixels = np.diff(first, append=size)
    if weights is None:
        return np.stack((pixels, np.zeros_like(pixels)))
    padded = np.pad(weights, SIDES)
    return np.stack((pixels, np.add.reduceat(padded.ravel(), first, dtype=np.int64)))


def _joined(count: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the component `(count,)` of each of `count` things, of which `one[i]` and `other[i]` are joined.

    Roots are hooked to the smallest root they meet, and paths shortened, until nothing changes (Shiloach and Vishkin
    1982). Components are numbered in the order of their first things.
    """
    root = np.arange(count, dtype=np.int32)
    while True:
        a, b = root[one], root[other]
        apart = a != b
        if not apart.any():
            break
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(root, shorter := root[root]):
            root = shorter
    ranks = np.cumsum(root == np.arange(count), dtype=np.int32) - 1
    return ranks[root]


def _corners(block: np.ndarray, outside: int, row: int) -> np.ndarray:
    """Return the corners between the pixels of a block whose second row is `row`: `(5, n)`, pixels for components.

    A pixel has a corner in a point where both neighbours across its edges are others, or both are alike and the one
    diagonally across is another.
    """
    across, down = block[:, EAST] == block[:, WEST], block[SOUTH] == block[NORTH]
    falling, rising = block[SOUTH, EAST] == block[NORTH, WEST], block[SOUTH, WEST] == block[NORTH, EAST]
    found = []
    for south, rows in enumerate((NORTH, SOUTH)):
        for east, cols in enumerate((WEST, EAST)):
            beside, diagonal = across[rows], falling if south == east else rising
            corner = (beside == down[:, cols]) & ~(beside & diagonal) & (block[rows, cols] != outside)
            r, c = np.nonzero(corner)
            pixel = (r + south) * block.shape[1] + c + east
            found.append(np.stack((pixel, r + row, c, np.full_like(r, south), np.full_like(r, east))).astype(np.int32))
    return np.hstack(found)


def _divide(known: _Open) -> tuple[Outlines, _Open]:
    """Divide what is known into finished components and open ones."""
    reaching = np.zeros(len(known.values), bool)
    reaching[known.labels] = True
    numbers = np.cumsum(reaching, dtype=np.int32) - 1
    stays = reaching[known.corners[0]]
    corners = known.corners[:, stays]
    corners[0] = numbers[corners[0]]
    tallies = known.tallies[:, reaching]
    open_ = _Open(known.last, numbers[known.labels], known.values[reaching], tallies, corners, known.row, known.outside)
    return _outlines(known.corners[:, ~stays], known.values, known.tallies), open_


def _outlines(corners: np.ndarray, values: np.ndarray, tallies: np.ndarray) -> Outlines:
    """Connect corners `(5, n)` to rings, the shell of a component first: it alone has the topmost corner.

    Where a component touches itself in a point, two corners lie there. West before east in the rows and south before
    north in the columns makes rings turn away from each other there, so that none touches itself.
    """
    component, row, col, south, east = corners
    corners = corners[:, np.lexsort((east, col, row, component))]
    component, row, col, south, _ = corners
    by_column = np.lexsort((-south, row, col, component)).reshape(-1, 2)
    partner = np.empty(len(row), np.int64)
    partner[by_column] = by_column[:, ::-1]
    start = np.arange(0, len(row), 2) + south[::2]  # of horizontal sides, the polygon on the left where y points up
    end = start ^ 1
    head, place = _cycles(partner[end] >> 1)
    heads = np.flatnonzero(place == 0)
    sides = np.bincount(head, minlength=len(head))[heads]
    rings = np.concatenate(([0], np.cumsum(2 * sides + 1)))
    begin = np.zeros(len(head), np.int64)
    begin[heads] = rings[:-1]
    points = np.empty((rings[-1], 2), np.int32)
    spot = begin[head] + 2 * place
    xy = np.stack((col, row), axis=1)
    points[spot], points[spot + 1] = xy[start], xy[end]
    points[rings[1:] - 1] = xy[start[heads]]
    owner, first = np.unique(component[2 * heads], return_index=True)
    pixels, weights = tallies[:, owner]
    return Outlines(points, rings, np.append(first, len(heads)), values[owner], pixels, weights)


def _cycles(following: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the head, the smallest member, of each member's cycle in a permutation, and the steps to it from the head.

    Steps are doubled, so their number is the logarithm of the longest cycle (Wyllie 1979).
    """
    members = np.arange(len(following))
    head, jump = members, following
    while not np.array_equal(head, smaller := np.minimum(head, head[jump])):
        head, jump = smaller, jump[jump]
    tail = following == head
    steps = np.where(tail, 0, 1)
    jump = np.where(tail, members, following)
    while not tail[jump].all():
        steps, jump = steps + steps[jump], jump[jump]
    return head, steps[head] - steps
