"""Whether two grounds show the same, and where: registration by features, verification by the pixels themselves.

A similarity is estimated from features that are each other's nearest, by RANSAC (Fischler & Bolles 1981). One picture
is then laid on the other, and the local normalised cross-correlation of what both show decides: chance alignments and
blank areas have none. Texture that fits as well when it is shifted, such as a regular grid, proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from affine import Affine

from sat2map.leaks.base import Ground, carried, shared
from sat2map.leaks.candidates import root_sift
from sat2map.leaks.looking import Features, colours, grey
from sat2map.tiling import Window, whole

INLIERS = 6
"""Least features that a similarity has to fit."""

TOLERANCE = 3.0
"""How far in looked-at pixels a feature may lie from where the similarity puts it."""

CELLS = 1 << 22
"""How many couples of features are compared at once."""

CENTRES = 4096
"""Around at most so many couples, spread evenly, it is counted how many others agree with them."""

TURN, OCTAVE = math.pi / 12, 0.5
"""Couples agree whose rotations in radians, and whose scales in octaves, differ by less."""

FARTHEST = 6.0
"""Ratio of scales from which on a similarity is not believed."""

SIDE = 384
"""At most so many pixels along each side are correlated, around the features that agree."""

COARSEST = 4.0
"""At most so many pixels of the coarser picture, along each side, are correlated as one."""

NEAR = 6.0
"""Standard deviation in pixels of the neighbourhood in which a correlation is local."""

SMOOTH = 4.0
"""Standard deviation of the grey levels, in such a neighbourhood, up to which a picture is smooth there."""

ROUGH, LEAST_ROUGH = 0.1, 1024
"""Share and number of the shared pixels that must not be smooth for them to prove anything."""

SHIFT, REGULAR = 6, 0.8
"""Texture is regular if, shifted by more than so many pixels, it fits better than this share of its best fit."""


@dataclass(frozen=True)
class Registration:
    """Where a second ground lies in a first.

    Args:
        affine: From pixels of the second's window to the first's.
        centre: Amid the features that agree, in pixels of the first.
    """

    affine: Affine
    centre: tuple[float, float]

    @property
    def scale(self) -> float:
        """Side of a pixel of the second in pixels of the first."""
        return float(abs(self.affine.determinant) ** 0.5)


def register(first: Features, second: Features, grains: tuple[int, int]) -> Registration | None:
    """Return the similarity that most features of two grounds agree on, None if they are fewer than `INLIERS`.

    Args:
        first: Features of the first ground.
        second: Features of the second.
        grains: How many pixels, along each side, each ground was looked at as one.
    """
    one, other = _agreeing(first, second)
    if len(one) < INLIERS:
        return None
    scale = float(np.median(first.sizes[one] / second.sizes[other]))
    here, there = first.points[one], second.points[other]
    most = TOLERANCE * max(grains[0], grains[1] * scale)
    matrix, fits = cv2.estimateAffinePartial2D(there, here, ransacReprojThreshold=most)
    if matrix is None or len(np.unique(here[fits.ravel() > 0], axis=0)) < INLIERS:
        return None
    x, y = np.median(here[fits.ravel() > 0], axis=0)
    found = Registration(Affine(*(float(v) for v in matrix.ravel())), (float(x), float(y)))
    return found if 1 / FARTHEST < found.scale < FARTHEST else None


def register_mirrored(first: Features, second: Features, grains: tuple[int, int]) -> Registration | None:
    """Return what `register` does, of a first ground that shows the second as in a mirror."""
    found = register(first.mirrored, second, grains)
    return found and Registration(Affine.scale(-1, 1) @ found.affine, (-found.centre[0], found.centre[1]))


def _agreeing(first: Features, second: Features) -> tuple[np.ndarray, np.ndarray]:
    """Return which features are each other's nearest, of those that agree on a rotation and a scale."""
    if not len(first) or not len(second):
        return np.zeros(0, int), np.zeros(0, int)
    one, other = _mutual(root_sift(first.descriptors), root_sift(second.descriptors))
    turns = first.angles[one] - second.angles[other]
    best = _most_alike(turns, np.log2(first.sizes[one] / second.sizes[other]))
    return one[best], other[best]


