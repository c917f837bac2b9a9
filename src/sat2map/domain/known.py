"""The ground a model knows: what its training pixels were like, kept in the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from odc.geo.geobox import GeoBox

from sat2map.domain.familiar import Familiar
from sat2map.domain.looks import LEVELS, looks, quantiles
from sat2map.raster import Raster

FAMILIES = ("none", "geographic", "web mercator", "projected in metres", "other")
"""Kinds of coordinates; those of one kind have pixels of one shape on the ground."""

LEAST_SPREAD = 0.1
"""Share of the mean that the deviation of each look is given at least: a single training window has none."""


@dataclass(frozen=True)
class Domain:
    """The distribution of a model's training pixels, and of what its network makes of them.

    Args:
        quantiles: Of the valid pixels of each band, at `LEVELS`.
        crs: The `FAMILIES` that occurred.
        looks: Mean of each number of `looks` over the training windows: brightness and contrast by band, detail.
        spread: Their deviation.
        tap: The network's module whose output, averaged, is its inner feature.
        familiar: The inner features; None if the network has none, or the windows were too few.
    """

    quantiles: tuple[tuple[float, ...], ...]
    crs: tuple[str, ...]
    looks: tuple[float, ...]
    spread: tuple[float, ...]
    tap: str | None = None
    familiar: Familiar | None = field(default=None, compare=False, repr=False)

    def strangeness(self, inner_N: np.ndarray) -> np.ndarray:
        """Return how unlike anything learnt from windows are, `(N,)`: 1 at the threshold; 0 where nothing is known.

        Args:
            inner_N: Their inner features, `(N, D)`.
        """
        if self.familiar is None:
            return np.zeros(len(inner_N))
        return self.familiar.strangeness(inner_N)

    @staticmethod
    def novelty(strangeness: np.ndarray) -> np.ndarray:
        """Return strangeness as numbers from 0 to 1, of which 0.5 is the threshold: s / (1 + s)."""
        novelty: np.ndarray = strangeness / (1 + strangeness)
        return novelty

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes: everything but `familiar`, which has a file of its own."""
        return {
            "quantiles": [list(band) for band in self.quantiles],
            "crs": list(self.crs),
            "looks": list(self.looks),
            "spread": list(self.spread),
            "tap": self.tap,
            "familiar": self.familiar is not None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], familiar: Familiar | None = None) -> Domain:
        """Make a domain from the dict of `to_json`, and the arrays beside it.

        Raises:
            ValueError: With the name of the fact that cannot be.
            TypeError: It is no such dict.
            KeyError: A fact is missing.
        """
        bands = tuple(_floats(band, "quantiles", len(LEVELS)) for band in data["quantiles"] or [None])
        learnt, spread = (_floats(data[name], name, 2 * len(bands) + 1) for name in ("looks", "spread"))
        sound = {
            "quantiles": all((np.diff(band) >= 0).all() for band in bands),
            "crs": isinstance(data["crs"], list) and set(map(str, data["crs"])) <= set(FAMILIES),
            "spread": min(spread) > 0,
            "tap": data["tap"] is None or isinstance(data["tap"], str),
            "familiar": data["familiar"] == (familiar is not None),
        }
        for name, holds in sound.items():
            if not holds:
                raise ValueError(f"{name} cannot be as it says")
        return cls(bands, tuple(data["crs"]), learnt, spread, data["tap"], familiar)


def _floats(data: Any, name: str, count: int) -> tuple[float, ...]:
    values = tuple(float(v) for v in data) if isinstance(data, list) else ()
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"{name} cannot be as it says")
    return values


class Glimpse(NamedTuple):
    """What `fit_domain` keeps of a window: quantiles of its pixels, its looks, and its kind of coordinates."""

    quantiles: np.ndarray
    looks: np.ndarray
    crs: str


def glimpse(raster: Raster) -> Glimpse:
    """Return what a training window, in which some pixel is valid, adds to a domain."""
    return Glimpse(quantiles([raster]), looks([raster]), crs_family(raster.geobox))


def fit_domain(glimpses: Sequence[Glimpse], tap: str | None = None, familiar: Familiar | None = None) -> Domain | None:
    """Take the distribution of training windows; all count alike.

    Returns:
        None if no window has enough valid pixels to be judged.
    """
    seen = [one.looks for one in glimpses if one.looks.size]
    if not seen:
        return None
    learnt = np.concatenate(seen)
    spread = np.maximum(learnt.std(axis=0), np.maximum(LEAST_SPREAD * np.abs(learnt.mean(axis=0)), 1e-6))
    levels = np.quantile(np.concatenate([one.quantiles for one in glimpses], axis=1), LEVELS, axis=1).T
    crs = tuple(sorted({one.crs for one in glimpses}))
    means, spreads = tuple(learnt.mean(axis=0).tolist()), tuple(spread.tolist())
    return Domain(tuple(map(tuple, levels.tolist())), crs, means, spreads, tap, familiar)


def crs_family(geobox: GeoBox) -> str:
    """Return which of `FAMILIES` a grid's coordinates belong to."""
    crs = geobox.crs
    if crs is None:
        return "none"
    if crs.geographic:
        return "geographic"
    if crs.epsg == 3857:
        return "web mercator"
    return "projected in metres" if crs.proj.axis_info[0].unit_conversion_factor == 1 else "other"
