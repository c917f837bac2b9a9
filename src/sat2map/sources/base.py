"""The nouns of a source: `Pair` of an image and its truth, `Finding` of the doctor, `Source` of all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from sat2map.labels import Shapes
from sat2map.legend import NO_LEGEND, Legend
from sat2map.scenes import Scene


@dataclass(frozen=True)
class Finding:
    """Something the user should know about the data.

    Args:
        level: `error` keeps the source from being trained on, `warning` does not, `note` is no fault at all.
        kind: What kind of finding, in one hyphenated word, for programs.
        text: What it is, in a sentence, and what to do.
        where: The files or rows it was seen in.
    """

    level: Literal["error", "warning", "note"]
    kind: str
    text: str
    where: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pair:
    """An image and its truth on the same grid.

    Args:
        name: The image's path within the source.
        group: The folder it belongs to, without the word for images; empty at the top.
        image: The pixels.
        target: Class ids (one band, `IGNORED` where unlabelled), or the map picture (translation).
    """

    name: str
    group: str
    image: Scene
    target: Scene


@dataclass(frozen=True)
class Unread:
    """An image and its labels as they are stored, before legend and grid are known.

    Args:
        name: The image's path within the source.
        group: See `Pair`.
        image: The image on its own grid.
        mask: The mask, three bands of colours or one of numbers; None if there are shapes.
        shapes: The shapes, if the labels are vectors.

    The mask is on the image's grid, unless both have places on the ground of their own.
    """

    name: str
    group: str
    image: Scene
    mask: Scene | None = None
    shapes: Shapes | None = None


@dataclass(frozen=True)
class Source:
    """What can be trained on, evaluated on and inspected.

    Args:
        path: Where it is.
        layout: A name of `LAYOUTS`.
        output: What the truth is: class maps, or map pictures.
        pairs: Images with their truth, sorted by name.
        legend: The classes; empty for pictures.
        counts: Labelled pixels by pair and class, `(pairs, classes)` int64.
        colours: What the colours of pictures mean, if that is known; empty if not.
        findings: What was noticed on opening.
    """

    path: str
    layout: str
    output: Literal["classes", "picture"]
    pairs: tuple[Pair, ...]
    legend: Legend
    counts: np.ndarray = field(repr=False)
    colours: Legend = NO_LEGEND
    findings: tuple[Finding, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, sorted."""
        return tuple(sorted({pair.group for pair in self.pairs}))

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands of the images (of the first one: all have as many)."""
        return self.pairs[0].image.bands


def one_class(source: Source) -> Finding | None:
    """Report labels of classes that leave nothing to tell apart, as fewer than two of them have pixels."""
    total = source.counts.sum(axis=0)
    present = [name for name, n in zip(source.legend.names, total, strict=True) if n]
    if source.output == "picture" or len(present) > 1:
        return None
    text = (
        f"The labels hold {present[0] if present else 'no class'} only, so there is nothing to tell apart. "
        "If the rest is background: --rest background for shapes, a legend with its number for masks."
    )
    return Finding("error", "one-class", text)


def unpaired(images: Iterable[Path], masks: Iterable[Path]) -> list[Finding]:
    """Report the images and the masks that miss the other side."""
    findings = []
    for files, kind, one, other in (
        (sorted(images), "image-without-mask", "image", "mask"),
        (sorted(masks), "mask-without-image", "mask", "image"),
    ):
        if files:
            names = listed(["/".join(f.parts[-2:]) for f in files])
            text = f"{counted(files, one)} without {other} of the same name, left out: {names}."
            findings.append(Finding("warning", kind, text, tuple(str(f) for f in files)))
    return findings


def unreadable(faults: Mapping[str, str]) -> list[Finding]:
    """Report files that cannot be read, given by name with what went wrong."""
    if not faults:
        return []
    text = f"{counted(faults, 'unreadable file')} left out: {listed(list(faults.values()), 3)}"
    return [Finding("warning", "unreadable", text, tuple(faults))]


def counted(things: Sized, noun: str) -> str:
    """Return how many there are, with a noun in its number: `1 image`, `2 images`."""
    return f"{len(things)} {noun}" if len(things) == 1 else f"{len(things)} {noun}s"


def listed(names: Sequence[object], most: int = 6) -> str:
    """Return names in one line, the first few of many."""
    shown = ", ".join(str(n) for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
