"""Class maps as palette PNG, pictures as RGBA: for reports, web pages, and images without georeference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from affine import Affine
from PIL import Image, PngImagePlugin

from sat2map.raster import is_georeferenced
from sat2map.sinks.base import Numbers
from sat2map.sinks.raw import RawFile

MOST_BYTES = 1 << 28
"""A PNG is compressed in one go, so the whole map is held in memory: 256 MB at most."""


def write_png(numbers: Numbers, path: Path) -> None:
    """Write a class map or a picture as PNG; a class map's pixels hold the legend's numbers."""
    image = Image.fromarray(_interleaved(numbers.raw))
    if numbers.content.colours:
        image.putpalette(_palette(numbers.content.colours), "RGBA")
    texts = PngImagePlugin.PngInfo()
    for key, text in numbers.tags.items():
        texts.add_text(key, text)
    image.save(path, "PNG", pnginfo=texts)
    numbers.content.beside(path, numbers.counts, numbers.geobox.crs)
    if is_georeferenced(numbers.geobox):
        path.with_suffix(".pgw").write_text(_world_file(numbers.geobox.affine), encoding="ascii")


def _interleaved(raw: RawFile) -> np.ndarray:
    """Return all numbers as Pillow takes them: `(H, W)`, or `(H, W, bands)`."""
    pixels = np.empty((*raw.shape, raw.bands), np.uint8)
    for band in range(raw.bands):
        rest = pixels[:, :, band]
        for strip in raw.strips(band):
            rest[: len(strip)] = strip
            rest = rest[len(strip) :]
    return pixels if raw.bands > 1 else pixels[:, :, 0]


def _palette(colours: Mapping[int, tuple[int, int, int, int]]) -> bytes:
    """Return the red, green, blue and opacity of all 256 numbers."""
    return bytes(part for value in range(256) for part in colours.get(value, (0, 0, 0, 255)))


def _world_file(a: Affine) -> str:
    """Return the six lines of a world file: steps per column and row, then the centre of the first pixel."""
    x, y = a.c + (a.a + a.b) / 2, a.f + (a.d + a.e) / 2
    return "".join(f"{v!r}\n" for v in (a.a, a.d, a.b, a.e, x, y))
