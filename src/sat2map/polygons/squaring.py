"""Outlines with right angles, for buildings.

The walls of a building are parallel to one direction or across it. That direction is the mean of the directions of its
walls modulo 90 degrees, weighted by their lengths (the "statistical weighting" of Duchêne et al. 2003, Quantitative
and qualitative description of building orientation). Walls that follow each other and lie nearer to one of the two
directions than to the other become one straight wall where they lie in the mean; where walls cross are the corners.
"""

from __future__ import annotations

import numpy as np
import shapely

TOLERANCE = 1.25
"""How far the steps of pixels lie off a straight wall, in pixels."""

MIN_IOU = 0.8
"""A squared outline has at least this intersection over union with the outline as traced."""


def squared(polygons: np.ndarray, tolerance: np.ndarray | float) -> np.ndarray:
    """Return polygons with right angles, of unchanged area and centroid.

    Those that right angles do not fit, by `MIN_IOU` or because the outline would cross itself, stay as they came.

    Args:
        polygons: Valid polygons `(N,)`, in a unit that is the same along x and y.
        tolerance: How far the outline may lie off a straight wall; one number or `(N,)`.

    Returns:
        Valid polygons `(N,)`. What lies beside them stays as it is, so they may overlap it a little. Courtyards too
        small for four walls are filled.
    """
    made = _right_angled(shapely.simplify(polygons, tolerance))
    made = _fitted(np.where(shapely.is_valid(made), made, shapely.Polygon()), polygons)
    common = shapely.area(shapely.intersection(made, polygons))
    iou = common / (shapely.area(made) + shapely.area(polygons) - common)
    fine = (iou >= MIN_IOU) & shapely.is_valid(made)
    kept: np.ndarray = np.where(fine, made, polygons)
    return kept


def _fitted(polygons: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Return polygons scaled and moved to area and centroid of their models; what is empty stays so."""
    counts = shapely.get_num_coordinates(polygons)
    scale = np.sqrt(shapely.area(model) / np.where(counts, shapely.area(polygons), 1))
    centre, goal = (shapely.get_coordinates(shapely.centroid(p)) for p in (polygons[counts > 0], model[counts > 0]))
    each = np.repeat(np.arange(len(goal)), counts[counts > 0])
    points = (shapely.get_coordinates(polygons) - centre[each]) * scale[counts > 0][each, None] + goal[each]
    fitted: np.ndarray = shapely.set_coordinates(polygons.copy(), points)
    return fitted


def _right_angled(polygons: np.ndarray) -> np.ndarray:
    """Return polygons with walls in two directions only, perhaps invalid or empty."""
    _, points, (rings, shells) = shapely.to_ragged_array(polygons)
    owner = np.repeat(np.arange(len(polygons)), np.diff(shells))
    ring = np.repeat(np.arange(len(owner)), np.diff(rings) - 1)
    begin = np.delete(np.arange(len(points)), rings[1:] - 1)
    place = points @ (1, 1j)
    wall, middle = place[begin + 1] - place[begin], (place[begin + 1] + place[begin]) / 2
    pull = wall**4 / np.abs(wall) ** 3
    turn = np.exp(0.25j * np.angle(_sums(owner[ring], pull, len(polygons))))[owner]
    corners, starts = _crossings(ring, wall / turn[ring], middle / turn[ring], len(owner))
    counts = np.diff(starts)
    corners = corners * np.repeat(turn, counts)
    return _polygons(corners[np.repeat(counts >= 4, counts)], counts[counts >= 4], owner[counts >= 4], len(polygons))


def _crossings(ring: np.ndarray, wall: np.ndarray, middle: np.ndarray, rings: int) -> tuple[np.ndarray, np.ndarray]:
    """Straighten turned walls and return where they cross, and where the crossings of each ring start and end.

    Args:
        ring: The ring of each wall, ascending.
        wall: Walls as complex numbers, in the order of their rings.
        middle: The middles of the walls.
        rings: The number of rings.
    """
    level = np.abs(wall.real) >= np.abs(wall.imag)
    before = np.arange(len(ring)) - 1
    first = np.searchsorted(ring, np.arange(rings))
    before[first] = np.append(first[1:], len(ring)) - 1
    change = level != level[before]
    counts = np.bincount(ring, change, rings).astype(int)
    starts = np.append(0, np.cumsum(counts))
    known = counts[ring] > 0  # others have no corner at all
    line = (starts[ring] + (np.cumsum(change) - starts[ring] - 1) % np.maximum(counts[ring], 1))[known]
    weight = np.where(level, np.abs(wall.real), np.abs(wall.imag))[known]
    at = _sums(line, weight * np.where(level, middle.imag, middle.real)[known], starts[-1])
    at = at / _sums(line, weight, starts[-1])
    lying = np.zeros(starts[-1], bool)
    lying[line] = level[known]
    following = np.arange(1, starts[-1] + 1)
    following[starts[1:][counts > 0] - 1] = starts[:-1][counts > 0]
    across = at[following]
    return np.where(lying, across + 1j * at, at + 1j * across), starts


def _sums(groups: np.ndarray, numbers: np.ndarray, count: int) -> np.ndarray:
    """Return the sum of the numbers in each of `count` groups."""
    real = np.bincount(groups, numbers.real, count)
    return real + 1j * np.bincount(groups, numbers.imag, count) if np.iscomplexobj(numbers) else real


def _polygons(corners: np.ndarray, counts: np.ndarray, owner: np.ndarray, polygons: int) -> np.ndarray:
    """Return polygons of rings with `counts` corners each, which belong to the polygons `owner`."""
    rings = shapely.linearrings(corners.real, corners.imag, indices=np.repeat(np.arange(len(counts)), counts))
    made = np.full(polygons, shapely.Polygon())
    shapely.polygons(rings, indices=owner, out=made)
    return made
