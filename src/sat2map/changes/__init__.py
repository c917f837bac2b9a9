"""What changed between two class maps: the verb `change`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from sat2map.changes.classes import Transitions, known_colours, transitions_of
from sat2map.changes.drawing import Thumbnails, draw_change
from sat2map.changes.found import Change, ClassChange, Transition
from sat2map.changes.ground import Both, Counts, count_changes, open_both
from sat2map.changes.points import areas_with_errors
from sat2map.errors import BadOption
from sat2map.files import check_folder, whole_folder, write_json
from sat2map.legend import IGNORED
from sat2map.polygons import polygonize
from sat2map.sinks import open_sink

__all__ = ["Change", "ClassChange", "Transition", "change"]

MAP, POLYGONS, PICTURE, FACTS = "transitions.tif", "changes.gpkg", "change.png", "change.json"
"""The files of a change."""


def change(
    before: Path | str,
    after: Path | str,
    out: Path | str,
    *,
    min_area: float | None = None,
    rare: float = 0.0,
    reference: Path | str | None = None,
    column: str | None = None,
    overwrite: bool = False,
) -> Change:
    """Find what changed from one class map to another of the same ground.

    The later map is brought to the earlier one's grid by nearest neighbour, and what both show is compared. Classes are
    matched by name, whatever their case. Both maps are read in blocks: memory does not grow with them.

    Args:
        before: The earlier class map; all results lie on its grid.
        after: The later one, on any grid. Maps without a place need the same number of rows and columns.
        out: The folder to make: `transitions.tif`, a class map whose classes are what became what; `changes.gpkg`,
            polygons of what changed, if anything did; `change.png`; and `change.json`.
        min_area: Leave out polygons smaller than this, in square metres (pixels where the maps have no CRS).
        rare: Changes on less than this share of the compared ground become one class, "other change", of
            `transitions.tif`; tables and matrix keep them. Those of a single pixel always do, since no error can be
            estimated for them.
        reference: Points drawn at random within each class of `transitions.tif`, as `sample` does, labelled with what
            happened there: one column as the map says it ("Forest to Water", or "Water" where nothing changed), or two
            columns `before` and `after`. With them areas come with their errors.
        column: The one column, if it is not found by its name.
        overwrite: Replace the files of an earlier change in `out`.

    Raises:
        UserError: The maps cannot be read or compared, the reference cannot be used, or the folder holds a change;
            nothing was written.
    """
    if min_area is not None and not min_area > 0:
        raise BadOption(f"--min-area is {min_area}; it must be above 0.")
    if not 0 <= rare < 1:
        raise BadOption(f"--rare is {rare}; it is a share of the ground, from 0 to below 1, such as 0.001.")
    folder = check_folder(out, "a change", files=(FACTS, MAP, POLYGONS, PICTURE), overwrite=overwrite)
    both = open_both(before, after)
    counts = count_changes(both)
    transitions = transitions_of(counts, known_colours(before, after), rare)
    found = Change(folder, counts.names, counts.pixels, counts.areas, counts.unit, counts.left_out, transitions.listed)
    with whole_folder(folder, stale=(POLYGONS,)) as part:
        seen = _write_map(part / MAP, both, counts, transitions)
        if transitions.changed:
            polygonize(part / MAP, part / POLYGONS, classes=transitions.changed, min_area=min_area)
        if reference is not None:
            found = replace(found, reference=areas_with_errors(part / MAP, reference, column))
        draw_change(seen, found, transitions, part / PICTURE)
        write_json(part / FACTS, found.to_json())
    return found


def _write_map(path: Path, both: Both, counts: Counts, transitions: Transitions) -> Thumbnails:
    """Write the map of transitions, and return it and both maps small enough for a picture."""
    names = {"SAT2MAP_BEFORE": str(both.before.path), "SAT2MAP_AFTER": str(both.after.path)}
    seen = Thumbnails.blank(both.before.shape)
    shown = np.array([c.colour for c in transitions.legend.classes], np.uint8)
    with open_sink(path, both.geobox, transitions.legend, tags=names) as sink:
        for window, codes, valid in both.blocks("Mapping changes"):
            pairs = counts.classes(codes[valid])
            ids = np.full(window.shape, IGNORED, np.uint8)
            ids[valid] = transitions.table[*pairs]
            sink.write(window, ids)
            seen.add(window, (*transitions.colours[pairs], shown[ids[valid]]), valid)
    return seen
