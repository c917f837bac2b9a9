"""Scenes inside HDF5 files: one array is one image, or a stack of images.

Stacks are `(N, H, W, C)` or `(N, C, H, W)`; single images `(H, W, C)`, `(C, H, W)` or `(H, W)`. The shorter of the two
outer axes of an image is its bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sat2map.errors import SceneError
from sat2map.scenes.base import Scene, measured
from sat2map.tiling import Window

MOST = 1_000_000
"""So many images a stack may have, and an image bands: a few bytes can claim any number."""

FAULTS = (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError)
"""What h5py raises in a damaged file."""


@dataclass(frozen=True)
class Hdf5Scene(Scene):
    """One image of an HDF5 array; `index` is its place in a stack, None where the array is a single image."""

    path: str
    key: str
    index: int | None
    bands_first: bool | None  # None: the array has no band axis

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        rows, cols = window.slices
        at = () if self.index is None else (self.index,)
        try:
            with h5py.File(self.path) as file:
                array = file[self.key]
                if self.bands_first is None:
                    pixels = array[(*at, rows, cols)][None]
                elif self.bands_first:
                    pixels = array[(*at, slice(None), rows, cols)]
                else:
                    pixels = np.moveaxis(array[(*at, rows, cols)], -1, 0)
        except FAULTS as error:
            raise SceneError(f"{self.path} cannot be read: {_reason(error)}. Is the file complete?") from None
        pixels = pixels[bands]
        return pixels, measured(pixels)


def array_shapes(path: Path | str) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of all arrays of numbers with two or more axes in a file.

    Raises:
        SceneError: It is no HDF5 file.
    """
    return {name: shape for name, (shape, _) in _arrays(path).items()}


def _arrays(path: Path | str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and type of each array, in this machine's order of bytes."""
    arrays: dict[str, tuple[tuple[int, ...], str]] = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and len(item.shape or ()) >= 2 and item.dtype.kind in "buif":
            arrays[name] = tuple(int(side) for side in item.shape), str(item.dtype.newbyteorder("="))

    try:
        with h5py.File(path) as file:
            file.visititems(note)
    except FAULTS as error:
        raise SceneError(f"{path} cannot be read as HDF5: {_reason(error)}.") from None
    return arrays


def _reason(error: BaseException) -> str:
    return str(error).strip("'\"").rstrip(".")


def open_hdf5(path: Path | str, key: str | None = None, *, stacked: bool | None = None) -> list[Hdf5Scene]:
    """Open all images of one array of a file.

    Args:
        path: The file.
        key: The array's name; not needed if the file has one only.
        stacked: Whether the first axis counts images; if not given, it does in an array of four axes.

    Raises:
        SceneError: There is no such array, or it has no shape of an image.
    """
    arrays = _arrays(path)
    if key is None and len(arrays) == 1:
        key = next(iter(arrays))
    if key is None and len(arrays) > 1:
        raise SceneError(f"{path} holds several arrays ({', '.join(arrays)}), so it is not known which is the image.")
    if key not in arrays:
        raise SceneError(f"{path} has no array {key!r}. It has: {', '.join(arrays) or 'none'}.")
    shape, dtype = arrays[key]
    stacked = len(shape) == 4 if stacked is None else stacked
    image = shape[1:] if stacked else shape
    if len(image) not in (2, 3):
        raise SceneError(f"The array {key!r} of {path} has the shape {shape}: no image and no stack of images.")
    bands_first = None if len(image) == 2 else image[0] < image[-1]
    height, width = image if bands_first is None else image[1:] if bands_first else image[:2]
    count = 1 if bands_first is None else image[0] if bands_first else image[-1]
    if 0 in shape or count > MOST or (stacked and shape[0] > MOST):
        raise SceneError(f"The array {key!r} of {path} has the shape {shape}: none or too many to be images.")
    geobox = GeoBox((height, width), Affine.identity(), None)
    bands = tuple(f"band {i + 1}" for i in range(count))
    indexes: list[int | None] = list(range(shape[0])) if stacked else [None]
    names = [str(path) if i is None else f"{path}:{key}[{i}]" for i in indexes]
    return [
        Hdf5Scene(name, geobox, bands, dtype, str(path), key, i, bands_first)
        for name, i in zip(names, indexes, strict=True)
    ]
