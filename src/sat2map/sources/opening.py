"""From a path to pairs: see how the files are laid out, pair them, fit a legend, bring both sides onto one grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sat2map.errors import SourceError
from sat2map.labels import VECTOR_SUFFIXES, mask_labels, vector_labels
from sat2map.legend import IGNORED, Legend, MapClass, legend_of, read_legend
from sat2map.options import ReadOptions
from sat2map.progress import track_map
from sat2map.raster import is_georeferenced, pixel_size
from sat2map.scenes import HDF5_SUFFIXES, IMAGE_SUFFIXES, Scene, resample, warp
from sat2map.scenes.gdal import open_gdal
from sat2map.sources.base import Finding, Pair, Source, Unread, listed
from sat2map.sources.layouts import LAYOUTS, Files, rest_is_background, role
from sat2map.sources.legends import Fitted, are_pictures, fit_legend, histogram
from sat2map.tiling import grid, whole

LEGEND_NAMES = ("classes", "legend", "class_dict", "labelmap", "colours", "colors")
"""Stems of files that are taken for a legend."""


def open_source(path: Path | str, options: ReadOptions | None = None) -> Source:
    """Open imagery with labels.

    Args:
        path: A folder, or an image or HDF5 file.
        options: How to read it.

    Raises:
        SourceError: There is nothing to be paired, or nothing to learn; the message says what was looked for.
    """
    options = options or ReadOptions()
    files = find_files(Path(path))
    layout = options.layout if options.layout != "auto" else _guess(files, options)
    unread, findings = LAYOUTS[layout](files, options)
    unread, odd = _same_bands(unread)
    findings += odd
    if not unread:
        faults = " ".join(f.text for f in findings if f.level != "note")
        raise SourceError(f"{path} holds no image with labels that can be used. {faults}".strip())
    fitted = _legend(unread, layout, _given_legend(files, options), options)
    pairs = tuple(_pair(u, fitted.legend, options) for u in unread)
    counts = np.array(track_map(lambda p: class_counts(p.target, len(fitted.legend)), pairs, "Reading labels"))
    findings += [*fitted.findings, *_absent(fitted.legend, counts)]
    output = "classes" if len(fitted.legend) else "picture"
    return Source(str(path), layout, output, pairs, fitted.legend, counts, tuple(findings))


def find_files(path: Path) -> Files:
    """List the files of a source by what they can be.

    Raises:
        SourceError: There is no such folder or file.
    """
    if not path.exists():
        raise SourceError(f"There is no {path}. Name a folder with images and labels, or an image or HDF5 file.")
    root = path if path.is_dir() else path.parent
    every = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    visible = [f for f in every if not any(part.startswith(".") for part in f.relative_to(root).parts)]

    def of(suffixes: Sequence[str]) -> tuple[Path, ...]:
        return tuple(f for f in visible if f.suffix.lower() in suffixes)

    legends = tuple(f for f in of((".json", ".csv")) if f.stem.casefold() in LEGEND_NAMES)
    vectors = tuple(f for f in of(VECTOR_SUFFIXES) if f not in legends)
    return Files(root, of(IMAGE_SUFFIXES), of(HDF5_SUFFIXES), vectors, legends)


def _guess(files: Files, options: ReadOptions) -> str:
    """Tell the layout from the files there are.

    Raises:
        SourceError: Nothing looks like labels.
    """
    if files.hdf5 and not files.images:
        return "hdf5"
    if options.labels:
        return "vectors" if Path(options.labels).suffix.lower() in VECTOR_SUFFIXES else "folders"
    if "mask" in {role(f.relative_to(files.root)) for f in files.images}:
        return "folders"
    if files.vectors:
        return "vectors"
    if files.images and all(width == 2 * height for height, width in (open_gdal(f).shape for f in files.images[:20])):
        return "side-by-side"
    raise SourceError(
        f"{files.root} has {len(files.images)} images, but no labels. Put masks in a folder 'masks' beside 'images', "
        "put one vector file beside the images, or name the labels with --labels."
    )


def _same_bands(unread: Sequence[Unread]) -> tuple[list[Unread], list[Finding]]:
    """Keep the images that have as many bands as most of them."""
    usual = Counter(len(u.image.bands) for u in unread).most_common(1)[0][0] if unread else 0
    odd = [u for u in unread if len(u.image.bands) != usual]
    if not odd:
        return list(unread), []
    names = tuple(u.name for u in odd)
    text = f"Most images have {usual} bands, but not {listed(names)}; left out."
    return [u for u in unread if u not in odd], [Finding("warning", "bands-differ", text, names)]


def _given_legend(files: Files, options: ReadOptions) -> Legend | None:
    path = options.legend or (files.legends[0] if files.legends else None)
    return read_legend(path) if path else None


def _legend(unread: Sequence[Unread], layout: str, given: Legend | None, options: ReadOptions) -> Fitted:
    """Fit a legend to the labels; an empty one if they are pictures."""
    if layout == "vectors":
        return _shapes_legend(unread[0], given, options)
    masks = [u.mask for u in unread if u.mask is not None]
    colours = any(len(m.bands) >= 3 for m in masks)
    if layout == "side-by-side" or (colours and given is None and are_pictures(masks)):
        return Fitted(Legend(()), ())
    held = sum(track_map(histogram, masks, "Reading masks"), Counter[int]())
    return fit_legend(held, given, colours=colours, ignore=options.ignore)


def _shapes_legend(first: Unread, given: Legend | None, options: ReadOptions) -> Fitted:
    """Make the legend of shapes: colours of the user's legend where its names are theirs."""
    assert first.shapes is not None
    names = list(first.shapes.names)
    if rest_is_background(first.shapes, options):
        names = ["background", *names]
    known = {c.name.casefold(): c for c in given.classes} if given else {}
    chosen = legend_of(names)
    classes = [
        MapClass(c.name, known[c.name.casefold()].colour if c.name.casefold() in known else c.colour, c.value)
        for c in chosen.classes
    ]
    return Fitted(Legend(tuple(classes)).without(options.ignore), ())


