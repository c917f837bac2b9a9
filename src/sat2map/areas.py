"""How large the area of each class is, corrected for the map's errors, and how sure that is.

Pixels counted in a map are a biased estimate of area: a rare class gains more from the errors of a common one than it
loses. A reference sample whose strata are the map's classes tells by how much. Estimators of Olofsson et al. 2013,
Making better use of accuracy data in land change studies, and 2014, Good practices for estimating area and assessing
accuracy of land change (equation numbers below), which are those of stratified random sampling (Cochran 1977).

Where there is no sample, labelled test ground may stand in for it. Its pixels are not independent, so that eq. 10 would
be far too sure; how much whole places differ from each other is what tells (cluster bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from sat2map.errors import BadOption

SQUARE_METRES = 10_000
"""Of a hectare."""

Z = 1.96
"""Standard errors to either side that make an interval of 95 %."""

FEWEST = 2
"""Reference points, or places of test ground, that each class of the map needs: the spread of one is not known."""

FEWEST_PLACES = 10
"""Places of test ground from which on their spread is known well enough."""

RESAMPLES = 1000
"""How often places are drawn anew."""

PLACES = "places.npz"
"""The file in a report with a confusion matrix of each place of test ground."""


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, both in the same unit.

    The interval is symmetric: of a rare or a common class it may reach below nothing or above the whole.
    """

    value: float
    error: float

    @property
    def margin(self) -> float:
        """Half of the interval of 95 %."""
        return Z * self.error

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of 95 %."""
        return self.value - self.margin, self.value + self.margin


@dataclass(frozen=True)
class ClassArea:
    """What is known of one class.

    Args:
        name: The class.
        mapped: Its area in the map, in the unit of the areas that were given.
        area: Its area on the ground.
        users: User's accuracy: the share of what is mapped as the class that is of it.
        producers: Producer's accuracy: the share of the class that is mapped as it; None if it was never found.
        points: Reference points in its stratum; or the places of test ground with pixels mapped as the class.
    """

    name: str
    mapped: float
    area: Estimate
    users: Estimate
    producers: Estimate | None
    points: int


@dataclass(frozen=True)
class Areas:
    """Areas with their errors.

    Args:
        classes: Each class, in the order given.
        overall: Overall accuracy, weighted by area.
    """

    classes: tuple[ClassArea, ...]
    overall: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class _Rates(NamedTuple):
    """What is estimated from shares, for one table or for many; or the standard errors of that.

    Args:
        found: Share of the ground that is of each class `(..., K)`.
        users: User's accuracies `(..., K)`.
        producers: Producer's accuracies `(..., K)`; NaN where the class was never found.
        overall: Overall accuracy `(...)`.
    """

    found: np.ndarray
    users: np.ndarray
    producers: np.ndarray
    overall: np.ndarray


def estimate_areas(counts: np.ndarray, mapped: Sequence[float], names: Sequence[str]) -> Areas:
    """Estimate the area of each class from a stratified random sample.

    Args:
        counts: Reference points `(K, K)`: rows are the class of the map, which is their stratum, columns the class on
            the ground.
        mapped: The area of each class in the map `(K,)`, in any unit.
        names: Names of the K classes.

    Raises:
        BadOption: A class of the map has fewer than `FEWEST` points, or nothing is mapped.
    """
    points = counts.sum(axis=1)
    weights = _weights(mapped)
    scarce = [f"{n} ({p})" for n, p, w in zip(names, points, weights, strict=True) if w > 0 and p < FEWEST]
    if scarce:
        raise BadOption(
            f"Too few reference points lie where the map says {', '.join(scarce)}. Each class of the map needs "
            f"{FEWEST} at least: draw them with `sat2map sample`, or map the class as another one."
        )
    shares = _shares(counts, weights)
    freedom = np.maximum(points - 1, 1)
    spread = shares * (1 - shares) / freedom[:, None] * (weights > 0)[:, None]  # variance of n_ij / n_i
    rates = _rates(shares, weights)
    errors = _Rates(
        found=np.sqrt(weights**2 @ spread),  # eq. 10
        users=np.sqrt(spread.diagonal()),  # eq. 6
        producers=_producers_error(weights, spread, rates),  # eq. 7
        overall=np.sqrt(weights**2 @ spread.diagonal()),  # eq. 5
    )
    return _areas(names, mapped, points, rates, errors)


def estimate_areas_from_places(
    counts: np.ndarray, mapped: Sequence[float], names: Sequence[str], *, pixels: int | None = None, seed: int = 0
) -> Areas:
    """Estimate the area of each class of a map that is as wrong as the same model was on test ground.

    The estimator is eq. 9 with shares pooled over all places. Errors are those of a bootstrap (Efron 1979, Bootstrap
    methods) that draws whole places, one less than there are, which leaves variances without bias (Rao and Wu 1988,
    Resampling inference with complex survey data). A map of a few places has its own luck too: its variance is to that
    of the test ground as the pixels of the test ground are to the map's.

    Args:
        counts: Pixels of test ground `(P, K, K)`, a matrix for each place: rows are the truth, columns the prediction.
        mapped: The area of each class in the map `(K,)`, in any unit.
        names: Names of the K classes.
        pixels: How many pixels the map has; if not given, so many that its own luck evens out.
        seed: Where the random numbers start.

    Raises:
        BadOption: There are fewer than `FEWEST_PLACES` places, a class of the map was mapped on fewer than `FEWEST` of
            them, or nothing is mapped.
    """
    counts = counts[counts.any(axis=(1, 2))].swapaxes(1, 2)  # rows are the class of the map, as above
    places = counts.any(axis=2).sum(axis=0)
    weights = _weights(mapped)
    _check_places(len(counts), [n for n, p, w in zip(names, places, weights, strict=True) if w > 0 and p < FEWEST])
    chances = np.full(len(counts), 1 / len(counts))
    drawn = np.random.default_rng(seed).multinomial(len(counts) - 1, chances, size=RESAMPLES)
    resampled = (drawn @ counts.reshape(len(counts), -1).astype(float)).reshape(-1, *counts.shape[1:])
    luck = 1.0 if pixels is None else math.sqrt(1 + counts.sum() / pixels)
    spread = (luck * np.ma.masked_invalid(rate).std(axis=0) for rate in _rates(_shares(resampled, weights), weights))
    errors = _Rates(*(np.ma.filled(deviation, np.nan) for deviation in spread))
    return _areas(names, mapped, places, _rates(_shares(counts.sum(axis=0), weights), weights), errors)


def _check_places(count: int, scarce: Sequence[str]) -> None:
    instead = "Draw reference points with `sat2map sample` instead"
    if count < FEWEST_PLACES:
        raise BadOption(
            f"The test ground has {count} places, too few to know how much the map's errors vary: {FEWEST_PLACES} are "
            f"needed. {instead}, or evaluate on more ground."
        )
    if scarce:
        raise BadOption(
            f"The map holds {', '.join(scarce)}, but on fewer than {FEWEST} places of the test ground was that mapped, "
            f"so how wrong it is there is not known. {instead}, or map the class as another one."
        )


def _weights(mapped: Sequence[float]) -> np.ndarray:
    """Return the share of each class in the map `(K,)`, W_i."""
    total = float(np.sum(mapped))
    if total <= 0:
        raise BadOption("The map holds no class, so there is no area to estimate.")
    return np.asarray(mapped, float) / total


def _shares(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return n_ij / n_i of counts `(..., K, K)`; without any, NaN if the map has the class and else 0."""
    unknown = np.broadcast_to(np.where(weights > 0, np.nan, 0.0)[:, None], counts.shape).copy()
    total = counts.sum(axis=-1, keepdims=True)
    return np.divide(counts, total, out=unknown, where=total > 0)


