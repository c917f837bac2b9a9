"""Look at imagery and labels before anything is trained: what is there, what is wrong with it, what to do about it.

Opening a source reports what it had to leave out or to assume. The doctor's list here adds what shows only when all
images are looked at together; a new row of it is a function and a line in `CHECKS`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sat2map.errors import SceneError, SourceError
from sat2map.inputs import select_bands
from sat2map.options import ReadOptions
from sat2map.progress import track_map
from sat2map.raster import is_georeferenced, pixel_size
from sat2map.scenes import Scene
from sat2map.scenes.gdal import open_gdal
from sat2map.sources import Finding, Source, open_source
from sat2map.sources.base import counted, listed, unreadable
from sat2map.sources.naming import find_files
from sat2map.splits.lattice import lay_out
from sat2map.tiling import grid, whole

WINDOW = 1024
"""Side of the windows images are looked at by."""

WINDOWS = 64
"""How many windows of an image are looked at, spread evenly; images of up to 8192 x 8192 pixels are seen whole."""

RARE = 0.001
"""A class below this share of the labelled pixels is called rare."""

SPARSE = 0.1
"""Labels that cover less than this share of the pixels are called sparse."""

SHARED = 0.01
"""Share of the smaller image above which two images show the same ground; less may be rounding at the edges."""


@dataclass(frozen=True)
class ClassRow:
    """How much there is of a class; `share` is of the labelled pixels."""

    name: str
    colour: str
    value: int
    pixels: int
    share: float


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Args:
        path: Where.
        layout: A name of `LAYOUTS`; None if there are no labels.
        output: `classes` or `picture`; None if there are no labels.
        images: How many can be used.
        groups: Folders the images belong to.
        properties: What the images are like, as rows of a name and a text.
        classes: The classes in the order of their ids.
        unlabelled: Share of the pixels without a class; None for pictures.
        findings: The doctor's list, the gravest first.
    """

    path: str
    layout: str | None
    output: str | None
    images: int
    groups: tuple[str, ...]
    properties: tuple[tuple[str, str], ...]
    classes: tuple[ClassRow, ...]
    unlabelled: float | None
    findings: tuple[Finding, ...]

    @property
    def trainable(self) -> bool:
        """Whether nothing keeps the source from being trained on."""
        return not any(f.level == "error" for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {**asdict(self), "properties": dict(self.properties), "trainable": self.trainable}

    def __rich__(self) -> RenderableType:
        """Return tables of what is there, and the findings."""
        parts: list[RenderableType] = [_overview(self)]
        if self.classes:
            parts.append(_class_table(self))
        parts += [_line(f) for f in self.findings]
        verdict = "Ready to be trained on." if self.trainable else "Not to be trained on as it is: see the errors."
        return Group(*parts, Text(verdict, style="bold"))


def inspect(source: str | Path, **words: Any) -> Inspection:
    """Inspect imagery with labels, or images alone.

    Args:
        source: A folder, or an image or HDF5 file.
        **words: Fields of `ReadOptions`.

    Raises:
        SourceError: There is neither a source nor an image.
    """
    options = ReadOptions(**words)
    try:
        opened = open_source(source, options)
    except SourceError as error:
        return _images_only(Path(source), error)
    select_bands(opened.bands, options.bands)
    subject = look_at([p.name for p in opened.pairs], [p.image for p in opened.pairs], opened)
    total = sum(h * w for h, w in (p.target.shape for p in opened.pairs))
    labelled = int(opened.counts.sum())
    return Inspection(
        path=opened.path,
        layout=opened.layout,
        output=opened.output,
        images=len(opened.pairs),
        groups=opened.groups,
        properties=_properties(subject),
        classes=_class_rows(opened),
        unlabelled=1 - labelled / total if len(opened.legend) else None,
        findings=_sorted([*opened.findings, *_checked(subject), *_pictures(opened)]),
    )


def _pictures(source: Source) -> list[Finding]:
    if source.output == "classes":
        return []
    text = "The labels are map pictures: a model will draw such pictures. Are they masks? Then say --output classes."
    return [Finding("note", "pictures", text)]


def _images_only(path: Path, error: SourceError) -> Inspection:
    """Describe images whose labels are missing or of no use; `error` says why."""
    opened: dict[str, Scene] = {}
    faults: dict[str, str] = {}
    files = find_files(path)
    for file in files.images:
        try:
            opened[file.relative_to(files.root).as_posix()] = open_gdal(file)
        except SceneError as fault:
            faults[str(file)] = str(fault)
    if not opened:
        raise error
    subject = look_at(list(opened), list(opened.values()), None)
    findings = [Finding("error", "no-labels", str(error)), *unreadable(faults), *_checked(subject)]
    return Inspection(str(path), None, None, len(opened), (), _properties(subject), (), None, _sorted(findings))


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda f: ("error", "warning", "note").index(f.level)))


