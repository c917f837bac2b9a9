"""Everything windows can be read from, behind one noun: `Scene`.

A new kind of file is a module here and a row in `OPENERS`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sat2map.errors import SceneError
from sat2map.files import imagery
from sat2map.scenes.area import clip
from sat2map.scenes.array import array_scene
from sat2map.scenes.base import Scene
from sat2map.scenes.gdal import open_gdal
from sat2map.scenes.handles import is_remote
from sat2map.scenes.hdf5 import open_hdf5
from sat2map.scenes.mosaic import open_mosaic
from sat2map.scenes.stac import asset_of, is_item
from sat2map.scenes.tolerant import TolerantScene, tolerant
from sat2map.scenes.views import crop, resample, select, unplaced, warp

__all__ = [
    "OPENERS",
    "Scene",
    "TolerantScene",
    "array_scene",
    "clip",
    "crop",
    "files_below",
    "image_files",
    "open_scene",
    "resample",
    "select",
    "tolerant",
    "unplaced",
    "warp",
]

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
    """Open an image file, a URL, an asset of a STAC item, or a folder or pattern of tiles as one scene.

    Args:
        path: A file, folder or pattern; a URL (`https://`, `s3://`) or another virtual file of GDAL; or the file or
            URL of a STAC item, with `#asset` where it has several.

    Raises:
        SceneError: There is no such image, it cannot be read, or the tiles do not fit together.
    """
    name = asset_of(str(path)) if is_item(str(path)) else str(path)
    if is_remote(name):
        return open_gdal(name)
    return open_mosaic([_open_file(file) for file in image_files(name)], name=name)


def image_files(path: str) -> list[str]:
    """Return the image files meant by a path, a folder (with all folders in it) or a glob, sorted by name."""
    try:
        files, what = _found(path)
    except (OSError, ValueError) as error:
        raise SceneError(f"{path[:80]!r} cannot be the name of an image: {error.args[-1]}.") from None
    if not files:
        raise SceneError(f"There is {what} {path}. Name an image file, a folder of tiles, or a pattern in quotes.")
    return sorted(files)


def _found(path: str) -> tuple[list[str], str]:
    """Return the files that a name means, and what is missing if there is none."""
    if path and Path(path).is_dir():
        suffixes = IMAGE_SUFFIXES + HDF5_SUFFIXES
        images = [f for f in files_below(Path(path)) if f.suffix.lower() in suffixes]
        return [str(f) for f in imagery(images)], "no image in the folder"
    if path and Path(path).exists():
        return [path], ""
    return [f for f in glob.glob(path, recursive=True) if Path(f).is_file()], "no file"


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and all folders in it, also behind links, each folder once; hidden ones are left."""
    seen = set()
    for path, folders, files in os.walk(folder, followlinks=True):
        if Path(path).resolve() in seen:
            folders.clear()
            continue
        seen.add(Path(path).resolve())
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (Path(path) / f for f in sorted(files) if not f.startswith(".") and (Path(path) / f).is_file())


def _open_file(path: str) -> Scene:
    return OPENERS.get(Path(path).suffix.lower(), open_gdal)(path)
