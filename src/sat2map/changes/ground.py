"""Two class maps on one grid: what they say at the same places, block by block, and how often they say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyproj
from odc.geo.geobox import GeoBox

from sat2map.errors import SourceError
from sat2map.polygons.reading import ClassMap
from sat2map.progress import track
from sat2map.raster import ground_size, is_georeferenced, pixel_size
from sat2map.reference import open_on_earth, row_areas
from sat2map.scenes import Scene, unplaced, warp
from sat2map.scenes.gdal import open_gdal
from sat2map.tiling import Window, grid, whole

BLOCK = 1024
"""Side in pixels of what is compared at a time, on the finer of the two grids."""

MOST = 10_000
"""Pairs of numbers that are counted; maps with more of them hold no classes."""

SPAN, HALF = 1 << 32, 1 << 31
"""How many numbers a pixel of a class map can hold, and how many of them are negative."""

PROBES = 65
"""Points along each side of a map that are carried to the other's CRS to find their common ground."""


@dataclass(frozen=True)
class Both:
    """Two class maps on the grid of the earlier one.

    Args:
        before: The earlier map.
        after: The later one, on its own grid.
        scenes: The pixels of both on the common grid.
        common: The part of that grid outside of which there is nothing to compare.
        side: Of blocks, in pixels.
    """

    before: ClassMap
    after: ClassMap
    scenes: tuple[Scene, Scene]
    common: Window
    side: int

    @property
    def geobox(self) -> GeoBox:
        """The common grid."""
        return self.scenes[0].geobox

    def blocks(self, what: str) -> Iterator[tuple[Window, np.ndarray, np.ndarray]]:
        """Yield windows, in each what both maps say as one code `(h, w)` int64, and where both hold data.

        Raises:
            SceneError: A map cannot be read.
        """
        windows = list(grid(self.common, self.side))
        for window in track(windows, what, len(windows)):
            before, after = (scene.read(window) for scene in self.scenes)
            codes = before.pixels[0].astype(np.int64) * SPAN + after.pixels[0] + HALF
            yield window, codes, before.valid & after.valid


