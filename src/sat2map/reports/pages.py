"""From a report to a page: one file that holds all it shows, small enough for a mail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from sat2map.errors import OutputError
from sat2map.fidelity import Metric, absent
from sat2map.files import whole_file
from sat2map.metrics import row_shares
from sat2map.pictures import is_striped, share_text, short_count
from sat2map.reports import words
from sat2map.reports.content import Example, Figure, Report, Rival, SceneRow
from sat2map.reports.embedding import Embedder
from sat2map.reports.rivalry import axes, names_of

LARGEST = 4_500_000
"""Bytes of a page above which its pictures are made smaller."""

SCENES = 50
"""How many pictures are listed one by one."""

TILES = 5
"""How many figures stand at the head of a page."""

_SCALES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12)
_EXAMPLE_SIDE = 512
_FIGURE_SIDE = 1280
_OVERVIEW_SIDE = 1600


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
    template = environment(autoescape=True).get_template("report.html")
    for scale in _SCALES:
        html = template.render(_content(report, Embedder(scale)))
        if len(html.encode()) <= LARGEST:
            break
    return write_text(_page(path, "report.html"), html, "report")


def write_comparison(
    path: Path,
    title: str,
    subtitle: str,
    rivals: Sequence[Rival],
    notes: Sequence[str] = (),
    commands: Sequence[str] = (),
) -> Path:
    """Write a page that compares models which were scored on the same places.

    Args:
        path: The HTML file, or the folder that gets a `comparison.html`.
        title: What was mapped.
        subtitle: On which ground.
        rivals: The models; differences are to the first.
        notes: What has to be known of it, in sentences.
        commands: Command lines that repeat it.

    Returns:
        The path of the page.

    Raises:
        OutputError: It cannot be written there.
    """
    content = {"title": title, "subtitle": subtitle, "notes": notes, "commands": commands, "contents": []}
    html = environment(autoescape=True).get_template("comparison.html").render(content, **_rivalry(rivals))
    return write_text(_page(path, "comparison.html"), html, "comparison")


def _page(path: Path, name: str) -> Path:
    return path if path.suffix.lower() in (".html", ".htm") else path / name


def write_text(path: Path, text: str, what: str) -> Path:
    """Write a text that is there completely or not at all.

    Raises:
        OutputError: It cannot be written there.
    """
    try:
        with whole_file(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"The {what} cannot be written to {path}: {error}. Choose a folder you may write to."
        ) from None
    return path


def environment(*, autoescape: bool) -> jinja2.Environment:
    """Return what renders the package's templates."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("sat2map"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        percent=words.percent,
        decimal=words.decimal,
        range=words.decimal_range,
        margin=words.margin,
        area=words.area,
        figure=words.figure,
        share=share_text,
        short=short_count,
    )
    return made


def _content(report: Report, embed: Embedder) -> dict[str, Any]:
    classes = report.scores.classes if report.scores else ()
    return {
        "title": report.title,
        "subtitle": report.subtitle,
        "report": report,
        "verdict": words.whole_verdict(report),
        "absent": absent(report.metrics),
        "headline": words.headline(report, tiles=TILES),
        "classes": list(zip(report.legend.classes, classes, strict=True)),
        "shares": words.shares(report),
        "columns": words.known_columns(report.scores),
        "objects": words.OBJECTS,
        "swatches": {c.name: c.hex for c in report.legend.classes},
        "confusion": _confusion_rows(report.confusion),
        **_scenes(report.scenes, report.metrics),
        **_rivalry(report.rivals),
        "overview": _overview(report, embed),
        "stripes": _stripes(report),
        "places": {
            "Best mapped": _cards(report.best, report, embed),
            "Worst mapped": _cards(report.worst, report, embed),
        },
        "figures": [(figure, _picture(figure, embed)) for figure in report.figures],
        "curves": report.curves and embed(report.curves, _OVERVIEW_SIDE),
        "commands": report.commands,
        "contents": [],
    }


def _confusion_rows(confusion: np.ndarray | None) -> list[list[tuple[float | None, int]]]:
    """Return each cell as its share of the row (None in rows without truth) and its count."""
    if confusion is None:
        return []
    return [
        [(None if np.isnan(s) else float(s), int(n)) for s, n in zip(*row, strict=True)]
        for row in zip(row_shares(confusion), confusion, strict=True)
    ]


def _scenes(scenes: Sequence[SceneRow], metrics: Iterable[Metric]) -> dict[str, Any]:
    """Return the pictures, the worst first, and how many of them are not listed."""
    names = names_of(scene.figures for scene in scenes)
    lower = {metric.name for metric in metrics if metric.better == "lower"}

    def rank(scene: SceneRow) -> tuple[bool, float]:
        value = scene.figures.get(names[0]) if names else None
        return value is None, (value or 0.0) * (-1 if names and names[0] in lower else 1)

    listed = sorted(scenes, key=rank)
    return {"scenes": listed[:SCENES], "scene_names": names, "unlisted": len(listed[SCENES:])}


def _rivalry(rivals: Sequence[Rival]) -> Mapping[str, Any]:
    """Return several models as axes and as a table, whose cells are a score, its interval and a difference in words."""
    names = names_of(rival.scores for rival in rivals)
    table = [(r.name, {n: (r.scores.get(n), r.intervals.get(n), _difference(r, n)) for n in names}) for r in rivals]
    return {"axes": axes(rivals), "rival_names": names, "rivals": table}


def _difference(rival: Rival, name: str) -> tuple[str, str] | None:
    return words.difference(*rival.difference[name], name) if name in rival.difference else None


def _overview(report: Report, embed: Embedder) -> dict[str, Any] | None:
    if report.overview is None:
        return None
    image = report.overview.image
    return {
        "caption": report.overview.caption,
        "image": embed(image, _OVERVIEW_SIDE),
        "map": embed(report.overview.map, _OVERVIEW_SIDE, photo=bool(report.metrics)),
        "height": image.shape[0],
        "width": image.shape[1],
    }


def _stripes(report: Report) -> dict[str, str]:
    """Return what stripes mean in the large map and in the places; empty where there are none."""
    places = [picture for e in (*report.best, *report.worst) for picture in (e.truth, e.prediction)]
    overview = report.overview is not None and is_striped(report.overview.map)
    return {
        "overview": "no data" if overview else "",
        "places": ("no data" if report.metrics else "no label") if any(map(is_striped, places)) else "",
    }


def _cards(examples: Sequence[Example], report: Report, embed: Embedder) -> list[dict[str, Any]]:
    painted = bool(report.metrics)
    return [
        {
            "caption": example.caption,
            "score": example.score,
            "pictures": {
                "Image": embed(example.image, _EXAMPLE_SIDE),
                "Truth": embed(example.truth, _EXAMPLE_SIDE, photo=painted),
                "Prediction": embed(example.prediction, _EXAMPLE_SIDE, photo=painted),
            },
        }
        for example in examples
    ]


def _picture(figure: Figure, embed: Embedder) -> str | None:
    return None if figure.picture is None else embed(figure.picture, _FIGURE_SIDE, wide=True)
