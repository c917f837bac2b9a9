"""A finished class map: its pixels in strips of rows from top to bottom, its classes and its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from sat2map.errors import SceneError, UnknownName
from sat2map.legend import Legend
from sat2map.progress import track
from sat2map.sinks import read_map_legend
from sat2map.sinks.files import reason

WIDER: dict[str, type[np.signedinteger]] = {"uint8": np.int16, "int16": np.int32, "uint16": np.int32, "int32": np.int64}
"""Types of pixels that are traced, and for each one that also holds a number for what is no pixel."""

Strips = Iterator[tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class ClassMap:
    """A raster with one band of whole numbers.

    Args:
        path: Its file.
        shape: Height and width.
        outside: The number that stands for nodata in strips.
        legend: Names and colours of its classes, if it tells them; others are called by their numbers.
        affine: From columns and rows to map coordinates; rows are negative y where the map has no georeference.
        crs: The CRS of map coordinates, if there is one.
    """

    path: Path | str
    shape: tuple[int, int]
    outside: int
    legend: Legend | None
    affine: Affine
    crs: CRS | None

    @property
    def names(self) -> Mapping[int, str]:
        """The names of classes by their numbers."""
        return {c.value: c.name for c in self.legend.classes} if self.legend else {}

    def named(self, values: np.ndarray) -> list[str]:
        """Return the names of classes."""
        names = self.names
        return [names.get(value, str(value)) for value in values.tolist()]

    def values_of(self, classes: tuple[str, ...], rows: int) -> list[int]:
        """Return the numbers of classes, whatever the case of their names. Reads the map if its legend lacks a name.

        Raises:
            UnknownName: The map has no class of that name.
        """
        known = dict(self.names)
        if not {name.casefold() for name in classes} <= {name.casefold() for name in known.values()}:
            found = {v for pixels, _ in self.strips(rows, "Reading classes") for v in np.unique(pixels).tolist()}
            known = {value: str(value) for value in found - {self.outside}} | known
        values = {name.casefold(): value for value, name in known.items()}
        for name in classes:
            if name.casefold() not in values:
                raise UnknownName("class", name, known.values())
        return [values[name.casefold()] for name in classes]

    def strips(self, rows: int, what: str, confidence: Path | str | None = None) -> Strips:
        """Yield strips of some rows: pixels with `outside` for nodata, and the confidences if there are any.

        Raises:
            SceneError: A file cannot be read.
        """
        starts = range(0, self.shape[0], rows)
        try:
            with ExitStack() as stack:
                files = [stack.enter_context(rasterio.open(p)) for p in (self.path, confidence) if p is not None]
                for row in track(starts, what, len(starts)):
                    window = Window(0, row, self.shape[1], min(rows, self.shape[0] - row))
                    pixels = files[0].read(1, window=window, masked=True)
                    pixels = pixels.astype(WIDER[pixels.dtype.name]).filled(self.outside)
                    yield pixels, files[1].read(1, window=window) if confidence is not None else None
        except (RasterioError, OSError) as error:
            read = " or ".join(str(path) for path in (self.path, confidence) if path is not None)
            raise SceneError(f"{read} cannot be read: {reason(error)}. Is the file complete?") from None


def open_class_map(path: Path | str) -> ClassMap:
    """Open a class map.

    Raises:
        SceneError: The file cannot be read, or is no class map.
    """
    try:
        with rasterio.open(path) as file:
            _check_bands(file, path)
            crs = CRS.from_wkt(file.crs.to_wkt()) if file.crs else None
            placed = crs is not None or file.transform != Affine.identity()
            affine = file.transform if placed else Affine.scale(1, -1)
            shape, outside = file.shape, int(np.iinfo(WIDER[file.dtypes[0]]).min)
        legend = read_map_legend(path)
    except SceneError:
        raise
    except (RasterioError, OSError) as error:
        raise SceneError(f"{path} cannot be read as a class map: {reason(error)}.") from None
    return ClassMap(path, shape, outside, legend, affine, crs)


def _check_bands(file: rasterio.DatasetReader, path: Path | str) -> None:
    if file.count != 1:
        raise SceneError(
            f"{path} has {file.count} bands, but a class map has one band with the numbers of the classes."
        )
    if file.dtypes[0] not in WIDER:
        raise SceneError(
            f"{path} holds {file.dtypes[0]}, but a class map holds one of {', '.join(WIDER)}. "
            "Convert it, for example with gdal_translate -ot Int32."
        )


def check_confidence(path: Path | str, map_path: Path | str) -> None:
    """Make sure that a raster holds confidences for each pixel of a map.

    Raises:
        SceneError: It cannot be read, is not one band of uint8, or lies on another grid.
    """
    try:
        with rasterio.open(path) as file, rasterio.open(map_path) as of:
            first, kind = file.descriptions[0], f"{file.count} band{'s' * (file.count > 1)} of {file.dtypes[0]}"
            fits = file.shape == of.shape and (~of.transform @ file.transform).almost_equals(Affine.identity(), 0.01)
    except (RasterioError, OSError) as error:
        raise SceneError(f"{path} cannot be read as confidences: {reason(error)}.") from None
    if kind != "1 band of uint8" and first != "confidence":
        raise SceneError(f"{path} holds {kind}, but confidences are a first band of uint8, from 0 to 254 for 1.")
    if not fits:
        raise SceneError(f"{path} does not lie on the grid of {map_path}. Take the confidences of this very map.")
