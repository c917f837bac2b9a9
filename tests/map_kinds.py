"""What maps can hold, for contracts that every kind keeps: how it is opened, what is written and what the file has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from sat2map.legend import IGNORED, Legend, MapClass
from sat2map.sinks import SINKS, Sink, open_picture, open_scores, open_sink

LEGEND = Legend(
    (MapClass("Land", (210, 180, 140), 10), MapClass("Bäche & Seen", (0, 90, 200), 3), MapClass("<none>", (1, 2, 3), 0))
)
NAMES = ("a", "Bäche & Seen")
SHAPE = (700, 530)
PLACE = GeoBox(SHAPE, Affine(0.5, 0, 412_000.25, 0, -0.5, 5_340_000.75), "EPSG:32633")


@dataclass(frozen=True)
class Kind:
    """What a map holds.

    Args:
        open: Opens a sink of a path, a place and the words that all have.
        block: What to write of ids: 0, 1, 2, and `IGNORED` where there is no data.
        numbers: What the file holds of them, `(bands, H, W)`.
        counts: What a sink of these numbers tells in its `counts`.
        nothing: The number of pixels without data.
        nodata: What the file says of it.
    """

    open: Callable[..., Sink]
    block: Callable[[np.ndarray], np.ndarray]
    numbers: Callable[[np.ndarray], np.ndarray]
    counts: Callable[[np.ndarray], list[int]]
    nothing: int
    nodata: int | None


def open_classes(path: Path, place: GeoBox, legend: Legend = LEGEND, **words: Any) -> Sink:
    return open_sink(path, place, legend, **words)


def open_named(path: Path, place: GeoBox, names: tuple[str, ...] = NAMES, **words: Any) -> Sink:
    return open_scores(path, place, names, **words)


def numbers_of(table: dict[int, list[int]]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from ids to the numbers of each band."""
    known = np.zeros((256, len(table[0])), np.uint8)
    known[[*table]] = [*table.values()]
    return lambda ids: np.moveaxis(known[ids], -1, 0)


as_scores = numbers_of({0: [0, 254], 1: [100, 20], 2: [254, 3], IGNORED: [IGNORED, IGNORED]})
as_colours = numbers_of({0: [200, 10, 255, 255], 1: [0, 0, 0, 255], 2: [3, 255, 50, 255], IGNORED: [0, 0, 0, 0]})


def count_classes(numbers: np.ndarray) -> list[int]:
    return [int((numbers == n).sum()) for n in (*(c.value for c in LEGEND.classes), IGNORED)]


def count_drawn(numbers: np.ndarray) -> list[int]:
    drawn = np.count_nonzero(numbers[3])
    return [drawn, numbers[3].size - drawn]


CLASSES = Kind(open_classes, np.copy, lambda ids: LEGEND.values(ids)[None], count_classes, IGNORED, IGNORED)
SCORES = Kind(open_named, as_scores, as_scores, lambda numbers: [], IGNORED, IGNORED)
PICTURE = Kind(open_picture, as_colours, as_colours, count_drawn, 0, None)
KINDS = {"classes": CLASSES, "scores": SCORES, "picture": PICTURE}

FILES = [*(("classes", suffix) for suffix in SINKS), ("scores", ".tif"), ("picture", ".tif"), ("picture", ".png")]
"""Every kind of content in every kind of file; that .tif and .tiff are one, the classes show."""

files = pytest.mark.parametrize(("kind", "suffix"), [pytest.param(KINDS[k], s, id=k + s) for k, s in FILES])


def fabricated_ids(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).choice([0, 1, 2, IGNORED], (70, 53)).astype(np.uint8)
    return np.kron(coarse, np.ones((10, 10), np.uint8))


def contents(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in folder.iterdir()}