def _pair(unread: Unread, legend: Legend, options: ReadOptions) -> Pair:
    """Bring an image and its labels onto the grid that was asked for; labels by nearest neighbour."""
    image = on_grid(unread.image, options.resolution, options.resize)
    target: Scene
    if unread.shapes is not None:
        rest = 0 if rest_is_background(unread.shapes, options) else IGNORED
        target = vector_labels(unread.shapes, image.geobox, legend, width=options.width, rest=rest)
    else:
        assert unread.mask is not None
        mask = unread.mask if not len(legend) else mask_labels(unread.mask, legend)
        placed = is_georeferenced(image.geobox) and is_georeferenced(mask.geobox)
        target = warp(mask, image.geobox, nearest=True) if placed else resample(mask, image.shape, nearest=True)
    return Pair(unread.name, unread.group, image, target)


def on_grid(image: Scene, resolution: float | None, resize: int | None) -> Scene:
    """Return the image with pixels of `resolution` map units, or with its shorter side `resize` pixels long.

    Raises:
        SourceError: A resolution is asked for, but the image has no georeference.
    """
    if resolution is None and resize is None:
        return image
    if resize is not None:
        factor = resize / min(image.shape)
    elif is_georeferenced(image.geobox):
        factor = pixel_size(image.geobox) / float(resolution or 1)
    else:
        raise SourceError(f"{image.name} has no georeference, so it has no --resolution. Use --resize instead.")
    height, width = (max(round(side * factor), 1) for side in image.shape)
    return resample(image, (height, width))


def class_counts(target: Scene, classes: int) -> np.ndarray:
    """Count the pixels of each class of a truth, `(classes,)` int64."""
    counts = np.zeros(256, np.int64)
    if classes:
        for window in grid(whole(target.shape), 2048):
            counts += np.bincount(target.read(window).pixels[0].ravel(), minlength=256)
    return counts[:classes]


def _absent(legend: Legend, counts: np.ndarray) -> list[Finding]:
    absent = [c.name for c, n in zip(legend.classes, counts.sum(axis=0), strict=True) if not n]
    if not absent:
        return []
    text = f"Never in the labels: {listed(absent)}. A class without examples cannot be learnt."
    return [Finding("warning", "class-never-occurs", text)]
