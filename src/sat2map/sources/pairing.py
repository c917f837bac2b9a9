"""Which mask belongs to which image, told by their names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from sat2map.sources.naming import (
    IMAGE_WORDS,
    LONE_IMAGE_WORDS,
    LONE_MASK_WORDS,
    MASK_WORDS,
    group_of,
    role_of,
    roles_of,
)


def _beside(words: Sequence[str]) -> re.Pattern[str]:
    """Return what finds these words at the ends of a name or between separators."""
    return re.compile(rf"(?:^|(?<=[_\-. ]))(?:{'|'.join(words)})(?:[_\-. ]|$)", re.IGNORECASE)


_SURE_WORD = _beside(IMAGE_WORDS + MASK_WORDS + ("targets", "target"))
_ANY_WORD = _beside(IMAGE_WORDS + MASK_WORDS + LONE_IMAGE_WORDS + LONE_MASK_WORDS)


Groups = Mapping[Path, str]
"""Files with the groups in which their names are compared."""


def partners(images: dict[Path, Path], masks: dict[Path, Path]) -> dict[Path, Path]:
    """Return each image's mask, where there is one that its name tells.

    Names are compared within a group (see `group_of`), then within a part of a split, at last in all folders if that of
    the image or of the mask says nothing. What pairs must be of one image and one mask.

    Args:
        images: The images with their paths within the source.
        masks: The masks with theirs.

    Returns:
        Images with their masks, in the order of `images`.
    """
    found: dict[Path, Path] = {}
    for parts_only in (False, True):
        places, others = (
            {f: group_of(path, parts_only=parts_only) for f, path in files.items()} for files in (images, masks)
        )
        found = _paired(places, others, found)
    untold = {f for f, path in (images | masks).items() if role_of(path) is None}
    anywhere = _paired(dict.fromkeys(images, ""), dict.fromkeys(masks, ""), found)
    found |= {f: mask for f, mask in anywhere.items() if f in untold or mask in untold}
    return {f: found[f] for f in images if f in found}


def _paired(images: Groups, masks: Groups, found: Mapping[Path, Path]) -> dict[Path, Path]:
    """Return pairs with those that names within groups add.

    The whole name counts, then what remains without the words for images and masks (those that say so alone are left
    out only in groups where nothing else pairs any image), then the mask's beginning.
    """
    pairs = _joined(found, _by_name(images, masks, None))
    pairs = _joined(pairs, _by_name(images, masks, _SURE_WORD))
    settled = {images[f] for f in pairs}
    unsettled = {f: group for f, group in images.items() if group not in settled}
    pairs = _joined(pairs, _by_name(unsettled, masks, _ANY_WORD))
    return _joined(pairs, _by_beginning(images, masks))


def _by_name(images: Groups, masks: Groups, words: re.Pattern[str] | None) -> dict[Path, Path]:
    """Pair by group and name without these words, where that is the name of one image and one mask only."""
    lone_images, lone_masks = (_alone(files, words) for files in (images, masks))
    return {lone_images[key]: lone_masks[key] for key in lone_images if key in lone_masks}


def _alone(files: Groups, words: re.Pattern[str] | None) -> dict[tuple[str, str], Path]:
    names = {f: words.sub("", f.stem).strip("_-. ").casefold() if words else f.stem for f in files}
    keys = {f: (group, names[f]) for f, group in files.items()}
    often = Counter(keys.values())
    return {key: f for f, key in keys.items() if often[key] == 1}


def _by_beginning(images: Groups, masks: Groups) -> dict[Path, Path]:
    """Pair masks named by an image and more, such as `7.png` and `7_L.png`; the longest name counts."""
    stems = {(group, f.stem.casefold()): f for f, group in images.items()}
    begun: dict[Path, list[Path]] = defaultdict(list)
    for mask, group in masks.items():
        name = mask.stem.casefold()
        ends = (end for end in range(len(name), 0, -1) if not name[end : end + 1].isalnum())
        owner = next((stems[group, name[:end]] for end in ends if (group, name[:end]) in stems), None)
        if owner is not None:
            begun[owner].append(mask)
    return {f: of_it[0] for f, of_it in begun.items() if len(of_it) == 1}


def _joined(found: Mapping[Path, Path], more: Mapping[Path, Path]) -> dict[Path, Path]:
    """Return pairs with those of others of which neither side is in one yet."""
    pairs, taken = dict(found), set(found.values())
    for image, mask in more.items():
        if image not in pairs and mask not in taken:
            pairs[image] = mask
            taken.add(mask)
    return pairs


def sides(root: Path, files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Tell images from masks: by the words in their names, else `a.png` beside `a.jpg`, else what pairs with images.

    Args:
        root: The source.
        files: All image files in it.

    Returns:
        Images and masks; no masks if nothing looks like one.
    """
    roles = roles_of(root, files)
    images, masks, others = ([f for f in files if roles[f] == role] for role in ("image", "mask", None))
    if not masks:
        twin = twins(others)
        masks = [f for f in others if f in twin]
        others = [f for f in others if f not in twin]
    if images and not masks and partners(*({f: f.relative_to(root) for f in side} for side in (images, others))):
        masks = others
    return images or others, masks


def are_tiles(root: Path, images: Sequence[Path], vectors: Sequence[Path]) -> bool:
    """Tell whether each vector file is of one image: all are named as images are, or alike but for numbers."""
    named = partners({f: f.relative_to(root) for f in images}, {f: Path(f.name) for f in vectors})
    return len(named) == len(vectors) or len({re.sub(r"\d+", "", f.stem) for f in vectors}) == 1


def twins(files: Sequence[Path]) -> set[Path]:
    """Return the masks where images and masks lie in one folder under one name: `a.jpg` and its mask `a.png`."""
    same: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for file in files:
        same[file.parent, file.stem].append(file)
    return {f for those in same.values() if len(those) == 2 for f in those if f.suffix.lower() == ".png"}
