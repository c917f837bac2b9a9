"""Truth as scenes of class ids: masks of colours or numbers, and vectors burnt window by window.

All of them read as one band of uint8 ids, with `IGNORED` where there is no label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely import STRtree, box, make_valid
from shapely.geometry.base import BaseGeometry

from sat2map.errors import SourceError
from sat2map.legend import IGNORED, Legend
from sat2map.progress import track_map
from sat2map.raster import window_geobox
from sat2map.scenes import Scene
from sat2map.tiling import Window

VECTOR_SUFFIXES = (".geojson", ".json", ".gpkg", ".shp", ".parquet", ".geoparquet", ".fgb")

METRES_A_DEGREE = 111_320
"""Length of a degree on the equator; enough to look around a place."""

CLASS_COLUMNS = ("class", "classname", "class_name", "label", "category", "landcover", "land_cover", "type")
"""Columns that are taken for the class where none is named, in this order, whatever their case."""


FILE_COLUMN = "sat2map_file"
"""The column that holds the name of the file, where shapes of several are read together."""


@dataclass(frozen=True)
class MaskLabels(Scene):
    """Ids from a mask of colours (three bands) or numbers (one band)."""

    mask: Scene = field(repr=False)
    legend: Legend = field(repr=False)

    @property
    def fill(self) -> int:
        """There are no labels outside of the mask."""
        return IGNORED

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        raster = self.mask.read(window)
        if has_colours(self.mask):
            ids = self.legend.ids_from_colours(raster.pixels[:3])
        else:
            ids = self.legend.ids_from_values(raster.pixels[0])
        ids[~raster.valid] = IGNORED
        return ids[None], raster.valid


def has_colours(mask: Scene) -> bool:
    """Tell whether a mask holds colours (three bands or more) or numbers."""
    return len(mask.bands) >= 3


def mask_labels(mask: Scene, legend: Legend) -> MaskLabels:
    """Return the ids of a mask as a scene on the same grid."""
    return MaskLabels(mask.name, mask.geobox, ("class",), "uint8", mask, legend)


@dataclass(frozen=True)
class Shapes:
    """The shapes of a vector file in its own CRS, and what stands in its class column."""

    path: str
    frame: gpd.GeoDataFrame = field(repr=False)
    column: str | None
    repaired: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, sorted; the file's name where all shapes are one class."""
        if self.column is None:
            return (Path(self.path).stem,)
        return tuple(sorted(self.frame[self.column].unique()))


def read_shapes(path: Path | str, column: str | None = None, *, parts: Sequence[Path] = ()) -> Shapes:
    """Read a vector file, repair invalid shapes and find its class column.

    Args:
        path: Anything pyogrio reads, or GeoParquet.
        column: The column that names the class; guessed by its name if not given. `FILE_COLUMN`: the file does.
        parts: Files that are read together in place of `path`, which then is their folder; some may hold nothing.

    Raises:
        SourceError: It cannot be read, has no shapes, or no such column.
    """
    frame = _together(parts) if parts else _read_frame(path)
    if not isinstance(frame, gpd.GeoDataFrame):
        raise SourceError(f"{path} is a table without shapes.")
    frame = frame[frame.geometry.notna() & ~frame.geometry.is_empty]
    if frame.empty:
        raise SourceError(f"{path} holds no shapes.")
    column = _class_column(path, frame, column)
    if column is not None:
        frame = frame.assign(**{column: frame[column].map(_class_name)})
        frame = frame[frame[column].notna()]
    if frame.empty:
        raise SourceError(f"{path} names no class in its column {column!r}. Choose another with --column.")
    broken = ~frame.geometry.is_valid
    geometry = frame.geometry.copy()
    geometry[broken] = geometry[broken].apply(make_valid)
    return Shapes(str(path), frame.set_geometry(geometry), column, int(broken.sum()))


def _read_frame(path: Path | str) -> pd.DataFrame:
    try:
        parquet = str(path).lower().endswith("parquet")
        return gpd.read_parquet(path) if parquet else gpd.read_file(path, engine="pyogrio")
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as vectors: {str(error).rstrip('.')}.") from None


def _together(parts: Sequence[Path]) -> gpd.GeoDataFrame:
    """Return what several files hold, in the CRS of the first that holds shapes."""
    read = zip(parts, track_map(_read_frame, parts, "Reading shapes"), strict=True)
    frames = [
        gpd.GeoDataFrame(f.drop(columns=f.geometry.name).assign(**{FILE_COLUMN: part.stem}), geometry=f.geometry)
        for part, f in read
        if isinstance(f, gpd.GeoDataFrame) and len(f)
    ]
    if not frames:
        return gpd.GeoDataFrame(geometry=[])
    crs = frames[0].crs
    return pd.concat([f if None in (crs, f.crs) else f.to_crs(crs) for f in frames], ignore_index=True)


