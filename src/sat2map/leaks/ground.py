"""Leaks by place: outlines that overlap, on the ground or in one and the same picture. Reads no pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from sat2map.leaks.base import LEAST, Ground, Leak, Matrix, share_of_smaller
from sat2map.raster import is_georeferenced, window_geobox
from sat2map.splits.lattice import Sheet, lay_out


def planes_of(grounds: Sequence[Ground]) -> list[Sheet]:
    """Lay grounds on planes: those with a CRS on one, those of a picture without a place on the picture's own.

    Two scenes are one picture if they are one object; a file that was opened twice is two pictures.
    """
    placed = {str(i): window_geobox(g.image.geobox, g.window) for i, g in enumerate(grounds) if _is_placed(g)}
    sheets = lay_out(placed)
    return [sheets.get(str(i)) or _in_picture(ground) for i, ground in enumerate(grounds)]


def _is_placed(ground: Ground) -> bool:
    return is_georeferenced(ground.image.geobox)


def _in_picture(ground: Ground) -> Sheet:
    window = ground.window
    place = Affine.translation(window.col, window.row)
    base = GeoBox(ground.image.shape, Affine.identity(), None)
    return Sheet(f"picture {id(ground.image)}", GeoBox(window.shape, place, None), base)


def leaks_by_place(grounds: Sequence[Ground], sheets: Sequence[Sheet]) -> list[Leak]:
    """Return the leaks between grounds of one plane; less than `LEAST` of the smaller ground does not count."""
    planes: dict[str, list[int]] = defaultdict(list)
    for i, sheet in enumerate(sheets):
        planes[sheet.plane].append(i)
    return [leak for those in planes.values() for leak in _overlapping(those, grounds, sheets)]


def _overlapping(those: Sequence[int], grounds: Sequence[Ground], sheets: Sequence[Sheet]) -> list[Leak]:
    shapes = np.array([sheets[i].footprint for i in those], object)
    parts = np.array([grounds[i].part for i in those])
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    apart = (first < second) & (parts[first] != parts[second])
    leaks = []
    for i, j in sorted(zip(first[apart].tolist(), second[apart].tolist(), strict=True)):
        one, other = grounds[those[i]], grounds[those[j]]
        matrix = _affine(sheets[those[j]].geobox, sheets[those[i]].geobox)
        share = share_of_smaller(one.window, other.window, matrix)
        if share > LEAST:
            leaks.append(Leak(one, other, "georeference", share, matrix))
    return leaks


def _affine(source: GeoBox, target: GeoBox) -> Matrix:
    """Return the affine from pixels of one grid to another's that fits the outline best, by least squares."""
    height, width = source.shape
    edge = np.arange(8) / 8
    sides = [(edge, 0 * edge), (0 * edge + 1, edge), (1 - edge, 0 * edge + 1), (0 * edge, 1 - edge)]
    points = np.concatenate([np.column_stack([x * width, y * height]) for x, y in sides])
    seen = np.asarray(Sheet("", source, target).footprint.exterior.coords)[:-1]
    solved = np.linalg.lstsq(np.column_stack([points, np.ones(len(points))]), seen, rcond=None)[0]
    a, b, c, d, e, f = (float(v) for v in solved.T.ravel())
    return a, b, c, d, e, f
