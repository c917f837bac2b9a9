"""Counts kept place by place: what scores are made of, and their spread too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from sat2map.bootstrap import Figures, spread
from sat2map.boundaries import BOUNDARY_COUNTS, boundary_counts
from sat2map.fidelity import PixelErrors, pixel_errors
from sat2map.legend import Legend
from sat2map.metrics import Scores, confusion, scores_of
from sat2map.objects import OBJECT_COUNTS, object_counts
from sat2map.tiling import Window, grid

PLACE = 512
"""Side in pixels of a place. Each is scored as a map of its own: outlines and objects end where it ends."""

Spot = tuple[str, Window]
"""A picture, and where a place lies in it."""


class ClassCounts:
    """Counts of confused classes, of outlines and of objects; adds up over places.

    Args:
        legend: The classes.
    """

    def __init__(self, legend: Legend) -> None:
        self.legend = legend
        self._places: dict[Spot, list[np.ndarray]] = {}

    @property
    def spots(self) -> tuple[Spot, ...]:
        """The places, in the order in which they were counted."""
        return tuple(self._places)

    @property
    def matrices(self) -> np.ndarray:
        """The confusion matrix of each place `(P, K, K)`."""
        return self._arrays()[0]

    @property
    def matrix(self) -> np.ndarray:
        """The summed confusion matrix `(K, K)`: rows are the truth."""
        return self._sums(self._places.values())[0]

    @property
    def scores(self) -> Scores:
        """The scores of all places."""
        return self._scores(*self._sums(self._places.values()))

    @property
    def by_picture(self) -> Mapping[str, Scores]:
        """The scores of each picture."""
        return {name: self._scores(*self._sums(places)) for name, places in self._by_picture().items()}

    @property
    def pixels(self) -> Mapping[str, int]:
        """How many pixels of each picture were scored."""
        return {name: sum(int(m.sum()) for m, *_ in places) for name, places in self._by_picture().items()}

    def add(self, picture: str, block: Window, truth: np.ndarray, mapped: np.ndarray) -> None:
        """Count a block of ids `(H, W)`, `IGNORED` where nothing is known."""
        for window in grid(block, PLACE):
            there = window.within(block).slices
            pair = truth[there], mapped[there]
            counts = confusion(*pair, len(self.legend))
            if counts.any():
                others = (count(*pair, len(self.legend)) for count in (boundary_counts, object_counts))
                self._places[picture, window] = [counts, *others]

    def draws(self) -> list[Figures]:
        """Return all scores of places drawn at random, again and again; see `bootstrap.spread`."""
        if not self._places:
            return []
        return spread(self._arrays(), lambda *sums: self._scores(*sums).figures())

    def save(self, path: Path) -> None:
        """Write the confusion matrices of all places `(P, K, K)`, and where these are, for `area`."""
        names, windows = zip(*self._places, strict=True)
        np.savez_compressed(
            path,
            counts=self.matrices,
            classes=np.array(self.legend.names),
            pictures=np.array(names),
            windows=windows,
        )

    def _scores(self, matrix: np.ndarray, outlines: np.ndarray, objects: np.ndarray) -> Scores:
        return scores_of(matrix, self.legend.names, outlines, objects)

    def _arrays(self) -> list[np.ndarray]:
        return [np.stack(arrays) for arrays in zip(*self._places.values(), strict=True)]

    def _by_picture(self) -> dict[str, list[list[np.ndarray]]]:
        found: dict[str, list[list[np.ndarray]]] = {}
        for (name, _), counts in self._places.items():
            found.setdefault(name, []).append(counts)
        return found

    def _sums(self, places: Iterable[list[np.ndarray]]) -> list[np.ndarray]:
        size = len(self.legend)
        nothing = [np.zeros((size, width), np.int64) for width in (size, BOUNDARY_COUNTS, OBJECT_COUNTS)]
        return [sum(arrays, start) for start, *arrays in zip(nothing, *places, strict=True)]


class PictureCounts:
    """Errors of painted pixels; adds up over places."""

    def __init__(self) -> None:
        self._places: dict[Spot, PixelErrors] = {}

    @property
    def spots(self) -> tuple[Spot, ...]:
        """The places, in the order in which they were counted."""
        return tuple(self._places)

    @property
    def errors(self) -> PixelErrors:
        """The errors of all places."""
        return sum(self._places.values(), PixelErrors())

    @property
    def by_picture(self) -> Mapping[str, PixelErrors]:
        """The errors of each picture."""
        errors: dict[str, PixelErrors] = {}
        for (name, _), own in self._places.items():
            errors[name] = errors.get(name, PixelErrors()) + own
        return errors

    def add(self, picture: str, block: Window, truth: np.ndarray, painted: np.ndarray) -> None:
        """Count a block: red, green, blue and alpha `(4, H, W)` uint8."""
        for window in grid(block, PLACE):
            there = window.within(block).slices
            errors = pixel_errors(truth[:, *there], painted[:, *there])
            if errors.pixels:
                self._places[picture, window] = errors

    def draws(self) -> list[Figures]:
        """Return L1 and PSNR of places drawn at random, again and again; see `bootstrap.spread`."""
        if not self._places:
            return []
        arrays = [np.stack([getattr(e, name) for e in self._places.values()]) for name in ("colours", "errors")]
        return spread(arrays, lambda *sums: figures_of(PixelErrors(*sums)))


def figures_of(errors: PixelErrors) -> Figures:
    """Return L1 and PSNR by name."""
    return {metric.name: metric.value for metric in errors.metrics()}
