"""A finished flat file brought to another grid by nearest neighbour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.windows import Window as GdalWindow

from sat2map.scenes import Scene, warp
from sat2map.sinks.raw import RawFile
from sat2map.tiling import Window, grid, whole

BLOCK = 1024
"""Side in pixels of what is computed at a time."""


@dataclass(frozen=True)
class _Numbers(Scene):
    """The numbers of a VRT, nodata included; unlike other scenes it lets go of its file."""

    file: rasterio.DatasetReader
    nothing: int

    @property
    def fill(self) -> int:
        return self.nothing

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        area = GdalWindow(window.col, window.row, window.width, window.height)
        return self.file.read([b + 1 for b in bands], window=area), np.ones(window.shape, bool)


def regrid(vrt: Path, source: GeoBox, target: GeoBox, path: Path, nothing: int) -> RawFile:
    """Write to `path` the numbers that a VRT, whose place is `source`, has under the centres of `target`'s pixels.

    Where it has none there is `nothing`.
    """
    with rasterio.open(vrt) as file:
        bands = tuple(map(str, file.indexes))
        scene = warp(_Numbers(str(vrt), source, bands, "uint8", file, nothing), target, nearest=True)
        made = RawFile(path, len(bands), scene.shape)
        made.create()
        for window in grid(whole(made.shape), BLOCK):
            made.write(window, scene.read(window).pixels)
        made.close()
    return made
