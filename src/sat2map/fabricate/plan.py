"""Where things will be: the river, main roads, the streets of the town."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sat2map.fabricate.canvas import Canvas, Line, nearest


@dataclass(frozen=True)
class Plan:
    """Where the town is: its streets and main roads, the river, and how far inside the town each pixel is."""

    streets: list[Line]
    mains: list[Line]
    river: Line
    urban: np.ndarray  # above 0 in town, 1 at its heart
    to_river: np.ndarray  # distance in pixels from the middle of the river


def make_plan(canvas: Canvas) -> Plan:
    """Decide where river, roads and town lie."""
    rng, size = canvas.rng, canvas.size
    angle = rng.uniform(-0.35, 0.35)
    river = Line(_curve(rng, size, 0.27, angle, 0.055), rng.uniform(26, 34))
    to_river, _ = nearest(size, [river], 260)
    rows, cols = np.mgrid[:size, :size].astype(np.float32) / size
    heart = rng.uniform(0.42, 0.54), rng.uniform(0.58, 0.66)
    urban = 1 - np.hypot((rows - heart[0]) / 0.40, (cols - heart[1]) / 0.36) + 0.10 * canvas.noise(size / 5)
    mains = [
        Line(_curve(rng, size, heart[1] + 0.02, angle, 0.02), 9.0),
        Line(_curve(rng, size, heart[0], angle, 0.03)[:, ::-1] * [-1, 1] + [size, 0], 9.0),
    ]
    streets = _street_grid(rng, angle, urban, to_river)
    return Plan(streets, mains, river, urban, to_river)


def _curve(rng: np.random.Generator, size: int, at: float, angle: float, swing: float) -> np.ndarray:
    """Return a line that runs down the scene at column `at` (a share of the width), turned and swinging."""
    rows = np.arange(-60.0, size + 76, 16)
    phases, waves = rng.uniform(0, 2 * math.pi, 3), (900.0, 520.0, 250.0)
    sway = sum(s * np.sin(2 * math.pi * rows / w + p) for s, w, p in zip((1, 0.5, 0.15), waves, phases, strict=True))
    cols = at * size + swing * min(size, 1536) * sway + (rows - size / 2) * math.tan(angle) * 0.5
    return np.stack([rows, cols], -1)


def _street_grid(rng: np.random.Generator, angle: float, urban: np.ndarray, to_river: np.ndarray) -> list[Line]:
    """Lay an irregular, slightly bent grid over the town; some pieces of the cross streets are missing."""
    size, streets = len(urban), []
    bend, phase = rng.uniform(14, 24), rng.uniform(0, 6)
    for turned, (least, most), kept in ((0.0, (104, 142), 1.0), (math.pi / 2, (170, 270), 0.85)):
        offset = -0.8 * size + rng.uniform(0, 100)
        direction = np.array([math.sin(angle + turned), math.cos(angle + turned)])
        while offset < 0.8 * size:
            t = np.arange(-0.8 * size, 0.8 * size, 16)[:, None]
            line = size / 2 + t * direction + offset * np.array([direction[1], -direction[0]])
            line = line + bend * np.sin(line[:, ::-1] / 210 + phase)
            streets += [Line(piece, 6.5) for piece in _pieces(line, urban, to_river) if rng.random() < kept]
            offset += rng.uniform(least, most)
    return streets


def _pieces(line: np.ndarray, urban: np.ndarray, to_river: np.ndarray) -> Iterator[np.ndarray]:
    """Cut out of a line what lies in town and off the river."""
    rows, cols = line.round().astype(int).T
    seen = (rows >= 0) & (rows < len(urban)) & (cols >= 0) & (cols < len(urban))
    rows, cols = rows.clip(0, len(urban) - 1), cols.clip(0, len(urban) - 1)
    inside = seen & (urban[rows, cols] > 0.08) & (to_river[rows, cols] > 70)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start >= 5:
            yield line[start:end]
