"""Scenes that GDAL reads through rasterio: GeoTIFF, COG, VRT, JPEG, PNG and the rest, local or by URL."""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as GdalWindow

from sat2map.errors import SceneError
from sat2map.scenes.base import Scene
from sat2map.tiling import Window

DECODED_AT_ONCE = {"JPEG", "PNG", "BMP", "GIF", "WEBP"}
"""Drivers without random access: a window costs as much as the file, so the file is decoded once and kept."""

# Pictures without georeference are welcome here. A filter around each `open` would not do: files are opened by threads.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

END_MARKS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
"""What stands at the end of a complete file."""

KEPT_BYTES = 1 << 30
"""How much of such files is kept decoded."""

OPEN_FILES = 64
"""How many files a thread keeps open."""


@dataclass(frozen=True)
class GdalScene(Scene):
    """An image file. Alpha, nodata, NaN, infinity and mask bands become validity; a palette becomes its colours."""

    path: str
    indexes: tuple[int, ...]
    driver: str
    palette: bool = False
    nodata: float | None = None
    masked: bool = True  # False: pixels that are nodata count as valid

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        if self.driver in DECODED_AT_ONCE:
            every = list(range(len(self.bands)))
            pixels, valid = _decoded.get(
                (*_version(self.path), self.palette, self.masked), lambda: self._decode(None, every)
            )
            rows, cols = window.slices
            return pixels[bands, rows, cols], valid[rows, cols]
        return self._decode(window, bands)

    def _decode(self, window: Window | None, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        area = GdalWindow(window.col, window.row, window.width, window.height) if window else None
        try:
            file = _open(self.path)
            valid = file.dataset_mask(window=area) > 0 if self.masked else None
            if self.palette:
                pixels = _palette_colours(file, file.read(1, window=area))[bands]
            else:
                pixels = file.read([self.indexes[b] for b in bands], window=area)
        except (RasterioError, OSError, IndexError) as error:
            raise SceneError(f"{self.path} cannot be read: {_reason(error)}. Is the file complete?") from None
        if valid is None:
            valid = np.ones(pixels.shape[1:], bool)
        if np.issubdtype(pixels.dtype, np.floating):
            valid &= np.isfinite(pixels).all(axis=0)
        return pixels, valid


def open_gdal(path: Path | str, *, colours: bool = True) -> GdalScene:
    """Open an image file, or anything GDAL knows by that name.

    Args:
        path: A file, a URL, or a name of GDAL's own.
        colours: Whether a palette image is read as its colours (three bands) or as its numbers (one band).

    Raises:
        SceneError: There is no such file, or GDAL cannot read it.
    """
    try:
        file = _open(str(path))
        _check_end(str(path), file.driver)
    except (RasterioError, OSError) as error:
        raise SceneError(f"{path} cannot be read as an image: {_reason(error)}.") from None
    if file.count == 0:
        raise SceneError(f"{path} holds no bands. If it has sub-datasets, name one of: {', '.join(file.subdatasets)}.")
    palette = colours and file.count == 1 and file.colorinterp[0] == ColorInterp.palette
    indexes = tuple(i for i in file.indexes if file.colorinterp[i - 1] != ColorInterp.alpha)
    bands = ("red", "green", "blue") if palette else tuple(_band_name(file, i) for i in indexes)
    dtype = "uint8" if palette else str(np.result_type(*(file.dtypes[i - 1] for i in indexes)))
    geobox = GeoBox((file.height, file.width), file.transform, _crs(file))
    return GdalScene(str(path), geobox, bands, dtype, str(path), indexes, file.driver, palette, file.nodata)


def _check_end(path: str, driver: str) -> None:
    """Refuse a picture that was cut off: GDAL fills missing rows of a PNG with zeros, and reads a JPEG late.

    Raises:
        OSError: The file does not end as its format asks.
    """
    mark = END_MARKS.get(driver)
    if mark is not None and Path(path).is_file():
        with open(path, "rb") as file:
            file.seek(-min(1024, Path(path).stat().st_size), os.SEEK_END)
            if mark not in file.read():
                raise OSError("its end is missing")


def _band_name(file: rasterio.DatasetReader, index: int) -> str:
    """Return the band's description, its colour, or its number."""
    colour = file.colorinterp[index - 1]
    named = colour.name if colour in (ColorInterp.red, ColorInterp.green, ColorInterp.blue) else None
    return file.descriptions[index - 1] or named or f"band {index}"


def _crs(file: rasterio.DatasetReader) -> str | None:
    return file.crs.to_wkt() if file.crs else None


def _palette_colours(file: rasterio.DatasetReader, numbers: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    for number, colour in file.colormap(1).items():
        table[number] = colour[:3]
    return np.moveaxis(table[numbers], -1, 0)


def _reason(error: BaseException) -> str:
    """Return what GDAL said, in one line without its full stop."""
    return " ".join(str(error.__cause__ or error).split()).rstrip(".")


Version = tuple[str, int]
"""A path and when the file was last changed, so that a file written anew is read anew."""


def _version(path: str) -> Version:
    try:
        return path, Path(path).stat().st_mtime_ns
    except OSError:  # a URL, or a name of GDAL's own
        return path, 0


_threads = threading.local()


def _open(path: str) -> rasterio.DatasetReader:
    """Return an open file; each thread has its own, as GDAL asks."""
    files: OrderedDict[Version, rasterio.DatasetReader] = _threads.__dict__.setdefault("files", OrderedDict())
    version = _version(path)
    if version not in files:
        files[version] = rasterio.open(path)
        if len(files) > OPEN_FILES:
            files.popitem(last=False)[1].close()
    files.move_to_end(version)
    return files[version]


Decoded = tuple[np.ndarray, np.ndarray]


class _Kept:
    """Decoded files, the least recently used forgotten first."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._files: OrderedDict[Hashable, Decoded] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, decode: Callable[[], Decoded]) -> Decoded:
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
        decoded = decode()
        with self._lock:
            if key not in self._files:
                self._files[key] = decoded
                self._bytes += sum(a.nbytes for a in decoded)
            while self._bytes > self._limit and len(self._files) > 1:
                _, old = self._files.popitem(last=False)
                self._bytes -= sum(a.nbytes for a in old)
        return decoded


_decoded = _Kept(KEPT_BYTES)
