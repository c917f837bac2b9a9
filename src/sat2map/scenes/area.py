"""The part of a scene that lies under polygons: an area of interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely import Polygon, STRtree, box

from sat2map.errors import SceneError
from sat2map.scenes.base import Scene
from sat2map.scenes.cells import cells
from sat2map.tiling import Window, whole


@dataclass(frozen=True)
class ClippedScene(Scene):
    """A scene whose pixels are valid where their centres lie under polygons; the rest is not read."""

    scene: Scene
    polygons: tuple[Polygon, ...] = field(repr=False)  # in pixels of the scene
    tree: STRtree = field(repr=False, compare=False)

    @property
    def fill(self) -> int:
        """What the whole scene has there."""
        return self.scene.fill

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.full((len(bands), *window.shape), self.fill, self.dtype)
        valid = self._covered(window)
        if not valid.any():
            return pixels, valid
        read = self.scene.read(window, bands)
        np.copyto(pixels, read.pixels, where=valid)
        return pixels, valid & read.valid

    def _covered(self, window: Window) -> np.ndarray:
        """Return which pixels of a window lie under a polygon, bool `(h, w)`."""
        covered = np.zeros(window.shape, bool)
        for cell in cells(window):
            near = self.tree.query(_box(cell), predicate="intersects")
            if len(near):
                common = cell.intersect(window)
                burnt = _burnt([self.polygons[i] for i in near], cell)
                covered[common.within(window).slices] = burnt[common.within(cell).slices]
        return covered


def _burnt(polygons: Sequence[Polygon], cell: Window) -> np.ndarray:
    """Return which centres of a cell's pixels lie under polygons, bool; only what is near is handed to GDAL."""
    near = shapely.clip_by_rect(polygons, cell.col - 1, cell.row - 1, cell.right + 1, cell.bottom + 1)
    near = near[shapely.area(near) > 0]
    if not len(near):
        return np.zeros(cell.shape, bool)
    shift = Affine.translation(cell.col, cell.row)
    burnt: np.ndarray = rasterize(near, out_shape=cell.shape, transform=shift, dtype="uint8") > 0
    return burnt


def clip(scene: Scene, path: Path | str) -> ClippedScene:
    """Return a scene of which only the pixels under polygons are valid.

    Args:
        scene: The scene, with a CRS.
        path: A vector file; one without a CRS is taken to be in the scene's.

    Raises:
        SceneError: The scene has no CRS, the file cannot be read, has no polygons, or they miss the scene.
    """
    if scene.geobox.crs is None:
        raise SceneError(
            f"{scene.name} has no CRS, so it is not known where the polygons of {path} lie in it. "
            "Give the image its place first, or predict all of it."
        )
    polygons = _in_pixels(_read_polygons(path), scene.geobox)
    tree = STRtree(polygons)
    if not len(tree.query(_box(whole(scene.shape)), predicate="intersects")):
        raise SceneError(
            f"The polygons of {path} miss {scene.name}. Is one of them in another CRS than it says? "
            f"The scene lies at {_bounds(scene.geobox)}."
        )
    return ClippedScene(scene.name, scene.geobox, scene.bands, scene.dtype, scene, tuple(polygons), tree)


def _read_polygons(path: Path | str) -> gpd.GeoSeries:
    """Return the valid polygons of a vector file.

    Raises:
        SceneError: It cannot be read, or holds none.
    """
    try:
        parquet = str(path).lower().endswith("parquet")
        frame = gpd.read_parquet(path) if parquet else pyogrio.read_dataframe(path, columns=[])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, OSError, ValueError) as error:
        raise SceneError(f"{path} cannot be read as polygons: {str(error).rstrip('.')}.") from None
    if not isinstance(frame, gpd.GeoDataFrame):
        raise SceneError(f"{path} is a table without shapes. Name a vector file with polygons.")
    shapes = frame.geometry[frame.geometry.notna()].make_valid().explode(index_parts=False)
    polygons = shapes[(shapes.geom_type == "Polygon") & ~shapes.is_empty]
    if polygons.empty:
        raise SceneError(f"{path} holds no polygons. Name a vector file with the area as polygons.")
    return polygons


def _in_pixels(polygons: gpd.GeoSeries, geobox: GeoBox) -> list[Polygon]:
    """Return polygons in the pixels of a grid; edges are cut in pieces, as they bend between two CRSs."""
    if polygons.crs is not None and polygons.crs != str(geobox.crs):
        shapes = polygons.to_numpy()
        pieces = shapely.segmentize(shapes, shapely.length(shapes) / 400)
        polygons = gpd.GeoSeries(pieces, crs=polygons.crs).to_crs(str(geobox.crs))
    inverse = ~geobox.affine
    moved = polygons.affine_transform([inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f])
    return [p for p in moved if np.isfinite(p.bounds).all()]


def _bounds(geobox: GeoBox) -> str:
    left, bottom, right, top = geobox.extent.to_crs("EPSG:4326").boundingbox.bbox
    return f"{bottom:.4f} to {top:.4f} degrees north and {left:.4f} to {right:.4f} east"


def _box(window: Window) -> Polygon:
    return box(window.col, window.row, window.right, window.bottom)
