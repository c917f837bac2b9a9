"""How large the classes are on the ground that was scored: as mapped, and as they are on ground like it."""

from __future__ import annotations

from sat2map.areas import SQUARE_METRES, Areas, estimate_areas_from_places
from sat2map.domain import crs_family
from sat2map.errors import BadOption
from sat2map.evaluation.tallies import Tally
from sat2map.raster import ground_size
from sat2map.sources import Source

ALIKE = 1.01
"""Pixels whose sides differ by less than this factor are of one size."""

NOTE = (
    "Of the ground that was scored. The area is what is there; ± tells how much it would differ on other ground like "
    "this, of which the places are a sample."
)


def ground_areas(tally: Tally, source: Source) -> tuple[Areas | None, str]:
    """Return the areas of all classes and their unit; None if the places are too few to tell errors."""
    if tally.counts is None or not tally.counts.spots:
        return None, ""
    hectares = _hectares(tally, source)
    counts = tally.counts.matrices
    mapped = counts.sum(axis=(0, 1)) * (hectares or 1)
    try:
        found = estimate_areas_from_places(counts, mapped.tolist(), tally.legend.names)
    except BadOption:
        return None, ""
    return found, "ha" if hectares else "pixels"


def _hectares(tally: Tally, source: Source) -> float | None:
    """Return the area of a pixel; None if pictures differ, or their maps do not keep areas."""
    grids = [pair.image.geobox for pair in source.pairs if pair.name in tally.scenes]
    sides = [ground_size(grid) or 0.0 for grid in grids]
    if any(crs_family(grid) != "projected in metres" for grid in grids) or max(sides) > ALIKE * min(sides):
        return None
    return sides[0] ** 2 / SQUARE_METRES
