"""One lattice of cells over the ground of many pictures: the same ground is in the same cell in whichever it is seen.

Pictures with a CRS lie on one plane, whose coordinates are the pixels of the first of them; a picture without a place
is a plane of its own. Knows shapes and places only: no pixels, no parts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.warp import transform

from sat2map.raster import is_georeferenced
from sat2map.tiling import Window

OVERLAP = 1e-3
"""The share of the smaller picture above which two pictures show the same ground; less is rounding."""

ROUNDING = 1e-6
"""How far in pixels an edge may lie from a whole pixel by rounding alone."""


class Cell(NamedTuple):
    """A cell of the lattice over one plane of ground: its row and column there."""

    plane: str
    row: int
    col: int


class Sides(NamedTuple):
    """At which sides of a cell ground of another part lies."""

    top: bool = False
    bottom: bool = False
    left: bool = False
    right: bool = False


@dataclass(frozen=True)
class Lattice:
    """Cells of a regular grid over a plane: their sides along v and u."""

    height: float
    width: float


@dataclass(frozen=True)
class Sheet:
    """A picture on its plane of ground, whose coordinates (u, v) are columns and rows of `base`.

    Args:
        plane: Name of the plane.
        geobox: Where the picture is.
        base: Where the first picture on the plane is.
    """

    plane: str
    geobox: GeoBox
    base: GeoBox

    @property
    def footprint(self) -> shapely.Polygon:
        """The picture's outline on the plane."""
        height, width = self.geobox.shape
        return shapely.Polygon(np.column_stack(_carry(*_ring(0, 0, width, height), self.geobox, self.base)))

    def lattice(self, side: float, *, fit: bool) -> Lattice:
        """Return a lattice of about `side`, not smaller; with `fit` such that it cuts the base into equal cells."""
        height, width = (_fitted(side, length) if fit else side for length in self.base.shape)
        return Lattice(height, width)

    def cells(self, lattice: Lattice) -> Iterator[tuple[Cell, Window]]:
        """Yield the cells that the picture shows, each with its window."""
        left, top, right, bottom = self.footprint.bounds
        rows = range(math.floor(top / lattice.height + ROUNDING), math.ceil(bottom / lattice.height - ROUNDING))
        cols = range(math.floor(left / lattice.width + ROUNDING), math.ceil(right / lattice.width - ROUNDING))
        for row, col in itertools.product(rows, cols):
            cell = Cell(self.plane, row, col)
            window = self.window(cell, lattice, Sides(), 0)
            if not window.empty:
                yield cell, window

    def window(self, cell: Cell, lattice: Lattice, foreign: Sides, margin: float) -> Window:
        """Return the picture's pixels in a cell, without a strip of `margin` at the sides where another part lies.

        Where the picture is turned against the plane it is the largest upright window around the cell's centre, so
        that no pixel of it lies in another cell.
        """
        u0, v0 = cell.col * lattice.width, cell.row * lattice.height
        u1, v1 = (cell.col + 1) * lattice.width, (cell.row + 1) * lattice.height
        u0, v0 = u0 + margin * foreign.left, v0 + margin * foreign.top
        u1, v1 = u1 - margin * foreign.right, v1 - margin * foreign.bottom
        if u0 >= u1 or v0 >= v1:
            return Window(0, 0, 0, 0)
        cols, rows = _carry(*_ring(u0, v0, u1, v1), self.base, self.geobox)
        sides = self._seen(foreign)
        if sides is not None:
            window = _rounded(rows.min(), rows.max(), cols.min(), cols.max(), sides)
        else:
            window = _rounded(*_inscribed(cols, rows), Sides(True, True, True, True))
        height, width = self.geobox.shape
        return window.intersect(Window(0, 0, int(height), int(width)))

    def _seen(self, sides: Sides) -> Sides | None:
        """Return sides of a cell as sides in the picture, which may be mirrored; None if it is turned."""
        turn = ~self.base.affine * self.geobox.affine
        if self.base.crs != self.geobox.crs or max(abs(turn.b), abs(turn.d)) * max(self.geobox.shape) > ROUNDING:
            return None
        top, bottom = (sides.top, sides.bottom) if turn.e > 0 else (sides.bottom, sides.top)
        left, right = (sides.left, sides.right) if turn.a > 0 else (sides.right, sides.left)
        return Sides(top, bottom, left, right)

    def pixels(self, length: float) -> int:
        """Return how many whole pixels of the picture, in any direction, are no more than a length on the plane."""
        height, width = self.geobox.shape
        cols, rows = np.array([0, 1, 0]) + width / 2, np.array([0, 0, 1]) + height / 2
        us, vs = _carry(cols, rows, self.geobox, self.base)
        return int(length / max(abs(us[1:] - us[0]).sum(), abs(vs[1:] - vs[0]).sum()) + ROUNDING)


