"""Scenes made of scenes: a part of one, some of its bands, and one on another grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform

from sat2map.raster import Raster, is_georeferenced, window_geobox
from sat2map.scenes.base import Scene
from sat2map.tiling import Window, whole

_ANY_CRS = "EPSG:3857"  # GDAL wants one; a side without one gets the other's, so it changes nothing

ROUNDING = 1e-6
"""How far in pixels a centre may lie from an edge by rounding alone; it then counts as beyond."""


@dataclass(frozen=True)
class CropScene(Scene):
    """A part of a scene: one half of a side-by-side picture, a block of ground."""

    scene: Scene
    area: Window

    @property
    def fill(self) -> int:
        """What the whole scene has there."""
        return self.scene.fill

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        moved = window._replace(row=window.row + self.area.row, col=window.col + self.area.col)
        raster = self.scene.read(moved, bands)
        return raster.pixels, raster.valid


def crop(scene: Scene, area: Window) -> CropScene:
    """Return the part of a scene under `area` as a scene."""
    placed = is_georeferenced(scene.geobox)
    geobox = window_geobox(scene.geobox, area) if placed else GeoBox(area.shape, Affine.identity(), None)
    return CropScene(scene.name, geobox, scene.bands, scene.dtype, scene, area)


def unplaced(scene: Scene) -> CropScene:
    """Return the same pixels without a place: those of a picture on another grid are nowhere on the ground either."""
    return CropScene(
        scene.name, GeoBox(scene.shape, Affine.identity(), None), scene.bands, scene.dtype, scene, whole(scene.shape)
    )


@dataclass(frozen=True)
class BandsScene(Scene):
    """Some bands of a scene, each as often as it is named."""

    scene: Scene
    indexes: tuple[int, ...]

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        raster = self.scene.read(window, [self.indexes[b] for b in bands])
        return raster.pixels, raster.valid


def select(scene: Scene, indexes: Sequence[int]) -> BandsScene:
    """Return the bands of a scene at these places, counted from 0, as a scene."""
    names = tuple(scene.bands[i] for i in indexes)
    return BandsScene(scene.name, scene.geobox, names, scene.dtype, scene, tuple(indexes))


@dataclass(frozen=True)
class WarpedScene(Scene):
    """A scene on another grid; `method` is a GDAL resampling name."""

    scene: Scene
    method: str

    @property
    def fill(self) -> int:
        """What the scene has outside of its grid."""
        return self.scene.fill

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        target = window_geobox(self.geobox, window)
        raster = self.scene.read(_touched(self.scene.geobox, target), bands)
        if self.method == "nearest":
            return _nearest(raster, target, self.fill)
        covered = _warp(raster.valid.astype(np.float32), raster.geobox, target, self.method)
        valid = covered >= 0.5
        pixels = np.zeros((len(bands), *window.shape), raster.pixels.dtype)
        for band, out in zip(raster.pixels, pixels, strict=True):
            total = _warp(np.where(raster.valid, band, 0).astype(np.float32), raster.geobox, target, self.method)
            out[valid] = _cast(total[valid] / covered[valid], out.dtype)
        return pixels, valid


def warp(scene: Scene, geobox: GeoBox, *, nearest: bool = False) -> Scene:
    """Return a scene on the grid `geobox`: labels by nearest neighbour, pixels averaged down or interpolated up.

    Between two CRSs GDAL places averaged and interpolated pixels to within an eighth of a pixel; labels are exact.
    """
    if geobox == scene.geobox:
        return scene
    touched = _touched(scene.geobox, geobox, pad=0)
    coarser = max(touched.height / geobox.shape[0], touched.width / geobox.shape[1]) > 1
    method = "nearest" if nearest else "average" if coarser else "bilinear"
    return WarpedScene(scene.name, geobox, scene.bands, scene.dtype, scene, method)


def resample(scene: Scene, shape: tuple[int, int], *, nearest: bool = False) -> Scene:
    """Return a scene over the same ground with `shape` (height, width) pixels; the same scene if it has them."""
    scale = Affine.scale(scene.shape[1] / shape[1], scene.shape[0] / shape[0])
    return warp(scene, GeoBox(shape, scene.geobox.affine * scale, scene.geobox.crs), nearest=nearest)


def _touched(source: GeoBox, target: GeoBox, pad: int = 2) -> Window:
    """Return the window of `source` under all of `target`, and `pad` pixels more on each side."""
    height, width = target.shape
    edge = np.linspace(0, 1, 21)
    cols = np.concatenate([edge, edge, np.zeros(21), np.ones(21)]) * width
    rows = np.concatenate([np.zeros(21), np.ones(21), edge, edge]) * height
    cols, rows = _carry(cols, rows, target, source)
    top, left = int(np.floor(rows.min())), int(np.floor(cols.min()))
    return Window(top, left, int(np.ceil(rows.max())) - top, int(np.ceil(cols.max())) - left).pad(pad)


def _apply(affine: Affine, xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where an affine carries points."""
    return affine.a * xs + affine.b * ys + affine.c, affine.d * xs + affine.e * ys + affine.f


def _carry(cols: np.ndarray, rows: np.ndarray, here: GeoBox, there: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """Return where pixel positions of one grid lie in the pixels of another."""
    xs, ys = _apply(here.affine, cols, rows)
    if here.crs is not None and there.crs is not None and here.crs != there.crs:
        xs, ys = (np.asarray(v) for v in transform(str(here.crs), str(there.crs), xs, ys))
    return _apply(~there.affine, xs, ys)


def _nearest(raster: Raster, target: GeoBox, fill: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels under the centres of a grid's pixels.

    GDAL would carry only some of the centres exactly, so that a pixel's label changed with the window it is read in.
    """
    rows, cols = (axis.ravel() + 0.5 for axis in np.indices(tuple(target.shape)))
    cols, rows = (np.floor(v + ROUNDING).astype(int) for v in _carry(cols, rows, target, raster.geobox))
    height, width = raster.valid.shape
    inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
    pixels = np.full((len(raster.pixels), inside.size), fill, raster.pixels.dtype)
    valid = np.zeros(inside.size, bool)
    valid[inside] = raster.valid[rows[inside], cols[inside]]
    pixels[:, valid] = raster.pixels[:, rows[valid], cols[valid]]
    return pixels.reshape(-1, *target.shape), valid.reshape(target.shape)


def _warp(band: np.ndarray, source: GeoBox, target: GeoBox, method: str) -> np.ndarray:
    out = np.zeros(target.shape, band.dtype)
    reproject(
        band,
        out,
        src_transform=source.affine,
        dst_transform=target.affine,
        src_crs=str(source.crs or target.crs or _ANY_CRS),
        dst_crs=str(target.crs or source.crs or _ANY_CRS),
        resampling=Resampling[method],
    )
    return out


def _cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.rint(values).astype(dtype) if np.issubdtype(dtype, np.integer) else values.astype(dtype)
