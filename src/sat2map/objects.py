"""Which objects of a map were found: counts that add up over windows.

Pixels do not tell whether one house was mapped or two that touch. An object is what `polygonize` makes a polygon of:
pixels of one class that share edges (4-connected). True and predicted objects that overlap with an IoU above 0.5 match;
as objects of one map do not overlap, an object has one match at most (Kirillov et al. 2019, Panoptic Segmentation,
whose recognition quality is the F1 here).
"""

from __future__ import annotations

import cv2
import numpy as np

from sat2map.legend import IGNORED

SMALLEST = 10
"""Objects of fewer pixels are not counted, unless they match one that is: specks are neither missed nor invented."""

OBJECT_COUNTS = 3
"""What is counted of each class."""


def object_counts(truth_ids: np.ndarray, predicted_ids: np.ndarray, classes: int) -> np.ndarray:
    """Count the objects of each class in truth and prediction, and those that match.

    Pixels that are `IGNORED` in one of the maps belong to no object of either; where labels or window end, both maps
    are cut alike, and what is left of an object counts as one.

    Args:
        truth_ids: Ids `(H, W)`.
        predicted_ids: Ids `(H, W)`.
        classes: How many classes there are, K.

    Returns:
        Counts `(K, OBJECT_COUNTS)` int64: matches, predicted objects, true objects.
    """
    known = (truth_ids != IGNORED) & (predicted_ids != IGNORED)
    pairs = ((known & (truth_ids == k), known & (predicted_ids == k)) for k in range(classes))
    return np.array([_counts(true, drawn) for true, drawn in pairs], np.int64).reshape(classes, OBJECT_COUNTS)


def object_f1(counts: np.ndarray) -> tuple[float, float, float] | tuple[None, None, None]:
    """Return precision, recall and F1 of the objects of one class from its counts, 0 to 1; None if there are none."""
    matches, drawn, true = (int(n) for n in counts)
    if not drawn and not true:
        return None, None, None
    return matches / max(drawn, 1), matches / max(true, 1), 2 * matches / (drawn + true)


def _counts(true: np.ndarray, drawn: np.ndarray) -> tuple[int, int, int]:
    """Return matches, predicted and true objects of one class from its pixels `(H, W)`."""
    (truths, true_sizes), (drawings, drawn_sizes) = _objects(true), _objects(drawn)
    both = true & drawn
    t, d, shared = _overlaps(truths[both], drawings[both])
    match = 3 * shared > true_sizes[t] + drawn_sizes[d]  # shared / (true + drawn - shared) > 1/2
    t, d = t[match], d[match]
    counted = np.maximum(true_sizes[t], drawn_sizes[d]) >= SMALLEST
    return int(counted.sum()), _number(drawn_sizes, d[counted]), _number(true_sizes, t[counted])


def _objects(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each pixel's object `(H, W)` from 1, and how many pixels each number has."""
    _, numbers = cv2.connectedComponents(pixels.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    return numbers, sizes


def _overlaps(truths: np.ndarray, drawings: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs of numbers that stand at the same pixels `(N,)`, and at how many.

    Neighbours mostly repeat a pair, so that only the first of a row of them is sorted.
    """
    pairs = np.stack((truths, drawings), axis=1).view(np.int64).ravel()
    first = np.flatnonzero(np.diff(pairs, prepend=-1))
    pair, place = np.unique(pairs[first], return_inverse=True)
    shared = np.bincount(place, np.diff(first, append=len(pairs)), len(pair))
    t, d = pair.view(np.int32).reshape(-1, 2).T
    return t, d, shared


def _number(sizes: np.ndarray, matched: np.ndarray) -> int:
    """Return how many objects are large enough or matched."""
    counts = sizes >= SMALLEST
    counts[matched] = True
    return int(counts.sum())
