"""How sure scores are: their spread when places of the ground are drawn anew, again and again.

Neighbouring pixels are right or wrong together, so that millions of them are no large sample. Places of some hundred
pixels a side are nearly independent: they are what is drawn, with replacement. The percentile bootstrap of Efron and
Tibshirani 1993, An Introduction to the Bootstrap, over clusters as Davison and Hinkley 1997 have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

RESAMPLES = 1000
"""How often the places are drawn."""

FEWEST = 10
"""With fewer places than this nothing is said of their spread."""

Interval = tuple[float, float]
"""Lower and upper end of an interval of 95 %."""

Figures = Mapping[str, float | None]
"""Scores by name."""


def resample(counts: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return the sums over places that are drawn at random, again and again.

    The same seed draws the same places, so that the figures of two models can be compared draw by draw.

    Args:
        counts: What adds up `(places, ...)`, whole numbers.
        seed: Where the random numbers start.

    Returns:
        Sums `(RESAMPLES, ...)` int64.
    """
    places = len(counts)
    drawn = np.random.default_rng(seed).multinomial(places, np.full(places, 1 / places), RESAMPLES)
    sums = drawn @ counts.reshape(places, -1).astype(np.int64)
    return sums.reshape(RESAMPLES, *counts.shape[1:])


def spread(counts: Sequence[np.ndarray], figures: Callable[..., Figures], *, seed: int = 0) -> list[Figures]:
    """Return the figures of each draw; none if there are fewer places than `FEWEST`.

    Args:
        counts: Arrays that add up over places, `(places, ...)` each.
        figures: Turns their sums into scores.
        seed: See `resample`.
    """
    if len(counts[0]) < FEWEST:
        return []
    return [figures(*sums) for sums in zip(*(resample(c, seed=seed) for c in counts), strict=True)]


def intervals(draws: Sequence[Figures]) -> dict[str, Interval]:
    """Return the 95 % interval of each figure that all draws have."""
    names = draws[0] if draws else ()
    return {name: interval([draw[name] for draw in draws]) for name in names if all(d[name] is not None for d in draws)}


def differences(draws: Sequence[Figures], others: Sequence[Figures]) -> dict[str, Interval]:
    """Return the 95 % intervals of how much the figures of `draws` lie above those of `others`, draw by draw."""
    return intervals([{n: less(a[n], b[n]) for n in a.keys() & b.keys()} for a, b in zip(draws, others, strict=True)])


def interval(values: Sequence[float | None]) -> Interval:
    """Return the 2.5th and the 97.5th percentile."""
    low, high = np.percentile(np.array(values, float), [2.5, 97.5])
    return float(low), float(high)


def less(a: float | None, b: float | None) -> float | None:
    """Return a difference, if both are known."""
    return None if a is None or b is None else a - b