def _mutual(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which unit vectors `(N, D)` and `(M, D)` are each other's nearest, as places in both."""
    nearest, back = np.zeros(len(first), int), np.zeros(len(second), int)
    most = np.full(len(second), -np.inf, np.float32)
    for rows in _blocks(len(first), len(second)):
        products = first[rows] @ second.T  # the largest is of the nearest
        nearest[rows] = products.argmax(axis=1)
        highest = products.max(axis=0)
        nearer = highest > most
        back[nearer], most[nearer] = rows.start + products.argmax(axis=0)[nearer], highest[nearer]
    one = np.flatnonzero(back[nearest] == np.arange(len(first)))
    return one, nearest[one]


def _most_alike(turns: np.ndarray, octaves: np.ndarray) -> np.ndarray:
    """Return which couples `(N,)` bool agree on rotation and scale with the one that most agree with."""
    best = np.zeros(len(turns), bool)
    centres = np.arange(0, len(turns), -(-len(turns) // CENTRES))
    for rows in _blocks(len(centres), len(turns)):
        here = centres[rows, None]
        alike = (np.cos(turns[here] - turns) > math.cos(TURN)) & (np.abs(octaves[here] - octaves) < OCTAVE)
        fullest = alike[alike.sum(axis=1).argmax()]
        best = fullest if fullest.sum() > best.sum() else best
    return best


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yield the rows of a matrix, at most `CELLS` of its cells at a time."""
    step = max(CELLS // columns, 1)
    return (slice(start, start + step) for start in range(0, rows, step))


def likeness(first: Ground, second: Ground, found: Registration) -> tuple[float, int]:
    """Return the local correlation of what two grounds both show, 0 where that proves nothing, and of how many pixels.

    Correlated are at most `SIDE` x `SIDE` pixels around the features that agree.
    """
    to_first, shape = _common_grid(first, second, found)
    views = [laid(ground, affine, shape) for ground, affine in ((first, to_first), (second, ~found.affine @ to_first))]
    both = np.logical_and(*(valid for _, valid in views))
    inside = cv2.erode(both.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=1) > 0
    one, other = (_normalised(grey(rgb, both), inside) for rgb, _ in views)
    rough = (one != 0) & (other != 0)
    if rough.sum() < max(LEAST_ROUGH, ROUGH * inside.sum()) or _ambiguous(one, other):
        return 0.0, int(rough.sum())
    one, other = one[rough], other[rough]
    return min(float(one @ other / np.sqrt((one @ one) * (other @ other))), 1.0), len(one)


def _common_grid(first: Ground, second: Ground, found: Registration) -> tuple[Affine, tuple[int, int]]:
    """Return a grid over the shared ground, not finer than either picture: its pixels in the first, and its shape."""
    coarser = max(1.0, found.scale)
    left, top, right, bottom = shared(first.window, second.window, found.affine[:6]).bounds
    pixel = min(max(max(right - left, bottom - top) / SIDE, coarser), COARSEST * coarser)
    reach = SIDE * pixel / 2
    (x, y) = found.centre
    left, top, right, bottom = max(left, x - reach), max(top, y - reach), min(right, x + reach), min(bottom, y + reach)
    shape = max(round((bottom - top) / pixel), 1), max(round((right - left) / pixel), 1)
    return Affine.translation(left, top) @ Affine.scale(pixel), shape


def laid(ground: Ground, affine: Affine, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Lay a ground on a grid.

    Args:
        ground: The ground.
        affine: From pixels of the grid to those of the ground's window.
        shape: Height and width of the grid.

    Returns:
        Its colours `(H, W, 3)` uint8, and which pixels are valid `(H, W)` bool.
    """
    step = max(int(abs(affine.determinant) ** 0.5), 1)
    left, top, right, bottom = carried(shapely.box(0, 0, shape[1], shape[0]), affine[:6]).bounds
    row, col = math.floor(top) - 2 * step, math.floor(left) - 2 * step
    area = Window(row, col, math.ceil(bottom) + 3 * step - row, math.ceil(right) + 3 * step - col)
    area = area.intersect(whole(ground.window.shape))
    if min(area.shape) < step:
        return np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
    rgb, valid = colours(ground, area, step)
    centred = Affine.translation(-0.5, -0.5) @ Affine.scale(1 / step) @ Affine.translation(-area.col, -area.row)
    matrix = np.array((centred @ affine @ Affine.translation(0.5, 0.5))[:6]).reshape(2, 3)
    flags, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (shape[1], shape[0])
    covered = cv2.warpAffine(valid.astype(np.float32), matrix, size, flags=flags)
    return cv2.warpAffine(rgb, matrix, size, flags=flags), covered > 0.99


def _normalised(levels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return levels with local mean 0 and variance 1 `(H, W)` float32; 0 outside and where they are smooth."""
    weight = inside.astype(np.float32)
    total = np.maximum(_blur(weight, NEAR), 1e-6)
    fine = _blur(levels.astype(np.float32), 1)
    mean = _blur(fine * weight, NEAR) / total
    spread = np.sqrt(np.maximum(_blur(fine**2 * weight, NEAR) / total - mean**2, 0))
    return np.where(inside & (spread > SMOOTH), (fine - mean) / np.maximum(spread, SMOOTH), 0).astype(np.float32)


def _blur(values: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(values, (0, 0), sigma)


def _ambiguous(one: np.ndarray, other: np.ndarray) -> bool:
    """Tell whether the middle of one picture fits the other as well elsewhere, as regular texture does."""
    height, width = one.shape
    if min(height, width) < 4 * SHIFT:
        return False
    row, col = height // 4, width // 4
    fit = cv2.matchTemplate(one, other[row : row + height // 2, col : col + width // 2], cv2.TM_CCORR_NORMED)
    here = fit[max(row - SHIFT, 0) : row + SHIFT + 1, max(col - SHIFT, 0) : col + SHIFT + 1]
    best = float(here.max())
    here[:] = -1
    return bool(fit.max() > REGULAR * best)
