"""From a finished class map to polygons: traced from the whole raster, so there are no seams to stitch.

Where a map has no georeference, x is the column and y the negative row: QGIS lays the polygons over the picture so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from pyproj import CRS
from rasterio.errors import RasterioError
from rasterio.features import shapes

from sat2map.errors import BadOption, OutputError, SceneError, UnknownName
from sat2map.progress import bar
from sat2map.sinks import Part, check_destination, read_map_legend
from sat2map.sinks.files import reason

TRACEABLE = ("uint8", "int16", "uint16", "int32")
"""Types of pixels that GDAL traces."""

Write = Callable[[gpd.GeoDataFrame, Path], None]


def _gdal_writer(driver: str) -> Write:
    def write(frame: gpd.GeoDataFrame, path: Path) -> None:
        frame.to_file(path, driver=driver, layer=path.stem, engine="pyogrio", geometry_type="Polygon")

    return write


def _write_geojson(frame: gpd.GeoDataFrame, path: Path) -> None:
    """Write longitude and latitude, as RFC 7946 demands; without a CRS the coordinates stay."""
    frame = frame if frame.crs is None else frame.to_crs("EPSG:4326")
    frame.to_file(path, driver="GeoJSON", engine="pyogrio", geometry_type="Polygon", RFC7946=frame.crs is not None)


def _write_parquet(frame: gpd.GeoDataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False)


WRITERS: dict[str, Write] = {
    ".gpkg": _gdal_writer("GPKG"),
    ".geojson": _write_geojson,
    ".shp": _gdal_writer("ESRI Shapefile"),
    ".parquet": _write_parquet,
    ".geoparquet": _write_parquet,
}
"""How polygons are written to a file of this suffix."""


def polygonize(
    map_path: Path | str,
    out_path: Path | str,
    *,
    classes: Iterable[str] = (),
    min_area: float | None = None,
    simplify: float | None = None,
    overwrite: bool = False,
) -> Path:
    """Turn a class map into polygons with the columns `class`, `value` and `area`.

    Areas are square metres (on the ellipsoid where the map's CRS is geographic), or pixels where it has no CRS.

    Args:
        map_path: A raster with one band of whole numbers; nodata becomes no polygon.
        out_path: The destination: `.gpkg`, `.geojson`, `.shp`, `.parquet` or `.geoparquet`.
        classes: Names of the classes to keep, whatever their case; all if there are none.
        min_area: Leave out polygons smaller than this, in the unit of `area`.
        simplify: Smooth the steps of the pixels: details up to about this long, in map units, vanish. Neighbours stay
            neighbours, without gaps (Visvalingam and Whyatt 1993, on the shared edges).
        overwrite: Replace a file that is there.

    Returns:
        The destination.

    Raises:
        SceneError: The map cannot be read, or holds no classes.
        UnknownName: The map has no class of that name.
        BadOption: `min_area` or `simplify` is not above zero.
        OutputError: The destination cannot be written.
    """
    for name, value in (("min-area", min_area), ("simplify", simplify)):
        if value is not None and not value > 0:
            raise BadOption(f"--{name} is {value}; it must be above 0.")
    out_path = check_destination(out_path, WRITERS, overwrite=overwrite)
    with bar() as progress:
        task = progress.add_task("Tracing polygons", total=3)
        traced = _trace(map_path).only(tuple(classes))
        progress.update(task, description="Measuring polygons", advance=1)
        frame = traced.frame(simplify)
        frame = frame if min_area is None else frame[frame["area"] >= min_area]
        progress.update(task, description="Writing polygons", advance=1)
        _publish(frame, out_path)
    return out_path


@dataclass(frozen=True)
class _Traced:
    """Polygons in pixel coordinates (column, row) with their values, and what the map says about both."""

    polygons: np.ndarray
    values: np.ndarray
    names: Mapping[int, str]
    affine: Affine
    crs: CRS | None

    def only(self, classes: tuple[str, ...]) -> _Traced:
        """Return the polygons of these classes; all if there are none."""
        values = {name.casefold(): value for value, name in self.names.items()}
        for name in classes:
            if name.casefold() not in values:
                raise UnknownName("class", name, self.names.values())
        if not classes:
            return self
        kept = np.isin(self.values, [values[name.casefold()] for name in classes])
        return _Traced(self.polygons[kept], self.values[kept], self.names, self.affine, self.crs)

    def frame(self, simplify: float | None) -> gpd.GeoDataFrame:
        """Return the polygons as a table in map coordinates."""
        polygons = self.polygons if simplify is None else _noded(self.polygons)
        polygons = _moved(polygons, self.affine)
        if simplify is not None:
            polygons = shapely.coverage_simplify(polygons, simplify)
        columns = {
            "class": [self.names[value] for value in self.values.tolist()],
            "value": self.values,
            "area": self._areas(polygons),
        }
        return gpd.GeoDataFrame(columns, geometry=polygons, crs=self.crs)

    def _areas(self, polygons: np.ndarray) -> np.ndarray:
        """Return square metres, or pixels without a CRS."""
        geod = self.crs.get_geod() if self.crs is not None and self.crs.is_geographic else None
        if geod is not None:
            return np.array([abs(geod.geometry_area_perimeter(p)[0]) for p in polygons], float)
        planar: np.ndarray = shapely.area(polygons)
        if self.crs is None:
            return planar / abs(self.affine.determinant)
        return planar * self.crs.axis_info[0].unit_conversion_factor ** 2


def _trace(path: Path | str) -> _Traced:
    """Trace the areas of equal value, neighbours across edges but not across corners.

    Raises:
        SceneError: The file cannot be read, or is no class map.
    """
    try:
        with rasterio.open(path) as file:
            _check_map(file, path)
            found = [(rings["coordinates"], int(v)) for rings, v in shapes(rasterio.band(file, 1)) if v != file.nodata]
            crs = CRS.from_wkt(file.crs.to_wkt()) if file.crs else None
            placed = crs is not None or file.transform != Affine.identity()
            affine = file.transform if placed else Affine.scale(1, -1)
        legend = read_map_legend(path)
    except SceneError:
        raise
    except (RasterioError, OSError) as error:
        raise SceneError(f"{path} cannot be read as a class map: {reason(error)}.") from None
    values = np.array([value for _, value in found], np.int32)
    names = {value: str(value) for value in np.unique(values).tolist()}
    if legend is not None:
        names |= {c.value: c.name for c in legend.classes}
    traced = np.array([shapely.Polygon(rings[0], rings[1:]) for rings, _ in found], object)
    pixels = shapely.transform(_moved(traced, ~file.transform), np.rint)  # rasterio traces in map coordinates
    return _Traced(pixels, values, names, affine, crs)


def _check_map(file: rasterio.DatasetReader, path: Path | str) -> None:
    if file.count != 1:
        raise SceneError(
            f"{path} has {file.count} bands, but a class map has one band with the numbers of the classes."
        )
    if file.dtypes[0] not in TRACEABLE:
        raise SceneError(
            f"{path} holds {file.dtypes[0]}, but a class map holds one of {', '.join(TRACEABLE)}. "
            "Convert it, for example with gdal_translate -ot Int32."
        )


def _noded(polygons: np.ndarray) -> np.ndarray:
    """Give polygons of whole pixels a vertex at each corner of a pixel, so that neighbours share all of theirs."""
    noded: np.ndarray = shapely.transform(shapely.segmentize(polygons, 1.0), np.rint)
    return noded


def _moved(polygons: np.ndarray, affine: Affine) -> np.ndarray:
    """Return polygons in other coordinates."""

    def move(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        return np.column_stack((affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f))

    moved: np.ndarray = shapely.transform(polygons, move)
    return moved


def _publish(frame: gpd.GeoDataFrame, path: Path) -> None:
    """Write the table beside its destination, then move it there.

    Raises:
        OutputError: The disk is full or gone.
    """
    beside = (".shx", ".dbf", ".prj", ".cpg", ".qix") if path.suffix.lower() == ".shp" else ()
    part = Part(path, [path.with_suffix(suffix).name for suffix in beside])
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")  # nor has the map one
            WRITERS[path.suffix.lower()](frame, part.file())
        part.publish()
    except (OSError, RuntimeError) as error:  # pyogrio's errors are RuntimeErrors
        raise OutputError(f"{path} cannot be written: {reason(error)}. Is there room on the disk?") from error
    finally:
        part.discard()
