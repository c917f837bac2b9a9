"""How well the outlines of a map's classes lie: counts of pixels at boundaries that add up over windows.

IoU hardly sees the outline of large areas. The boundary F1 of Csurka et al. 2013, What is a good evaluation measure for
semantic segmentation?, looks at nothing else; the Boundary IoU of Cheng et al. 2021, Boundary IoU: Improving
Object-Centric Image Segmentation Evaluation, is the IoU of what lies along the outlines.
"""

from __future__ import annotations

import cv2
import numpy as np

from sat2map.legend import IGNORED

TOLERANCE = 3
"""How far in pixels, along rows and columns, a boundary may lie off and still be right; and how wide the bands of
Boundary IoU are. Cheng et al. take 2 % of an image's diagonal, but a scene is as large as it was cut."""

BOUNDARY_COUNTS = 6
"""What is counted of each class."""

SIDES = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
"""A pixel and its neighbours on its four sides."""

NEARBY = np.ones((2 * TOLERANCE + 1, 2 * TOLERANCE + 1), np.uint8)
"""A pixel and all within `TOLERANCE` rows and columns."""


def boundary_counts(truth_ids: np.ndarray, predicted_ids: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels of boundaries, those with a boundary of the other map nearby, and those of bands along them.

    A boundary pixel has a neighbour of another class on one of its four sides; the band of a class holds its pixels
    with another class within `TOLERANCE`. What is `IGNORED` in one of the maps is no neighbour, and has no boundary;
    so an outline where the labels or the window end is none.

    Args:
        truth_ids: Ids `(H, W)`, below 256.
        predicted_ids: Ids `(H, W)`, alike.
        classes: How many classes there are, K.

    Returns:
        Counts `(K, BOUNDARY_COUNTS)` int64: predicted boundary pixels with a true one within `TOLERANCE`, all predicted
        ones, true ones with a predicted one nearby, all true ones; intersection and union of the bands.
    """
    known = (truth_ids != IGNORED) & (predicted_ids != IGNORED)
    maps = truth_ids.astype(np.uint8), predicted_ids.astype(np.uint8)
    outlines, bands = ([_only(ids, _beside_others(ids, known, near)) for ids in maps] for near in (SIDES, NEARBY))
    both = _only(bands[0], bands[0] == bands[1])
    counts = np.zeros((classes, BOUNDARY_COUNTS), np.int64)
    for k in range(classes):
        true, drawn = (outline == k for outline in outlines)
        hits = drawn & _grown(true), drawn, true & _grown(drawn), true
        shared, *own = (np.count_nonzero(pixels == k) for pixels in (both, *bands))
        counts[k] = *(np.count_nonzero(pixels) for pixels in hits), shared, sum(own) - shared
    return counts


def boundary_f1(counts: np.ndarray) -> float | None:
    """Return the F1 of the boundary of one class from its counts, 0 to 1; None if it has none in either map."""
    right_drawn, drawn, right_true, true = (int(n) for n in counts[:4])
    if not drawn and not true:
        return None
    precision, recall = right_drawn / max(drawn, 1), right_true / max(true, 1)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_iou(counts: np.ndarray) -> float | None:
    """Return the Boundary IoU of one class from its counts, 0 to 1; None if it has no band in either map."""
    intersection, union = (int(n) for n in counts[4:])
    return intersection / union if union else None


def _beside_others(ids: np.ndarray, known: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return the known pixels `(H, W)` of which not all that are known and near are of one class."""
    highest, lowest = cv2.dilate(ids * known, near), cv2.erode(_only(ids, known), near)
    return known & (lowest != highest)


def _only(ids: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return ids with `IGNORED` elsewhere: all bits, which are set many times faster than `np.where` chooses."""
    return ids | (where.view(np.uint8) - 1)


def _grown(pixels: np.ndarray) -> np.ndarray:
    """Return the pixels within `TOLERANCE` of any of these."""
    return cv2.dilate(pixels.view(np.uint8), NEARBY).view(bool)
