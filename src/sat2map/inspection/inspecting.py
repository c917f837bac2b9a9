"""From a source to what is told of it: the verb `inspect`, its facts and its tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sat2map.errors import SceneError, SourceError
from sat2map.inputs import select_bands
from sat2map.inspection.checks import checked
from sat2map.inspection.looking import look_at, properties
from sat2map.leaks import draw_leaks
from sat2map.options import ReadOptions
from sat2map.scenes import Scene
from sat2map.scenes.gdal import open_gdal
from sat2map.sources import Finding, Source, open_source
from sat2map.sources.base import listed, unreadable
from sat2map.sources.naming import find_files


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


def inspect(source: str | Path, *, leaks: str | Path | None = None, **words: Any) -> Inspection:
    """Inspect imagery with labels, or images alone.

    Args:
        source: A folder, or an image or HDF5 file.
        leaks: A PNG to draw images that show the same ground in, pair by pair; none is written if there are none.
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
    if leaks is not None and subject.leaks:
        draw_leaks(subject.leaks, Path(leaks))
    total = sum(h * w for h, w in (p.target.shape for p in opened.pairs))
    labelled = int(opened.counts.sum())
    return Inspection(
        path=opened.path,
        layout=opened.layout,
        output=opened.output,
        images=len(opened.pairs),
        groups=opened.groups,
        properties=properties(subject),
        classes=_class_rows(opened),
        unlabelled=1 - labelled / total if len(opened.legend) else None,
        findings=_sorted([*opened.findings, *checked(subject), *_pictures(opened)]),
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
    findings = [Finding("error", "no-labels", str(error)), *unreadable(faults), *checked(subject)]
    return Inspection(str(path), None, None, len(opened), (), properties(subject), (), None, _sorted(findings))


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda f: ("error", "warning", "note").index(f.level)))


def _class_rows(source: Source) -> tuple[ClassRow, ...]:
    counts = source.counts.sum(axis=0)
    total = max(int(counts.sum()), 1)
    return tuple(
        ClassRow(c.name, c.hex, c.value, int(n), int(n) / total)
        for c, n in zip(source.legend.classes, counts, strict=True)
    )


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
