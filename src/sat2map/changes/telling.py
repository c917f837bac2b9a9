"""What changed, as tables and sentences for people."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from rich.table import Table

from sat2map.areas import FEWEST
from sat2map.changes.found import Change

MAP = "transitions.tif"

USUAL = 300
"""Reference points that are advised."""

LISTED = 15
"""Changes that are listed; all stand in `change.json`."""


def shown(found: Change) -> Iterator[Table | str]:
    """Show the transition matrix, what each class gained and lost, and how far the areas can be trusted."""
    yield _matrix(found)
    yield ""
    yield _classes(found)
    yield ""
    yield from _transitions(found)
    share = found.changed / found.compared
    yield f"Changed: {found.changed:,.1f} of {found.compared:,.1f} {found.unit} that were compared ({share:.1%})"
    if found.left_out > 0:
        rest = found.left_out / (found.left_out + found.compared)
        size = f"{found.left_out:,.1f} {found.unit}"
        yield f"Not compared: {size} of the earlier map ({rest:.1%}), where the later one has no data"
    if found.unit == "pixels":
        yield "The maps have no CRS, so areas are in pixels"
    yield from _trust(found)


def _matrix(found: Change) -> Table:
    """Return the areas: rows are the class before, columns the class after."""
    table = _table(f"Before \\ after, {found.unit}", *found.names, "total")
    for name, row in zip(found.names, found.areas.tolist(), strict=True):
        table.add_row(name, *(f"{area:,.1f}" if area else "-" for area in (*row, sum(row))))
    columns = found.areas.sum(axis=0).tolist()
    table.add_row("total", *(f"{area:,.1f}" for area in (*columns, sum(columns))), style="bold")
    return table


def _classes(found: Change) -> Table:
    table = _table(f"Class, {found.unit}", "Before", "After", "Gain", "Loss", "Net", "Persistent", "of before")
    for c in found.classes:
        sizes = (f"{size:,.1f}" for size in (c.before, c.after, c.gain, c.loss))
        kept = f"{c.persistent / c.before:.0%}" if c.before else "-"
        table.add_row(c.name, *sizes, f"{c.net:+,.1f}", f"{c.persistent:,.1f}", kept)
    return table


def _transitions(found: Change) -> Iterator[Table | str]:
    """Show the largest changes; where there are estimates, with them, and what stayed too."""
    estimated = found.reference is not None
    listed = [t for t in found.transitions if t.changed or estimated]
    heads = (f"Mapped {found.unit}", *((f"Estimate {found.unit}", "95 % interval") if estimated else ("Share",)))
    table = _table("Transition" if estimated else "Change", *heads)
    for t in listed if estimated else listed[:LISTED]:
        estimate = found.estimate(t)
        size = f"{t.area:,.1f}"
        if not estimated:
            table.add_row(t.name, size, f"{t.area / found.compared:.1%}")
        elif estimate is None:
            table.add_row(t.name, size, "-", "-")
        else:
            low, high = estimate.interval
            table.add_row(t.name, size, f"{estimate.value:,.1f}", f"{low:,.1f} to {high:,.1f}")
    yield table
    if len(listed) > table.row_count:
        yield f"and {len(listed) - table.row_count} smaller changes, which stand in change.json"


def _trust(found: Change) -> Iterator[str]:
    """Say where the errors of the areas come from, or that they are not known and how they become known."""
    if found.reference is not None:
        accuracy = found.reference.areas.overall
        yield (
            f"Estimates come from {found.reference.used:,} reference points; "
            f"overall accuracy of the transitions {accuracy.value:.3f} ± {accuracy.margin:.3f}"
        )
        return
    map, points = (shlex.quote(str(found.folder / name)) for name in (MAP, "points.gpkg"))
    count = max(USUAL, FEWEST * len({t.mapped_as for t in found.transitions}))
    yield (
        "These are areas as mapped: how wrong they are is not known. The errors of both maps add up in a map of "
        "change: of two maps that are right on 90 % of the ground, and err independently, both are right on 81 %."
    )
    yield "Areas with their errors come from points whose class is known at both dates:"
    yield f"  sat2map sample {map} {count} {points}"
    yield f"  sat2map area {map} --reference {points}"


def _table(first: str, *figures: str) -> Table:
    """Return a table of names and figures, these to the right."""
    table = Table(first, *figures, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    return table
