"""`Scene`: something windows can be read from. Every kind of file is one of these; nothing else opens images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from odc.geo.geobox import GeoBox

from sat2map.raster import Raster, window_geobox
from sat2map.tiling import Window, whole

LARGEST = 1e30
"""Larger numbers measure nothing: they are a nodata value that nobody declared, and scaled they leave float32."""


@dataclass(frozen=True)
class Scene(ABC):
    """A grid of pixels with a place, read lazily by windows.

    Args:
        name: What to call it in messages and reports: usually the path.
        geobox: Shape, affine and CRS (`crs` None and the identity where there is no georeference).
        bands: Names of the bands, in order; masks and alpha are no bands.
        dtype: NumPy name of the pixels' type.
    """

    name: str
    geobox: GeoBox
    bands: tuple[str, ...]
    dtype: str

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.geobox.shape
        return int(height), int(width)

    @property
    def fill(self) -> int:
        """What stands in pixels outside of the scene and in those no source covers."""
        return 0

    def read(self, window: Window | None = None, bands: Sequence[int] | None = None) -> Raster:
        """Read a window, which may reach outside of the scene: pixels there are `fill` and not valid.

        Args:
            window: Which pixels; all of them if not given.
            bands: Which bands, counted from 0, in which order; all of them if not given.

        Raises:
            SceneError: The file is damaged or gone.
        """
        window = window or whole(self.shape)
        chosen = list(range(len(self.bands)) if bands is None else bands)
        geobox = window_geobox(self.geobox, window)
        inside = window.intersect(whole(self.shape))
        if inside == window:
            pixels, valid = self._read(window, chosen)
            return Raster(np.ascontiguousarray(pixels, self.dtype), valid, geobox)
        pixels = np.full((len(chosen), *window.shape), self.fill, self.dtype)
        valid = np.zeros(window.shape, bool)
        if not inside.empty:
            rows, cols = inside.within(window).slices
            pixels[:, rows, cols], valid[rows, cols] = self._read(inside, chosen)
        return Raster(pixels, valid, geobox)

    @abstractmethod
    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Read a window that lies inside: pixels `(len(bands), h, w)` and validity `(h, w)`, both the caller's own."""


def measured(pixels: np.ndarray) -> np.ndarray:
    """Return which pixels hold a number in every band, bool `(h, w)`: not NaN, nor infinite, nor beyond `LARGEST`.

    Args:
        pixels: `(bands, h, w)`, any type of real numbers.
    """
    if not np.issubdtype(pixels.dtype, np.floating):
        return np.ones(pixels.shape[1:], bool)
    with np.errstate(over="ignore"):
        sizes = np.abs(pixels.astype(np.float32, copy=False))
    held: np.ndarray = np.all(sizes <= LARGEST, axis=0)
    return held
