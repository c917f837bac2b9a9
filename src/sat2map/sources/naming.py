"""Which files of a folder are what, told by their names: images, masks, vectors, legends."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from sat2map.errors import SourceError
from sat2map.files import imagery
from sat2map.labels import VECTOR_SUFFIXES
from sat2map.scenes import HDF5_SUFFIXES, IMAGE_SUFFIXES, files_below

IMAGE_WORDS = ("images", "image", "imgs", "img", "satellite", "orthophotos", "orthophoto", "ortho", "photos", "photo")
MASK_WORDS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "gts", "gt", "groundtruth", "truth",
    "segmentations", "segmentation",
)  # fmt: skip
"""Words that say what a folder holds, whatever other words stand beside them."""

LONE_IMAGE_WORDS = ("sat", "rgb", "a", "x", "inputs", "input", "sources", "source")
LONE_MASK_WORDS = ("targets", "target", "map", "b", "y", "outputs", "output", "seg", "semantic", "anno", "ann")
"""Words that say so alone: `tile_a` and `tile_b` may be two images, and a `target_area` is no mask."""

PART_WORDS: dict[str, Literal["train", "val", "test"]] = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
"""Words that name a part of a split."""

FORMS = ("dir", "folder", "png", "jpg", "jpeg", "tif", "tiff", "geotiff", "all")
"""Words beside them that say nothing of the ground: `masks_png`, `img_dir`."""

INSTANCE_WORDS = {"object", "objects", "instance", "instances"}
"""Words of folders whose masks number single objects, beside those of classes."""

LEGEND_NAMES = (
    "classes", "_classes", "legend", "class_dict", "class_dict_seg", "labelmap", "label_map", "colours", "colors",
)  # fmt: skip
"""Stems of files that are taken for a legend."""

Role = Literal["image", "mask"]

_CHUNK = re.compile(r"[^\W_]+")
_HUMP = re.compile(r"\d+|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_KNOWN = {*IMAGE_WORDS, *MASK_WORDS, *LONE_IMAGE_WORDS, *LONE_MASK_WORDS, *PART_WORDS, *FORMS}
_MASK_STEM = re.compile(r"(?:^|[_\-. ])(?:mask|label|gt)s?(?:[_\-. ]|$)", re.IGNORECASE)
_GEOJSON = re.compile(rb'"(?:FeatureCollection|Feature|features)"')


@dataclass(frozen=True)
class Files:
    """The files below a source, by what they can be; `made` are maps and drawings of this package among the images."""

    root: Path
    images: tuple[Path, ...]
    made: tuple[Path, ...]
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

    legends = tuple(f for f in of((".json", ".csv", ".txt")) if f.stem.casefold() in LEGEND_NAMES and not is_geojson(f))
    vectors = tuple(f for f in of(VECTOR_SUFFIXES) if f.suffix.lower() != ".json" or is_geojson(f))
    rasters = of(IMAGE_SUFFIXES)
    masks = {f for f in rasters if role_of(f.relative_to(root)) == "mask"}  # maps may be labels
    kept = masks | {*imagery([f for f in rasters if f not in masks])}
    images, made = (tuple(f for f in rasters if (f in kept) == wanted) for wanted in (True, False))
    return Files(root, images, made, of(HDF5_SUFFIXES), vectors, legends)


def is_geojson(file: Path) -> bool:
    """Tell whether a JSON file holds shapes, by its beginning."""
    with file.open("rb") as lines:
        return file.suffix.lower() == ".json" and _GEOJSON.search(lines.read(1 << 16)) is not None


def roles_of(root: Path, files: Sequence[Path]) -> dict[Path, Role | None]:
    """Return what files are; where folders call all of them masks, by their own names alone."""
    roles = {f: role_of(f.relative_to(root)) for f in files}
    if set(roles.values()) == {"mask"}:
        return {f: _role_of_stem(f) for f in files}
    return roles


def role_of(path: Path) -> Role | None:
    """Return what a file is by the folder nearest to it that says so, else by its own name."""
    folders = path.parent.parts
    at = _telling(folders)
    return _role_of_stem(path) if at is None else _read(folders[at]).role


def _telling(folders: Sequence[str]) -> int | None:
    """Return which folder says what files are: the innermost with a sure word, else with one that stands alone."""
    read = [_read(folder) for folder in folders]
    told = [i for i, found in enumerate(read) if found.role]
    return max([i for i in told if read[i].sure] or told, default=None)


def _role_of_stem(path: Path) -> Role | None:
    return "mask" if _MASK_STEM.search(path.stem) else None


def names_classes(path: Path) -> bool:
    """Tell whether a file or its folder is called masks or labels, which map pictures are not."""
    return _role_of_stem(path) is not None or any(word in MASK_WORDS for word, _, _ in _words(path.parent.name))


def group_of(path: Path, *, parts_only: bool = False) -> str:
    """Return the folder of a file without the words for images and masks; `trainA` and `train_masks` are `train`.

    Args:
        path: A file within the source.
        parts_only: Also without all that stands beside these words, but for the parts of a split: `original_images`
            and `semantic_masks` are the same.
    """
    folders = path.parent.parts
    at = _telling(folders)
    if parts_only:
        rests = [_read(folder).part for folder in folders]
    else:
        rests = [_read(folder).rest if i == at else folder for i, folder in enumerate(folders)]
    return str(PurePosixPath(*(rest for rest in rests if rest))).strip(".")


class _Read(NamedTuple):
    """What a folder's name says: what it holds, the name without the words for that, and what part it names.

    It is sure where other words may stand beside. A name that says nothing is its own rest and part.
    """

    role: Role | None
    sure: bool
    rest: str
    part: str


@cache
def _read(folder: str) -> _Read:
    words = list(_words(folder))
    held = {word for word, _, _ in words}
    told = [word for word, _, _ in words if word not in {*PART_WORDS, *FORMS} and not word.isdigit()]
    lone = told[0] if len(told) == 1 else ""
    masks, images = not held.isdisjoint(MASK_WORDS), not held.isdisjoint(IMAGE_WORDS)
    role: Role | None = None
    if held & INSTANCE_WORDS:
        return _Read(None, False, folder, folder)
    if lone in LONE_MASK_WORDS or (masks and not (images and held & {"and", "pairs"})):
        role = "mask"
    elif lone in LONE_IMAGE_WORDS or (images and not masks):
        role = "image"
    if role is None:
        return _Read(None, False, folder, folder)
    rest = folder
    for word, start, end in reversed(words):
        if word in {*IMAGE_WORDS, *MASK_WORDS, *FORMS, lone}:
            rest = rest[:start] + rest[end:]
    rest = re.sub(r"([_\-. ])[_\-. ]+", r"\1", rest).strip("_-. ")
    part = "_".join(word for word, _, _ in words if word in PART_WORDS)
    return _Read(role, masks or images, rest, part)


def _words(name: str) -> Iterator[tuple[str, int, int]]:
    """Yield the words of a name in lower case, with their places: `SegmentationClass` and `y_train` are two each."""
    for chunk in _CHUNK.finditer(name):
        whole = chunk[0].casefold() in _KNOWN
        for found in [chunk] if whole else _HUMP.finditer(name, chunk.start(), chunk.end()):
            yield found[0].casefold(), found.start(), found.end()