def _class_column(path: Path | str, frame: gpd.GeoDataFrame, column: str | None) -> str | None:
    columns = [str(c) for c in frame.columns if c != frame.geometry.name]
    if column is not None:
        if column not in columns:
            raise SourceError(f"{path} has no column {column!r}. It has: {', '.join(columns) or 'none'}.")
        return column
    by_name = {c.casefold(): c for c in columns}
    return next((by_name[c] for c in CLASS_COLUMNS if c in by_name), None)


def _class_name(value: object) -> str | None:
    if pd.isna(value):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def disagreements(shapes: Shapes) -> list[str]:
    """Name rows whose class and whose number of the class disagree with most of the others.

    Looks for a column of whole numbers that follows the class column but for a few rows.
    """
    if shapes.column is None:
        return []
    found = []
    classes = shapes.frame[shapes.column]
    for other in shapes.frame.select_dtypes("integer").columns:
        numbers = shapes.frame[other]
        usual = _matching(list(zip(classes, numbers, strict=True)))
        odd = shapes.frame.index[numbers != classes.map(usual)]
        if len(usual) == len(shapes.names) and 0 < len(odd) <= 0.2 * len(numbers):
            found += [f"row {i}: {shapes.column} {classes[i]!r}, but {other} {numbers[i]}" for i in odd]
    return found


def _matching(rows: list[tuple[str, int]]) -> dict[str, int]:
    """Match names and numbers one to one, the most frequent couples first."""
    usual: dict[str, int] = {}
    for (name, number), _ in Counter(rows).most_common():
        if name not in usual and number not in usual.values():
            usual[name] = number
    return usual


@dataclass(frozen=True)
class VectorLabels(Scene):
    """Ids burnt from shapes that lie in the scene's CRS; later shapes lie on top."""

    shapes: tuple[BaseGeometry, ...] = field(repr=False)
    ids: tuple[int, ...] = field(repr=False)
    rest: int
    tree: STRtree = field(repr=False, compare=False)

    @property
    def fill(self) -> int:
        """There are no labels outside of the image."""
        return IGNORED

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        place = window_geobox(self.geobox, window)
        near = sorted(self.tree.query(box(*place.boundingbox.bbox)))
        ids = np.full(window.shape, self.rest, np.uint8)
        if near:
            burnt = ((self.shapes[i], self.ids[i]) for i in near)
            ids = rasterize(burnt, out=ids, transform=place.affine)
        return ids[None], np.ones(window.shape, bool)


def vector_labels(shapes: Shapes, geobox: GeoBox, legend: Legend, *, width: float, rest: int) -> VectorLabels:
    """Return shapes as a scene of ids on the grid `geobox`.

    Args:
        shapes: The shapes, in any CRS; those without one are taken to be in the image's.
        geobox: The image's grid.
        legend: The classes; shapes whose class is not among them become `IGNORED`.
        width: To how many map units (metres where these are degrees) lines and points are widened.
        rest: The id of pixels under no shape.
    """
    frame = _near(shapes.frame, geobox, width)
    geometry = _widened(frame.geometry, width)
    if geobox.crs is not None and frame.crs is not None:
        geometry = geometry.to_crs(str(geobox.crs))
    names = frame[shapes.column] if shapes.column else pd.Series(shapes.names[0], index=frame.index)
    known: dict[str, int] = {name: i for i, name in enumerate(legend.names)}
    ids = tuple(known.get(name, IGNORED) for name in names)
    burnt: Sequence[BaseGeometry] = tuple(geometry)
    return VectorLabels(shapes.path, geobox, ("class",), "uint8", tuple(burnt), ids, rest, STRtree(list(burnt)))


def footprint(geobox: GeoBox, crs: object) -> BaseGeometry:
    """Return the outline of an image in another CRS; in its own coordinates where either CRS is not known."""
    extent = geobox.extent
    return extent.geom if geobox.crs is None or crs is None else extent.to_crs(str(crs)).geom


def _near(frame: gpd.GeoDataFrame, geobox: GeoBox, width: float) -> gpd.GeoDataFrame:
    """Return the shapes that reach into an image when widened, in the order of the file."""
    outline = footprint(geobox, frame.crs)
    units = width / METRES_A_DEGREE if frame.crs is not None and frame.crs.is_geographic else width
    # The outline of a large image bends when carried into another CRS: its box is taken, and a little more.
    near = box(*outline.bounds).buffer(2 * units + 0.01 * outline.length)
    return frame.iloc[sorted(frame.sindex.query(near, predicate="intersects"))]


def _widened(geometry: gpd.GeoSeries, width: float) -> gpd.GeoSeries:
    """Return shapes with lines and points as polygons `width` wide; measured in metres where units are degrees."""
    thin = ~geometry.geom_type.isin(["Polygon", "MultiPolygon", "GeometryCollection"])
    if not thin.any():
        return geometry
    lines = geometry[thin]
    if geometry.crs is not None and geometry.crs.is_geographic:
        wide = lines.to_crs(lines.estimate_utm_crs()).buffer(width / 2).to_crs(geometry.crs)
    else:
        wide = lines.buffer(width / 2)
    geometry = geometry.copy()
    geometry[thin] = wide
    return geometry
