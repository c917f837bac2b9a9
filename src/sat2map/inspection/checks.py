"""The doctor's list, beyond what opening reports: a new row of it is a function and a line in `CHECKS`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from sat2map.inspection.looking import COMPARED, Subject, crs_name, summary
from sat2map.leaks import LOOK_ALIKE
from sat2map.raster import is_georeferenced, pixel_size
from sat2map.sources import Finding
from sat2map.sources.base import counted, listed, one_class
from sat2map.splits.lattice import lay_out

RARE = 0.001
"""A class below this share of the labelled pixels is called rare."""

SPARSE = 0.1
"""Labels that cover less than this share of the pixels are called sparse."""

SHARED = 0.01
"""Share of the smaller image above which two images show the same ground; less may be rounding at the edges."""


def checked(subject: Subject) -> list[Finding]:
    """Return what all checks find."""
    return [finding for check in CHECKS.values() for finding in check(subject)]


def _unreadable(subject: Subject) -> list[Finding]:
    """Images that open, but whose pixels cannot all be read."""
    faults = [look.fault for look in subject.looks if look.fault]
    if not faults:
        return []
    names = tuple(n for n, look in zip(subject.names, subject.looks, strict=True) if look.fault)
    text = f"{counted(faults, 'damaged image')}, to be replaced or removed: {listed(faults, 3)}"
    return [Finding("error", "damaged", text, names)]


def _empty(subject: Subject) -> list[Finding]:
    """Images that show nothing."""
    looked = [(n, look) for n, look in zip(subject.names, subject.looks, strict=True) if not look.fault]
    blank = tuple(n for n, look in looked if not look.valid)
    flat = tuple(n for n, look in looked if look.valid and look.low == look.high)
    findings = []
    if blank:
        text = f"{counted(blank, 'image')} without a valid pixel (nodata or transparent all over): {listed(blank)}."
        findings.append(Finding("warning", "empty-images", text, blank))
    if flat:
        text = f"{counted(flat, 'image')} with one and the same value everywhere: {listed(flat)}."
        findings.append(Finding("warning", "constant-images", text, flat))
    return findings


def _duplicates(subject: Subject) -> list[Finding]:
    """Images with identical pixels; those that show nothing are reported as such."""
    same: dict[str, list[str]] = defaultdict(list)
    for name, look in zip(subject.names, subject.looks, strict=True):
        if look.valid and look.low < look.high:
            same[look.digest].append(name)
    twice = [" = ".join(names) for names in same.values() if len(names) > 1]
    if not twice:
        return []
    text = f"Images with identical pixels, which leak if training and test get one each: {listed(twice)}."
    return [
        Finding("warning", "duplicates", text, tuple(n for names in same.values() if len(names) > 1 for n in names))
    ]


def _same_content(subject: Subject) -> list[Finding]:
    """Images that show the same ground by what is seen, where their place is not known; not those that are equal."""
    text = (
        "{count} images show ground that another shows too, by what is seen, such as {pair}: they leak if training and "
        "test get one each. Keep such images in one folder each and split by groups."
    )
    return _by_content(subject, "same-content", text, sure=True)


def _look_alike(subject: Subject) -> list[Finding]:
    """Images of which too little looks alike to know whether it is the same ground."""
    text = (
        "{count} images look in part like another, such as {pair}: that is the same ground, or what was built twice to "
        "one plan."
    )
    return _by_content(subject, LOOK_ALIKE, text, sure=False)


def _by_content(subject: Subject, kind: str, text: str, *, sure: bool) -> list[Finding]:
    """Return what to tell of images that are not equal and that surely, or perhaps, show the same ground."""
    digests = dict(zip(subject.names, (look.digest for look in subject.looks), strict=True))
    pairs = [(k.first.name, k.second.name) for k in subject.leaks if k.how == "content" and k.sure == sure]
    couples = [pair for pair in pairs if digests[pair[0]] != digests[pair[1]]]
    if not couples:
        return []
    names = _names(couples)
    seen = "" if len(subject.images) <= COMPARED else f" {COMPARED} images, spread evenly, were compared."
    told = text.format(count=len(names), pair=" and ".join(couples[0]))
    return [Finding("warning", kind, f"{told}{seen} --leaks FILE.png draws the pairs.", names)]


def _names(couples: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(sorted({name for couple in couples for name in couple}))


def _same_ground(subject: Subject) -> list[Finding]:
    """Images that show the same ground."""
    by_plane: dict[str, list[str]] = defaultdict(list)
    sheets = lay_out({n: im.geobox for n, im in zip(subject.names, subject.images, strict=True)})
    for name, sheet in sheets.items():
        by_plane[sheet.plane].append(name)
    couples = [c for names in by_plane.values() for c in _couples(names, [sheets[n].footprint for n in names])]
    if not couples:
        return []
    names = _names(couples)
    first, second = couples[0]
    text = (
        f"{len(names)} of {len(subject.names)} images show ground that another shows too, such as "
        f"{first} and {second}; "
        "a split at random leaks. Split by blocks of ground (--split blocks)."
    )
    return [Finding("warning", "same-ground", text, names)]


def _couples(names: Sequence[str], prints: Sequence[shapely.Polygon]) -> list[tuple[str, str]]:
    """Return the names of outlines that overlap by more than `SHARED`."""
    shapes = np.array(prints, object)
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    first, second = first[first < second], second[first < second]
    least = np.minimum(shapely.area(shapes[first]), shapely.area(shapes[second]))
    shared = shapely.area(shapely.intersection(shapes[first], shapes[second])) > SHARED * least
    return [(names[i], names[j]) for i, j in zip(first[shared], second[shared], strict=True)]


def _bands_apart(subject: Subject) -> list[Finding]:
    """Images of one band on one grid, as scenes are delivered with a file for each band."""
    grids: dict[GeoBox, list[str]] = defaultdict(list)
    for name, im in zip(subject.names, subject.images, strict=True):
        if len(im.bands) == 1 and is_georeferenced(im.geobox):
            grids[im.geobox].append(name)
    several = [names for names in grids.values() if len(names) > 1]
    if not several:
        return []
    text = (
        f"Images of one band lie on one grid, such as {listed(several[0])}. If these are the bands of a scene, they "
        "must be one image to be learnt together: gdalbuildvrt -separate scene.vrt FILES."
    )
    return [Finding("warning", "bands-apart", text, tuple(chain.from_iterable(several)))]


def _differences(subject: Subject) -> list[Finding]:
    """Images that differ in resolution, type or CRS."""
    findings = []
    placed = [im for im in subject.images if is_georeferenced(im.geobox)]
    for crs in {crs_name(im) for im in placed}:
        sizes = [pixel_size(im.geobox) for im in placed if crs_name(im) == crs]
        if max(sizes) > 1.1 * min(sizes):
            where = f" in {crs}" if all(im.geobox.crs for im in placed) else ""
            text = (
                f"Images{where} have pixels from {min(sizes):.3g} to {max(sizes):.3g} map units. Objects then differ "
                "in size from image to image; --resolution brings all to one."
            )
            findings.append(Finding("warning", "resolutions-differ", text))
    for kind, what, values in (
        ("types-differ", "types", [im.dtype for im in subject.images]),
        ("image-crs-differ", "CRSs", [crs_name(im) for im in subject.images]),
    ):
        if len(set(values)) > 1:
            level: Any = "warning" if kind == "types-differ" else "note"
            findings.append(Finding(level, kind, f"Images are of different {what}: {summary(values)}."))
    return findings


def _labels(subject: Subject) -> list[Finding]:
    """Classes that are rare or alone, and images with few labels or none."""
    source = subject.source
    if source is None or not len(source.legend):
        return []
    if lone := one_class(source):
        return [lone]
    counts, total = source.counts, int(source.counts.sum())
    findings = []
    shares = zip(source.legend.names, counts.sum(axis=0), strict=True)
    rare = [f"{n} {c / total:.3%}" for n, c in shares if 0 < c < RARE * total]
    if rare:
        text = f"Rare classes, of which little can be learnt: {listed(rare)}. Think of --balance or --class-weights."
        findings.append(Finding("warning", "rare-class", text))
    pixels = sum(h * w for h, w in (p.target.shape for p in source.pairs))
    if total < SPARSE * pixels:
        text = f"Labels cover {total / pixels:.2%} of the pixels; the rest counts as unlabelled, not as background."
        findings.append(Finding("note", "sparse-labels", text))
    bare = tuple(p.name for p, c in zip(source.pairs, counts, strict=True) if not c.any())
    if bare:
        text = f"{counted(bare, 'image')} without a labelled pixel: {listed(bare)}."
        findings.append(Finding("note", "no-labelled-pixel", text, bare))
    return findings


CHECKS: dict[str, Callable[[Subject], list[Finding]]] = {
    "unreadable": _unreadable,
    "empty": _empty,
    "duplicates": _duplicates,
    "same-ground": _same_ground,
    "bands-apart": _bands_apart,
    "same-content": _same_content,
    "look-alike": _look_alike,
    "differences": _differences,
    "labels": _labels,
}
"""The doctor's list, beyond what opening reports."""
