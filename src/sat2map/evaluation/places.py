"""Which places of the ground are shown: those that were mapped best, and those that were mapped worst."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sat2map.sources import Pair
from sat2map.tiling import Window

PATCH = 256
"""Side in pixels of the patches of which the best and the worst are shown."""

SHOWN = 4
"""How many best and worst patches are shown."""

LEAST = 0.25
"""Which share of a patch has to be scored."""


@dataclass(frozen=True)
class Place:
    """A patch that was mapped.

    Args:
        pair: The picture it is of.
        window: Where it is there.
        truth: Its truth, as the map should be.
        mapped: What was mapped.
        score: How well it was mapped: more is better.
        said: The same in words.
        plain: The truth is the same everywhere, so that it is no feat to map it.
    """

    pair: Pair
    window: Window
    truth: np.ndarray
    mapped: np.ndarray
    score: float
    said: str
    plain: bool


@dataclass
class Places:
    """The best and the worst places so far."""

    best: list[Place] = field(default_factory=list)
    worst: list[Place] = field(default_factory=list)

    def keep(self, place: Place) -> None:
        """Keep a place if it is among the best or the worst; plain ones come last among the best."""
        self.best = sorted([*self.best, place], key=lambda p: (p.plain, -p.score))[:SHOWN]
        self.worst = sorted([*self.worst, place], key=lambda p: p.score)[:SHOWN]


def can_be_shown(scored: np.ndarray) -> bool:
    """Return whether enough of a patch is scored `(H, W)`, and it is large enough."""
    return bool(scored.mean() >= LEAST and min(scored.shape) >= PATCH // 2)
