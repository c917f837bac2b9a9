"""How large the classes are on the ground that was scored: as mapped, and as they are on ground like it."""

from __future__ import annotations

import numpy as np

from sat2map.areas import SQUARE_METRES, Areas, estimate_areas_from_places
from sat2map.errors import BadOption
from sat2map.evaluation.tallies import Tally
from sat2map.raster import keeps_areas, pixel_areas
from sat2map.scenes import Scene
from sat2map.sources import Source

ALIKE = 1.02
"""Pixels whose areas differ by less than this factor are of one size."""

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
    scored = tally.scenes
    sizes = [_planar(pair.image) for pair in source.pairs if pair.name in scored]
    known = [size for size in sizes if size is not None]
    return known[0] if len(known) == len(sizes) and max(known) <= ALIKE * min(known) else None


def _planar(image: Scene) -> float | None:
    """Return the area of a pixel in hectares; None if the map does not keep areas, or tells nothing of them."""
    affine, crs, shape = image.geobox.affine, image.geobox.crs, image.shape
    if crs is None or crs.proj.geodetic_crs is None or not keeps_areas(affine, crs.proj, shape):
        return None
    (area,) = pixel_areas(affine, crs.proj, shape, np.array([shape[0] // 2]))
    return float(area) / SQUARE_METRES
