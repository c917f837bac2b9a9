"""Who learns from which ground: training, validation and test by place, so that a score is about unseen places."""

from __future__ import annotations

from sat2map.splits.base import PARTS, Area, Part, Split, check_split, read_split, spread_windows
from sat2map.splits.dividing import PartRow, describe, make_split, window_counts

__all__ = [
    "PARTS",
    "Area",
    "Part",
    "PartRow",
    "Split",
    "check_split",
    "describe",
    "make_split",
    "read_split",
    "spread_windows",
    "window_counts",
]
