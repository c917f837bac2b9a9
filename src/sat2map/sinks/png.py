"""Class maps as palette PNG with a world file: for reports, web pages, and images without georeference."""

from __future__ import annotations

import numpy as np
from PIL import Image, PngImagePlugin

from sat2map.errors import OutputError
from sat2map.legend import IGNORED
from sat2map.raster import is_georeferenced
from sat2map.sinks.base import Sink, colour_table
from sat2map.sinks.names import category_names, legend_tag
from sat2map.tiling import Window

MOST_PIXELS = 1 << 28
"""A PNG is compressed in one go, so the whole map is held in memory: 256 MB at most."""


class PngSink(Sink):
    """Blocks are gathered in memory and compressed on closing; pixels hold the legend's numbers."""

    def _open(self) -> None:
        height, width = self.shape
        if height * width > MOST_PIXELS:
            raise OutputError(
                f"A map of {width} x {height} pixels is too large for a PNG, which holds up to "
                f"{MOST_PIXELS:,} pixels. Name a file that ends in .tif."
            )
        self._values = np.full(self.shape, IGNORED, np.uint8)

    def _write(self, window: Window, values: np.ndarray) -> None:
        self._values[window.slices] = values

    def _finish(self) -> None:
        table = np.zeros((256, 4), np.uint8)
        table[:, 3] = 255
        for value, colour in colour_table(self.legend).items():
            table[value] = colour
        picture = Image.fromarray(self._values)
        picture.putpalette(table[:, :3].tobytes())
        texts = PngImagePlugin.PngInfo()
        for key, text in {**self.tags, **legend_tag(self.legend)}.items():
            texts.add_text(key, text)
        picture.save(self._part.file(), "PNG", pnginfo=texts, transparency=table[:, 3].tobytes())
        self._write_beside()

    def _write_beside(self) -> None:
        names = category_names(self.legend, self.geobox.crs)
        self._part.file(f"{self.path.name}.aux.xml").write_text(names, encoding="utf-8")
        if is_georeferenced(self.geobox):
            self._part.file(self.path.with_suffix(".pgw").name).write_text(self._world_file(), encoding="ascii")

    def _world_file(self) -> str:
        """Return the six lines of a world file: steps per column and row, then the centre of the first pixel."""
        a = self.geobox.affine
        x, y = a.c + (a.a + a.b) / 2, a.f + (a.d + a.e) / 2
        return "".join(f"{v!r}\n" for v in (a.a, a.d, a.b, a.e, x, y))

    def _abandon(self) -> None:
        pass
