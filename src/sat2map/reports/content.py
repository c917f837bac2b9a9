"""What a page can tell: plain values that whoever evaluates fills in. Only `title`, `subtitle` and `legend` must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sat2map.areas import Areas
from sat2map.bootstrap import Interval
from sat2map.fidelity import Metric
from sat2map.legend import Legend
from sat2map.metrics import Scores
from sat2map.sources import Finding


@dataclass(frozen=True)
class Example:
    """A place of the test: what was seen, what is there, and what was mapped.

    Args:
        caption: Where it is.
        image: `(H, W, 3)` uint8, as of `pictures.to_rgb`.
        truth: `(H, W, 3)` uint8, as of `pictures.class_picture` or `map_colours`; so is `prediction`.
        prediction: The map.
        score: How good it is, such as `98.8 % right`.
    """

    caption: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    score: str


@dataclass(frozen=True)
class Overview:
    """Image and map of the same ground, to be compared with a slider.

    Args:
        caption: Where it is, and what has to be known of it.
        image: `(H, W, 3)` uint8.
        map: `(H, W, 3)` uint8.
    """

    caption: str
    image: np.ndarray
    map: np.ndarray


@dataclass(frozen=True)
class SceneRow:
    """How well one picture was mapped.

    Args:
        name: The picture.
        pixels: How many of its pixels were scored.
        figures: Its scores by what they are called, such as `Accuracy`; the rows are sorted by the first of them.
    """

    name: str
    pixels: int
    figures: Mapping[str, float | None]


@dataclass(frozen=True)
class Figure:
    """A section of its own: words, a picture and a table, whatever there is of them.

    Args:
        heading: Its heading.
        text: What is to be seen; an empty line begins a new paragraph.
        picture: A drawing as PNG, JPEG or SVG file, or the pixels of a photograph `(H, W, 3)` uint8.
        facts: Names and values.
        wide: Whether the picture takes the whole width, instead of half of it beside the words.
    """

    heading: str
    text: str
    picture: Path | np.ndarray | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    wide: bool = False


@dataclass(frozen=True)
class Rival:
    """One of several models that were scored on the same places.

    Args:
        name: The model.
        scores: Its scores by what they are called, such as `Mean IoU`.
        intervals: Their intervals of 95 %, by the same names.
        difference: This model minus the first, from the same resampled places: value, lower and upper end; empty for
            the first.
    """

    name: str
    scores: Mapping[str, float | None]
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    difference: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page tells.

    Args:
        title: What was mapped.
        subtitle: With which model, on which ground.
        legend: The classes; empty for pictures whose colours are not known.
        scores: How good the map is by classes, if there are any.
        intervals: Intervals of 95 % by names of scores, as in `Scores.figures`: `mean_iou`, `iou/Building`; those of
            metrics by their own names.
        interval_note: What the intervals are from.
        confusion: The counts behind the scores, `(K, K)`: rows are the truth, columns the prediction.
        metrics: How like their truth pictures are; none for maps of classes.
        l1_of_mean_colour: The L1 of painting everything in the mean colour of the truth, for pictures.
        areas: How large the classes are on the ground.
        area_unit: The unit of these areas, such as `ha`.
        area_note: What has to be known of them.
        scenes: Each picture that was scored.
        best: Places that were mapped best.
        worst: Places that were mapped worst.
        overview: A larger piece of the map over its image.
        rivals: This model and others on the same places.
        figures: Further sections, in this order.
        curves: A picture of the training curves.
        facts: Tables such as "How it was trained" and "Split", each of names and values.
        findings: What the reader has to know.
        commands: Command lines that repeat it.
    """

    title: str
    subtitle: str
    legend: Legend
    scores: Scores | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    interval_note: str = ""
    confusion: np.ndarray | None = None
    metrics: Sequence[Metric] = ()
    l1_of_mean_colour: float | None = None
    areas: Areas | None = None
    area_unit: str = "pixels"
    area_note: str = ""
    scenes: Sequence[SceneRow] = ()
    best: Sequence[Example] = ()
    worst: Sequence[Example] = ()
    overview: Overview | None = None
    rivals: Sequence[Rival] = ()
    figures: Sequence[Figure] = ()
    curves: Path | None = None
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    commands: Sequence[str] = ()
