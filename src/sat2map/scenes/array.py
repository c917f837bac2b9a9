"""A scene in memory: for tests, for pictures made on the fly, for notebooks."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sat2map.scenes.base import Scene, measured
from sat2map.tiling import Window


@dataclass(frozen=True)
class ArrayScene(Scene):
    """Pixels `(bands, height, width)` and validity `(height, width)` held in memory."""

    pixels: np.ndarray = field(repr=False, compare=False)
    valid: np.ndarray = field(repr=False, compare=False)

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        rows, cols = window.slices
        return self.pixels[bands, rows, cols], self.valid[rows, cols].copy()


def array_scene(
    pixels: np.ndarray, valid: np.ndarray | None = None, geobox: GeoBox | None = None, name: str = "array"
) -> ArrayScene:
    """Make a scene of an array `(bands, height, width)` or `(height, width)`.

    What is not `measured`, such as NaN, is never valid; everything else is, unless `valid` says otherwise.
    """
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    valid = measured(pixels) if valid is None else valid & measured(pixels)
    geobox = geobox or GeoBox(pixels.shape[1:], Affine.identity(), None)
    bands = tuple(f"band {i + 1}" for i in range(len(pixels)))
    return ArrayScene(name, geobox, bands, str(pixels.dtype), pixels, valid)
