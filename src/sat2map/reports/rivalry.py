"""Several models side by side: on which axis their scores are drawn, and where."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sat2map.bootstrap import Interval
from sat2map.reports.content import Rival

_ALIKE = 1e-5


@dataclass(frozen=True)
class Mark:
    """Where a score lies on its axis, in per cent of its length.

    Args:
        name: The model.
        score: The score.
        interval: Its interval of 95 %, if it is known.
        at: Where the score lies.
        span: Where the interval begins and ends.
    """

    name: str
    score: float
    interval: Interval | None
    at: float
    span: Interval | None


@dataclass(frozen=True)
class Axis:
    """One score of all models, on an axis from `low` to `high`."""

    name: str
    low: float
    high: float
    marks: tuple[Mark, ...]


def axes(rivals: Sequence[Rival]) -> list[Axis]:
    """Return an axis for each score that any model has."""
    return [axis for name in names_of(r.scores for r in rivals) if (axis := _axis(name, rivals)).marks]


def names_of(rows: Iterable[Iterable[str]]) -> list[str]:
    """Return the names that stand in any row, in the order in which they come."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _axis(name: str, rivals: Sequence[Rival]) -> Axis:
    known = [(r.name, score, r.intervals.get(name)) for r in rivals if (score := r.scores.get(name)) is not None]
    low, high = _round_ends([v for _, score, interval in known for v in (score, *(interval or ()))])

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    marks = (Mark(n, s, i, place(s), (place(i[0]), place(i[1])) if i else None) for n, s, i in known)
    return Axis(name, low, high, tuple(marks))


def _round_ends(values: Sequence[float]) -> tuple[float, float]:
    """Return round numbers around all values, whose distance is some steps of 1, 2 or 5 times a power of ten."""
    least, most = min(values, default=0.0), max(values, default=1.0)
    quarter = (most - least) / 4 if most - least > _ALIKE else 0.02
    power = 10.0 ** math.floor(math.log10(quarter))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= quarter)
    low, high = math.floor(least / step) * step, math.ceil(most / step) * step
    return round(low, 9), round(max(high, low + step), 9)
