"""`Sink`: something blocks can be written to in any order; nothing is visible at the path before `close`."""

from __future__ import annotations

import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from sat2map.errors import OutputError
from sat2map.legend import IGNORED, Legend
from sat2map.sinks.files import Part, reason
from sat2map.tiling import Window, whole

# Maps of pictures without georeference are welcome. A filter around each `open` would not do: sinks serve threads.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)


class Sink(ABC):
    """A class map that is being written; used with `with`: published at its end, discarded on an exception.

    The file is the same to the last byte in whatever order, and by how many threads, its blocks were written. Pixels
    never written are nodata.

    Args:
        path: The destination.
        geobox: The map's place.
        legend: The classes, with the numbers and colours they have in the file.
        tags: What else to note in the file.
    """

    def __init__(self, path: Path, geobox: GeoBox, legend: Legend, tags: Mapping[str, str]) -> None:
        self.path, self.geobox, self.legend, self.tags = path, geobox, legend, dict(tags)
        height, width = geobox.shape
        self.shape = int(height), int(width)
        self._lock, self._done = threading.Lock(), False
        names = (f"{path.name}{suffix}" for suffix in (".aux.xml", ".ovr", ".msk"))
        self._part = Part(path, (*names, path.with_suffix(".pgw").name))
        try:
            self._open()
        except BaseException:
            self.discard()
            raise

    def write(self, window: Window, ids: np.ndarray) -> None:
        """Write a block: class ids `(height, width)` uint8, `IGNORED` where there is no data.

        Raises:
            OutputError: The disk is full or gone.
        """
        if ids.shape != window.shape or window.intersect(whole(self.shape)) != window:
            raise ValueError(f"A block of {ids.shape} does not fit {window} of a map of {self.shape}.")
        values = self.legend.values(ids)
        with self._lock:
            try:
                self._write(window, values)
            except (RasterioError, OSError) as error:
                raise self._failed(error) from error

    def close(self) -> None:
        """Finish the file and publish it at its path; a second call does nothing.

        Raises:
            OutputError: The disk is full or gone; an older file at the path is as it was.
        """
        if self._done:
            return
        try:
            self._finish()
            self._part.publish()
        except (RasterioError, OSError) as error:
            raise self._failed(error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what was written; an older file at the path stays."""
        self._done = True
        self._abandon()
        self._part.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()

    def _failed(self, error: BaseException) -> OutputError:
        return OutputError(f"{self.path} cannot be written: {reason(error)}. Is there room on the disk?")

    @abstractmethod
    def _open(self) -> None:
        """Get ready for blocks."""

    @abstractmethod
    def _write(self, window: Window, values: np.ndarray) -> None:
        """Write numbers of the legend `(h, w)` uint8; only one thread is here at a time."""

    @abstractmethod
    def _finish(self) -> None:
        """Leave the finished file, and what belongs beside it, in the part folder."""

    @abstractmethod
    def _abandon(self) -> None:
        """Let go of everything that is open; called at the end in any case."""


def colour_table(legend: Legend) -> dict[int, tuple[int, int, int, int]]:
    """Return red, green, blue and opacity of the numbers in a map; nodata is transparent."""
    table = {c.value: (*c.colour, 255) for c in legend.classes}
    return table | {IGNORED: (0, 0, 0, 0)}