def _carry(cols: np.ndarray, rows: np.ndarray, source: GeoBox, target: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Return where pixel positions of one grid lie in the pixels of another."""
    xs, ys = _applied(source.affine, cols, rows)
    if source.crs != target.crs:
        xs, ys = (np.asarray(v) for v in transform(str(source.crs), str(target.crs), xs, ys))
    return _applied(~target.affine, xs, ys)


def _applied(affine: Affine, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return affine.a * xs + affine.b * ys + affine.c, affine.d * xs + affine.e * ys + affine.f


def _ring(left: float, top: float, right: float, bottom: float) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of eight points on each side of a rectangle, in order."""
    t = np.arange(8) / 8
    xs = np.concatenate([left + t * (right - left), 0 * t + right, right - t * (right - left), 0 * t + left])
    ys = np.concatenate([0 * t + top, top + t * (bottom - top), 0 * t + bottom, bottom - t * (bottom - top)])
    return xs, ys


def _rounded(top: float, bottom: float, left: float, right: float, inward: Sides) -> Window:
    """Return the pixels whose centre lies inside; at the sides that are `inward`, only those that wholly do."""
    low = [
        math.ceil(v - (ROUNDING if hard else 0.5 + ROUNDING)) for v, hard in ((top, inward.top), (left, inward.left))
    ]
    high = [
        math.floor(v + ROUNDING) if hard else math.ceil(v - 0.5 - ROUNDING)
        for v, hard in ((bottom, inward.bottom), (right, inward.right))
    ]
    return Window(low[0], low[1], max(high[0] - low[0], 0), max(high[1] - low[1], 0))


def _inscribed(cols: np.ndarray, rows: np.ndarray) -> tuple[float, float, float, float]:
    """Return top, bottom, left, right of an upright rectangle within a turned one that is given by its outline.

    It has the outline's centre and the proportions of its bounding box, and is as large as all edges allow.
    """
    centre = np.array([cols.mean(), rows.mean()])
    half = np.array([np.ptp(cols), np.ptp(rows)]) / 2
    corners = np.column_stack([cols, rows])
    edges = np.roll(corners, -1, axis=0) - corners
    normals = np.column_stack([-edges[:, 1], edges[:, 0]])
    reach = np.abs(((corners - centre) * normals).sum(axis=1)) / (np.abs(normals) @ half)
    (left, top), (right, bottom) = centre - reach.min() * half, centre + reach.min() * half
    return top, bottom, left, right


def _fitted(side: float, length: float) -> float:
    """Return the cell side, not below `side`, of which a length has a whole number, or which has it a whole number."""
    parts = math.floor(length / side + ROUNDING)
    return length / parts if parts else length * math.ceil(side / length - ROUNDING)


def lay_out(places: Mapping[str, GeoBox]) -> dict[str, Sheet]:
    """Lay pictures, given by name and place, on planes: one for all with a CRS, one for all with a world file only."""
    bases: dict[str, GeoBox] = {}
    sheets = {}
    for name, geobox in places.items():
        plane = f"picture {name}"
        if is_georeferenced(geobox):
            plane = "ground" if geobox.crs is not None else "map without CRS"
        sheets[name] = Sheet(plane, geobox, bases.setdefault(plane, geobox))
    return sheets


def ground_area(sheets: Sequence[Sheet]) -> float:
    """Return the ground that sheets show, in pixels of the first of each plane; what many show counts once."""
    planes: dict[str, list[shapely.Polygon]] = {}
    for sheet in sheets:
        planes.setdefault(sheet.plane, []).append(sheet.footprint)
    return sum(float(shapely.union_all(prints).area) for prints in planes.values())


def overlap(sheets: Sequence[Sheet], labels: Sequence[str]) -> bool:
    """Tell whether two sheets of different labels show the same ground."""
    planes: dict[str, list[int]] = {}
    for i, sheet in enumerate(sheets):
        planes.setdefault(sheet.plane, []).append(i)
    return any(_overlap([sheets[i].footprint for i in those], [labels[i] for i in those]) for those in planes.values())


def _overlap(prints: Sequence[shapely.Polygon], labels: Sequence[str]) -> bool:
    shapes, names = np.array(prints, object), np.array(labels)
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    other = names[first] != names[second]
    first, second = shapes[first[other]], shapes[second[other]]
    least = np.minimum(shapely.area(first), shapely.area(second))
    return bool((shapely.area(shapely.intersection(first, second)) > OVERLAP * least).any())
