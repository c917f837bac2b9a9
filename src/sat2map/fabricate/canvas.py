"""The ground while it is made: colours, heights and classes, and what is drawn on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from sat2map.legend import Legend, MapClass

FABRICATED_CLASSES = Legend(
    (
        MapClass("Land", (222, 196, 148), 0),
        MapClass("Building", (196, 70, 58), 1),
        MapClass("Road", (92, 92, 104), 2),
        MapClass("Vegetation", (104, 160, 82), 3),
        MapClass("Water", (58, 124, 190), 4),
    )
)
"""The classes of every fabricated town."""

LAND, BUILDING, ROAD, VEGETATION, WATER = range(len(FABRICATED_CLASSES))


PIXEL = 0.5
"""Side of a pixel in metres."""

RGB = tuple[float, float, float]

Frame = tuple[tuple[slice, slice], np.ndarray, np.ndarray]
"""Part of the canvas, and the coordinates of its pixels along and across something that is turned."""


@dataclass
class Canvas:
    """The ground while it is made.

    Attributes:
        rng: Where all chance comes from.
        colour: `(H, W, 3)` float32, in full sun on flat ground, 0 to 255.
        height: `(H, W)` float32, metres.
        labels: `(H, W)` uint8 class ids.
        lumps: `(H, W)` float32, fine noise for whatever is rough.
    """

    rng: np.random.Generator
    colour: np.ndarray
    height: np.ndarray
    labels: np.ndarray
    lumps: np.ndarray

    @property
    def size(self) -> int:
        """Side in pixels."""
        return len(self.labels)

    def noise(self, cell: float, octaves: int = 1) -> np.ndarray:
        """Return smooth noise `(H, W)` of standard deviation about one, each octave half as large and as strong."""
        total = np.zeros(self.labels.shape, np.float32)
        for i in range(octaves):
            total += 0.5**i * self._smooth(max(cell / 2**i, 1.0))
        return total / math.sqrt(sum(0.25**i for i in range(octaves))) * 1.3

    def _smooth(self, cell: float) -> np.ndarray:
        count = math.ceil(self.size / cell) + 4
        coarse = Image.fromarray(self.rng.standard_normal((count, count), np.float32))
        x, y = self.rng.uniform(1, 2, 2)
        side = self.size / cell
        size, box = (self.size, self.size), (x, y, x + side, y + side)
        return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC, box))

    def rough(self, colour: RGB, strength: float, also: np.ndarray | float = 0.0) -> np.ndarray:
        """Return a colour `(H, W, 3)` float32, lighter and darker by fine noise of this strength and by `also`."""
        return np.asarray(colour, np.float32) * (1 + np.float32(strength) * self.lumps + also)[..., None]

    def mix(self, colour: RGB | np.ndarray, share: np.ndarray) -> None:
        """Lay a colour over what is there, `share` from 0 to 1."""
        self.colour += share.astype(np.float32)[..., None] * (np.asarray(colour, np.float32) - self.colour)

    def frame(self, row: float, col: float, angle: float, along: float, across: float) -> Frame:
        """Return the pixels around a rectangle whose first side points to `angle`, in radians from right to down."""
        reach = math.hypot(along, across) / 2 + 1
        top, left = (min(max(math.floor(v - reach), 0), self.size) for v in (row, col))
        bottom, right = (min(max(math.ceil(v + reach) + 1, 0), self.size) for v in (row, col))
        part = slice(top, bottom), slice(left, right)
        rows, cols = np.ogrid[part]
        y, x = rows - row, cols - col
        return part, x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)

    def paint(self, place: Place, colour: RGB, label: int | None = None, height: float | None = None) -> None:
        """Fill a rectangle."""
        part, s, t = self.frame(*place)
        inside = (abs(s) <= place.along / 2) & (abs(t) <= place.across / 2)
        self.colour[part][inside] = colour * (1 + 0.05 * self.lumps[part][inside, None])
        if label is not None:
            self.labels[part][inside] = label
        if height is not None:
            self.height[part][inside] = height


class Place(NamedTuple):
    """A turned rectangle: its centre, where its first side points to, and both sides in pixels."""

    row: float
    col: float
    angle: float
    along: float
    across: float

    def inner(self, s: float, t: float, along: float, across: float, turn: float = 0.0) -> Place:
        """Return a rectangle centred `s` along and `t` across from this one's centre."""
        sin, cos = math.sin(self.angle), math.cos(self.angle)
        return Place(self.row + s * sin + t * cos, self.col + s * cos - t * sin, self.angle + turn, along, across)


