"""What the commands found, as tables and sentences for people: the command line prints them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.table import Table

from sat2map.areas import Estimate
from sat2map.downloads import ARCHIVES
from sat2map.fidelity import Metric, absent
from sat2map.metrics import Scores
from sat2map.networks import CRITICS, NETWORKS
from sat2map.reference import AreaReport
from sat2map.reports import figure

Shown = Iterator[Table | str]


def measures(metrics: Sequence[Metric], scores: Scores | None) -> Shown:
    """Show how like the truth pictures are, and the scores of classes, as far as there are any."""
    if metrics:
        yield from _metrics(metrics)
    if scores:
        yield from _scores(scores)


def _metrics(metrics: Sequence[Metric]) -> Shown:
    table = Table("Measure", "Value", "Better", "Samples", "Features of", "Note", box=None)
    for m in metrics:
        if m.value is not None:
            table.add_row(m.name, figure(m), m.better, f"{m.samples:,} {m.of}", m.extractor, m.reason)
    yield table
    for reason, names in absent(metrics).items():
        yield f"Without {', '.join(names)}: {reason}"


def _scores(scores: Scores) -> Shown:
    table = _table("Class", "Precision", "Recall", "IoU", "F1", "Boundary F1", "Pixels")
    for c in scores.classes:
        own = (c.precision, c.recall, c.iou, c.f1, c.boundary_f1)
        table.add_row(c.name, *map(_decimal, own), f"{c.pixels:,}")
    means = (scores.mean_precision, scores.mean_recall, scores.mean_iou, scores.mean_f1, scores.mean_boundary_f1)
    table.add_row("mean", *map(_decimal, means), style="bold")
    yield table
    yield f"Accuracy {_decimal(scores.accuracy)}"


def areas(found: AreaReport) -> Shown:
    """Show areas and accuracies with their errors, and which points were left out."""
    sizes = (f"Mapped {found.unit}", f"Area {found.unit}", "± 95 %")
    table = _table("Class", *sizes, "User's accuracy", "Producer's accuracy", "Points")
    for c in found.areas.classes:
        own = (f"{size:,.1f}" for size in (c.mapped, c.area.value, c.area.margin))
        table.add_row(c.name, *own, _with_margin(c.users), _with_margin(c.producers), str(c.points))
    yield table
    yield f"Overall accuracy {_with_margin(found.areas.overall)}, from {found.used:,} points"
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
