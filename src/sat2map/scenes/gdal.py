"""Scenes that GDAL reads through rasterio: GeoTIFF, COG, VRT, JPEG, PNG and the rest, local or by URL."""

from __future__ import annotations

import os
import shlex
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window as GdalWindow

from sat2map.errors import SceneError
from sat2map.scenes.base import Scene, measured
from sat2map.scenes.handles import file_version, open_file, reading
from sat2map.tiling import Window

DECODED_AT_ONCE = {"JPEG", "PNG", "BMP", "GIF", "WEBP"}
"""Drivers without random access: a window costs as much as the file, so the file is decoded once and kept."""

END_MARKS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
"""What stands at the end of a complete file."""

KEPT_BYTES = 1 << 30
"""How much of such files is kept decoded; a larger one is read window by window."""


@dataclass(frozen=True)
class GdalScene(Scene):
    """An image file. Alpha, nodata, masks and what is not `measured` become validity; a palette becomes its colours."""

    path: str
    indexes: tuple[int, ...]
    driver: str
    palette: bool = False
    nodata: float | None = None
    masked: bool = True  # False: no pixel is masked, or those that are nodata count as valid
    block: tuple[int, int] = (1, 1)  # height and width of what the file stores as one piece
    alpha: int | None = None  # an alpha band that GDAL knows, but does not take for a mask

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        if not self.decoded_at_once:
            return self._decode(window, bands)
        every = list(range(len(self.bands)))
        key = (*file_version(self.path), self.palette, self.masked)
        pixels, valid = _decoded.get(key, lambda: self._decode(None, every))
        rows, cols = window.slices
        return pixels[bands, rows, cols], valid[rows, cols].copy()

    @property
    def decoded_at_once(self) -> bool:
        """Whether any window costs as much as the file, which is then decoded once and kept."""
        size = len(self.bands) * self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize
        return self.driver in DECODED_AT_ONCE and size <= KEPT_BYTES

    def _decode(self, window: Window | None, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        area = GdalWindow(window.col, window.row, window.width, window.height) if window else None
        with reading(self.path):
            file = open_file(self.path)
            valid = file.dataset_mask(window=area) > 0 if self.masked else None
            if valid is not None and self.alpha is not None:
                valid &= file.read(self.alpha, window=area) != 0
            if self.palette:
                pixels = _palette_colours(file, file.read(1, window=area))[bands]
            else:
                pixels = _bands(file, [self.indexes[b] for b in bands], area)
        return pixels, measured(pixels) if valid is None else valid & measured(pixels)


def open_gdal(path: Path | str, *, colours: bool = True) -> GdalScene:
    """Open an image file, or anything GDAL knows by that name.

    Args:
        path: A file, a URL, or a name of GDAL's own.
        colours: Whether a palette image is read as its colours (three bands) or as its numbers (one band).

    Raises:
        SceneError: There is no such file, GDAL cannot read it, or its pixels lie on no grid.
    """
    name = str(path)
    with reading(name, "cannot be read as an image", advice=""):
        file = open_file(name)
        _check_end(name, file.driver)
        _check_bands(name, file)
        _check_grid(name, file)
        return _scene(name, file, colours)


def _scene(path: str, file: rasterio.DatasetReader, colours: bool) -> GdalScene:
    palette = colours and file.count == 1 and file.colorinterp[0] == ColorInterp.palette
    opaque = tuple(i for i in file.indexes if file.colorinterp[i - 1] != ColorInterp.alpha)
    indexes = opaque or tuple(file.indexes)
    # GDAL takes alpha for a mask in images of one or three bands of uint8 or uint16 only
    unused = [] if MaskFlags.alpha in file.mask_flag_enums[0] else [i for i in file.indexes if i not in indexes]
    return GdalScene(
        name=path,
        geobox=GeoBox((file.height, file.width), file.transform, file.crs.to_wkt() if file.crs else None),
        bands=("red", "green", "blue") if palette else tuple(_band_name(file, i) for i in indexes),
        dtype="uint8" if palette else str(np.result_type(*(file.dtypes[i - 1] for i in indexes))),
        path=path,
        indexes=indexes,
        driver=file.driver,
        palette=palette,
        nodata=file.nodata,
        masked=bool(unused) or any(MaskFlags.all_valid not in flags for flags in file.mask_flag_enums),
        block=file.block_shapes[0],
        alpha=unused[0] if unused else None,
    )


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


def _check_bands(path: str, file: rasterio.DatasetReader) -> None:
    if file.count == 0:
        raise SceneError(f"{path} holds no bands. If it has sub-datasets, name one of: {', '.join(file.subdatasets)}.")
    if any(dtype.startswith("complex") for dtype in file.dtypes):
        raise SceneError(f"{path} holds complex numbers. Write their amplitude to a file, and name that.")


def _check_grid(path: str, file: rasterio.DatasetReader) -> None:
    """Refuse an image that is placed on the ground by points or by a camera's model alone.

    Raises:
        SceneError: With the command that brings it onto a grid.
    """
    if file.transform.is_degenerate or not np.isfinite(file.transform).all():
        raise SceneError(f"{path} has pixels without a size {file.transform[:6]}. Place it anew with gdal_translate.")
    points = len(file.gcps[0]) >= 3
    if file.transform != Affine.identity() or not (points or file.rpcs):
        return
    what, how = ("ground control points", "") if points else ("a camera model (RPC)", "-rpc -t_srs EPSG:4326 ")
    made = f"{PurePosixPath(path.partition('?')[0]).stem}-warped.tif"
    raise SceneError(
        f"{path} is placed by {what}, so its pixels lie on no grid. Bring it onto one, and name the new file: "
        f"gdalwarp {how}-r bilinear -dstalpha {shlex.quote(path)} {shlex.quote(made)}"
    )


def _band_name(file: rasterio.DatasetReader, index: int) -> str:
    """Return the band's description, its colour, or its number."""
    colour = file.colorinterp[index - 1]
    named = colour.name if colour in (ColorInterp.red, ColorInterp.green, ColorInterp.blue) else None
    return file.descriptions[index - 1] or named or f"band {index}"


def _bands(file: rasterio.DatasetReader, indexes: list[int], area: GdalWindow | None) -> np.ndarray:
    """Read bands; those of several types, as a VRT may have, one by one: rasterio reads only bands of one at once."""
    if len({file.dtypes[i - 1] for i in indexes}) > 1:
        return np.stack([file.read(i, window=area) for i in indexes])
    pixels: np.ndarray = file.read(indexes, window=area)
    return pixels


def _palette_colours(file: rasterio.DatasetReader, numbers: np.ndarray) -> np.ndarray:
    table = np.zeros((np.iinfo(numbers.dtype).max + 1, 3), np.uint8)
    for number, colour in file.colormap(1).items():
        table[number] = colour[:3]
    return np.moveaxis(table[numbers], -1, 0)


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
