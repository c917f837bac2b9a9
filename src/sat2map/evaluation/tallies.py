"""Counts over the ground: of classes that were taken for each other, or of how far pictures are from their truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from sat2map.boundaries import boundary_counts
from sat2map.evaluation.decoding import Decoded
from sat2map.evaluation.places import PATCH, Place, Places, can_be_shown
from sat2map.fidelity import Metric, PixelErrors, both_opaque, pixel_errors
from sat2map.legend import IGNORED, Legend
from sat2map.metrics import Scores, confusion, scores_of, unscored
from sat2map.outputs import Picture
from sat2map.patchmetrics import PATCH as MEASURED
from sat2map.patchmetrics import PatchMetrics
from sat2map.pictures import class_picture, map_colours
from sat2map.raster import Raster
from sat2map.reports import percent
from sat2map.sources import Finding, Pair
from sat2map.tiling import Window, grid

PLAIN = 5.0
"""A patch whose truth differs less from its mean colour, in grey levels, is of one colour."""


class Tally(Protocol):
    """What adds up over the ground, and what of it is shown."""

    legend: Legend
    places: Places
    unscored: int

    @property
    def scenes(self) -> Mapping[str, int]:
        """How many pixels of each picture were scored."""
        ...

    @property
    def scores(self) -> Scores | None:
        """The scores of classes, where these are known."""
        ...

    @property
    def matrix(self) -> np.ndarray | None:
        """The counts behind the scores, `(K, K)`: rows are the truth."""
        ...

    @property
    def l1_of_mean_colour(self) -> float | None:
        """The L1 of pictures that take no skill; None for classes."""
        ...

    @property
    def findings(self) -> Sequence[Finding]:
        """What has to be known with the scores."""
        ...

    @property
    def metrics(self) -> Sequence[Metric]:
        """How like their truth pictures are, to be asked for when all is counted; none for classes."""
        ...

    def truth(self, target: Raster) -> np.ndarray | None:
        """Return a target as the map should be; None if nothing of it is known."""
        ...

    def add(self, pair: Pair, block: Window, truth: np.ndarray, mapped: np.ndarray) -> None:
        """Count a block."""
        ...

    def facts(self) -> Mapping[str, Mapping[str, str]]:
        """Return tables for the report."""
        ...

    def shown(self, mapped: np.ndarray) -> np.ndarray:
        """Return a map as one sees it, `(H, W, 3)` uint8."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what was found as plain values."""
        ...


class ClassTally:
    """Counts of classes.

    Args:
        legend: The classes of the model.
        to_ids: The model's id of each id of the source, `(256,)` uint8.
    """

    l1_of_mean_colour = None
    findings: Sequence[Finding] = ()
    metrics: Sequence[Metric] = ()

    def __init__(self, legend: Legend, to_ids: np.ndarray) -> None:
        self.legend, self._to_ids = legend, to_ids
        self.places, self.unscored = Places(), 0
        self._matrices: dict[str, np.ndarray] = {}
        self._boundaries = np.zeros((len(legend), 4), np.int64)

    @property
    def scenes(self) -> Mapping[str, int]:
        """Scored pixels by picture."""
        return {name: int(matrix.sum()) for name, matrix in self._matrices.items()}

    @property
    def matrix(self) -> np.ndarray:
        """The summed confusion matrix `(K, K)`: rows are the truth."""
        size = len(self.legend)
        return sum(self._matrices.values(), np.zeros((size, size), np.int64))

    @property
    def scores(self) -> Scores:
        """The scores of the classes."""
        return scores_of(self.matrix, self.legend.names, self._boundaries)

    def truth(self, target: Raster) -> np.ndarray | None:
        """Return ids of the model's legend `(H, W)`."""
        ids: np.ndarray = self._to_ids[target.pixels[0]]
        return ids if (ids != IGNORED).any() else None

    def add(self, pair: Pair, block: Window, truth: np.ndarray, mapped: np.ndarray) -> None:
        """Count a block."""
        counts = confusion(truth, mapped, len(self.legend))
        self._matrices[pair.name] = self._matrices.get(pair.name, 0) + counts
        self._boundaries += boundary_counts(truth, mapped, len(self.legend))
        self.unscored += unscored(truth, mapped)
        for cell in grid(block, PATCH):
            there = cell.within(block).slices
            self._keep(pair, cell, truth[there], mapped[there])

    def _keep(self, pair: Pair, cell: Window, truth: np.ndarray, mapped: np.ndarray) -> None:
        scored = (truth != IGNORED) & (mapped != IGNORED)
        if can_be_shown(scored):
            shares = np.bincount(truth[scored], minlength=len(self.legend)) / scored.sum()
            right = float((truth == mapped)[scored].mean())
            said, plain = f"{percent(right)} right", int((shares > 0.05).sum()) < 2
            self.places.keep(Place(pair, cell, truth.copy(), mapped.copy(), right, said, plain))

    def facts(self) -> Mapping[str, Mapping[str, str]]:
        """Return tables for the report."""
        return {}

    def shown(self, mapped: np.ndarray) -> np.ndarray:
        """Return ids in the colours of the legend."""
        return class_picture(mapped, self.legend)

    def to_json(self) -> dict[str, Any]:
        """Return what was found as plain values."""
        names = self.legend.names
        return {
            **self.scores.to_json(),
            "confusion": {"classes": list(names), "rows_are_truth": self.matrix.tolist()},
            "unscored_pixels": self.unscored,
            "scenes": [{"name": n, **_totals(scores_of(m, names))} for n, m in sorted(self._matrices.items())],
        }


