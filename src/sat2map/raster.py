"""Pixels that know where they are.

A `Raster` never travels without its `GeoBox` (odc-geo) and its validity; a nodata value is written only by a sink.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sat2map.tiling import Window

METRES_PER_DEGREE = 111_195.0
"""Of a great circle on a sphere of 6,371 km."""


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
    """Return the side of a pixel in metres, in the middle of a geographic grid; None without a CRS."""
    if geobox.crs is None:
        return None
    if not geobox.crs.geographic:
        return pixel_size(geobox) * float(geobox.crs.proj.axis_info[0].unit_conversion_factor)
    height, width = geobox.shape
    _, latitude = geobox.affine * (width / 2, height / 2)
    return pixel_size(geobox) * METRES_PER_DEGREE * max(math.cos(math.radians(latitude)), 0.0) ** 0.5
