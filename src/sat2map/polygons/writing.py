"""Vector files, written from a stream of Arrow batches: GDAL and Parquet take one after the other from it.

So no format is written by appending, which not all allow, and of none more than a batch is held here. GDAL keeps the
boxes of all polygons for the index of a FlatGeobuf.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
from pyproj import CRS

from sat2map.errors import OutputError
from sat2map.legend import Legend
from sat2map.sinks import Part
from sat2map.sinks.files import reason
from sat2map.sinks.style import is_ours, qgis_style

GEOMETRY = "geometry"
"""The column of the polygons, as WKB."""

Write = Callable[[pa.RecordBatchReader, Path, CRS | None], None]


def _gdal_writer(driver: str, **options: str) -> Write:
    def write(batches: pa.RecordBatchReader, path: Path, crs: CRS | None) -> None:
        place = {"crs": crs.to_wkt() if crs is not None else None, "geometry_name": GEOMETRY}
        pyogrio.write_arrow(
            batches, path, layer=path.stem, driver=driver, geometry_type="Polygon", encoding="UTF-8", **place, **options
        )

    return write


def _write_geojson(batches: pa.RecordBatchReader, path: Path, crs: CRS | None) -> None:
    """Write longitude and latitude, as RFC 7946 demands; without a CRS the coordinates stay."""
    _gdal_writer("GeoJSON", **({} if crs is None else {"RFC7946": "YES"}))(batches, path, crs)


def _write_parquet(batches: pa.RecordBatchReader, path: Path, crs: CRS | None) -> None:
    """Write GeoParquet 1.0."""
    column = {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": None if crs is None else crs.to_json_dict()}
    geo = {"version": "1.0.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}
    with pq.ParquetWriter(path, batches.schema.with_metadata({"geo": json.dumps(geo)})) as file:
        for batch in batches:
            file.write_batch(batch)


WRITERS: dict[str, Write] = {
    ".gpkg": _gdal_writer("GPKG"),
    ".fgb": _gdal_writer("FlatGeobuf"),
    ".geojson": _write_geojson,
    ".shp": _gdal_writer("ESRI Shapefile"),
    ".parquet": _write_parquet,
    ".geoparquet": _write_parquet,
}
"""How polygons are written to a file of this suffix."""


def publish(
    batches: Generator[pa.RecordBatch], schema: pa.Schema, path: Path, crs: CRS | None, legend: Legend | None
) -> None:
    """Write batches beside their destination while they come, then move the file there, with a style for QGIS.

    Raises:
        OutputError: The disk is full or gone.
    """
    beside = (".shx", ".dbf", ".prj", ".cpg", ".qix") if path.suffix.lower() == ".shp" else ()
    part = Part(path, [path.with_suffix(suffix).name for suffix in beside])
    stream = _Stream(batches)
    try:
        with warnings.catch_warnings(), closing(batches):
            warnings.filterwarnings("ignore", "'crs' was not provided")  # nor has the map one
            reader = pa.RecordBatchReader.from_batches(schema, stream)
            WRITERS[path.suffix.lower()](reader, part.file(), crs)
        if legend is not None and _may_style(path):
            part.file(path.with_suffix(".qml").name).write_text(qgis_style(legend), encoding="utf-8")
        part.publish()
    except (OSError, RuntimeError, pa.ArrowException) as error:  # pyogrio's errors are RuntimeErrors
        if stream.failure is not None:
            raise stream.failure from None
        raise OutputError(f"{path} cannot be written: {reason(error)}. Is there room on the disk?") from error
    finally:
        part.discard()


def _may_style(path: Path) -> bool:
    """Tell whether the style of this name is theirs to write: not the user's, nor that of another map called so."""
    style = path.with_suffix(".qml")
    return not style.exists() or (path.exists() and is_ours(style))


class _Stream:
    """An iterator that remembers what it failed of: Arrow passes only the text on to GDAL."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.failure: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self

    def __next__(self) -> pa.RecordBatch:
        try:
            return next(self._batches)
        except StopIteration:
            raise
        except BaseException as failure:
            self.failure = failure
            raise
