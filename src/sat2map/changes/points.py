"""The areas of transitions with their errors, from labelled points."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyogrio

from sat2map.changes.found import transition_name
from sat2map.labels import read_shapes
from sat2map.reference import AreaReport, area

DATES = ("before", "after")
"""Columns that name the class of each date, whatever their case."""


def areas_with_errors(transitions: Path, reference: Path | str, column: str | None) -> AreaReport:
    """Estimate the area of each transition of a map.

    Args:
        transitions: The map of transitions.
        reference: Points labelled with what happened, in one column or with the classes of both dates in two.
        column: The one column; if not given, the two are looked for first.

    Raises:
        UserError: The points cannot be read, do not lie on the map, or are too few.
    """
    dates = _columns_of_dates(reference) if column is None else ()
    if not dates:
        return area(transitions, reference=reference, column=column)
    earlier, later = (read_shapes(reference, name).frame for name in dates)
    before = earlier[dates[0]]
    after = later[dates[1]].reindex(before.index, fill_value="")
    known = {name.casefold(): name for name in reversed([*before, *after])}
    labels = [
        transition_name(known[one.casefold()], known[other.casefold()]) if one and other else ""
        for one, other in zip(before, after, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        points = Path(folder) / "points.gpkg"
        pyogrio.write_dataframe(earlier[[earlier.geometry.name]].assign(**{"class": labels}), points)
        return area(transitions, reference=points, column="class")


def _columns_of_dates(path: Path | str) -> tuple[str, ...]:
    """Return the two columns of the dates, if a vector file has both."""
    try:
        fields = pyogrio.read_info(path)["fields"].tolist()
    except pyogrio.errors.DataSourceError:  # whoever reads it says what is wrong
        return ()
    by_name = {str(name).casefold(): str(name) for name in fields}
    return tuple(by_name[name] for name in DATES) if by_name.keys() >= set(DATES) else ()