def _totals(scores: Scores) -> dict[str, Any]:
    return {k: v for k, v in scores.to_json().items() if k != "classes"}


class PictureTally:
    """Errors of painted maps, and their classes where a legend says what the colours mean.

    Args:
        output: The pictures of the model.
        patches: Measures patches.
    """

    def __init__(self, output: Picture, patches: PatchMetrics) -> None:
        self.legend, self._output, self._patches = output.legend, output, patches
        self.places, self.unscored = Places(), 0
        self.decoded = Decoded(output.legend) if len(output.legend) else None
        self._errors: dict[str, PixelErrors] = {}

    @property
    def errors(self) -> PixelErrors:
        """The errors of all pixels."""
        return sum(self._errors.values(), PixelErrors())

    @property
    def scenes(self) -> Mapping[str, int]:
        """Scored pixels by picture."""
        return {name: errors.pixels for name, errors in self._errors.items()}

    @property
    def matrix(self) -> np.ndarray | None:
        """The summed confusion matrix `(K, K)`: rows are the truth. None without a legend."""
        return self.decoded.matrix if self.decoded else None

    @property
    def scores(self) -> Scores | None:
        """The scores of the classes, if there is a legend."""
        return self.decoded.scores if self.decoded else None

    @property
    def l1_of_mean_colour(self) -> float | None:
        """The L1 of pictures that take no skill."""
        return self.errors.l1_of_mean_colour

    @property
    def findings(self) -> Sequence[Finding]:
        """What has to be known with the scores of the classes."""
        return self.decoded.findings if self.decoded else ()

    @cached_property
    def metrics(self) -> Sequence[Metric]:
        """Measures of pixels and patches, taken when all is counted."""
        return *self.errors.metrics(), *self._patches.metrics()

    def truth(self, target: Raster) -> np.ndarray | None:
        """Return a picture `(4, H, W)`."""
        drawn = self._output.truth(target, np.ones(target.valid.shape, bool))
        return drawn if drawn[3].any() else None

    def add(self, pair: Pair, block: Window, truth: np.ndarray, mapped: np.ndarray) -> None:
        """Count a block."""
        self._errors[pair.name] = self._errors.get(pair.name, PixelErrors()) + pixel_errors(truth, mapped)
        self.unscored += int(np.count_nonzero(truth[3] > mapped[3]))
        if self.decoded:
            self.decoded.add(truth, mapped)
        self._measure(block, truth, mapped)
        for cell in grid(block, PATCH):
            there = cell.within(block).slices
            self._keep(pair, cell, truth[:, *there], mapped[:, *there])

    def _measure(self, block: Window, truth: np.ndarray, mapped: np.ndarray) -> None:
        known = both_opaque(truth, mapped)
        slices = [cell.within(block).slices for cell in grid(block, MEASURED) if min(cell.shape) == MEASURED]
        cells = [there for there in slices if known[there].all()]
        if cells:
            self._patches.add(*(np.stack([picture[:3, *there] for there in cells]) for picture in (truth, mapped)))

    def _keep(self, pair: Pair, cell: Window, truth: np.ndarray, mapped: np.ndarray) -> None:
        if can_be_shown(both_opaque(truth, mapped)):
            errors = pixel_errors(truth, mapped)
            l1, plain = errors.l1 or 0.0, (errors.l1_of_mean_colour or 0.0) < PLAIN
            self.places.keep(Place(pair, cell, truth.copy(), mapped.copy(), -l1, f"L1 {l1:.1f}", plain))

    def facts(self) -> Mapping[str, Mapping[str, str]]:
        """Return tables for the report."""
        return {"Colours and classes": self.decoded.facts()} if self.decoded else {}

    def shown(self, mapped: np.ndarray) -> np.ndarray:
        """Return a picture without its alpha."""
        return map_colours(mapped)

    def to_json(self) -> dict[str, Any]:
        """Return what was found as plain values."""
        return {
            "metrics": [metric.to_json() for metric in self.metrics],
            "l1_of_mean_colour": self.l1_of_mean_colour,
            "decoded": self.decoded and self.decoded.to_json(),
            "unscored_pixels": self.unscored,
            "scenes": [
                {"name": name, "pixels": e.pixels, "l1": e.l1, "psnr": e.metrics()[1].value}
                for name, e in sorted(self._errors.items())
            ],
        }
