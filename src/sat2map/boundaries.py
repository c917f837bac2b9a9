"""How well the outlines of a map's classes lie: counts of boundary pixels that add up over windows.

IoU hardly sees the outline of large areas. The boundary F1 of Csurka et al. 2013, What is a good evaluation measure for
semantic segmentation?, looks at nothing else.
"""

from __future__ import annotations

import numpy as np

from sat2map.legend import IGNORED

TOLERANCE = 3
"""How far in pixels, along rows and columns, a boundary may lie off and still be right."""


def boundary_counts(truth_ids: np.ndarray, predicted_ids: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels of boundaries, and those with a boundary of the other map nearby.

    A boundary pixel has a neighbour of another class on one of its four sides; what is `IGNORED` in one of the maps is
    no neighbour, and has no boundary.

    Args:
        truth_ids: Ids `(H, W)`.
        predicted_ids: Ids `(H, W)`.
        classes: How many classes there are, K.

    Returns:
        Counts `(K, 4)` int64: predicted pixels with a true one within `TOLERANCE`, all predicted ones, true pixels
        with a predicted one nearby, all true ones.
    """
    known = (truth_ids != IGNORED) & (predicted_ids != IGNORED)
    truth, predicted = (np.where(known, ids, np.uint8(IGNORED)) for ids in (truth_ids, predicted_ids))
    counts = np.zeros((classes, 4), np.int64)
    for k in range(classes):
        true, drawn = _boundary(truth == k, known), _boundary(predicted == k, known)
        hits = drawn & _grown(true, TOLERANCE), drawn, true & _grown(drawn, TOLERANCE), true
        counts[k] = [np.count_nonzero(pixels) for pixels in hits]
    return counts


def boundary_f1(counts: np.ndarray) -> float | None:
    """Return the F1 of the boundary of one class from its counts `(4,)`, 0 to 1; None if it has none in either map."""
    right_drawn, drawn, right_true, true = (int(n) for n in counts)
    if not drawn and not true:
        return None
    precision, recall = right_drawn / max(drawn, 1), right_true / max(true, 1)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(inside: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the pixels `(H, W)` of a class with a neighbour that is known to be of another."""
    other = known & ~inside
    touched = np.zeros_like(other)
    for axis in (0, 1):
        ahead, behind = _halves(axis)
        touched[ahead] |= other[behind]
        touched[behind] |= other[ahead]
    return inside & touched


def _grown(pixels: np.ndarray, reach: int) -> np.ndarray:
    """Return the pixels within `reach` rows and columns of any of these."""
    for axis in (0, 1):
        for _ in range(reach):
            ahead, behind = _halves(axis)
            grown = pixels.copy()
            grown[ahead] |= pixels[behind]
            grown[behind] |= pixels[ahead]
            pixels = grown
    return pixels


def _halves(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return all but the first, and all but the last, along an axis."""
    whole = slice(None)
    first, last = slice(1, None), slice(None, -1)
    return ((first, whole), (last, whole)) if axis == 0 else ((whole, first), (whole, last))
