"""Everything a map can be written to, behind one noun: `Sink`.

A new kind of file is a module here and a row in `SINKS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from sat2map.errors import OutputError
from sat2map.legend import Legend
from sat2map.sinks.base import Format, Sink
from sat2map.sinks.content import ClassMap, Colours, Content, Scores
from sat2map.sinks.files import Part, check_destination
from sat2map.sinks.geotiff import write_geotiff
from sat2map.sinks.journal import begun_job
from sat2map.sinks.names import read_map_legend
from sat2map.sinks.png import MOST_BYTES, write_png

__all__ = [
    "SCORES",
    "SINKS",
    "Part",
    "Sink",
    "begun_job",
    "check_destination",
    "open_picture",
    "open_scores",
    "open_sink",
    "read_map_legend",
]

SINKS = {
    ".tif": Format(write_geotiff),
    ".tiff": Format(write_geotiff),
    ".png": Format(write_png, MOST_BYTES),
}
"""How a map whose name has this suffix is written."""

SCORES = (".tif", ".tiff")
"""The suffixes of those that hold scores too."""


def open_sink(
    path: Path | str,
    geobox: GeoBox,
    legend: Legend,
    *,
    tags: Mapping[str, str] | None = None,
    job: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    grid: GeoBox | None = None,
) -> Sink:
    """Open a class map for writing; a file that is there is replaced when the sink is closed.

    Args:
        path: The destination; its suffix says which kind of file.
        geobox: The map's place; without CRS and with the identity if it has none.
        legend: The classes; their numbers are 0 to 254 (255 is nodata).
        tags: What else to note in the file, such as the model's name.
        job: What the pixels depend on (model, scene, options), by names that a user knows and with values that JSON can
            hold. With it, what is done survives an interruption; a sink of the same job finds it in `done` and goes on.
        overwrite: Whether what is done of another job is thrown away, not refused.
        grid: Bring the finished map to this place by nearest neighbour.

    Raises:
        OutputError: The path cannot be written, the map does not go into this kind of file, another process writes it,
            or another job has begun it.
    """
    return _open(path, geobox, ClassMap(legend), tuple(SINKS), tags or {}, job, overwrite, grid)


def open_scores(
    path: Path | str,
    geobox: GeoBox,
    names: Sequence[str],
    *,
    tags: Mapping[str, str] | None = None,
    job: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    grid: GeoBox | None = None,
) -> Sink:
    """Open a raster of scores from 0 to 1, stored as 0 to 254 (255 is nodata), for writing: a GeoTIFF.

    Args:
        path: The destination.
        geobox: See `open_sink`.
        names: What to call the bands: classes, or "confidence".
        tags: See `open_sink`.
        job: See `open_sink`.
        overwrite: See `open_sink`.
        grid: See `open_sink`.

    Raises:
        OutputError: As `open_sink`.
    """
    noted = {"SAT2MAP_SCORES": "0 to 254 stand for 0 to 1", **(tags or {})}
    return _open(path, geobox, Scores(tuple(names)), SCORES, noted, job, overwrite, grid)


def open_picture(
    path: Path | str,
    geobox: GeoBox,
    *,
    tags: Mapping[str, str] | None = None,
    job: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    grid: GeoBox | None = None,
) -> Sink:
    """Open a picture for writing: red, green, blue and an alpha, which is 0 where there is no data and 255 elsewhere.

    Args:
        path: The destination; its suffix says which kind of file.
        geobox: See `open_sink`.
        tags: See `open_sink`.
        job: See `open_sink`.
        overwrite: See `open_sink`.
        grid: See `open_sink`.

    Raises:
        OutputError: As `open_sink`.
    """
    return _open(path, geobox, Colours(), tuple(SINKS), tags or {}, job, overwrite, grid)


def _open(
    path: Path | str,
    geobox: GeoBox,
    content: Content,
    suffixes: Sequence[str],
    tags: Mapping[str, str],
    job: Mapping[str, Any] | None,
    overwrite: bool,
    grid: GeoBox | None,
) -> Sink:
    path = check_destination(path, suffixes, overwrite=True)
    kind = SINKS[path.suffix.lower()]
    height, width = (geobox if grid is None else grid).shape
    if kind.most_bytes is not None and height * width * len(content.bands) > kind.most_bytes:
        raise OutputError(
            f"A map of {width} x {height} pixels is too large for a {path.suffix[1:].upper()}, which holds up to "
            f"{kind.most_bytes // len(content.bands):,} pixels. Name a file that ends in .tif."
        )
    return Sink(path, geobox, content, kind, tags=tags, job=job, overwrite=overwrite, grid=grid)
