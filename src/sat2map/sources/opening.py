"""From a path to pairs: see how the files are laid out, pair them, fit a legend, bring both sides onto one grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from sat2map.errors import SceneError, SourceError
from sat2map.labels import VECTOR_SUFFIXES, footprint, has_colours, mask_labels, vector_labels
from sat2map.legend import IGNORED, NO_LEGEND, Legend, legend_of, read_legend
from sat2map.options import ReadOptions
from sat2map.progress import track_map
from sat2map.raster import is_georeferenced, pixel_size
from sat2map.scenes import HDF5_SUFFIXES, IMAGE_SUFFIXES, Scene, resample, unplaced, warp
from sat2map.scenes.gdal import DECODED_AT_ONCE, GdalScene, open_gdal
from sat2map.sources.base import Finding, Pair, Source, Unread, counted, listed, unreadable
from sat2map.sources.layouts import LAYOUTS, rest_is_background
from sat2map.sources.legends import fit_legend
from sat2map.sources.masks import are_pictures, histogram, keep_named_nodata, merged, palettes, settle
from sat2map.sources.naming import Files, find_files, names_classes, roles_of
from sat2map.sources.pairing import sides
from sat2map.sources.smeared import meant_by, sharpen
from sat2map.tiling import Window, grid, whole

BACKGROUND = "background"
"""Name of the class of whatever lies outside all shapes."""


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
    if not (files.images or files.hdf5):
        endings = ", ".join(IMAGE_SUFFIXES + HDF5_SUFFIXES)
        raise SourceError(f"There is no image in {path}. The names of images end in {endings}.")
    layout = options.layout if options.layout != "auto" else _guess(files, options)
    unread, findings = LAYOUTS[layout](files, options)
    for choose in (_readable, _same_bands, _same_sizes, _same_ground):
        unread, faults = choose(unread)
        findings += faults
    if not unread:
        texts = " ".join(f.text for f in findings if f.level != "note")
        raise SourceError(f"{path} holds no image with labels that can be used. {texts}".strip())
    read = _read(unread, layout, _given_legend(files, options), options)
    pairs = tuple(_pair(u, read.legend, options) for u in read.unread)
    legend = read.legend.for_maps()
    counts = np.array(track_map(lambda p: class_counts(p.target, len(legend)), pairs, "Counting classes"))
    findings += [*read.findings, *_absent(legend, counts), *_made(files)]
    return Source(str(path), layout, read.output, pairs, legend, counts, read.colours.for_maps(), tuple(findings))


def _made(files: Files) -> list[Finding]:
    names = tuple(f.relative_to(files.root).as_posix() for f in files.made)
    if not names:
        return []
    text = f"{counted(names, 'map or drawing')} of sat2map left out: {listed(names, 3)}."
    return [Finding("note", "made-here", text.replace("map or drawings", "maps and drawings"), names)]


def _guess(files: Files, options: ReadOptions) -> str:
    """Tell the layout from the files there are.

    Raises:
        SourceError: Nothing looks like labels.
    """
    if files.hdf5 and not files.images:
        return "hdf5"
    if options.labels:
        return "vectors" if _are_vectors(Path(options.labels)) else "folders"
    if "mask" in roles_of(files.root, files.images).values():
        return "folders"
    if files.vectors:
        return "vectors"
    if sides(files.root, files.images)[1]:
        return "folders"
    if files.images and all(width == 2 * height for height, width in _shapes(files.images[:20])):
        return "side-by-side"
    raise SourceError(
        f"{files.root} has {len(files.images)} images, but no labels. Put masks in a folder 'masks' beside 'images', "
        "put one vector file beside the images, or name the labels with --labels. If image and map lie side by side in "
        "each picture, say --layout side-by-side."
    )


def _are_vectors(labels: Path) -> bool:
    """Tell whether labels are a vector file, or a folder of such."""
    if not labels.is_dir():
        return labels.suffix.lower() in VECTOR_SUFFIXES
    held = find_files(labels)
    return bool(held.vectors) and not held.images


def _shapes(files: Sequence[Path]) -> list[tuple[int, int]]:
    """Return height and width of the images that can be opened."""
    shapes = []
    for file in files:
        try:
            shapes.append(open_gdal(file).shape)
        except SceneError:  # reported by the layout
            continue
    return shapes or [(0, 1)]


def _readable(unread: Sequence[Unread]) -> tuple[list[Unread], list[Finding]]:
    """Keep the images whose last pixel can be read: a GeoTIFF that was cut off opens well, and fails in training."""
    faults = track_map(_fault, unread, "Opening images")
    bad = {u.name: fault for u, fault in zip(unread, faults, strict=True) if fault}
    return [u for u in unread if u.name not in bad], unreadable(bad)


def _fault(unread: Unread) -> str | None:
    """Return what is wrong with an image or its mask, if anything is."""
    try:
        for scene in (unread.image, unread.mask):
            if isinstance(scene, GdalScene) and scene.driver not in DECODED_AT_ONCE:
                scene.read(Window(scene.shape[0] - 1, scene.shape[1] - 1, 1, 1))
    except SceneError as error:
        return str(error)
    return None


def _same_bands(unread: Sequence[Unread]) -> tuple[list[Unread], list[Finding]]:
    """Keep the images that have as many bands as most of them."""
    usual = Counter(len(u.image.bands) for u in unread).most_common(1)[0][0] if unread else 0
    odd = tuple(u.name for u in unread if len(u.image.bands) != usual)
    if not odd:
        return list(unread), []
    text = f"{counted(odd, 'image')} left out, as most have {usual} bands and not as many as: {listed(odd)}."
    return [u for u in unread if len(u.image.bands) == usual], [Finding("warning", "bands-differ", text, odd)]


def _same_sizes(unread: Sequence[Unread]) -> tuple[list[Unread], list[Finding]]:
    """Keep the images whose mask has their size, or a place of its own; give each side the place of the other."""
    kept, odd = [], {}
    for u in unread:
        if u.mask is None or (is_georeferenced(u.image.geobox) and is_georeferenced(u.mask.geobox)):
            kept.append(u)
        elif u.image.shape == u.mask.shape:
            geobox = u.image.geobox if is_georeferenced(u.image.geobox) else u.mask.geobox
            kept.append(replace(u, image=replace(u.image, geobox=geobox), mask=replace(u.mask, geobox=geobox)))
        else:
            odd[u.name] = f"{u.name} ({_size(u.image)}, its mask {_size(u.mask)})"
    if not odd:
        return kept, []
    text = f"{counted(odd, 'image')} of another size than the mask, left out: {listed(list(odd.values()))}."
    return kept, [Finding("warning", "sizes-differ", text, tuple(odd))]


def _same_ground(unread: Sequence[Unread]) -> tuple[list[Unread], list[Finding]]:
    """Keep the images that lie on the ground of their mask, as far as the CRSs of both are known."""
    placed = [(u, u.mask) for u in unread if u.mask is not None and u.image.geobox.crs and u.mask.geobox.crs]
    bare = tuple(
        u.name
        for u, mask in placed
        if not footprint(mask.geobox, u.image.geobox.crs).intersects(u.image.geobox.extent.geom)
    )
    moved = [u for u, mask in placed if u.image.geobox.crs != mask.geobox.crs]
    findings = []
    if bare:
        text = f"{counted(bare, 'image')} off the ground of the labels, left out: {listed(bare)}."
        findings.append(Finding("warning", "no-overlap", text, bare))
    if moved:
        text = f"The labels of {counted(moved, 'image')} are in another CRS than the image; reprojected."
        findings.append(Finding("note", "crs-differ", text, tuple(u.name for u in moved)))
    return [u for u in unread if u.name not in bare], findings


def _size(scene: Scene) -> str:
    height, width = scene.shape
    return f"{width} x {height}"


def _given_legend(files: Files, options: ReadOptions) -> Legend | None:
    path = options.legend or (files.legends[0] if files.legends else None)
    return read_legend(path) if path else None


@dataclass(frozen=True)
class _Read:
    """Images with their labels as these are to be read; the legend has the numbers of the masks.

    Pictures have no legend, but `colours` says what theirs mean, if that is known.
    """

    unread: tuple[Unread, ...]
    legend: Legend
    findings: tuple[Finding, ...] = ()
    colours: Legend = NO_LEGEND

    @property
    def output(self) -> Literal["classes", "picture"]:
        return "classes" if len(self.legend) else "picture"


def _read(unread: Sequence[Unread], layout: str, given: Legend | None, options: ReadOptions) -> _Read:
    """Decide how to read the labels, and fit a legend to them; an empty one if they are pictures."""
    if unread[0].shapes is not None:
        return _Read(tuple(unread), _shapes_legend(unread[0], given, options))
    masks = [keep_named_nodata(u.mask, given) for u in unread if u.mask is not None]
    if _wants_pictures(masks, layout, given, options):
        return _pictures(unread, given, options)
    sharp, held, smeared = sharpen(masks, track_map(histogram, masks, "Reading masks"), given)
    settled = settle(sharp, held, given)
    fitted = fit_legend(settled.held, given, colours=settled.colours, ignore=options.ignore)
    read = tuple(replace(u, mask=mask) for u, mask in zip(unread, settled.masks, strict=True))
    told = (*palettes(masks, settled.colours), *smeared, *settled.findings, *fitted.findings)
    return _Read(read, fitted.legend, told)


def _pictures(unread: Sequence[Unread], given: Legend | None, options: ReadOptions) -> _Read:
    """Keep the images that have a picture in colours, and find out what its colours mean."""
    plain = tuple(u.name for u in unread if u.mask is not None and not _is_coloured(u.mask))
    if len(plain) == len(unread):
        raise SourceError(
            "The map pictures have one band, but a picture needs 8-bit red, green and blue. Save them as RGB, or learn "
            "classes with --output classes."
        )
    text = f"{counted(plain, 'map picture')} without 8-bit red, green and blue, left out: {listed(plain)}."
    findings = (Finding("warning", "no-colours", text, plain),) if plain else ()
    kept = tuple(u for u in unread if u.name not in plain)
    drawn = [u.mask for u in kept if u.mask is not None]
    if are_pictures(merged(map(histogram, drawn[:3]))):
        return _Read(kept, NO_LEGEND, findings, given or NO_LEGEND)
    held = merged(sharpen(drawn, track_map(histogram, drawn, "Reading masks"), given)[1])
    fitted = fit_legend(held, given, colours=True, ignore=options.ignore)
    told = tuple(f for f in fitted.findings if f.kind in ("known-legend", "discovered-legend", "legend-does-not-fit"))
    return _Read(kept, NO_LEGEND, (*findings, *told), fitted.legend)


def _is_coloured(mask: Scene) -> bool:
    return has_colours(mask) and mask.dtype == "uint8"


def _wants_pictures(masks: Sequence[Scene], layout: str, given: Legend | None, options: ReadOptions) -> bool:
    if options.output != "auto":
        return options.output == "picture"
    if layout == "side-by-side":
        return True
    first = masks[:3]
    if given is not None or not all(map(has_colours, first)):
        return False
    held = merged(map(histogram, first))
    return are_pictures(held) and not (all(names_classes(Path(m.name)) for m in first) and meant_by(held, None))


def _shapes_legend(first: Unread, given: Legend | None, options: ReadOptions) -> Legend:
    """Make the legend of shapes: colours of the user's legend where its names are theirs."""
    assert first.shapes is not None
    names = list(first.shapes.names)
    if rest_is_background(first.shapes, options) and BACKGROUND not in names:
        names = [BACKGROUND, *names]
    known = {c.name.casefold(): c for c in given.classes} if given else {}
    classes = [replace(c, colour=known.get(c.name.casefold(), c).colour) for c in legend_of(names).classes]
    legend = Legend(tuple(classes)).without(options.ignore)
    if not len(legend):
        raise SourceError("The shapes hold no class that could be learnt: all are named as ignored (--ignore).")
    return legend


