"""How ground is looked at: in grey, reduced, in tiles; and the local features of what is seen.

Features are SIFT (Lowe 2004, "Distinctive image features from scale-invariant keypoints"), thinned so that they are
spread over the picture, for two pictures may share any part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sat2map.leaks.base import Ground
from sat2map.pictures import to_rgb
from sat2map.tiling import Window, grid, whole

TILE = 1024
"""Side of the windows that ground is looked at by, in pixels."""

TILES = 64
"""How many tiles of a ground are looked at, spread evenly; up to 8192 x 8192 pixels are seen whole."""

SMALL = 512
"""Ground up to this side in pixels is looked at as it is; larger ground at half its resolution."""

CELL, CROWD = 32, 6
"""At most so many features are kept in each cell of so many looked-at pixels, those of the highest contrast."""

CONTRAST = 16.0
"""Least range of grey levels that is stretched to all 256: below it is noise."""


@dataclass(frozen=True)
class Features:
    """Local features of a ground.

    Args:
        points: Where they are `(N, 2)` float32: x and y in pixels of the ground's window.
        sizes: Their diameters in pixels `(N,)` float32.
        angles: Their directions in radians `(N,)` float32, clockwise from the x axis.
        descriptors: SIFT `(N, 128)` uint8.
    """

    points: np.ndarray
    sizes: np.ndarray
    angles: np.ndarray
    descriptors: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    @property
    def mirrored(self) -> Features:
        """The features of the picture flipped from left to right; x is then below 0."""
        bins = self.descriptors.reshape(-1, 4, 4, 8)[:, ::-1, :, -np.arange(8)]
        points = self.points * np.array([-1, 1], np.float32)
        return Features(points, self.sizes, np.float32(np.pi) - self.angles, bins.reshape(-1, 128))


def looked_at(ground: Ground) -> list[Window]:
    """Return the tiles of a ground's window that are looked at: all of them, or `TILES` spread evenly."""
    tiles = list(grid(whole(ground.window.shape), TILE))
    return tiles[:: -(-len(tiles) // TILES)]


def grain(ground: Ground) -> int:
    """Return how many pixels, along each side, are looked at as one."""
    return 1 if max(ground.window.shape) <= SMALL else 2


def colours(ground: Ground, area: Window, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Read a part of a ground as one sees it, reduced.

    Args:
        ground: Whose picture.
        area: Which pixels of the window; rows and columns that do not fill a step are left out.
        step: How many pixels, along each side, become one, their mean.

    Returns:
        `(h, w, 3)` uint8, and which pixels are valid `(h, w)` bool.
    """
    height, width = area.height // step, area.width // step
    rows, cols = area.row + ground.window.row, area.col + ground.window.col
    raster = ground.image.read(Window(rows, cols, height * step, width * step))
    rgb = to_rgb(raster, ground.image.bands)
    if step == 1:
        return rgb, raster.valid
    size, mean = (width, height), cv2.INTER_AREA
    valid = cv2.resize(raster.valid * np.uint8(255), size, interpolation=mean) == 255
    return cv2.resize(rgb, size, interpolation=mean), valid


def grey(rgb: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return grey `(H, W)` uint8, from the 1st to the 99th percentile of what is valid; the rest is the mean."""
    levels = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if not valid.any():
        return np.zeros_like(levels)
    low, high = np.percentile(levels[valid], (1, 99))
    stretched = ((levels - np.float32(low)) * np.float32(255 / max(high - low, CONTRAST))).clip(0, 255)
    stretched[~valid] = stretched[valid].mean()
    return stretched.astype(np.uint8)


def features(ground: Ground) -> Features:
    """Return the local features of a ground."""
    step = grain(ground)
    found = [_tile_features(ground, tile, step) for tile in looked_at(ground) if min(tile.shape) >= 8 * step]
    joined = np.concatenate([np.empty((0, 132), np.float32), *found])
    return Features(joined[:, :2], joined[:, 2], joined[:, 3], joined[:, 4:].astype(np.uint8))


def _tile_features(ground: Ground, tile: Window, step: int) -> np.ndarray:
    """Return rows of x, y, diameter, angle and descriptor `(N, 132)` float32."""
    rgb, valid = colours(ground, tile, step)
    levels = grey(rgb, valid)
    inside = cv2.erode(valid.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1)
    sift = cv2.SIFT.create(enable_precise_upscale=True)
    points, descriptors = sift.compute(levels, _spread(sift.detect(levels, inside)))
    if not points:
        return np.empty((0, 132), np.float32)
    x, y = ((np.array([p.pt for p in points]) + 0.5) * step + (tile.col, tile.row)).T
    sizes, angles = [p.size * step for p in points], np.radians([p.angle for p in points])
    return np.column_stack([x, y, sizes, angles, descriptors]).astype(np.float32)


def _spread(points: Sequence[cv2.KeyPoint]) -> list[cv2.KeyPoint]:
    """Return the points of the highest contrast in each cell."""
    if not points:
        return []
    order = np.argsort([-p.response for p in points], kind="stable")
    cells = np.array([(p.pt[1] // CELL, p.pt[0] // CELL) for p in points])[order]
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    by_cell = np.argsort(cell.ravel(), kind="stable")
    sizes = np.bincount(cell.ravel())
    rank = np.arange(len(points)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return [points[i] for i in np.sort(order[by_cell[rank < CROWD]])]