@dataclass(frozen=True, eq=False)
class Counts:
    """How often both maps say what.

    Args:
        names: Classes that occur, those of the earlier map first `(K,)`.
        pixels: Rows are the class before, columns the class after `(K, K)` int64.
        areas: The same in `unit` `(K, K)`.
        unit: `ha`, or `pixels` of maps without a CRS.
        left_out: Area of the earlier map where the later one has no data.
        codes: Each pair of numbers that occurs, ascending `(n,)`.
        pairs: Its class before and after, as places in `names` `(2, n)`.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    areas: np.ndarray
    unit: str
    left_out: float
    codes: np.ndarray
    pairs: np.ndarray

    def classes(self, codes: np.ndarray) -> np.ndarray:
        """Return the classes before and after of codes that occur `(2, n)`."""
        return self.pairs[:, np.searchsorted(self.codes, codes)]


def open_both(before: Path | str, after: Path | str) -> Both:
    """Open two class maps and bring the later one to the grid of the earlier one.

    Raises:
        UserError: One cannot be read, both are the same file, or they cannot be aligned.
    """
    if Path(before).exists() and Path(after).exists() and Path(before).samefile(after):
        raise SourceError(f"{before} and {after} are the same file. Name the maps of two dates.")
    maps = open_on_earth(before), open_on_earth(after)
    one, other = (open_gdal(path, colours=False) for path in (before, after))
    _check_places(one, other)
    if not is_georeferenced(one.geobox) or not is_georeferenced(other.geobox):
        return Both(*maps, (one, unplaced(other)), whole(one.shape), BLOCK)
    sizes = [ground_size(scene.geobox) or pixel_size(scene.geobox) for scene in (one, other)]
    side = int(max(BLOCK * min(sizes[1] / sizes[0], 1), 1))  # a coarse pixel may stand on many fine ones
    return Both(*maps, (one, warp(other, one.geobox, nearest=True)), _common(one.geobox, other.geobox), side)


def _check_places(before: Scene, after: Scene) -> None:
    """Make sure that it is known where two maps lie to each other."""
    without = [scene.name for scene in (before, after) if scene.geobox.crs is None]
    if len(without) == 1:
        raise SourceError(
            f"{without[0]} has no CRS, but the other map has one, so they cannot be aligned. Tell it, for example with "
            "gdal_edit.py -a_srs EPSG:NUMBER."
        )
    placed = is_georeferenced(before.geobox) and is_georeferenced(after.geobox)
    if not placed and before.shape != after.shape:
        sizes = " and ".join(f"{s.name} has {s.shape[1]} x {s.shape[0]} pixels" for s in (before, after))
        raise SourceError(
            f"{sizes}, and they have no CRS, so they cannot be aligned. Maps without one must be as large."
        )


def _common(target: GeoBox, source: GeoBox) -> Window:
    """Return a window of `target` that holds all that lies on `source`, and a little more; empty if nothing does."""
    height, width = source.shape
    share = np.linspace(0, 1, PROBES)
    cols, rows = (axis.ravel() for axis in np.meshgrid(share * width, share * height))
    x, y = source.affine @ (cols, rows)  # type: ignore[operator]  # it takes arrays too
    if source.crs is not None and target.crs is not None and source.crs != target.crs:
        x, y = pyproj.Transformer.from_crs(source.crs.proj, target.crs.proj, always_xy=True).transform(x, y)
    shape = int(target.shape[0]), int(target.shape[1])
    if not (np.isfinite(x).all() and np.isfinite(y).all()):  # not all of it can be shown in the target's CRS
        return whole(shape)
    cols, rows = ~target.affine @ (x, y)
    (top, bottom), (left, right) = (_span(v, side) for v, side in zip((rows, cols), shape, strict=True))
    return Window(top, left, bottom - top, right - left)


def _span(places: np.ndarray, length: int) -> tuple[int, int]:
    """Return the first and last pixel under places, with two steps between probes to either side."""
    beyond = 2 + 2 * (places.max() - places.min()) / (PROBES - 1)
    first, last = np.clip((places.min() - beyond, places.max() + beyond), 0, length)
    return int(first), int(np.ceil(last))


def count_changes(both: Both) -> Counts:
    """Count what both maps say at the same places.

    Raises:
        UserError: They have no ground in common, hold one class alone, or no classes at all.
    """
    of_row = row_areas(both.before)
    pixels: dict[int, int] = {}
    areas: dict[int, float] = {}
    for window, codes, valid in both.blocks("Counting changes"):
        found, place = np.unique(codes[valid], return_inverse=True)
        sizes = np.broadcast_to(of_row[window.row : window.bottom, None], window.shape)[valid]
        for code, count, size in zip(
            found.tolist(), np.bincount(place).tolist(), np.bincount(place, sizes).tolist(), strict=True
        ):
            pixels[code] = pixels.get(code, 0) + count
            areas[code] = areas.get(code, 0.0) + size
        if len(pixels) > MOST:
            raise SourceError(f"More than {MOST:,} pairs of numbers occur. Do both maps hold classes?")
    if not pixels:
        raise SourceError(
            f"{both.before.path} and {both.after.path} have no ground in common on which both hold data. "
            "Do they show the same place, and are their CRSs right?"
        )
    held, size = _held(both, of_row)
    return _counts(both, pixels, areas, size - sum(areas.values()) if held > sum(pixels.values()) else 0.0)


def _counts(both: Both, pixels: Mapping[int, int], areas: Mapping[int, float], left_out: float) -> Counts:
    codes = np.array(sorted(pixels))
    numbers = codes // SPAN, codes % SPAN - HALF
    called = [of.named(values) for of, values in zip((both.before, both.after), numbers, strict=True)]
    names = _in_order([*both.before.names.values(), *both.after.names.values()], chain(*called))
    if len(names) == 1:
        raise SourceError(f"Both maps hold one class alone, {names[0]}, where they are compared: nothing can change.")
    place = {name.casefold(): i for i, name in enumerate(names)}
    pairs = np.array([[place[name.casefold()] for name in each] for each in called])
    matrices = np.zeros((len(names), len(names)), np.int64), np.zeros((len(names), len(names)))
    for matrix, of in zip(matrices, (pixels, areas), strict=True):
        np.add.at(matrix, tuple(pairs), [of[code] for code in codes.tolist()])
    unit = "pixels" if both.before.crs is None else "ha"
    return Counts(names, *matrices, unit, left_out, codes, pairs)


def _in_order(listed: Sequence[str], found: Iterator[str]) -> tuple[str, ...]:
    """Return each name found once, whatever its case: as it is listed first, those not listed at the end."""
    occurring = {name.casefold(): name for name in found}
    first = {name.casefold(): name for name in reversed([*listed, *sorted(occurring.values())])}
    order = dict.fromkeys(name.casefold() for name in [*listed, *sorted(occurring.values())])
    return tuple(first[key] for key in order if key in occurring)


def _held(both: Both, of_row: np.ndarray) -> tuple[int, float]:
    """Return number and area of the earlier map's pixels that hold data."""
    pixels, area = 0, 0.0
    for window in grid(whole(both.before.shape), BLOCK):
        each = both.scenes[0].read(window).valid.sum(axis=1)
        pixels += int(each.sum())
        area += float(each @ of_row[window.row : window.bottom])
    return pixels, area
