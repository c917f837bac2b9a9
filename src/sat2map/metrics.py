"""How good a map is: counts that add up over a stream, then scores.

`confusion` counts one window, block or scene; counts are added with `+`, in any order; `scores_of` turns their sum into
scores. A mean of scores of pieces is never taken: it is another number than the score of the whole.

A pixel counts if it has a label and a prediction. Unlabelled ground says nothing about the map, and where the image
holds no data there is no map to judge; `unscored` tells how many labels are lost that way, so that a report can say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from sat2map.boundaries import boundary_f1, boundary_iou
from sat2map.legend import IGNORED
from sat2map.objects import object_f1


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class, 0 to 1; None where the class occurs neither in truth nor in prediction.

    Attributes:
        name: The class.
        precision: Which share of the pixels mapped as this class are of it; 0 if it is there but was never mapped.
        recall: Which share of the pixels of this class are mapped as it; 0 if it was mapped but is not there.
        iou: Intersection over union.
        f1: Harmonic mean of precision and recall.
        pixels: How many pixels of truth are of this class.
        boundary_f1: F1 of its outlines, if they were compared (`boundaries`).
        boundary_iou: IoU of what lies along its outlines, likewise.
        object_precision: Which share of the objects mapped as this class are there, if they were compared (`objects`).
        object_recall: Which share of the objects that are there were mapped, likewise.
        object_f1: Harmonic mean of these two.
    """

    name: str
    precision: float | None
    recall: float | None
    iou: float | None
    f1: float | None
    pixels: int
    boundary_f1: float | None = None
    boundary_iou: float | None = None
    object_precision: float | None = None
    object_recall: float | None = None
    object_f1: float | None = None


