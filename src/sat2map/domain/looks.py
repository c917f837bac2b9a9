"""What pixels look like, in a few numbers: of all of them their quantiles, of each window brightness and detail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from sat2map.raster import Raster
from sat2map.scenes import Scene
from sat2map.tiling import Window, grid, whole

LEVELS = np.linspace(0, 1, 101)
"""The quantiles that are kept."""

LOOK = 256
"""Side in pixels of the windows whose brightness, contrast and detail are compared."""

LOOKS = 36
"""From at most so many windows a scene is judged."""

KEPT = 4096
"""Pixels of a window that count for the quantiles."""

FILLED = 0.25
"""Share of a window that has to be valid so that its brightness and detail count."""


def sample(scene: Scene, bands: Sequence[int] | None = None) -> list[Raster]:
    """Read up to `LOOKS` windows spread over all of a scene, those without valid pixels left out."""
    cells = list(grid(whole(scene.shape), LOOK))
    rows = len({cell.row for cell in cells})
    cols = len(cells) // rows
    root = round(LOOKS**0.5)
    chosen = [cells[r * cols + c] for r in _spread(rows, root, cols) for c in _spread(cols, root, rows)]
    rasters = (scene.read(cell.intersect(whole(scene.shape)), bands) for cell in chosen)
    return [raster for raster in rasters if raster.valid.any()]


def _spread(count: int, root: int, other: int) -> list[int]:
    """Return places spread over `count`, more of them where the other side has fewer."""
    wanted = min(count, max(LOOKS // max(min(other, root), 1), 1))
    return [int((i + 0.5) * count / wanted) for i in range(wanted)]


def quantiles(rasters: Iterable[Raster]) -> np.ndarray:
    """Return the quantiles `(bands, levels)` of the valid pixels; each window counts alike for its valid part."""
    kept = [r.pixels[:, r.valid][:, :: max(-(-int(r.valid.sum()) // KEPT), 1)] for r in rasters]
    values: np.ndarray = np.quantile(np.concatenate(kept, axis=1).astype(np.float64), LEVELS, axis=1).T
    return values


def looks(rasters: Iterable[Raster]) -> np.ndarray:
    """Return brightness and contrast of each band, then the detail, of windows of `LOOK` pixels, `(windows, 2B + 1)`.

    Brightness is the mean and contrast the deviation of the valid pixels. Detail is the logarithm of how much
    neighbours differ, in contrasts: half of it where an image was blurred or enlarged, whatever its brightness.
    """
    found = [_look(r.pixels[:, *part.slices], r.valid[part.slices]) for r in rasters for part in _parts(r)]
    kept = [look for look in found if look is not None]
    return np.array(kept) if kept else np.empty((0, 0))


def _parts(raster: Raster) -> list[Window]:
    shape = raster.valid.shape
    return [cell.intersect(whole(shape)) for cell in grid(whole(shape), LOOK)]


def _look(pixels: np.ndarray, valid: np.ndarray) -> np.ndarray | None:
    if (valid.sum() < FILLED * LOOK**2 and valid.mean() < 1) or min(valid.shape) < 2:
        return None
    values = pixels.astype(np.float64)
    means, deviations = values[:, valid].mean(axis=1), values[:, valid].std(axis=1)
    both = valid[:, 1:] & valid[:, :-1]
    steps = np.abs(np.diff(values, axis=2))[:, both].mean(axis=1) if both.any() else np.zeros(len(values))
    varied = deviations > 0
    if not varied.any():
        return None
    detail = np.log((steps[varied] / deviations[varied]).mean() + 1e-3)
    return np.concatenate([means, deviations, [detail]])
