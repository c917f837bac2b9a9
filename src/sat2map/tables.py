"""What the commands found, as tables and sentences for people: the command line prints them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.table import Table

from sat2map.areas import Estimate
from sat2map.bootstrap import Interval
from sat2map.downloads import ARCHIVES
from sat2map.evaluation import Evaluation
from sat2map.fidelity import Metric, absent
from sat2map.metrics import Scores
from sat2map.networks import CRITICS, NETWORKS
from sat2map.pictures import short_count
from sat2map.reference import AreaReport
from sat2map.reports import Rival, figure

Shown = Iterator[Table | str]

UNITS = {"reference": "Points", "report": "Places"}
"""What areas are estimated from, by `AreaReport.source`."""


def evaluation(made: Evaluation) -> Shown:
    """Show how like the truth pictures are, and the scores of classes, with 95 % intervals; or models side by side."""
    if made.rivals:
        yield from _rivals(made.rivals)
        return
    if made.metrics:
        yield from _metrics(made.metrics, made.intervals)
    if made.scores:
        yield from _scores(made.scores, made.intervals)


def _metrics(metrics: Sequence[Metric], intervals: Mapping[str, Interval]) -> Shown:
    table = Table("Measure", "Value", "95 %", "Better", "Samples", "Features of", "Note", box=None)
    for m in metrics:
        if m.value is not None:
            spread = _ends(intervals.get(m.name), 1)
            table.add_row(m.name, figure(m), spread, m.better, f"{m.samples:,} {m.of}", m.extractor, m.reason)
    yield table
    for reason, names in absent(metrics).items():
        yield f"Without {', '.join(names)}: {reason}"


def _scores(scores: Scores, intervals: Mapping[str, Interval]) -> Shown:
    table = _table("Class", "IoU", "95 %", "Precision", "Recall", "F1", "Outline", "Pixels")
    for c in scores.classes:
        others = (c.precision, c.recall, c.f1, c.boundary_f1)
        spread = _ends(intervals.get(f"iou/{c.name}"))
        table.add_row(c.name, _decimal(c.iou), spread, *map(_decimal, others), short_count(c.pixels))
    means = (scores.mean_precision, scores.mean_recall, scores.mean_f1, scores.mean_boundary_f1)
    spread = _ends(intervals.get("mean_iou"))
    table.add_row("mean", _decimal(scores.mean_iou), spread, *map(_decimal, means), style="bold")
    yield table
    accuracy = f"{_decimal(scores.accuracy)} {_ends(intervals.get('accuracy'))}".strip()
    yield f"Accuracy {accuracy}. Outline is boundary F1."


def _rivals(found: Sequence[Rival]) -> Shown:
    """Show each score of each model with its 95 % interval, and how far it is above the first one's."""
    first, *others = found
    table = Table("Score", *(rival.name for rival in found), *(f"{r.name} - {first.name}" for r in others), box=None)
    for what in first.scores:
        own = (f"{_decimal(r.scores.get(what))}\n{_ends(r.intervals.get(what))}" for r in found)
        table.add_row(what, *own, *(_gain(r.difference.get(what)) for r in others))
    yield table
    yield "* The 95 % interval of the difference leaves out 0."


def _gain(difference: tuple[float, float, float] | None) -> str:
    if difference is None:
        return "-"
    value, low, high = difference
    return f"{value:+.3f}{'' if low <= 0 <= high else ' *'}\n{low:+.3f} to {high:+.3f}"


def _ends(interval: Interval | None, digits: int = 3) -> str:
    return "" if interval is None else f"{interval[0]:.{digits}f} – {interval[1]:.{digits}f}"


def areas(found: AreaReport) -> Shown:
    """Show areas and accuracies with their errors, and which points were left out."""
    sizes = (f"Mapped {found.unit}", f"Area {found.unit}", "± 95 %")
    table = _table("Class", *sizes, "User's accuracy", "Producer's accuracy", UNITS[found.source])
    for c in found.areas.classes:
        own = (f"{size:,.1f}" for size in (c.mapped, c.area.value, c.area.margin))
        table.add_row(c.name, *own, _with_margin(c.users), _with_margin(c.producers), str(c.points))
    yield table
    yield f"Overall accuracy {_with_margin(found.areas.overall)}"
    yield found.basis
    for count, what in ((found.outside, "lie off the map's classes"), (found.unlabelled, "have no class yet")):
        if count:
            yield f"{count:,} points {what} and were left out"
    if found.unit == "pixels":
        yield "The map has no CRS, so areas are in pixels"


def trials(run: Path) -> Shown:
    """Show what a search has tried."""
    rows = json.loads((run / "tune.json").read_text())
    table = Table(*rows[0], box=None)
    for row in rows:
        table.add_row(*("-" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    yield table


def networks() -> Shown:
    """Show which networks and critics there are."""
    yield _listed(
        ("Name", "What it is"), ((entry.name, entry.about) for entry in (*NETWORKS.values(), *CRITICS.values()))
    )


def archives() -> Shown:
    """Show which archives can be downloaded."""
    rows = ((name, f"{a.size / 1e6:.0f}", a.about, a.licence) for name, a in ARCHIVES.items())
    yield _listed(("Name", "MB", "What it holds", "Terms of use"), rows)


def _listed(headings: Iterable[str], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(*headings, box=None)
    for row in rows:
        table.add_row(*row)
    return table


def _table(first: str, *figures: str) -> Table:
    """Return a table of names and figures, these to the right."""
    table = Table(first, *figures, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _with_margin(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.3f} ± {estimate.margin:.3f}"