def blank(size: int, seed: int) -> Canvas:
    """Return an empty canvas whose chance is that of the seed."""
    zeros = np.zeros((size, size), np.float32)
    labels = np.zeros((size, size), np.uint8)
    canvas = Canvas(np.random.default_rng(seed), np.stack([zeros] * 3, -1), zeros, labels, zeros)
    canvas.lumps = 0.7 * canvas.noise(3) + 0.7 * canvas.noise(1.5)
    return canvas


class Line(NamedTuple):
    """A road or river: points `(n, 2)` as row and column, and half its width in pixels."""

    points: np.ndarray
    half: float


def nearest(size: int, lines: list[Line], reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance of each pixel from the nearest line (at most `reach`), and how far along it that is."""
    far, along = np.full((size, size), reach, np.float32), np.zeros((size, size), np.float32)
    for line in lines:
        run = 0.0
        for start, end in zip(line.points[:-1], line.points[1:], strict=True):
            low = np.floor(np.minimum(start, end) - reach).astype(int).clip(0, size)
            high = np.ceil(np.maximum(start, end) + reach).astype(int).clip(0, size)
            part = slice(low[0], high[0]), slice(low[1], high[1])
            rows, cols = np.ogrid[part]
            step = end - start
            length = float(np.hypot(*step))
            t = ((rows - start[0]) * step[0] + (cols - start[1]) * step[1]) / length**2
            t = t.clip(0, 1).astype(np.float32)
            distance = np.hypot(rows - start[0] - t * step[0], cols - start[1] - t * step[1])
            nearer = distance < far[part]
            far[part][nearer] = distance[nearer]
            along[part][nearer] = run + t[nearer] * length
            run += length
    return far, along


def tree(canvas: Canvas, row: int, col: int, radius: float, height: float) -> None:
    """Raise a lumpy crown over whatever is lower."""
    part, x, y = canvas.frame(row, col, 0, 1.5 * radius, 1.5 * radius)
    lumps = canvas.lumps[part]
    off = (x**2 + y**2) / radius**2 * (1 + 0.22 * lumps)
    crown = height * (0.5 + 0.5 * np.sqrt((1 - off).clip(0))) + 0.35 * lumps
    seen = (off < 1) & (crown > canvas.height[part])
    tone = canvas.rng.normal(1, 0.13) * (1 + 0.12 * lumps[seen, None])
    canvas.colour[part][seen] = (np.array((70, 90, 46)) + canvas.rng.normal(0, 6, 3) * (1.3, 1, 0.6)) * tone
    canvas.height[part][seen] = crown[seen]
    canvas.labels[part][seen] = VEGETATION


def roof(canvas: Canvas, place: Place, colour: RGB, eaves: float, kind: str) -> None:
    """Raise a roof over whatever is lower; its slopes are what makes it lighter and darker."""
    part, s, t = canvas.frame(*place)
    s, t = np.broadcast_arrays(abs(s), abs(t))
    long, short = place.along / 2, place.across / 2
    inside = (s <= long) & (t <= short)
    if kind == "flat":
        height = eaves + 0.5 * ((s > long - 1.3) | (t > short - 1.3))
    else:
        out = np.maximum(t, s - long + short) if kind == "hip" else t
        height = eaves + 0.45 * PIXEL * (short - out)
    seen = inside & (height > canvas.height[part])
    tone = canvas.rng.normal(1, 0.05) + 0.05 * canvas.lumps[part] + (0 if kind == "flat" else 0.04 * np.sin(2.1 * t))
    canvas.colour[part][seen] = np.array(colour) * tone[seen, None]
    canvas.height[part][seen], canvas.labels[part][seen] = height[seen], BUILDING


def scattered(canvas: Canvas, step: int) -> np.ndarray:
    """Return pixels `(n, 2)` about `step` apart."""
    grid = np.mgrid[: canvas.size : step, : canvas.size : step].reshape(2, -1).T
    return (grid + canvas.rng.integers(0, step, grid.shape)).clip(0, canvas.size - 1)
