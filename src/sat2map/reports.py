"""One page that tells how good a map is: `report.html`, readable in a mail, on a phone and on paper.

It knows scores, pictures and words; it reads no imagery and runs no model. The page holds all it shows: no file beside
it, no address on the net. Everything a user wrote is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from sat2map.errors import OutputError
from sat2map.files import whole_file
from sat2map.legend import Legend
from sat2map.metrics import Scores, row_shares
from sat2map.pictures import share_text, short_count, shrink, to_data_uri
from sat2map.sources import Finding

_EXAMPLE_SIDE = 512
_OVERVIEW_SIDE = 1600


@dataclass(frozen=True)
class Example:
    """A place of the test: what was seen, what is there, and what was mapped.

    Args:
        caption: Where it is.
        image: `(H, W, 3)` uint8, as of `pictures.to_rgb`.
        truth: `(H, W, 3)` uint8, as of `pictures.class_picture`; so is `prediction`.
        prediction: The map.
        score: Share of the labelled pixels that are right, 0 to 1.
    """

    caption: str
    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    score: float


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


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page tells.

    Args:
        title: What was mapped.
        subtitle: With which model, on which ground.
        legend: The classes.
        scores: How good the map is.
        confusion: The counts behind the scores, `(K, K)`: rows are the truth, columns the prediction.
        best: Places that were mapped best.
        worst: Places that were mapped worst.
        overview: A larger piece of the map over its image.
        curves: A picture of the training curves.
        facts: Tables such as "How it was trained" and "Split", each of names and values.
        findings: What the reader has to know.
        commands: Command lines that repeat it.
    """

    title: str
    subtitle: str
    legend: Legend
    scores: Scores
    confusion: np.ndarray
    best: Sequence[Example] = ()
    worst: Sequence[Example] = ()
    overview: Overview | None = None
    curves: Path | None = None
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    findings: Sequence[Finding] = ()
    commands: Sequence[str] = ()


def write_report(path: Path, report: Report) -> Path:
    """Write the page.

    Args:
        path: The HTML file, or the folder that gets a `report.html`.
        report: What it tells.

    Returns:
        The path of the page.

    Raises:
        OutputError: It cannot be written there.
    """
    page = path if path.suffix.lower() in (".html", ".htm") else path / "report.html"
    html = _environment().get_template("report.html").render(_content(report))
    try:
        with whole_file(page) as part:
            part.write_text(html, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"The report cannot be written to {page}: {error}. Choose a folder you may write to."
        ) from None
    return page


def verdict(scores: Scores) -> str:
    """Return in plain words what the scores say, beside what a map without any skill would reach."""
    labelled = sum(c.pixels for c in scores.classes)
    if scores.accuracy is None or not labelled:
        return "No labelled pixel could be scored, so nothing can be said about this map."
    common = max(scores.classes, key=lambda c: c.pixels)
    base = common.pixels / labelled
    text = f"The map is right on {percent(scores.accuracy)} of the labelled pixels. "
    reach = f"Calling everything {common.name} would reach {percent(base)}"
    text += f"{reach}." if scores.accuracy > base else f"{reach}: the map is no better than that."
    ranked = sorted((c.iou, c.name) for c in scores.classes if c.iou is not None)
    if len(ranked) > 1:
        (low, worst), (high, best) = ranked[0], ranked[-1]
        text += f" {best} is mapped best (IoU {high:.2f}), {worst} worst (IoU {low:.2f})."
    return text


def percent(share: float | None) -> str:
    """Return a share in per cent with one decimal; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def _decimal(score: float | None) -> str:
    return "–" if score is None else f"{score:.3f}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sat2map"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, decimal=_decimal, share=share_text, short=short_count)
    return environment


def _content(report: Report) -> dict[str, Any]:
    scores = report.scores
    return {
        "report": report,
        "verdict": verdict(scores),
        "headline": {
            "Accuracy": percent(scores.accuracy),
            "Mean IoU": _decimal(scores.mean_iou),
            "Mean F1": _decimal(scores.mean_f1),
            "Mean precision": _decimal(scores.mean_precision),
            "Mean recall": _decimal(scores.mean_recall),
        },
        "classes": list(zip(report.legend.classes, scores.classes, strict=True)),
        "labelled": sum(c.pixels for c in scores.classes),
        "confusion": _confusion_rows(report),
        "overview": _overview(report),
        "places": {"Best mapped": _cards(report.best), "Worst mapped": _cards(report.worst)},
        "curves": report.curves and to_data_uri(report.curves),
    }


def _confusion_rows(report: Report) -> list[list[tuple[float | None, int]]]:
    """Return each cell as its share of the row (None in rows without truth) and its count."""
    shares = row_shares(report.confusion)
    return [
        [(None if np.isnan(s) else float(s), int(n)) for s, n in zip(*row, strict=True)]
        for row in zip(shares, report.confusion, strict=True)
    ]


def _overview(report: Report) -> dict[str, Any] | None:
    if report.overview is None:
        return None
    image, picture = report.overview.image, report.overview.map
    return {
        "caption": report.overview.caption,
        "image": to_data_uri(shrink(image, _OVERVIEW_SIDE, photo=True), photo=True),
        "map": to_data_uri(shrink(picture, _OVERVIEW_SIDE, photo=False)),
        "height": image.shape[0],
        "width": image.shape[1],
    }


def _cards(examples: Sequence[Example]) -> list[dict[str, Any]]:
    return [
        {
            "caption": example.caption,
            "score": example.score,
            "pictures": {
                "Image": to_data_uri(shrink(example.image, _EXAMPLE_SIDE, photo=True), photo=True),
                "Truth": to_data_uri(shrink(example.truth, _EXAMPLE_SIDE, photo=False)),
                "Prediction": to_data_uri(shrink(example.prediction, _EXAMPLE_SIDE, photo=False)),
            },
        }
        for example in examples
    ]
