"""Which files of a folder are what, told by their names: images, masks, vectors, legends."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from sat2map.errors import SourceError
from sat2map.labels import VECTOR_SUFFIXES
from sat2map.scenes import HDF5_SUFFIXES, IMAGE_SUFFIXES, files_below

IMAGE_WORDS = ("images", "image", "imgs", "img", "satellite", "sat", "rgb", "a", "x")
MASK_WORDS = ("masks", "mask", "labels", "label", "annotations", "gt", "truth", "targets", "target", "map", "b", "y")

LEGEND_NAMES = ("classes", "legend", "class_dict", "labelmap", "colours", "colors")
"""Stems of files that are taken for a legend."""

Role = Literal["image", "mask"]

_ANY = "|".join(IMAGE_WORDS + MASK_WORDS)
_FOLDER = re.compile(rf"(?P<part>(?:train|val|test)(?:ing|id|idation)?)?[_\- ]?(?P<word>{_ANY})", re.IGNORECASE)
_WORD = re.compile(rf"(?:^|(?<=[_\-. ]))(?:{_ANY})(?:[_\-. ]|$)", re.IGNORECASE)
_MASK_STEM = re.compile(r"(?:^|[_\-. ])(?:mask|label|gt)s?(?:[_\-. ]|$)", re.IGNORECASE)
_GEOJSON = re.compile(rb'"(?:FeatureCollection|Feature|features)"')


@dataclass(frozen=True)
class Files:
    """The files below a source, by what they can be."""

    root: Path
    images: tuple[Path, ...]
    hdf5: tuple[Path, ...]
    vectors: tuple[Path, ...]
    legends: tuple[Path, ...]


def find_files(path: Path) -> Files:
    """List the files of a source by what they can be.

    Raises:
        SourceError: There is no such folder or file.
    """
    if not path.exists():
        raise SourceError(f"There is no {path}. Name a folder with images and labels, or an image or HDF5 file.")
    root = path if path.is_dir() else path.parent
    every = sorted(files_below(path)) if path.is_dir() else [path]
    visible = [f for f in every if not any(part.startswith(".") for part in f.relative_to(root).parts)]

    def of(suffixes: Sequence[str]) -> tuple[Path, ...]:
        return tuple(f for f in visible if f.suffix.lower() in suffixes)

    legends = tuple(f for f in of((".json", ".csv")) if f.stem.casefold() in LEGEND_NAMES and not is_geojson(f))
    vectors = tuple(f for f in of(VECTOR_SUFFIXES) if f.suffix.lower() != ".json" or is_geojson(f))
    return Files(root, of(IMAGE_SUFFIXES), of(HDF5_SUFFIXES), vectors, legends)


def is_geojson(file: Path) -> bool:
    """Tell whether a JSON file holds shapes, by its beginning."""
    with file.open("rb") as lines:
        return file.suffix.lower() == ".json" and _GEOJSON.search(lines.read(1 << 16)) is not None


def role_of(path: Path) -> Role | None:
    """Return what a file is by the folder nearest to it that says so, else by its own name."""
    for folder in reversed(path.parent.parts):
        match = _FOLDER.fullmatch(folder)
        if match:
            return "image" if match["word"].casefold() in IMAGE_WORDS else "mask"
    return "mask" if _MASK_STEM.search(path.stem) else None


def group_of(path: Path) -> str:
    """Return the folder of a file without the words for images and masks; `trainA` and `train_masks` are `train`."""
    parts = []
    for folder in path.parent.parts:
        match = _FOLDER.fullmatch(folder)
        parts.append(folder if match is None else match["part"] or "")
    return str(PurePosixPath(*(p for p in parts if p))).strip(".")


def key_of(path: Path) -> str:
    """Return what an image and its mask share of their names: the stem without the words for either."""
    return _WORD.sub("", path.stem).strip("_-. ").casefold() or path.stem.casefold()


def twins(files: Sequence[Path]) -> set[Path]:
    """Return the masks where images and masks lie in one folder under one name: `a.jpg` and its mask `a.png`."""
    same: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for file in files:
        same[file.parent, file.stem].append(file)
    return {f for those in same.values() if len(those) == 2 for f in those if f.suffix.lower() == ".png"}
