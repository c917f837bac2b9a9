"""What `change` found, as plain data: who became what, and what each class gained and lost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sat2map.areas import ClassArea, Estimate
from sat2map.reference import AreaReport


@dataclass(frozen=True)
class Transition:
    """Ground of one class that is of one class now, perhaps the same.

    Args:
        before: The class in the earlier map.
        after: The class in the later one.
        pixels: How many pixels of the earlier map's grid.
        area: How large they are, in the unit of the change.
        mapped_as: The class of `transitions.tif` that shows it: its own, or one for all rare changes.
    """

    before: str
    after: str
    pixels: int
    area: float
    mapped_as: str

    @property
    def changed(self) -> bool:
        """Whether the two classes differ."""
        return self.before != self.after

    @property
    def name(self) -> str:
        """What to call it: by the one class that stayed, or by both."""
        return transition_name(self.before, self.after)


def transition_name(before: str, after: str) -> str:
    """Return what to call ground of a class that is of another one now, or of the same."""
    return before if before == after else f"{before} to {after}"


@dataclass(frozen=True)
class ClassChange:
    """What one class gained and lost, in the unit of the change.

    Args:
        name: The class.
        before: Its area in the earlier map, on the ground that was compared.
        after: Its area in the later one.
        persistent: What is of it in both.
    """

    name: str
    before: float
    after: float
    persistent: float

    @property
    def gain(self) -> float:
        """What became of it."""
        return self.after - self.persistent

    @property
    def loss(self) -> float:
        """What was of it and is not."""
        return self.before - self.persistent

    @property
    def net(self) -> float:
        """By how much it grew."""
        return self.after - self.before

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "gain": self.gain, "loss": self.loss, "net": self.net}


@dataclass(frozen=True, eq=False)
class Change:
    """What changed between two maps.

    Args:
        folder: Where `transitions.tif`, `changes.gpkg`, `change.png` and `change.json` are.
        names: The classes of both maps that occur, those of the earlier one first `(K,)`.
        pixels: Transition matrix `(K, K)` int64: rows are the class before, columns the class after.
        areas: The same in `unit` `(K, K)`.
        unit: `ha`, or `pixels` of maps without a CRS.
        left_out: Area of the earlier map where the later one has no data; it is in no other number.
        transitions: Each that occurs: what stayed, by class, then what changed, the largest first.
        reference: Areas with their errors, if there were reference points.
    """

    folder: Path
    names: tuple[str, ...]
    pixels: np.ndarray
    areas: np.ndarray
    unit: str
    left_out: float
    transitions: tuple[Transition, ...]
    reference: AreaReport | None = None

    @property
    def compared(self) -> float:
        """Area of the ground that was compared."""
        return float(self.areas.sum())

    @property
    def changed(self) -> float:
        """Area of what changed."""
        return sum(t.area for t in self.transitions if t.changed)

    @property
    def classes(self) -> tuple[ClassChange, ...]:
        """What each class gained and lost."""
        parts = (self.areas.sum(axis=1), self.areas.sum(axis=0), self.areas.diagonal())
        rows = zip(*(part.tolist() for part in parts), strict=True)
        return tuple(ClassChange(name, *row) for name, row in zip(self.names, rows, strict=True))

    @cached_property
    def _estimates(self) -> dict[str, ClassArea]:
        known = self.reference.areas.classes if self.reference else ()
        return {c.name.casefold(): c for c in known}

    def estimate(self, transition: Transition) -> Estimate | None:
        """Return the area of a transition on the ground, if reference points tell it."""
        known = self._estimates.get(transition.name.casefold())
        return known.area if known else None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "unit": self.unit,
            "compared": self.compared,
            "changed": self.changed,
            "left_out": self.left_out,
            "names": list(self.names),
            "pixels": self.pixels.tolist(),
            "areas": self.areas.tolist(),
            "classes": [c.to_json() for c in self.classes],
            "transitions": [self._transition(t) for t in self.transitions],
            "reference": self.reference.to_json() if self.reference else None,
        }

    def _transition(self, transition: Transition) -> dict[str, Any]:
        estimate = self.estimate(transition)
        told = None if estimate is None else {**asdict(estimate), "interval": list(estimate.interval)}
        return {"name": transition.name, "changed": transition.changed, **asdict(transition), "estimate": told}