def _class_rows(source: Source) -> tuple[ClassRow, ...]:
    counts = source.counts.sum(axis=0)
    total = max(int(counts.sum()), 1)
    return tuple(
        ClassRow(c.name, c.hex, c.value, int(n), int(n) / total)
        for c, n in zip(source.legend.classes, counts, strict=True)
    )


# --- looking at the images -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """What was seen of an image: smallest and largest valid value, share of valid pixels, and a digest of its pixels.

    `fault` says why it cannot be read; the rest is then empty.
    """

    low: float = float("nan")
    high: float = float("nan")
    valid: float = 0.0
    digest: str = ""
    fault: str | None = None


@dataclass(frozen=True)
class Subject:
    """Images with what was seen of them; `source` is None where there are no labels."""

    names: tuple[str, ...]
    images: tuple[Scene, ...]
    looks: tuple[Look, ...]
    source: Source | None


def look_at(names: Sequence[str], images: Sequence[Scene], source: Source | None) -> Subject:
    """Look at images, a window at a time."""
    return Subject(tuple(names), tuple(images), tuple(track_map(_look, images, "Looking at images")), source)


def _look(image: Scene) -> Look:
    windows = list(grid(whole(image.shape), WINDOW))
    digest = blake2b(f"{image.shape} {image.dtype}".encode(), digest_size=16)
    low, high, valid, seen = np.inf, -np.inf, 0, 0
    try:
        for window in windows[:: -(-len(windows) // WINDOWS)]:
            raster = image.read(window)
            digest.update(raster.pixels.tobytes())
            inside = raster.pixels[:, raster.valid]
            if inside.size:
                low, high = min(low, float(inside.min())), max(high, float(inside.max()))
            valid += int(raster.valid.sum())
            seen += raster.valid.size
    except SceneError as error:
        return Look(fault=str(error))
    return Look(low, high, valid / seen, digest.hexdigest())


def _properties(subject: Subject) -> tuple[tuple[str, str], ...]:
    """Return rows that say what the images are like."""
    images = subject.images
    sizes = sorted({im.shape for im in images}, key=lambda s: s[0] * s[1])
    shown = [f"{width} x {height}" for height, width in sizes]
    known = [look for look in subject.looks if look.valid]
    low, high = (f(v) for f, v in ((min, [k.low for k in known]), (max, [k.high for k in known]))) if known else (0, 0)
    share = sum(look.valid for look in subject.looks) / len(images)
    return (
        ("size in pixels", shown[0] if len(shown) == 1 else f"{shown[0]} to {shown[-1]} ({len(shown)} sizes)"),
        ("bands", _summary(f"{len(im.bands)} ({listed(im.bands, 12)})" for im in images)),
        ("type", _summary(im.dtype for im in images)),
        ("values", f"{low:g} to {high:g}" if known else "none"),
        ("valid pixels", f"{share:.1%}"),
        ("CRS", _summary(_crs(im) for im in images)),
        ("pixel size", _summary(_resolution(im) for im in images)),
    )


def _summary(values: Iterable[str]) -> str:
    """Return what all have, or what there is and how often."""
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    return listed([f"{value} ({count} of {counts.total()})" for value, count in counts.most_common()], 4)


def _crs(image: Scene) -> str:
    crs = image.geobox.crs
    if crs is None:
        return "not known, but placed" if is_georeferenced(image.geobox) else "none"
    return f"EPSG:{crs.to_epsg()}" if crs.to_epsg() else "a CRS without EPSG number"


def _resolution(image: Scene) -> str:
    if not is_georeferenced(image.geobox):
        return "not known"
    crs = image.geobox.crs
    unit = "map units" if crs is None else "degrees" if crs.geographic else "m"
    return f"{pixel_size(image.geobox):.3g} {unit}"


# --- the doctor's list -----------------------------------------------------------------------------------------------


def _checked(subject: Subject) -> list[Finding]:
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


def _same_ground(subject: Subject) -> list[Finding]:
    """Images that show the same ground."""
    by_plane: dict[str, list[str]] = defaultdict(list)
    sheets = lay_out({n: im.geobox for n, im in zip(subject.names, subject.images, strict=True)})
    for name, sheet in sheets.items():
        by_plane[sheet.plane].append(name)
    couples = [c for names in by_plane.values() for c in _couples(names, [sheets[n].footprint for n in names])]
    if not couples:
        return []
    names = tuple(sorted({name for couple in couples for name in couple}))
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


def _differences(subject: Subject) -> list[Finding]:
    """Images that differ in resolution, type or CRS."""
    findings = []
    placed = [im for im in subject.images if is_georeferenced(im.geobox)]
    for crs in {_crs(im) for im in placed}:
        sizes = [pixel_size(im.geobox) for im in placed if _crs(im) == crs]
        if max(sizes) > 1.1 * min(sizes):
            text = (
                f"Images in {crs} have pixels from {min(sizes):.3g} to {max(sizes):.3g} map units. Objects then differ "
                "in size from image to image; --resolution brings all to one."
            )
            findings.append(Finding("warning", "resolutions-differ", text))
    for kind, what, values in (
        ("types-differ", "types", [im.dtype for im in subject.images]),
        ("image-crs-differ", "CRSs", [_crs(im) for im in subject.images]),
    ):
        if len(set(values)) > 1:
            level: Any = "warning" if kind == "types-differ" else "note"
            findings.append(Finding(level, kind, f"Images are of different {what}: {_summary(values)}."))
    return findings


def _labels(subject: Subject) -> list[Finding]:
    """Classes that are rare or alone, and images with few labels or none."""
    source = subject.source
    if source is None or not len(source.legend):
        return []
    counts, total = source.counts, int(source.counts.sum())
    names = np.array(source.legend.names)
    present = counts.sum(axis=0) > 0
    if present.sum() < 2:
        text = (
            f"The labels hold {names[present][0] if total else 'no class'} only, so there is nothing to tell apart. "
            "If the rest is background: --rest background for shapes, a legend with its number for masks."
        )
        return [Finding("error", "one-class", text)]
    findings = []
    rare = [f"{n} {c / total:.3%}" for n, c in zip(names, counts.sum(axis=0), strict=True) if 0 < c < RARE * total]
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
    "differences": _differences,
    "labels": _labels,
}
"""The doctor's list, beyond what opening reports."""


