"""Which files of a folder are what, told by their names: images, masks, vectors, legends."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from sat2map.errors import SourceError
from sat2map.labels import VECTOR_SUFFIXES
from sat2map.scenes import HDF5_SUFFIXES, IMAGE_SUFFIXES, files_below

IMAGE_WORDS = ("images", "image", "imgs", "img", "satellite", "sat", "rgb", "a", "x")
MASK_WORDS = ("masks", "mask", "labels", "label", "annotations", "gt", "truth", "targets", "target", "map", "b", "y")

UNSURE_WORDS = ("sat", "rgb", "map", "a", "b", "x", "y")
"""Those of both that can as well be a part of a name: `tile_a` and `tile_b` may be two images."""

LEGEND_NAMES = ("classes", "legend", "class_dict", "labelmap", "colours", "colors")
"""Stems of files that are taken for a legend."""

Role = Literal["image", "mask"]

_ANY = "|".join(IMAGE_WORDS + MASK_WORDS)
_FOLDER = re.compile(rf"(?P<part>(?:train|val|test)(?:ing|id|idation)?)?[_\- ]?(?P<word>{_ANY})", re.IGNORECASE)
_SURE = "|".join(word for word in IMAGE_WORDS + MASK_WORDS if word not in UNSURE_WORDS)
_SURE_WORD, _ANY_WORD = (
    re.compile(rf"(?:^|(?<=[_\-. ]))(?:{words})(?:[_\-. ]|$)", re.IGNORECASE) for words in (_SURE, _ANY)
)
_MASK_STEM = re.compile(r"(?:^|[_\-. ])(?:mask|label|gt)s?(?:[_\-. ]|$)", re.IGNORECASE)
_CLASSES = re.compile(r"(?:^|[_\-. /])(?:masks?|labels?|annotations|gt)(?:[_\-. /]|$)", re.IGNORECASE)
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


def names_classes(path: Path) -> bool:
    """Tell whether a file or its folder is called masks or labels, which map pictures are not."""
    return _CLASSES.search("/".join(path.parts[-2:])) is not None


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


def partners(images: Mapping[Path, str], masks: Mapping[Path, str]) -> dict[Path, Path]:
    """Return each image's mask, both given with their groups: of the same name in the same group, else `by_words`."""
    by_stem = {(group, mask.stem): mask for mask, group in masks.items()}
    found = {f: by_stem[group, f.stem] for f, group in images.items() if (group, f.stem) in by_stem}
    return by_words(images, masks, found)


def by_words(images: Mapping[Path, str], masks: Mapping[Path, str], found: Mapping[Path, Path]) -> dict[Path, Path]:
    """Pair what is left over by what remains of the names in a group without the words for images and masks.

    What remains pairs only where it is of one image and one mask. `UNSURE_WORDS` are left out only in groups where
    nothing else pairs any image.

    Args:
        images: The images with their groups.
        masks: The masks with theirs.
        found: The pairs that are known.

    Returns:
        Images with their masks, those of `found` among them, in the order of `images`.
    """
    paired = dict(found)
    for words in (_SURE_WORD, _ANY_WORD):
        settled = {images[f] for f in paired} if words is _ANY_WORD else set()
        lone_images, lone_masks = _alone(images, words), _alone(masks, words)
        for key in lone_images.keys() & lone_masks.keys():
            if key[0] not in settled:
                paired.setdefault(lone_images[key], lone_masks[key])
    return {f: paired[f] for f in images if f in paired}


def _alone(files: Mapping[Path, str], words: re.Pattern[str]) -> dict[tuple[str, str], Path]:
    """Return files by group and name without these words, where that is the name of one file only."""
    keys = {f: (group, _without(words, f.stem.casefold())) for f, group in files.items()}
    often = Counter(keys.values())
    return {key: f for f, key in keys.items() if often[key] == 1}


def _without(words: re.Pattern[str], stem: str) -> str:
    return words.sub("", stem).strip("_-. ") or stem


def twins(files: Sequence[Path]) -> set[Path]:
    """Return the masks where images and masks lie in one folder under one name: `a.jpg` and its mask `a.png`."""
    same: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for file in files:
        same[file.parent, file.stem].append(file)
    return {f for those in same.values() if len(those) == 2 for f in those if f.suffix.lower() == ".png"}
