"""Pixels that know where they are.

A `Raster` never travels without its `GeoBox` (odc-geo) and its validity; a nodata value is written only by a sink.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer

from sat2map.tiling import Window

DISTORTED = 0.01
"""A projection that shows areas by more than this share too large or small is not measured in."""

Points: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Their x and their y, or longitudes and latitudes."""


@dataclass(frozen=True)
class Raster:
    """Pixels, which of them are valid, and where they lie.

    Args:
        pixels: `(bands, height, width)`, any dtype.
        valid: `(height, width)` bool; False where the scene holds no measurement (nodata, alpha, outside).
        geobox: Shape, affine and CRS; `crs` is None for pictures without georeference.
    """

    pixels: np.ndarray
    valid: np.ndarray
    geobox: GeoBox

    def __post_init__(self) -> None:
        shapes = self.pixels.shape[1:], self.valid.shape, tuple(self.geobox.shape)
        if self.pixels.ndim != 3 or len(set(shapes)) != 1:
            raise ValueError(f"Pixels {self.pixels.shape}, validity {shapes[1]} and geobox {shapes[2]} disagree.")


def window_geobox(geobox: GeoBox, window: Window) -> GeoBox:
    """Return the place of `window`, which may reach outside of `geobox`."""
    return GeoBox(window.shape, geobox.affine @ Affine.translation(window.col, window.row), geobox.crs)


def is_georeferenced(geobox: GeoBox) -> bool:
    """Tell whether a place on the ground is known: a CRS, or an affine other than pixel counting."""
    return geobox.crs is not None or geobox.affine != Affine.identity()


def pixel_size(geobox: GeoBox) -> float:
    """Return the side of a pixel in map units (the root of its area, so also for rotated grids)."""
    return float(abs(geobox.affine.determinant) ** 0.5)


def ground_size(geobox: GeoBox) -> float | None:
    """Return the side in metres of a pixel in the middle of a grid, as `pixel_areas` measures it.

    Returns:
        None without a CRS, or where it does not reach.
    """
    if geobox.crs is None:
        return None
    height, width = geobox.shape
    (area,) = pixel_areas(geobox.affine, geobox.crs.proj, (height, width), np.array([height // 2]))
    return float(area**0.5) if area > 0 else None


def pixel_areas(affine: Affine, crs: CRS, shape: tuple[int, int], rows: np.ndarray) -> np.ndarray:
    """Return how many square metres a pixel in the middle of each of these rows of a grid has, float64 `(rows,)`.

    Measured on the map where that is right (`keeps_areas`), else on the ellipsoid; NaN where the CRS does not reach.
    """
    if keeps_areas(affine, crs, shape):
        return np.full(len(rows), _area_on_map(affine, crs))
    return areas_on_ellipsoid(_pixels(affine, np.full(len(rows), shape[1] // 2), rows), crs)


def keeps_areas(affine: Affine, crs: CRS, shape: tuple[int, int]) -> bool:
    """Tell whether areas on a map are those on the ground, but for `DISTORTED`, in its middle and two of its corners.

    They are not in degrees and in Web Mercator; of a CRS of no place on the Earth nothing else is known.
    """
    if not crs.is_projected:
        return not crs.is_geographic
    rows, cols = (np.array([0, side // 2, side - 1]) for side in shape)
    true = areas_on_ellipsoid(_pixels(affine, cols, rows), crs)
    return not (abs(_area_on_map(affine, crs) - true) > DISTORTED * true).any()


def areas_on_ellipsoid(polygons: np.ndarray, crs: CRS) -> np.ndarray:
    """Return the square metres of polygons on the ellipsoid of their CRS, float64 `(N,)`; NaN where it does not reach.

    After Karney 2013, Algorithms for geodesics: sides are geodesics between the corners.
    """
    degrees, geod = _ellipsoid(crs)
    there = shapely.transform(polygons, degrees, interleaved=False)
    return np.array([abs(geod.geometry_area_perimeter(polygon)[0]) for polygon in there], float)


def placed(polygons: np.ndarray, affine: Affine) -> np.ndarray:
    """Return polygons in columns and rows as polygons in map coordinates."""
    moved: np.ndarray = shapely.transform(
        polygons,
        lambda x, y: (affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f),
        interleaved=False,
    )
    return moved


def metres_of(crs: CRS) -> float:
    """Return how many metres a map unit of a CRS is that is not geographic."""
    return float(crs.axis_info[0].unit_conversion_factor)


def _area_on_map(affine: Affine, crs: CRS) -> float:
    return float(abs(affine.determinant) * metres_of(crs) ** 2)


def _pixels(affine: Affine, cols: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the outlines of pixels in map coordinates `(N,)`."""
    return placed(shapely.box(cols, rows, cols + 1, rows + 1), affine)


@lru_cache(maxsize=16)
def _ellipsoid(crs: CRS) -> tuple[Callable[[np.ndarray, np.ndarray], Points], Geod]:
    """Return what brings map coordinates to degrees, and what measures there."""
    geodetic = crs.geodetic_crs
    assert geodetic is not None  # of geographic and projected ones
    transformer = Transformer.from_crs(crs, geodetic, always_xy=True)
    unit = math.degrees(geodetic.axis_info[0].unit_conversion_factor)  # some French ones are in grads

    def degrees(xs: np.ndarray, ys: np.ndarray) -> Points:
        longitudes, latitudes = transformer.transform(xs, ys)
        return longitudes * unit, latitudes * unit

    return degrees, crs.get_geod() or Geod(ellps="WGS84")
