"""Many images of one grid as one scene: a folder of tiles without seams between files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely import STRtree, box

from sat2map.errors import SceneError
from sat2map.scenes.base import Scene
from sat2map.tiling import Window, whole

ALIGNED = 0.05
"""How far from whole pixels of the common grid a tile may lie."""


@dataclass(frozen=True)
class MosaicScene(Scene):
    """Scenes laid on a common grid; where they overlap the first valid pixel counts."""

    tiles: tuple[Scene, ...]
    places: tuple[Window, ...]
    tree: STRtree

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


def _check(first: Scene, tile: Scene) -> None:
    if tile.geobox.crs is None:
        raise SceneError(f"{tile.name} has no CRS, so its place among the other images is not known. Map it alone.")
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
