"""A scene small enough to be looked at, read block by block."""

from __future__ import annotations

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sat2map.progress import track
from sat2map.raster import Raster
from sat2map.scenes.base import Scene
from sat2map.tiling import grid, whole


def overview(scene: Scene, side: int) -> Raster:
    """Return each n-th pixel of each n-th row, so that the longer side has at most `side` pixels.

    Nothing is averaged, so it is right for class maps too.
    """
    step = max(-(-max(scene.shape) // side), 1)
    height, width = (-(-length // step) for length in scene.shape)
    pixels = np.zeros((len(scene.bands), height, width), scene.dtype)
    valid = np.zeros((height, width), bool)
    blocks = list(grid(whole(scene.shape), max(2048 // step, 1) * step))
    for block in track(blocks, "Reading an overview", len(blocks)):
        read = scene.read(block)
        row, col = block.row // step, block.col // step
        part = np.s_[row : row - (-block.height // step), col : col - (-block.width // step)]
        pixels[:, *part] = read.pixels[:, ::step, ::step]
        valid[part] = read.valid[::step, ::step]
    affine = scene.geobox.affine @ Affine.scale(step)
    return Raster(pixels, valid, GeoBox((height, width), affine, scene.geobox.crs))
