"""Leaks of a split: the same ground on both sides, found by place or by what is seen (docs/leaks.md)."""

from sat2map.leaks.base import Ground, Leak
from sat2map.leaks.drawing import draw_leaks
from sat2map.leaks.finding import LOOK_ALIKE, find_leaks, leak_findings

__all__ = ["LOOK_ALIKE", "Ground", "Leak", "draw_leaks", "find_leaks", "leak_findings"]
