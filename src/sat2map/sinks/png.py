"""Class maps as palette PNG with a world file: for reports, web pages, and images without georeference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from affine import Affine
from PIL import Image, PngImagePlugin

from sat2map.raster import is_georeferenced
from sat2map.sinks.base import Numbers

MOST_PIXELS = 1 << 28
"""A PNG is compressed in one go, so the whole map is held in memory: 256 MB at most."""


def write_png(numbers: Numbers, path: Path) -> None:
    """Write a class map as PNG; pixels hold the legend's numbers."""
    table = np.zeros((256, 4), np.uint8)
    table[:, 3] = 255
    for value, colour in numbers.content.colours.items():
        table[value] = colour
    picture = Image.fromarray(np.fromfile(numbers.raw.path, np.uint8).reshape(numbers.raw.shape))
    picture.putpalette(table[:, :3].tobytes())
    texts = PngImagePlugin.PngInfo()
    for key, text in numbers.tags.items():
        texts.add_text(key, text)
    picture.save(path, "PNG", pnginfo=texts, transparency=table[:, 3].tobytes())
    numbers.content.beside(path, numbers.counts, numbers.geobox.crs)
    if is_georeferenced(numbers.geobox):
        path.with_suffix(".pgw").write_text(_world_file(numbers.geobox.affine), encoding="ascii")


def _world_file(a: Affine) -> str:
    """Return the six lines of a world file: steps per column and row, then the centre of the first pixel."""
    x, y = a.c + (a.a + a.b) / 2, a.f + (a.d + a.e) / 2
    return "".join(f"{v!r}\n" for v in (a.a, a.d, a.b, a.e, x, y))
