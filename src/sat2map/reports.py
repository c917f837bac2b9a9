"""One page that tells how good a map is: `report.html`, readable in a mail, on a phone and on paper.

It knows scores, measures, pictures and words; it reads no imagery and runs no model. The page holds all it shows: no
file beside it, no address on the net. Everything a user wrote is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from sat2map.errors import OutputError
from sat2map.fidelity import Metric, absent
from sat2map.files import whole_file
from sat2map.legend import Legend
from sat2map.metrics import Scores, row_shares
from sat2map.pictures import share_text, short_count, shrink, to_data_uri
from sat2map.sources import Finding

_EXAMPLE_SIDE = 512
_OVERVIEW_SIDE = 1600

TILES = 5
"""How many figures stand at the head of a page."""


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


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the page tells.

    Args:
        title: What was mapped.
        subtitle: With which model, on which ground.
        legend: The classes; empty for pictures whose colours are not known.
        scores: How good the map is by classes, if there are any.
        confusion: The counts behind the scores, `(K, K)`: rows are the truth, columns the prediction.
        metrics: How like their truth pictures are; none for maps of classes.
        l1_of_mean_colour: The L1 of painting everything in the mean colour of the truth, for pictures.
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
    scores: Scores | None = None
    confusion: np.ndarray | None = None
    metrics: Sequence[Metric] = ()
    l1_of_mean_colour: float | None = None
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


def picture_verdict(metrics: Sequence[Metric], l1_of_mean_colour: float | None) -> str:
    """Return in plain words how far pictures are from their truth, beside what painting without skill would reach."""
    l1 = next((m.value for m in metrics if m.name == "L1"), None)
    if l1 is None or l1_of_mean_colour is None:
        return "No pixel could be compared, so nothing can be said about this map."
    text = f"The picture is {l1:.1f} of 255 grey levels from the truth on average. "
    reach = f"Painting everything in the mean colour of the truth would be {l1_of_mean_colour:.1f} from it"
    return text + (f"{reach}." if l1 < l1_of_mean_colour else f"{reach}: the picture is no better than that.")


def percent(share: float | None) -> str:
    """Return a share in per cent with one decimal; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def _decimal(score: float | None) -> str:
    return "–" if score is None else f"{score:.3f}"


def figure(metric: Metric) -> str:
    """Return a measure with its spread in as many digits as are of use; a dash where it is absent."""
    if metric.value is None:
        return "–"
    digits = {"L1": 1, "PSNR": 1, "FID": 1, "KID": 4}.get(metric.name, 3)
    spread = "" if metric.spread is None else f" ± {metric.spread:.{digits}f}"
    return f"{metric.value:.{digits}f}{spread}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sat2map"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, decimal=_decimal, share=share_text, short=short_count, figure=figure)
    return environment


def _content(report: Report) -> dict[str, Any]:
    scores, classes = report.scores, report.scores.classes if report.scores else ()
    return {
        "report": report,
        "verdict": _verdict(report),
        "absent": absent(report.metrics),
        "headline": _picture_headline(report) if report.metrics else _headline(scores),
        "classes": list(zip(report.legend.classes, classes, strict=True)),
        "labelled": sum(c.pixels for c in classes),
        "confusion": _confusion_rows(report.confusion),
        "overview": _overview(report),
        "places": {"Best mapped": _cards(report.best), "Worst mapped": _cards(report.worst)},
        "curves": report.curves and to_data_uri(report.curves),
    }


def _verdict(report: Report) -> str:
    parts = [picture_verdict(report.metrics, report.l1_of_mean_colour)] if report.metrics else []
    if report.scores:
        parts.append(("By classes: " if parts else "") + verdict(report.scores))
    return " ".join(parts)


def _headline(scores: Scores | None) -> dict[str, str]:
    if scores is None:
        return {}
    return {
        "Accuracy": percent(scores.accuracy),
        "Mean IoU": _decimal(scores.mean_iou),
        "Mean F1": _decimal(scores.mean_f1),
        "Mean precision": _decimal(scores.mean_precision),
        "Mean recall": _decimal(scores.mean_recall),
    }


def _picture_headline(report: Report) -> dict[str, str]:
    """Return the first five measures that there are, and can be trusted."""
    known = {m.name: figure(replace(m, spread=None)) for m in report.metrics if m.reliable}
    if report.scores:
        known["Mean IoU"] = _decimal(report.scores.mean_iou)
    order = ["L1", "PSNR", "Mean IoU", "SSIM", "FID" if "FID" in known else "KID", "LPIPS", "MS-SSIM"]
    return {name: known[name] for name in [n for n in order if n in known][:TILES]}


def _confusion_rows(confusion: np.ndarray | None) -> list[list[tuple[float | None, int]]]:
    """Return each cell as its share of the row (None in rows without truth) and its count."""
    if confusion is None:
        return []
    return [
        [(None if np.isnan(s) else float(s), int(n)) for s, n in zip(*row, strict=True)]
        for row in zip(row_shares(confusion), confusion, strict=True)
    ]


def _overview(report: Report) -> dict[str, Any] | None:
    if report.overview is None:
        return None
    image, picture, painted = report.overview.image, report.overview.map, bool(report.metrics)
    return {
        "caption": report.overview.caption,
        "image": to_data_uri(shrink(image, _OVERVIEW_SIDE, photo=True), photo=True),
        "map": to_data_uri(shrink(picture, _OVERVIEW_SIDE, photo=painted), photo=painted),
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