# --- for the eye -----------------------------------------------------------------------------------------------------


def _overview(inspection: Inspection) -> Table:
    table = Table(title=inspection.path, show_header=False, title_justify="left")
    rows = [("images", str(inspection.images)), *inspection.properties]
    if inspection.layout is not None:
        rows = [("layout", inspection.layout), ("labels", str(inspection.output)), *rows]
    if any(inspection.groups):
        rows.append(("groups", f"{len(inspection.groups)}: {listed(inspection.groups, 12)}"))
    if inspection.unlabelled is not None:
        rows.append(("unlabelled pixels", f"{inspection.unlabelled:.2%}"))
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _class_table(inspection: Inspection) -> Table:
    table = Table()
    for header, side in (("class", "left"), ("colour", "left"), ("number", "right"), ("pixels", "right")):
        table.add_column(header, justify="left" if side == "left" else "right")
    table.add_column("share", justify="right")
    for c in inspection.classes:
        colour = Text.assemble(("██ ", c.colour), c.colour)
        table.add_row(Text(c.name), colour, str(c.value), f"{c.pixels:,}", f"{c.share:.2%}")
    return table


def _line(finding: Finding) -> Text:
    style = {"error": "bold red", "warning": "yellow", "note": "cyan"}[finding.level]
    return Text.assemble((f"{finding.level}: ", style), finding.text)