@dataclass(frozen=True)
class Scores:
    """Scores of a map, 0 to 1; None where no pixel could be scored.

    Attributes:
        accuracy: Share of the pixels that are right (overall accuracy).
        mean_iou: Mean over the classes that occur in truth or prediction, each with the same weight; so the next three.
        mean_f1: Mean of the classes' F1 (macro F1).
        mean_precision: Mean of the classes' precisions.
        mean_recall: Mean of the classes' recalls (balanced accuracy, if each class is in the truth).
        classes: The scores of each class, in the legend's order.
        mean_boundary_f1: Mean of the classes' boundary F1, if outlines were compared.
        mean_boundary_iou: Mean of the classes' boundary IoU, likewise.
    """

    accuracy: float | None
    mean_iou: float | None
    mean_f1: float | None
    mean_precision: float | None
    mean_recall: float | None
    classes: tuple[ClassScores, ...]
    mean_boundary_f1: float | None = None
    mean_boundary_iou: float | None = None

    def figures(self) -> dict[str, float | None]:
        """Return all scores by name, those of classes as `iou/Building`."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "classes"}
        names = [f.name for f in fields(ClassScores) if f.name not in ("name", "pixels")]
        return own | {f"{name}/{c.name}": getattr(c, name) for name in names for c in self.classes}

    def to_json(self) -> dict[str, Any]:
        """Return the scores as plain values; what has no score is None, so that the JSON holds no NaN."""
        return {**asdict(self), "classes": [asdict(c) for c in self.classes]}


def confusion(truth_ids: np.ndarray, predicted_ids: np.ndarray, classes: int) -> np.ndarray:
    """Count which class was mapped as which.

    Args:
        truth_ids: Ids `0 .. classes - 1`, or `IGNORED` where there is no label; any shape.
        predicted_ids: Ids of the same shape, `IGNORED` where there is no prediction.
        classes: How many classes there are, K.

    Returns:
        Counts `(K, K)` int64: rows are the truth, columns the prediction. Pixels that are `IGNORED` in one of the two
        are not counted.

    Raises:
        ValueError: The shapes differ, or an id is none of the K.
    """
    if truth_ids.shape != predicted_ids.shape:
        raise ValueError(f"Truth {truth_ids.shape} and prediction {predicted_ids.shape} differ in shape.")
    scored = (truth_ids != IGNORED) & (predicted_ids != IGNORED)
    truth, predicted = truth_ids[scored].astype(np.int64), predicted_ids[scored].astype(np.int64)
    for ids in (truth, predicted):
        if ids.size and not 0 <= ids.min() <= ids.max() < classes:
            raise ValueError(f"Ids reach from {ids.min()} to {ids.max()}, but there are {classes} classes.")
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def unscored(truth_ids: np.ndarray, predicted_ids: np.ndarray) -> int:
    """Return how many pixels have a label but no prediction (the image holds no data there)."""
    return int(np.count_nonzero((truth_ids != IGNORED) & (predicted_ids == IGNORED)))


def scores_of(
    matrix: np.ndarray,
    names: Sequence[str],
    boundaries: np.ndarray | None = None,
    objects: np.ndarray | None = None,
) -> Scores:
    """Turn counts into scores.

    With TP, FP and FN of a class: precision `TP / (TP + FP)`, recall `TP / (TP + FN)` and F1
    `2 TP / (2 TP + FP + FN)` after Sokolova and Lapalme, "A systematic analysis of performance measures for
    classification tasks", 2009, with means over classes (macro); IoU `TP / (TP + FP + FN)` after Jaccard, "The
    distribution of the flora in the alpine zone", 1912, as PASCAL VOC scores segmentation (Everingham et al., 2010).

    A class that occurs neither in truth nor in prediction has no scores and no part in the means. A class that occurs
    but is never mapped has precision 0 (not undefined), and this 0 is in the mean: else a map would gain by leaving
    classes out. In the same way a class that is mapped but does not occur has recall 0.

    Args:
        matrix: Counts `(K, K)`: rows are the truth, columns the prediction.
        names: Names of the K classes.
        boundaries: Counts of `boundary_counts` `(K, BOUNDARY_COUNTS)`, if outlines were compared.
        objects: Counts of `object_counts` `(K, OBJECT_COUNTS)`, if objects were compared.
    """
    if matrix.shape != (len(names), len(names)):
        raise ValueError(f"Counts {matrix.shape} do not fit {len(names)} class names.")
    classes = tuple(
        _class_scores(matrix, i, name, _outlines(boundaries, i) | _objects(objects, i)) for i, name in enumerate(names)
    )
    total = int(matrix.sum())
    return Scores(
        accuracy=int(np.trace(matrix)) / total if total else None,
        mean_iou=_mean(c.iou for c in classes),
        mean_f1=_mean(c.f1 for c in classes),
        mean_precision=_mean(c.precision for c in classes),
        mean_recall=_mean(c.recall for c in classes),
        classes=classes,
        mean_boundary_f1=_mean(c.boundary_f1 for c in classes),
        mean_boundary_iou=_mean(c.boundary_iou for c in classes),
    )


def _outlines(boundaries: np.ndarray | None, i: int) -> dict[str, float | None]:
    if boundaries is None:
        return {}
    return {"boundary_f1": boundary_f1(boundaries[i]), "boundary_iou": boundary_iou(boundaries[i])}


def _objects(objects: np.ndarray | None, i: int) -> dict[str, float | None]:
    names = ("object_precision", "object_recall", "object_f1")
    return {} if objects is None else dict(zip(names, object_f1(objects[i]), strict=True))


def _class_scores(matrix: np.ndarray, i: int, name: str, others: dict[str, float | None]) -> ClassScores:
    right, true, mapped = int(matrix[i, i]), int(matrix[i].sum()), int(matrix[:, i].sum())
    if not true and not mapped:
        return ClassScores(name, None, None, None, None, 0)
    return ClassScores(
        name=name,
        precision=right / mapped if mapped else 0.0,
        recall=right / true if true else 0.0,
        iou=right / (true + mapped - right),
        f1=2 * right / (true + mapped),
        pixels=true,
        **others,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def row_shares(matrix: np.ndarray) -> np.ndarray:
    """Return each row of counts `(K, K)` as shares that sum to 1; NaN in rows of classes that are not in the truth."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.full(matrix.shape, np.nan)
    np.divide(matrix, totals, out=shares, where=totals > 0)
    return shares
