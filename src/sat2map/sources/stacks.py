"""Images and masks in HDF5: stacks of both in one file, or a file for each image and each mask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sat2map.errors import SceneError, SourceError
from sat2map.options import ReadOptions
from sat2map.scenes.hdf5 import array_shapes, open_hdf5
from sat2map.sources.base import Finding, Unread, unpaired, unreadable
from sat2map.sources.naming import IMAGE_WORDS, MASK_WORDS, Files, group_of, key_of, role_of

Shape = tuple[int, ...]


def stacks(files: Files, options: ReadOptions) -> tuple[list[Unread], list[Finding]]:
    """Pair the arrays of each file that holds both, and `image_N.h5` with `mask_N.h5`."""
    pairs: list[Unread] = []
    images: list[Path] = []
    masks: dict[tuple[str, str], Path] = {}
    faults: dict[str, str] = {}
    for file in files.hdf5:
        name = file.relative_to(files.root)
        try:
            shapes = array_shapes(file)
            keys = _both_keys(shapes, options)
            if keys is not None:
                pairs += _of_one_file(file, name, shapes, *keys)
            elif role_of(name) == "mask":
                masks[group_of(name), key_of(name)] = file
            else:
                images.append(file)
        except SceneError as error:
            faults[str(file)] = str(error)
    found, findings = _of_two_files(files.root, images, masks, options)
    return pairs + found, findings + unreadable(faults)


def _both_keys(shapes: dict[str, Shape], options: ReadOptions) -> tuple[str, str] | None:
    """Return the names of the image and the mask array of a file, or None if it does not hold both."""
    by_word = {key.rsplit("/")[-1].casefold(): key for key in reversed(shapes)}
    image = options.image_key or _named(by_word, IMAGE_WORDS)
    mask = options.mask_key or _named(by_word, MASK_WORDS)
    if image is None and mask is None and len(shapes) == 2:  # the one with more axes or bands is the image
        mask, image = sorted(shapes, key=lambda k: (len(shapes[k]), np.prod(shapes[k])))
    return (image, mask) if image in shapes and mask in shapes else None


def _named(by_word: Mapping[str, str], words: tuple[str, ...]) -> str | None:
    """Return the array named by one of the words, alone or beside what says for which part: `X_train`."""
    exact = [by_word[w] for w in words if w in by_word]
    parts = [key for name, key in by_word.items() if set(name.split("_")) & set(words)]
    return next(iter([*exact, *parts]), None)


def _of_one_file(file: Path, name: Path, shapes: Mapping[str, Shape], image_key: str, mask_key: str) -> list[Unread]:
    stacked = _are_stacks(shapes[image_key], shapes[mask_key])
    images = open_hdf5(file, image_key, stacked=stacked)
    masks = open_hdf5(file, mask_key, stacked=stacked)
    if len(images) != len(masks):
        raise SourceError(f"{file} has {len(images)} images in {image_key!r}, but {len(masks)} masks in {mask_key!r}.")
    names = [f"{name.as_posix()}[{i}]" if stacked else name.as_posix() for i in range(len(images))]
    return [Unread(n, group_of(name), i, m) for n, i, m in zip(names, images, masks, strict=True)]


def _are_stacks(image: Shape, mask: Shape) -> bool:
    """Tell whether the first axis counts images: four axes, or one band only in images and masks alike."""
    return max(len(image), len(mask)) == 4 or (len(image) == len(mask) == 3 and image == mask and image[-1] > 4)


def _of_two_files(
    root: Path, images: list[Path], masks: Mapping[tuple[str, str], Path], options: ReadOptions
) -> tuple[list[Unread], list[Finding]]:
    partner = {f: masks.get((group_of(f.relative_to(root)), key_of(f))) for f in images}
    pairs = []
    for file, mask in partner.items():
        if mask is not None:
            (image,), (truth,) = open_hdf5(file, options.image_key), open_hdf5(mask, options.mask_key)
            name = file.relative_to(root)
            pairs.append(Unread(name.as_posix(), group_of(name), image, truth))
    return pairs, unpaired([f for f in images if partner[f] is None], set(masks.values()) - set(partner.values()))