def _rates(shares: np.ndarray, weights: np.ndarray) -> _Rates:
    """Estimate from shares `(..., K, K)`."""
    found = weights @ shares  # p_.j, eq. 9
    users = np.diagonal(shares, axis1=-2, axis2=-1)  # eq. 2
    producers = np.divide(weights * users, found, out=np.full(found.shape, np.nan), where=found > 0)  # eq. 3
    return _Rates(found, users, producers, users @ weights)  # eq. 1


def _producers_error(weights: np.ndarray, spread: np.ndarray, rates: _Rates) -> np.ndarray:
    """Return the standard errors of producer's accuracies `(K,)`, eq. 7; 0 where there are none."""
    right, own = np.nan_to_num(rates.producers), spread.diagonal()
    missed = weights**2 @ (spread - np.diag(own))  # in the other strata
    variance = (weights * (1 - right)) ** 2 * own + right**2 * missed
    return np.divide(np.sqrt(variance), rates.found, out=np.zeros(len(weights)), where=rates.found > 0)


def _areas(names: Sequence[str], mapped: Sequence[float], points: np.ndarray, rates: _Rates, errors: _Rates) -> Areas:
    total = float(np.sum(mapped))
    found, users, producers = (
        [Estimate(float(value), float(error)) for value, error in zip(*pair, strict=True)]
        for pair in list(zip(rates, errors, strict=True))[:3]
    )
    classes = tuple(
        ClassArea(
            name=name,
            mapped=float(mapped[k]),
            area=Estimate(total * found[k].value, total * found[k].error),
            users=users[k],
            producers=None if math.isnan(producers[k].value) else producers[k],
            points=int(points[k]),
        )
        for k, name in enumerate(names)
    )
    return Areas(classes, Estimate(float(rates.overall), float(errors.overall)))
