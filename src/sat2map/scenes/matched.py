"""A scene whose bands are brought to another distribution: histogram matching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sat2map.scenes.base import Scene
from sat2map.tiling import Window


@dataclass(frozen=True)
class MatchedScene(Scene):
    """A scene in which each value of a band is replaced by the one of the same rank elsewhere; nodata stays nodata."""

    scene: Scene
    curves: tuple[tuple[np.ndarray, np.ndarray], ...] = field(repr=False, compare=False)

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        raster = self.scene.read(window, bands)
        pixels = np.zeros(raster.pixels.shape, self.dtype)
        for band, out, index in zip(raster.pixels, pixels, bands, strict=True):
            matched = np.interp(band[raster.valid], *self.curves[index])
            out[raster.valid] = np.rint(matched) if np.issubdtype(out.dtype, np.integer) else matched
        return pixels, raster.valid


def match(scene: Scene, found: np.ndarray, wanted: Sequence[Sequence[float]], dtype: str) -> MatchedScene:
    """Return a scene whose bands have the quantiles `wanted`.

    Gonzalez and Woods (Digital Image Processing, 3.3.2): the value at a quantile of the scene becomes the value at
    the same quantile of the reference, linearly between; the same for every window, whoever reads it.

    Args:
        scene: What is matched.
        found: Quantiles of its bands, `(bands, levels)`, ascending.
        wanted: Those of the reference at the same levels, for as many bands.
        dtype: The reference's type, which the scene takes on.
    """
    curves = tuple(_curve(np.asarray(a), np.asarray(b)) for a, b in zip(found, wanted, strict=True))
    return MatchedScene(scene.name, scene.geobox, scene.bands, dtype, scene, curves)


def _curve(found: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return knots with each value once: where many pixels have one value, it becomes the mean of theirs."""
    values, places = np.unique(found, return_inverse=True)
    return values, np.bincount(places, wanted) / np.bincount(places)
