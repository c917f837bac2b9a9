"""How large the area of each class is, corrected for the map's errors, and how sure that is.

Pixels counted in a map are a biased estimate of area: a rare class gains more from the errors of a common one than it
loses. A reference sample whose strata are the map's classes tells by how much. Estimators of Olofsson et al. 2013,
Making better use of accuracy data in land change studies, and 2014, Good practices for estimating area and assessing
accuracy of land change (equation numbers below), which are those of stratified random sampling (Cochran 1977).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sat2map.errors import BadOption

Z = 1.96
"""Standard errors to either side that make an interval of 95 %."""

FEWEST = 2
"""Reference points that each class of the map needs: the spread of one is not known."""


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, both in the same unit."""

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
        points: Reference points in its stratum.
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
    total = float(np.sum(mapped))
    points = counts.sum(axis=1)
    if total <= 0:
        raise BadOption("The map holds no class, so there is no area to estimate.")
    scarce = [f"{n} ({p})" for n, p, a in zip(names, points, mapped, strict=True) if a > 0 and p < FEWEST]
    if scarce:
        raise BadOption(
            f"Too few reference points lie where the map says {', '.join(scarce)}. Each class of the map needs "
            f"{FEWEST} at least: draw them with `sat2map sample`, or map the class as another one."
        )
    held = np.asarray(mapped, float) > 0
    weights = np.asarray(mapped, float) / total  # W_i
    shares = np.divide(counts, points[:, None], out=np.zeros(counts.shape), where=points[:, None] > 0)  # n_ij / n_i
    freedom = np.maximum(points - 1, 1)
    spread = shares * (1 - shares) / freedom[:, None] * held[:, None]  # variance of n_ij / n_i
    found = weights @ shares  # p_.j, eq. 9
    found_error = np.sqrt(weights**2 @ spread)  # eq. 10
    users = shares.diagonal()
    overall = Estimate(float(weights @ users), float(np.sqrt(weights**2 @ spread.diagonal())))  # eq. 1 and 5
    classes = tuple(
        ClassArea(
            name=name,
            mapped=float(mapped[k]),
            area=Estimate(total * float(found[k]), total * float(found_error[k])),
            users=Estimate(float(users[k]), math.sqrt(spread[k, k])),  # eq. 2 and 6
            producers=_producers(k, weights, shares, spread, found),
            points=int(points[k]),
        )
        for k, name in enumerate(names)
    )
    return Areas(classes, overall)


def _producers(
    k: int, weights: np.ndarray, shares: np.ndarray, spread: np.ndarray, found: np.ndarray
) -> Estimate | None:
    """Return the producer's accuracy of a class, eq. 3 and 7."""
    if found[k] == 0:
        return None
    right = weights[k] * shares[k, k] / found[k]
    others = np.arange(len(weights)) != k
    variance = (weights[k] * (1 - right)) ** 2 * spread[k, k] + right**2 * (weights[others] ** 2 @ spread[others, k])
    return Estimate(float(right), math.sqrt(variance) / float(found[k]))
