"""How fine a network has to look: labels that are drawn coarsely are learnt faster from coarser pixels."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from sat2map.legend import IGNORED
from sat2map.metrics import confusion, scores_of
from sat2map.progress import track_map
from sat2map.sources import Pair
from sat2map.tiling import Window, grid

log = logging.getLogger(__name__)

COARSER = 1.5
"""The scale that is tried."""

KEPT = 0.97
"""Mean IoU with themselves that labels must keep when they are made coarser and fine again."""

LABELLED = 0.5
"""Share of the pixels that must have labels: sparse ones do not tell how fine the ground is."""

WINDOWS_READ = 64
"""From at most so many windows of 512 pixels this is found out."""


def choose_scale(ground: Sequence[tuple[Pair, Window]], classes: int) -> float:
    """Return by how much pixels may be averaged down before the network.

    Args:
        ground: What is learnt from.
        classes: How many classes there are.

    Returns:
        `COARSER` if the labels survive that, else 1.
    """
    windows = [(pair, cell) for pair, window in ground for cell in grid(window, 512)]
    chosen = windows[:: -(-len(windows) // WINDOWS_READ)]
    labels = track_map(lambda item: item[0].target.read(item[1]).pixels[0], chosen, "Reading labels")
    labelled = np.mean([(ids != IGNORED).mean() for ids in labels])
    matrix = sum((confusion(ids, coarsened(ids, COARSER), classes) for ids in labels), np.zeros((classes,) * 2, int))
    kept = scores_of(matrix, [str(i) for i in range(classes)]).mean_iou or 0.0
    if labelled < LABELLED or kept < KEPT:
        return 1.0
    log.info("Labels keep %.1f %% at pixels %g times coarser; working on those (or: --scale 1)", 100 * kept, COARSER)
    return COARSER


def coarsened(ids: np.ndarray, scale: float) -> np.ndarray:
    """Return labels `(H, W)` that were made coarser by `scale` and fine again, by nearest neighbour."""
    for axis, length in enumerate(ids.shape):
        coarse = max(round(length / scale), 1)
        centres = ((np.arange(coarse) + 0.5) * length / coarse).astype(int)
        back = ((np.arange(length) + 0.5) * coarse / length).astype(int)
        ids = ids.take(centres[back], axis=axis)
    return ids
