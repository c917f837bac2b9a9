"""From a finished class map to polygons: strip by strip, and yet the polygons of the whole map.

Where a map has no georeference, x is the column and y the negative row: QGIS lays the polygons over the picture so.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sat2map.errors import BadOption
from sat2map.polygons.features import Features
from sat2map.polygons.reading import check_confidence, open_class_map
from sat2map.polygons.writing import WRITERS, publish
from sat2map.sinks import check_destination

__all__ = ["WRITERS", "polygonize"]

STRIP_PIXELS = 1 << 23
"""How many pixels are traced at a time: whole rows, at least one."""


def polygonize(
    map_path: Path | str,
    out_path: Path | str,
    *,
    classes: Iterable[str] = (),
    min_area: float | None = None,
    simplify: float | None = None,
    square: Iterable[str] = (),
    confidence: Path | str | None = None,
    overwrite: bool = False,
) -> Path:
    """Turn a class map into polygons with the columns `class`, `value`, `area` and perhaps `confidence`.

    Beside them a style for QGIS draws them in the colours of the map's legend, where it has one.

    Areas are square metres on the ground, measured on the ellipsoid where the map's CRS is geographic or shows areas by
    more than 1 % too large or small (Web Mercator); or pixels where it has no CRS. The map is read in strips of rows
    and polygons are written as they are finished, so memory does not grow with the map's height, but for the corners of
    polygons that are not finished and, with `simplify`, for all polygons.

    Args:
        map_path: A raster with one band of whole numbers; nodata becomes no polygon.
        out_path: The destination: `.gpkg`, `.fgb`, `.geojson`, `.shp`, `.parquet` or `.geoparquet`.
        classes: Names of the classes to keep, whatever their case; all if there are none.
        min_area: Leave out polygons smaller than this, in the unit of `area`.
        simplify: Smooth the steps of the pixels: details up to about this long, in map units, vanish. Neighbours stay
            neighbours, without gaps (Visvalingam and Whyatt 1993, on the shared edges). Holds all polygons in memory.
        square: Names of classes, such as buildings, whose outlines become right-angled where that fits; they may then
            overlap their neighbours a little.
        confidence: A raster on the same grid with one band of uint8, 254 for 1; its mean over each polygon, from 0 to
            1, becomes the column `confidence`.
        overwrite: Replace a file that is there.

    Returns:
        The destination.

    Raises:
        SceneError: The map or the confidences cannot be read, or are not what they should be.
        UnknownName: The map has no class of that name.
        BadOption: `min_area` or `simplify` is not above zero.
        OutputError: The destination cannot be written.
    """
    for name, value in (("min-area", min_area), ("simplify", simplify)):
        if value is not None and not value > 0:
            raise BadOption(f"--{name} is {value}; it must be above 0.")
    out_path = check_destination(out_path, WRITERS, overwrite=overwrite)
    source = open_class_map(map_path)
    if confidence is not None:
        check_confidence(confidence, map_path)
    rows = max(STRIP_PIXELS // source.shape[1], 1)
    features = Features(
        source=source,
        classes=source.values_of(tuple(classes), rows),
        squared=source.values_of(tuple(square), rows),
        min_area=min_area,
        simplify=simplify,
        confidence=confidence,
    )
    publish(features.batches(rows), features.schema, out_path, source.crs, source.legend)
    return out_path
