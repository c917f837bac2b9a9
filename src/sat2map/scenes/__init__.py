"""Everything windows can be read from, behind one noun: `Scene`.

A new kind of file is a module here and a row in `OPENERS`.
"""

from __future__ import annotations

import glob
from collections.abc import Callable
from pathlib import Path

from sat2map.errors import SceneError
from sat2map.scenes.array import array_scene
from sat2map.scenes.base import Scene
from sat2map.scenes.gdal import open_gdal
from sat2map.scenes.hdf5 import open_hdf5
from sat2map.scenes.mosaic import open_mosaic
from sat2map.scenes.views import crop, resample, select, warp

__all__ = ["OPENERS", "Scene", "array_scene", "crop", "image_files", "open_scene", "resample", "select", "warp"]

IMAGE_SUFFIXES = (
    ".tif", ".tiff", ".gtif", ".gtiff", ".vrt", ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".jp2", ".img"
)  # fmt: skip
"""File names that are taken for images when a folder is searched."""

HDF5_SUFFIXES = (".h5", ".hdf5", ".he5", ".hdf")


def _open_one_hdf5(path: str) -> Scene:
    scenes = open_hdf5(path)
    if len(scenes) > 1:
        raise SceneError(f"{path} holds {len(scenes)} images. A map is made of one: name a file with a single image.")
    return scenes[0]


OPENERS: dict[str, Callable[[str], Scene]] = dict.fromkeys(HDF5_SUFFIXES, _open_one_hdf5)
"""How a file of this suffix is opened; every other file is GDAL's."""


def open_scene(path: Path | str) -> Scene:
    """Open an image file, a URL, or a folder or glob of tiles as one scene.

    Raises:
        SceneError: There is no such image, it cannot be read, or the tiles do not fit together.
    """
    text = str(path)
    if "://" in text or text.startswith("/vsi"):
        return open_gdal(text)
    files = image_files(text)
    return open_mosaic([_open_file(file) for file in files], name=text)


def image_files(path: str) -> list[str]:
    """Return the image files meant by a path, a folder or a glob, sorted by name."""
    if Path(path).is_dir():
        files = [str(f) for f in Path(path).iterdir() if f.suffix.lower() in IMAGE_SUFFIXES + HDF5_SUFFIXES]
    elif Path(path).exists():
        files = [path]
    else:
        files = [f for f in glob.glob(path, recursive=True) if Path(f).is_file()]
    if not files:
        what = "no image in the folder" if Path(path).is_dir() else "no file"
        raise SceneError(f"There is {what} {path}. Name an image file, a folder of tiles, or a pattern in quotes.")
    return sorted(files)


def _open_file(path: str) -> Scene:
    return OPENERS.get(Path(path).suffix.lower(), open_gdal)(path)
