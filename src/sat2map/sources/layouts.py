"""How imagery and labels can be stored: one function a layout, from files to images with their labels unread."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from sat2map.errors import SceneError, SourceError
from sat2map.labels import Shapes, disagreements, read_shapes
from sat2map.options import ReadOptions
from sat2map.raster import is_georeferenced
from sat2map.scenes import IMAGE_SUFFIXES, Scene, crop
from sat2map.scenes.gdal import open_gdal
from sat2map.scenes.hdf5 import array_shapes, open_hdf5
from sat2map.sources.base import Finding, Unread, listed
from sat2map.tiling import Window

IMAGE_WORDS = ("images", "image", "imgs", "img", "satellite", "sat", "rgb", "a", "traina", "x")
MASK_WORDS = ("masks", "mask", "labels", "label", "annotations", "gt", "truth", "targets", "target", "map", "b", "y")

_ROLE = re.compile(rf"(?:^|(?<=[_\-. ]))(?:{'|'.join(IMAGE_WORDS + MASK_WORDS)})(?:[_\-. ]|$)", re.IGNORECASE)
_MASK_STEM = re.compile(r"(?:^|[_\-. ])(?:mask|label|gt)s?(?:[_\-. ]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Files:
    """The files below a source, by what they can be."""

    root: Path
    images: tuple[Path, ...]
    hdf5: tuple[Path, ...]
    vectors: tuple[Path, ...]
    legends: tuple[Path, ...]


Laid = tuple[list[Unread], list[Finding]]
"""What a layout makes of the files."""


def role(path: Path) -> str | None:
    """Return what a file is by the folder nearest to it that says so: `image`, `mask` or None."""
    for part in reversed(path.parent.parts):
        if part.casefold() in IMAGE_WORDS:
            return "image"
        if part.casefold() in MASK_WORDS:
            return "mask"
    return None


def _group(path: Path) -> str:
    """Return the folder of a file without the words for images and masks."""
    words = IMAGE_WORDS + MASK_WORDS
    return str(PurePosixPath(*(p for p in path.parent.parts if p.casefold() not in words))).strip(".")


def _key(path: Path) -> str:
    """Return what an image and its mask share of their names: the stem without the words for either."""
    return _ROLE.sub("", path.stem).strip("_-. ").casefold() or path.stem.casefold()



def _folders(files: Files, options: ReadOptions) -> Laid:
    """Pair `images/` with `masks/`, at any depth, or with the folder or raster named by `labels`."""
    if options.labels:
        return _with_labels(files, options)
    roles = {f: role(f.relative_to(files.root)) for f in files.images}
    masks = [f for f, role in roles.items() if role == "mask"]
    images = [f for f, role in roles.items() if role == "image"]
    if not images:  # images lie beside the folder of masks
        images = [f for f, role in roles.items() if role is None]
    return _match(files.root, images, files.root, masks)


def _with_labels(files: Files, options: ReadOptions) -> Laid:
    labels = Path(str(options.labels))
    if not labels.exists():
        raise SourceError(f"There are no labels at {labels} (--labels).")
    if labels.is_dir():
        masks = [f for f in sorted(labels.rglob("*")) if f.suffix.lower() in IMAGE_SUFFIXES]
        images = [f for f in files.images if f not in masks]
        return _match(files.root, images, labels, masks)
    images = [f for f in files.images if f.resolve() != labels.resolve()]
    opened, findings = _open_all(images)
    mask = open_gdal(labels)
    pairs = [_mask_pair(files.root, f, image, mask) for f, image in opened]
    return _located(pairs, mask, findings)


def _located(pairs: list[Unread], mask: Scene, findings: list[Finding]) -> Laid:
    """Keep the images that lie on the ground of one label raster, or have its size."""
    kept = []
    for pair in pairs:
        if pair.image.geobox.crs is not None and mask.geobox.crs is not None:
            here = mask.geobox.extent.to_crs(pair.image.geobox.crs).intersects(pair.image.geobox.extent)
            fault = None if here else "does not lie on the ground of its labels"
        else:
            fault = None if pair.image.shape == mask.shape else f"has not the size of its labels {mask.shape}"
        if fault:
            findings.append(Finding("warning", "no-overlap", f"{pair.name} {fault}; left out.", (pair.name,)))
        else:
            kept.append(pair)
    return kept, findings


def _match(image_root: Path, images: Sequence[Path], mask_root: Path, masks: Sequence[Path]) -> Laid:
    """Pair files by group and name, first as they stand, then without the words for images and masks."""
    findings: list[Finding] = []
    by_stem = {(_group(m.relative_to(mask_root)), m.stem): m for m in masks}
    by_key = {(_group(m.relative_to(mask_root)), _key(m)): m for m in masks}
    partner: dict[Path, Path] = {}
    for image in images:
        group = _group(image.relative_to(image_root))
        mask = by_stem.get((group, image.stem)) or by_key.get((group, _key(image)))
        if mask is not None:
            partner[image] = mask
    for files, kind, text in (
        ([f for f in images if f not in partner], "image-without-mask", "Images without a mask of the same name"),
        ([f for f in masks if f not in partner.values()], "mask-without-image", "Masks without an image"),
    ):
        if files:
            names = tuple(str(f) for f in files)
            findings.append(Finding("warning", kind, f"{text}: {listed([f.name for f in files])}; left out.", names))
    opened, unreadable = _open_all(list(partner))
    findings += unreadable
    pairs = []
    for file, image in opened:
        try:
            pair = _mask_pair(image_root, file, image, open_gdal(partner[file]))
        except SceneError as error:
            findings.append(Finding("warning", "unreadable", f"{error} Left out.", (str(partner[file]),)))
            continue
        if _sizes_differ(pair):
            sizes = f"{image.shape} and {pair.mask.shape if pair.mask else None}"
            text = f"{pair.name} and its mask differ in size ({sizes}, height and width); left out."
            findings.append(Finding("warning", "sizes-differ", text, (str(file), str(partner[file]))))
        else:
            pairs.append(pair)
    return pairs, findings


def _sizes_differ(pair: Unread) -> bool:
    assert pair.mask is not None
    placed = is_georeferenced(pair.image.geobox) and is_georeferenced(pair.mask.geobox)
    return not placed and pair.image.shape != pair.mask.shape


def _open_all(files: Sequence[Path]) -> tuple[list[tuple[Path, Scene]], list[Finding]]:
    """Open images; those that cannot be read become findings."""
    opened: list[tuple[Path, Scene]] = []
    findings = []
    for file in files:
        try:
            opened.append((file, open_gdal(file)))
        except SceneError as error:
            findings.append(Finding("warning", "unreadable", f"{error} Left out.", (str(file),)))
    return opened, findings


def _mask_pair(root: Path, file: Path, image: Scene, mask: Scene) -> Unread:
    name = file.relative_to(root)
    return Unread(name.as_posix(), _group(name), image, mask)


def _side_by_side(files: Files, options: ReadOptions) -> Laid:
    """Cut each picture in two: the satellite image on the left, the map on the right, or the reverse."""
    opened, findings = _open_all(files.images)
    pairs = []
    for file, picture in opened:
        height, width = picture.shape
        if width % 2:
            text = f"{file.name} is {width} pixels wide, which cannot be cut in two; left out."
            findings.append(Finding("warning", "odd-width", text, (str(file),)))
            continue
        halves = [crop(picture, Window(0, side * width // 2, height, width // 2)) for side in (0, 1)]
        image, target = reversed(halves) if options.reverse else halves
        name = file.relative_to(files.root)
        pairs.append(Unread(name.as_posix(), _group(name), image, target))
    return pairs, findings


def _hdf5(files: Files, options: ReadOptions) -> Laid:
    """Pair the stacks of one file, or `image_N.h5` with `mask_N.h5`."""
    pairs: list[Unread] = []
    findings: list[Finding] = []
    masks: dict[tuple[str, str], Path] = {}
    for file in files.hdf5:
        name = file.relative_to(files.root)
        try:
            keys = _array_keys(file, options)
        except SceneError as error:
            findings.append(Finding("warning", "unreadable", f"{error} Left out.", (str(file),)))
            continue
        if keys is not None:
            pairs += _stacks(file, name, *keys)
        elif role(name) == "mask" or (role(name) is None and _MASK_STEM.search(file.stem)):
            masks[_group(name), _key(file)] = file
    singles = [f for f in files.hdf5 if f not in masks.values() and not any(p.name.startswith(f.name) for p in pairs)]
    found, more = _single_files(files.root, singles, masks, options) if masks else ([], [])
    return pairs + found, findings + more


def _array_keys(file: Path, options: ReadOptions) -> tuple[str, str] | None:
    """Return the names of the image and the mask array of a file, or None if it does not hold both."""
    shapes = array_shapes(file)
    by_word = {w: key for key in reversed(shapes) for w in [key.rsplit("/")[-1].casefold()]}
    image = options.image_key or next((by_word[w] for w in IMAGE_WORDS if w in by_word), None)
    mask = options.mask_key or next((by_word[w] for w in MASK_WORDS if w in by_word), None)
    if image is None and mask is None and len(shapes) == 2:  # the one with more axes or bands is the image
        mask, image = sorted(shapes, key=lambda k: (len(shapes[k]), np.prod(shapes[k])))
    return (image, mask) if image in shapes and mask in shapes else None


def _stacks(file: Path, name: Path, image_key: str, mask_key: str) -> list[Unread]:
    shapes = array_shapes(file)
    stacked = len(shapes[image_key]) == 4 or (len(shapes[image_key]) == 3 == len(shapes[mask_key]))
    images = open_hdf5(file, image_key, stacked=stacked)
    masks = open_hdf5(file, mask_key, stacked=stacked)
    if len(images) != len(masks):
        raise SourceError(f"{file} has {len(images)} images in {image_key!r}, but {len(masks)} masks in {mask_key!r}.")
    return [
        Unread(f"{name.as_posix()}[{i}]", _group(name), image, mask)
        for i, (image, mask) in enumerate(zip(images, masks, strict=True))
    ]


def _single_files(
    root: Path, images: Sequence[Path], masks: dict[tuple[str, str], Path], options: ReadOptions
) -> Laid:
    pairs, findings = [], []
    used = set()
    for file in images:
        name = file.relative_to(root)
        mask = masks.get((_group(name), _key(file)))
        if mask is None:
            text = f"{file.name} has no mask file of the same name; left out."
            findings.append(Finding("warning", "image-without-mask", text, (str(file),)))
            continue
        used.add(mask)
        (image,), (truth,) = open_hdf5(file, options.image_key), open_hdf5(mask, options.mask_key)
        pairs.append(Unread(name.as_posix(), _group(name), image, truth))
    for mask in sorted(set(masks.values()) - used):
        text = f"{mask.name} has no image file of the same name; left out."
        findings.append(Finding("warning", "mask-without-image", text, (str(mask),)))
    return pairs, findings


def _vectors(files: Files, options: ReadOptions) -> Laid:
    """Burn one vector file onto all images."""
    if options.labels is None and len(files.vectors) > 1:
        raise SourceError(f"There are several vector files: {listed(files.vectors)}. Name one with --labels.")
    shapes = read_shapes(options.labels or files.vectors[0], options.column)
    opened, findings = _open_all(files.images)
    findings += _shape_findings(shapes, options)
    crs = shapes.frame.crs
    pairs, bare = [], []
    for file, image in opened:
        name = file.relative_to(files.root)
        if image.geobox.crs is not None and crs is not None:
            extent = image.geobox.extent.to_crs(str(crs)).geom
            if not shapes.frame.sindex.query(extent, predicate="intersects").size:
                bare.append(name.as_posix())
                if not rest_is_background(shapes, options):
                    continue
        pairs.append(Unread(name.as_posix(), _group(name), image, shapes=shapes))
    images_crs = {str(image.geobox.crs.to_epsg() or "custom") for _, image in opened if image.geobox.crs is not None}
    if crs is not None and images_crs and images_crs != {str(crs.to_epsg())}:
        text = f"Labels are in {crs.to_string()[:40]}, images in EPSG:{listed(sorted(images_crs))}; reprojected."
        findings.append(Finding("note", "crs-differ", text))
    if opened and len(bare) == len(opened):
        text = f"No shape of {shapes.path} lies on any image. Is its CRS ({crs}) right?"
        return [], [*findings, Finding("error", "no-overlap", text)]
    if bare:
        text = f"{len(bare)} of {len(opened)} images have no shape on them: {listed(bare)}."
        findings.append(Finding("note", "no-shapes", text, tuple(bare)))
    return pairs, findings


def rest_is_background(shapes: Shapes, options: ReadOptions) -> bool:
    """Tell whether what lies outside the shapes is background."""
    return options.rest == "background" or (options.rest == "auto" and shapes.column is None)


def _shape_findings(shapes: Shapes, options: ReadOptions) -> list[Finding]:
    findings = []
    if shapes.repaired:
        text = f"{shapes.repaired} of {len(shapes.frame)} shapes were invalid; repaired."
        findings.append(Finding("warning", "invalid-shapes", text))
    if shapes.column and not options.column:
        text = f"The class is taken from the column {shapes.column!r}; choose another with --column."
        findings.append(Finding("note", "class-column", text))
    odd = disagreements(shapes)
    if odd:
        text = f"Class names and numbers disagree in {len(odd)} rows; names are used: {listed(odd)}."
        findings.append(Finding("warning", "names-and-numbers-disagree", text, tuple(odd)))
    return findings


LAYOUTS: dict[str, Callable[[Files, ReadOptions], Laid]] = {
    "folders": _folders,
    "side-by-side": _side_by_side,
    "hdf5": _hdf5,
    "vectors": _vectors,
}
"""How imagery and labels can be stored."""