def _pair(unread: Unread, legend: Legend, options: ReadOptions) -> Pair:
    """Bring an image and its labels onto the grid that was asked for; labels by nearest neighbour."""
    image = on_grid(unread.image, options.resolution, options.resize)
    target: Scene
    if unread.shapes is not None:
        background = rest_is_background(unread.shapes, options) and BACKGROUND in legend.names
        rest = legend.names.index(BACKGROUND) if background else IGNORED
        target = vector_labels(unread.shapes, image.geobox, legend, width=options.line_width, rest=rest)
    else:
        assert unread.mask is not None
        mask = mask_labels(unread.mask, legend) if len(legend) else unread.mask
        target = warp(mask, image.geobox, nearest=len(legend) > 0)
    if image is not unread.image and not is_georeferenced(unread.image.geobox):
        image, target = unplaced(image), unplaced(target)
    return Pair(unread.name, unread.group, image, target)


def on_grid(image: Scene, resolution: float | None, resize: int | None) -> Scene:
    """Return the image with pixels of `resolution` map units, or with its shorter side `resize` pixels long.

    Raises:
        SourceError: A resolution is asked for, but the image has no georeference, or is smaller than that.
    """
    if resolution is None and resize is None:
        return image
    if resize is not None:
        factor = resize / min(image.shape)
    elif is_georeferenced(image.geobox):
        factor = pixel_size(image.geobox) / float(resolution or 1)
    else:
        raise SourceError(f"{image.name} has no georeference, so it has no --resolution. Use --resize instead.")
    if round(min(image.shape) * factor) < 1:
        raise SourceError(
            f"At --resolution {resolution} nothing is left of {image.name}, whose pixels are "
            f"{pixel_size(image.geobox):.3g} map units wide. Give the resolution in map units (degrees, if those are)."
        )
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
