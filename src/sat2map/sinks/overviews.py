"""Overviews of class maps: each pixel is the most frequent class of four.

GDAL's own mode takes some eight times as long (docs/log.md), more than the rest of writing a map.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sat2map.legend import IGNORED
from sat2map.sinks.raw import RawFile


def halve(values: np.ndarray) -> np.ndarray:
    """Return a map `(H, W)` uint8 at half its size `(⌈H/2⌉, ⌈W/2⌉)`.

    A pixel is the number that most of its four have: of two pairs the upper left one's, the lowest where all
    differ. Nodata counts only where there is nothing else.
    """
    height, width = values.shape
    if height % 2 or width % 2:
        values = np.pad(values, ((0, height % 2), (0, width % 2)), constant_values=IGNORED)
    a, b, c, d = (np.ascontiguousarray(values[i::2, j::2]) for i in (0, 1) for j in (0, 1))
    half: np.ndarray = np.minimum(np.minimum(a, b), np.minimum(c, d))  # IGNORED is the largest
    for one, twice in ((c, c == d), (b, (b == c) | (b == d)), (a, (a == b) | (a == c) | (a == d))):
        np.copyto(half, one, where=twice & (one != IGNORED))
    return half


def pyramid(raw: RawFile, folder: Path, smallest: int) -> Iterator[RawFile]:
    """Write a map at a half, a quarter ... of its size, until it is not larger than `smallest`."""
    while max(raw.shape) > smallest:
        height, width = raw.shape
        half = RawFile(folder / f"{height}x{width}.raw", 1, (-(-height // 2), -(-width // 2)))
        with half.path.open("wb") as file:
            for strip in raw.strips():
                file.write(halve(strip).data)
        yield half
        raw = half
