"""A scene whose damaged parts are left out, and listed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sat2map.errors import SceneError
from sat2map.scenes.base import Scene
from sat2map.scenes.cells import CELL, aligned, cells
from sat2map.scenes.gdal import GdalScene
from sat2map.tiling import Window, whole


@dataclass(frozen=True)
class TolerantScene(Scene):
    """A scene in which cells of a lattice that cannot be read are not valid; many threads may read it.

    Whole cells are read, so that a pixel does not depend on the window it is read in; not of a picture that is decoded
    at once, of which any window can be read or none.
    """

    scene: Scene
    cell: tuple[int, int]
    _failed: dict[Window, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    @property
    def fill(self) -> int:
        """What the whole scene has there."""
        return self.scene.fill

    @property
    def failed(self) -> Mapping[Window, str]:
        """The cells that could not be read so far, row by row, and why."""
        with self._lock:
            return dict(sorted(self._failed.items()))

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        around = aligned(window, self.cell).intersect(whole(self.shape))
        area = window if _decoded_at_once(self.scene) else around
        try:
            read = self.scene.read(area, bands)
            pixels, valid = read.pixels, read.valid
        except SceneError:
            area = around
            pixels, valid = self._read_cells(area, bands)
        rows, cols = window.within(area).slices
        return pixels[:, rows, cols], valid[rows, cols].copy()

    def _read_cells(self, area: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.full((len(bands), *area.shape), self.fill, self.dtype)
        valid = np.zeros(area.shape, bool)
        for cell in (c.intersect(area) for c in cells(area, self.cell)):
            rows, cols = cell.within(area).slices
            try:
                read = self.scene.read(cell, bands)
            except SceneError as error:
                with self._lock:
                    self._failed[cell] = str(error)
            else:
                pixels[:, rows, cols], valid[rows, cols] = read.pixels, read.valid
        return pixels, valid


def tolerant(scene: Scene) -> TolerantScene:
    """Return a scene whose damaged parts are not valid instead of an error; it lists them as `failed`.

    A part is a block of the file, or some if they are small; of a picture that is decoded at once, all of it.
    """
    return TolerantScene(scene.name, scene.geobox, scene.bands, scene.dtype, scene, _cell(scene))


def _decoded_at_once(scene: Scene) -> bool:
    return isinstance(scene, GdalScene) and scene.decoded_at_once


def _cell(scene: Scene) -> tuple[int, int]:
    if _decoded_at_once(scene):
        return scene.shape
    if not isinstance(scene, GdalScene):
        return CELL, CELL
    height, width = (side * -(-64 // side) if side <= 2 * CELL else CELL for side in scene.block)
    return height, width
