"""Counts over the ground: of classes that were taken for each other, or of how far pictures are from their truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from sat2map.bootstrap import Figures
from sat2map.calibration import Calibration, Reliability
from sat2map.evaluation.counting import ClassCounts, PictureCounts, Spot, figures_of
from sat2map.evaluation.decoding import Decoded
from sat2map.evaluation.places import PATCH, Place, Places, can_be_shown
from sat2map.fidelity import Metric, both_opaque, pixel_errors
from sat2map.legend import IGNORED, Legend
from sat2map.metrics import Scores, unscored
from sat2map.outputs import Picture
from sat2map.patchmetrics import PATCH as MEASURED
from sat2map.patchmetrics import PatchMetrics
from sat2map.pictures import class_picture, map_colours
from sat2map.predictor import Strip
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
    keep: tuple[str, ...]

    @property
    def scenes(self) -> Mapping[str, int]:
        """How many pixels of each picture were scored."""
        ...

    @property
    def spots(self) -> Sequence[Spot]:
        """The places that were scored."""
        ...

    @property
    def scores(self) -> Scores | None:
        """The scores of classes, where these are known."""
        ...

    @property
    def figures(self) -> Figures:
        """All figures that have a spread, by name."""
        ...

    @property
    def draws(self) -> Sequence[Figures]:
        """The same for places drawn at random, again and again, to be asked for when all is counted."""
        ...

    @property
    def by_picture(self) -> Mapping[str, Figures]:
        """The same of each picture alone."""
        ...

    @property
    def counts(self) -> ClassCounts | None:
        """The counts behind the scores of classes."""
        ...

    @property
    def l1_of_mean_colour(self) -> float | None:
        """The L1 of pictures that take no skill; None for classes."""
        ...

    @property
    def reliability(self) -> tuple[Reliability, ...]:
        """How far probabilities can be believed, as the network gives them and calibrated; none for pictures."""
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

    def add(self, pair: Pair, truth: np.ndarray, strip: Strip) -> None:
        """Count a block, mapped with the layers `keep`."""
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
        calibration: What the model corrects its probabilities by.
    """

    keep: tuple[str, ...] = ("probabilities",)
    l1_of_mean_colour = None
    findings: Sequence[Finding] = ()
    metrics: Sequence[Metric] = ()

    def __init__(self, legend: Legend, to_ids: np.ndarray, calibration: Calibration | None) -> None:
        self.legend, self._to_ids, self._calibration = legend, to_ids, calibration
        self.places, self.unscored = Places(), 0
        self.counts = ClassCounts(legend)
        self.reliability = tuple(Reliability() for _ in range(2 if calibration else 1))

    @property
    def scenes(self) -> Mapping[str, int]:
        """Scored pixels by picture."""
        return self.counts.pixels

    @property
    def spots(self) -> Sequence[Spot]:
        """The places."""
        return self.counts.spots

    @property
    def scores(self) -> Scores:
        """The scores of the classes."""
        return self.counts.scores

    @property
    def figures(self) -> Figures:
        """All scores."""
        return self.scores.figures()

    @cached_property
    def draws(self) -> Sequence[Figures]:
        """All scores of places drawn at random."""
        return self.counts.draws()

    @property
    def by_picture(self) -> Mapping[str, Figures]:
        """All scores of each picture."""
        return {name: scores.figures() for name, scores in self.counts.by_picture.items()}

    def truth(self, target: Raster) -> np.ndarray | None:
        """Return ids of the model's legend `(H, W)`."""
        ids: np.ndarray = self._to_ids[target.pixels[0]]
        return ids if (ids != IGNORED).any() else None

    def add(self, pair: Pair, truth: np.ndarray, strip: Strip) -> None:
        """Count a block."""
        block, mapped = strip.window, strip.pixels
        self.counts.add(pair.name, block, truth, mapped)
        self.unscored += unscored(truth, mapped)
        self._weigh(np.where(mapped == IGNORED, mapped, truth), strip.layers["probabilities"])
        for cell in grid(block, PATCH):
            there = cell.within(block).slices
            self._keep(pair, cell, truth[there], mapped[there])

    def _weigh(self, truth: np.ndarray, probabilities_KHW: np.ndarray) -> None:
        """Compare probabilities with what is right."""
        self.reliability[0].add(probabilities_KHW, truth)
        if self._calibration:
            self.reliability[1].add(self._calibration.apply(probabilities_KHW), truth)

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
        return {
            **self.scores.to_json(),
            "confusion": {"classes": list(self.legend.names), "rows_are_truth": self.counts.matrix.tolist()},
            "unscored_pixels": self.unscored,
            "probabilities": dict(zip(("raw", "calibrated"), (r.to_json() for r in self.reliability), strict=False)),
            "scenes": _each_picture(self),
        }


