"""How imagery and labels can be stored: one function a layout, from files to images with their labels unread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from os.path import commonpath
from pathlib import Path

import shapely

from sat2map.errors import SceneError, SourceError
from sat2map.labels import FILE_COLUMN, Shapes, disagreements, footprint, read_shapes
from sat2map.options import ReadOptions
from sat2map.raster import is_georeferenced
from sat2map.scenes import IMAGE_SUFFIXES, Scene, crop
from sat2map.scenes.gdal import open_gdal
from sat2map.sources.base import Finding, Unread, counted, listed, unpaired, unreadable
from sat2map.sources.naming import Files, find_files, group_of
from sat2map.sources.pairing import are_tiles, partners, sides
from sat2map.sources.stacks import stacks
from sat2map.tiling import Window

Laid = tuple[list[Unread], list[Finding]]
"""What a layout makes of the files."""

UNKNOWN_CRS = "a CRS that is not known"


def _folders(files: Files, options: ReadOptions) -> Laid:
    """Pair `images/` with `masks/`, at any depth, or with the folder or raster named by `labels`."""
    if options.labels:
        return _with_labels(files, Path(options.labels))
    images, masks = sides(files.root, files.images)
    if len(images) > len(masks) == 1 and is_georeferenced(open_gdal(masks[0]).geobox):
        return _under_raster(files.root, images, masks[0])
    return _match(files.root, images, files.root, masks)


def _with_labels(files: Files, labels: Path) -> Laid:
    if not labels.exists():
        raise SourceError(f"There are no labels at {labels} (--labels).")
    if labels.is_dir():
        masks = [f for f in sorted(labels.rglob("*")) if f.suffix.lower() in IMAGE_SUFFIXES]
        among = {f.resolve() for f in masks}
        return _match(files.root, [f for f in files.images if f.resolve() not in among], labels, masks)
    return _under_raster(files.root, [f for f in files.images if f.resolve() != labels.resolve()], labels)


def _under_raster(root: Path, images: Sequence[Path], labels: Path) -> Laid:
    """Pair all images with the one raster that holds the labels of their ground."""
    opened, findings = open_all(images)
    mask = open_gdal(labels)
    return [_mask_pair(root, f, image, mask) for f, image in opened.items()], findings


def _match(image_root: Path, images: Sequence[Path], mask_root: Path, masks: Sequence[Path]) -> Laid:
    """Pair files by group and name."""
    partner = partners({f: f.relative_to(image_root) for f in images}, {f: f.relative_to(mask_root) for f in masks})
    alone = [f for f in images if f not in partner]
    findings = unpaired(alone, set(masks) - set(partner.values()))
    opened, unreadable = open_all(list(partner))
    opened_masks, unreadable_masks = open_all([partner[f] for f in opened])
    pairs = [
        _mask_pair(image_root, f, image, opened_masks[partner[f]])
        for f, image in opened.items()
        if partner[f] in opened_masks
    ]
    return pairs, findings + unreadable + unreadable_masks


def open_all(files: Sequence[Path]) -> tuple[dict[Path, Scene], list[Finding]]:
    """Open images; those that cannot be opened become a finding."""
    opened: dict[Path, Scene] = {}
    faults = {}
    for file in files:
        try:
            opened[file] = open_gdal(file)
        except SceneError as error:
            faults[str(file)] = str(error)
    return opened, unreadable(faults)


def _mask_pair(root: Path, file: Path, image: Scene, mask: Scene) -> Unread:
    name = file.relative_to(root)
    return Unread(name.as_posix(), group_of(name), image, mask)


def _side_by_side(files: Files, options: ReadOptions) -> Laid:
    """Cut each picture in two: the satellite image on the left, the map on the right, or the reverse."""
    opened, findings = open_all(files.images)
    odd = tuple(f.name for f, picture in opened.items() if picture.shape[1] % 2)
    if odd:
        text = f"{counted(odd, 'picture')} of odd width, which cannot be cut in two, left out: {listed(odd)}."
        findings.append(Finding("warning", "odd-width", text, odd))
    pairs = []
    for file, picture in opened.items():
        height, width = picture.shape
        if width % 2 == 0:
            halves = [crop(picture, Window(0, side * width // 2, height, width // 2)) for side in (0, 1)]
            halves[1] = replace(halves[1], geobox=halves[0].geobox)  # a picture's place is that of its first half
            image, target = reversed(halves) if options.reverse else halves
            pairs.append(_mask_pair(files.root, file, image, target))
    return pairs, findings


def _vectors(files: Files, options: ReadOptions) -> Laid:
    """Burn shapes onto all images."""
    shapes = _read_vectors(files, options)
    opened, findings = open_all(files.images)
    findings += _shape_findings(shapes, options)
    if not opened:
        return [], findings
    if shapes.frame.crs is not None and not any(is_georeferenced(image.geobox) for image in opened.values()):
        text = (
            f"The labels are in {_crs_name(shapes)}, but no image has a place on the ground. Give the images a "
            "georeference (a GeoTIFF, or a world file), or masks instead of shapes."
        )
        return [], [*findings, Finding("error", "no-place", text)]
    findings += _crs_findings(shapes, list(opened.values()))
    prints = {f: footprint(image.geobox, shapes.frame.crs) for f, image in opened.items()}
    bare = [f for f, place in prints.items() if not shapes.frame.sindex.query(place, predicate="intersects").size]
    names = tuple(f.relative_to(files.root).as_posix() for f in bare)
    if len(bare) == len(opened):
        text = f"No shape of {shapes.path} lies on any image. Are the CRS of both right? It is in {_crs_name(shapes)}."
        return [], [*findings, Finding("error", "no-overlap", text)]
    kept = [f for f in opened if f not in bare or rest_is_background(shapes, options)]
    if bare:
        what = "all background" if rest_is_background(shapes, options) else "left out"
        text = f"{counted(bare, 'image')} of {len(opened)} without any shape; {what}: {listed(names)}."
        findings.append(Finding("note", "no-shapes", text, names))
    findings += _beyond(shapes, list(prints.values()))
    roots = {f: f.relative_to(files.root) for f in kept}
    return [Unread(n.as_posix(), group_of(n), opened[f], shapes=shapes) for f, n in roots.items()], findings


def _read_vectors(files: Files, options: ReadOptions) -> Shapes:
    """Read the one vector file there is or that `labels` names, one for each image, or one for each class."""
    if options.labels is None:
        found = files.vectors
    else:
        labels = Path(options.labels)
        found = find_files(labels).vectors if labels.is_dir() else (labels,)
    if not found:
        raise SourceError("There is no vector file. Name one with --labels.")
    if len(found) == 1:
        return read_shapes(found[0], options.column)
    tiles = are_tiles(files.root, files.images, found)
    if options.labels is None and not tiles:
        raise SourceError(
            f"There are several vector files: {listed(found)}. Name one with --labels, or a folder in which each file "
            "is a class."
        )
    column = options.column or (None if tiles else FILE_COLUMN)
    return read_shapes(commonpath([f.parent for f in found]), column, parts=found)


def _crs_name(shapes: Shapes) -> str:
    crs = shapes.frame.crs
    return UNKNOWN_CRS if crs is None else crs.name if crs.to_epsg() is None else f"EPSG:{crs.to_epsg()}"


def _crs_findings(shapes: Shapes, images: Sequence[Scene]) -> list[Finding]:
    """Report labels in another CRS than the images, and CRSs that are not known."""
    places = [image.geobox.crs for image in images]
    labels = _crs_name(shapes)
    codes = {crs.to_epsg() for crs in places if crs is not None}
    known = sorted(f"EPSG:{code}" if code else "a CRS without EPSG number" for code in codes)
    if shapes.frame.crs is None or None in places:
        known += [UNKNOWN_CRS] * (None in places)
        text = f"Labels are in {labels}, images in {listed(known)}; what is not known is taken to be the other."
        return [Finding("warning", "no-crs", text)]
    if known != [labels]:
        return [Finding("note", "crs-differ", f"Labels are in {labels}, images in {listed(known)}; reprojected.")]
    return []


def _beyond(shapes: Shapes, prints: Sequence[shapely.Geometry]) -> list[Finding]:
    """Report shapes that reach beyond the images."""
    ground = shapely.union_all(prints)
    shapely.prepare(ground)
    geometry = shapes.frame.geometry.to_numpy()
    apart = ~shapely.intersects(ground, geometry)
    partly = ~apart & ~shapely.covers(ground.buffer(ground.length * 1e-7), geometry)
    findings = []
    if partly.any():
        text = f"{partly.sum()} of {len(geometry)} shapes reach beyond the images and are cut off there."
        findings.append(Finding("note", "shapes-beyond", text))
    if apart.any():
        text = f"{apart.sum()} of {len(geometry)} shapes lie on no image."
        findings.append(Finding("note", "shapes-apart", text))
    return findings


def rest_is_background(shapes: Shapes, options: ReadOptions) -> bool:
    """Tell whether what lies outside the shapes is background."""
    return options.rest == "background" or (options.rest == "auto" and shapes.column is None)


def _shape_findings(shapes: Shapes, options: ReadOptions) -> list[Finding]:
    findings = []
    if shapes.repaired:
        text = f"{shapes.repaired} of {len(shapes.frame)} shapes were invalid; repaired."
        findings.append(Finding("warning", "invalid-shapes", text))
    if shapes.column == FILE_COLUMN:
        text = f"Each vector file is a class: {listed(shapes.names, 12)}."
        findings.append(Finding("note", "files-as-classes", text))
    elif shapes.column and not options.column:
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
    "hdf5": stacks,
    "vectors": _vectors,
}
"""How imagery and labels can be stored."""
