"""Images and masks in HDF5: stacks of both in one file, or a file for each image and each mask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sat2map.errors import SceneError, SourceError
from sat2map.options import ReadOptions
from sat2map.scenes.hdf5 import array_shapes, open_hdf5
from sat2map.sources.base import Finding, Unread, unpaired, unreadable
from sat2map.sources.naming import IMAGE_WORDS, LONE_IMAGE_WORDS, LONE_MASK_WORDS, MASK_WORDS, Files, group_of, role_of
from sat2map.sources.pairing import partners

Shape = tuple[int, ...]

Array = tuple[Path, str | None, Shape]
"""A file, the name of an array in it (None: the only one), and its shape."""


def stacks(files: Files, options: ReadOptions) -> tuple[list[Unread], list[Finding]]:
    """Pair the arrays of each file that holds both, and `image_N.h5` with `mask_N.h5`."""
    pairs: list[Unread] = []
    images: dict[Path, dict[str, Shape]] = {}
    masks: dict[Path, dict[str, Shape]] = {}
    faults: dict[str, str] = {}
    for file in files.hdf5:
        name = file.relative_to(files.root)
        try:
            shapes = array_shapes(file)
            keys = _both_keys(shapes, options)
            if keys is not None:
                pairs += _paired(name, *((file, key, shapes[key]) for key in keys))
            else:
                (masks if role_of(name) == "mask" else images)[file] = shapes
        except SceneError as error:
            faults[str(file)] = str(error)
    found, findings = _of_two_files(files.root, images, masks, options)
    return pairs + found, findings + unreadable(faults)


def _both_keys(shapes: dict[str, Shape], options: ReadOptions) -> tuple[str, str] | None:
    """Return the names of the image and the mask array of a file, or None if it does not hold both."""
    by_word = {key.rsplit("/")[-1].casefold(): key for key in reversed(shapes)}
    image = options.image_key or _named(by_word, IMAGE_WORDS + LONE_IMAGE_WORDS)
    mask = options.mask_key or _named(by_word, MASK_WORDS + LONE_MASK_WORDS)
    if image is None and mask is None and len(shapes) == 2:  # the one with more axes or bands is the image
        mask, image = sorted(shapes, key=lambda k: (len(shapes[k]), np.prod(shapes[k])))
    return (image, mask) if image in shapes and mask in shapes else None


def _named(by_word: Mapping[str, str], words: tuple[str, ...]) -> str | None:
    """Return the array named by one of the words, alone or beside what says for which part: `X_train`."""
    exact = [by_word[w] for w in words if w in by_word]
    parts = [key for name, key in by_word.items() if set(name.split("_")) & set(words)]
    return next(iter([*exact, *parts]), None)


def _paired(name: Path, image: Array, mask: Array) -> list[Unread]:
    """Pair the images of one array with those of another."""
    stacked = _are_stacks(image[2], mask[2])
    images, masks = (open_hdf5(file, key, stacked=stacked) for file, key, _ in (image, mask))
    if len(images) != len(masks):
        raise SourceError(
            f"{image[0]} has {len(images)} images in {images[0].key!r}, "
            f"but {mask[0]} has {len(masks)} masks in {masks[0].key!r}."
        )
    names = [f"{name.as_posix()}[{i}]" if stacked else name.as_posix() for i in range(len(images))]
    return [Unread(n, group_of(name), i, m) for n, i, m in zip(names, images, masks, strict=True)]


def _are_stacks(image: Shape, mask: Shape) -> bool:
    """Tell whether the first axis counts images: four axes, or one band only in images and masks alike."""
    return max(len(image), len(mask)) == 4 or (len(image) == len(mask) == 3 and image == mask and image[-1] > 4)


def _of_two_files(
    root: Path, images: Mapping[Path, dict[str, Shape]], masks: Mapping[Path, dict[str, Shape]], options: ReadOptions
) -> tuple[list[Unread], list[Finding]]:
    partner = partners(*({f: f.relative_to(root) for f in files} for files in (images, masks)))
    pairs = []
    for file, mask in partner.items():
        arrays = _array(file, images[file], options.image_key), _array(mask, masks[mask], options.mask_key)
        pairs += _paired(file.relative_to(root), *arrays)
    return pairs, unpaired(set(images) - set(partner), set(masks) - set(partner.values()))


def _array(file: Path, shapes: Mapping[str, Shape], key: str | None) -> Array:
    return file, key, shapes.get(key or next(iter(shapes), ""), ())  # one that is missing is told when it is opened
