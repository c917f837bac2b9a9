"""Flat files of numbers: what a map grows in, since a block can be put anywhere and whatever was written stays put."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path

import numpy as np
from PIL import Image

from sat2map.tiling import Window

STRIP = 1 << 24
"""Pixels that are held in memory at a time."""


@dataclass(frozen=True)
class RawFile:
    """Bands one after the other, each row by row, a byte per pixel, without header.

    Args:
        path: The file.
        bands: How many bands.
        shape: Height and width.
    """

    path: Path
    bands: int
    shape: tuple[int, int]

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.bands * self.shape[0] * self.shape[1]

    @property
    def complete(self) -> bool:
        """Whether the file is there in its full length."""
        return self.path.is_file() and self.path.stat().st_size == self.size

    def create(self) -> None:
        """Make the file, with holes instead of pixels."""
        with self.path.open("wb") as file:
            file.truncate(self.size)
            os.fsync(file.fileno())

    def write(self, window: Window, values_KHW: np.ndarray) -> None:
        """Write uint8 `(bands, h, w)` into a window."""
        height, width = self.shape
        values_KHW = np.ascontiguousarray(values_KHW)
        for band, values in enumerate(values_KHW):
            start = (band * height + window.row) * width + window.col
            if window.width == width:
                self._put(start, values)
                continue
            for row, line in enumerate(values):
                self._put(start + row * width, line)

    def fill(self, window: Window, number: int) -> None:
        """Write one number into a window of all bands."""
        rows = max(STRIP // max(window.width, 1), 1)
        for row in range(window.row, window.bottom, rows):
            part = window._replace(row=row, height=min(rows, window.bottom - row))
            self.write(part, np.full((self.bands, *part.shape), number, np.uint8))

    def sync(self) -> None:
        """Wait until everything written would survive a power cut."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        if "_file" in self.__dict__:
            self._file.close()
            del self.__dict__["_file"]

    def strips(self, band: int = 0) -> Iterator[np.ndarray]:
        """Yield the rows of a band in strips `(h, w)`, from top to bottom; each but the last is even."""
        height, width = self.shape
        rows = max(STRIP // width // 2 * 2, 2)
        for row in range(0, height, rows):
            count = min(rows, height - row)
            offset = (band * height + row) * width
            yield np.fromfile(self.path, np.uint8, count * width, offset=offset).reshape(count, width)

    def counts(self, band: int = 0) -> np.ndarray:
        """Return how many pixels of a band hold each number, `(256,)` int64."""
        counts = np.zeros(256, np.int64)
        for strip in self.strips(band):
            counts += Image.fromarray(strip).histogram()
        return counts

    @cached_property
    def _file(self) -> FileIO:
        return self.path.open("r+b", buffering=0)

    def _put(self, offset: int, values: np.ndarray) -> None:
        self._file.seek(offset)
        rest = values.reshape(-1).data
        while rest:
            rest = rest[self._file.write(rest) :]


def gaps(windows: Collection[Window], shape: tuple[int, int]) -> Iterator[Window]:
    """Yield windows that cover what these windows of a map of `shape` leave open."""
    rows = sorted({0, shape[0], *(edge for w in windows for edge in (w.row, w.bottom))})
    cols = sorted({0, shape[1], *(edge for w in windows for edge in (w.col, w.right))})
    covered = np.zeros((len(rows) - 1, len(cols) - 1), bool)
    for w in windows:
        covered[
            bisect_left(rows, w.row) : bisect_left(rows, w.bottom),
            bisect_left(cols, w.col) : bisect_left(cols, w.right),
        ] = True
    for i, j in np.argwhere(~covered).tolist():
        yield Window(rows[i], cols[j], rows[i + 1] - rows[i], cols[j + 1] - cols[j])