class PictureTally:
    """Errors of painted maps, and their classes where a legend says what the colours mean.

    Args:
        output: The pictures of the model.
        patches: Measures patches.
    """

    keep: tuple[str, ...] = ()
    reliability: tuple[Reliability, ...] = ()

    def __init__(self, output: Picture, patches: PatchMetrics) -> None:
        self.legend, self._output, self._patches = output.legend, output, patches
        self.places, self.unscored = Places(), 0
        self.decoded = Decoded(output.legend) if len(output.legend) else None
        self._painted = PictureCounts()

    @property
    def scenes(self) -> Mapping[str, int]:
        """Scored pixels by picture."""
        return {name: errors.pixels for name, errors in self._painted.by_picture.items()}

    @property
    def spots(self) -> Sequence[Spot]:
        """The places."""
        return self._painted.spots

    @property
    def counts(self) -> ClassCounts | None:
        """The counts of the classes, if there is a legend."""
        return self.decoded.counts if self.decoded else None

    @property
    def scores(self) -> Scores | None:
        """The scores of the classes, if there is a legend."""
        return self.counts.scores if self.counts else None

    @property
    def figures(self) -> Figures:
        """L1, PSNR, and the scores of the classes."""
        return {**figures_of(self._painted.errors), **(self.scores.figures() if self.scores else {})}

    @cached_property
    def draws(self) -> Sequence[Figures]:
        """The same of places drawn at random; of classes, those that hold a class."""
        painted, decoded = self._painted.draws(), self.counts.draws() if self.counts else []
        return [{**a, **b} for a, b in zip(painted, decoded or [{}] * len(painted), strict=True)]

    @property
    def by_picture(self) -> Mapping[str, Figures]:
        """L1, PSNR, and all scores of the classes of each picture."""
        decoded = self.counts.by_picture if self.counts else {}
        return {
            name: {**figures_of(errors), **(decoded[name].figures() if name in decoded else {})}
            for name, errors in self._painted.by_picture.items()
        }

    @property
    def l1_of_mean_colour(self) -> float | None:
        """The L1 of pictures that take no skill."""
        return self._painted.errors.l1_of_mean_colour

    @property
    def findings(self) -> Sequence[Finding]:
        """What has to be known with the scores of the classes."""
        return self.decoded.findings if self.decoded else ()

    @cached_property
    def metrics(self) -> Sequence[Metric]:
        """Measures of pixels and patches, taken when all is counted."""
        return *self._painted.errors.metrics(), *self._patches.metrics()

    def truth(self, target: Raster) -> np.ndarray | None:
        """Return a picture `(4, H, W)`."""
        drawn = self._output.truth(target, np.ones(target.valid.shape, bool))
        return drawn if drawn[3].any() else None

    def add(self, pair: Pair, truth: np.ndarray, strip: Strip) -> None:
        """Count a block."""
        block, mapped = strip.window, strip.pixels
        self._painted.add(pair.name, block, truth, mapped)
        self.unscored += int(np.count_nonzero(truth[3] > mapped[3]))
        if self.decoded:
            self.decoded.add(pair.name, block, truth, mapped)
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
            "scenes": _each_picture(self),
        }


def _each_picture(tally: Tally) -> list[dict[str, Any]]:
    """Return the figures of each picture as plain values."""
    pixels = tally.scenes
    return [{"name": name, "pixels": pixels[name], **figures} for name, figures in sorted(tally.by_picture.items())]
