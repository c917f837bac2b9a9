"""Many images of one grid as one scene: a folder of tiles without seams between files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely import STRtree, area, box, union_all

from sat2map.errors import SceneError
from sat2map.raster import is_georeferenced
from sat2map.scenes.base import Scene
from sat2map.tiling import Window, whole

ALIGNED = 0.05
"""How far from whole pixels of the common grid a tile may lie."""

LAYERS = 1.5
"""Scenes that lie on each other more often than this, on average, are no tiles: they show one ground several times."""


@dataclass(frozen=True)
class MosaicScene(Scene):
    """Scenes laid on a common grid; where they overlap the first valid pixel counts."""

    tiles: tuple[Scene, ...]
    places: tuple[Window, ...]
    tree: STRtree

    @property
    def layers(self) -> float:
        """How many tiles lie on each other, on average over the ground they cover: 1 if none do."""
        return float(area(self.tree.geometries).sum() / union_all(self.tree.geometries).area)

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.zeros((len(bands), *window.shape), self.dtype)
        valid = np.zeros(window.shape, bool)
        for i in sorted(self.tree.query(_box(window))):
            common = self.places[i].intersect(window)
            if common.empty:
                continue
            part = self.tiles[i].read(common.within(self.places[i]), bands)
            rows, cols = common.within(window).slices
            new = part.valid & ~valid[rows, cols]
            np.copyto(pixels[:, rows, cols], part.pixels, where=new)
            valid[rows, cols] |= new
        return pixels, valid


def open_mosaic(tiles: Sequence[Scene], name: str = "mosaic") -> Scene:
    """Lay scenes side by side; a single one is returned as it is.

    Raises:
        SceneError: They differ in CRS, bands or resolution, have no georeference, or do not share a pixel grid.
    """
    if len(tiles) == 1:
        return tiles[0]
    first = tiles[0]
    for tile in tiles:
        _check(first, tile)
    offsets = [_offset(first, tile) for tile in tiles]
    row, col = min(w.row for w in offsets), min(w.col for w in offsets)
    bottom, right = max(w.bottom for w in offsets), max(w.right for w in offsets)
    extent = Window(row, col, bottom - row, right - col)
    geobox = GeoBox(extent.shape, first.geobox.affine * Affine.translation(col, row), first.geobox.crs)
    places = tuple(w.within(extent) for w in offsets)
    dtype = str(np.result_type(*(tile.dtype for tile in tiles)))
    return MosaicScene(name, geobox, first.bands, dtype, tuple(tiles), places, STRtree([_box(w) for w in places]))


def lay_together(scenes: Sequence[Scene]) -> list[tuple[Scene, Window]]:
    """Return, for each scene, the mosaic of all that are tiles of one with it, and where in that it lies.

    Scenes are tiles of one where they share a grid, unless they lie on each other too often (`LAYERS`); the mosaic of
    any other is the scene itself.
    """
    alike: dict[object, list[int]] = defaultdict(list)
    for i, scene in enumerate(scenes):
        alike[(scene.geobox.crs, scene.bands, *scene.geobox.affine[:2], *scene.geobox.affine[3:5])].append(i)
    laid = [(scene, whole(scene.shape)) for scene in scenes]
    for members in alike.values():
        try:
            mosaic = open_mosaic([scenes[i] for i in members])
        except SceneError:  # no common grid
            continue
        if is_tiled(mosaic):
            for i, place in zip(members, mosaic.places, strict=True):
                laid[i] = mosaic, place
    return laid


def is_tiled(scene: Scene) -> TypeGuard[MosaicScene]:
    """Tell whether a scene is made of tiles that lie beside each other, with margins perhaps."""
    return isinstance(scene, MosaicScene) and scene.layers <= LAYERS


def _check(first: Scene, tile: Scene) -> None:
    if not is_georeferenced(tile.geobox):
        raise SceneError(f"{tile.name} has no place on the ground, so none among the other images. Map it alone.")
    for what, one, other in (
        ("CRS", first.geobox.crs, tile.geobox.crs),
        ("bands", first.bands, tile.bands),
    ):
        if one != other:
            raise SceneError(f"{tile.name} has other {what} ({other}) than {first.name} ({one}): map them one by one.")


def _offset(first: Scene, tile: Scene) -> Window:
    """Return where a tile lies in the pixel grid of the first."""
    place = ~first.geobox.affine * tile.geobox.affine
    off = max(abs(place.a - 1), abs(place.e - 1), abs(place.b), abs(place.d)) * max(tile.shape)
    col, row = place.c, place.f
    if off > ALIGNED or abs(col - round(col)) > ALIGNED or abs(row - round(row)) > ALIGNED:
        raise SceneError(
            f"{tile.name} does not lie on the pixel grid of {first.name} (resolution or alignment differ). "
            "Bring them to one grid first, for example with gdalbuildvrt or gdalwarp -tap."
        )
    return whole(tile.shape)._replace(row=round(row), col=round(col))


def _box(window: Window) -> box:
    return box(window.col, window.row, window.right, window.bottom)
