"""Open country: fields, the river, woods and hedges."""

from __future__ import annotations

import math

import numpy as np

from sat2map.fabricate.canvas import LAND, RGB, VEGETATION, WATER, Canvas, scattered, tree
from sat2map.fabricate.plan import Plan

CROPS: tuple[tuple[RGB, int, float], ...] = (
    ((122, 98, 76), LAND, 0.10),
    ((184, 163, 122), LAND, 0.07),
    ((158, 134, 104), LAND, 0.05),
    ((148, 120, 96), LAND, 0.09),
    ((92, 118, 58), VEGETATION, 0.10),
    ((126, 140, 74), VEGETATION, 0.13),
    ((104, 122, 66), VEGETATION, 0.02),
    ((70, 98, 48), VEGETATION, 0.12),
    ((112, 132, 60), VEGETATION, 0.05),
)
"""What grows in the fields: colour, class, and how strongly the rows show."""


def draw_fields(canvas: Canvas) -> np.ndarray:
    """Cover everything with fields in strips; return where their margins are."""
    rng, size = canvas.rng, canvas.size
    angle, bend = rng.uniform(0, math.pi), 14 * canvas.noise(500)
    rows, cols = np.mgrid[:size, :size].astype(np.float32) - size / 2
    u = cols * math.cos(angle) + rows * math.sin(angle) + bend
    v = rows * math.cos(angle) - cols * math.sin(angle) + bend
    edges = np.cumsum(rng.uniform(110, 230, size // 70 + 8)).astype(np.float32) - size - 300
    strip = np.searchsorted(edges, u)
    length = rng.uniform(190, 430, len(edges) + 1).astype(np.float32)[strip]
    place = v / length + rng.uniform(0, 1, len(edges) + 1).astype(np.float32)[strip]
    field = (strip * 31 + np.floor(place).astype(int) * 17) % 211
    to_edge = np.minimum(abs(u - edges[strip - 1]), abs(u - edges[strip.clip(0, len(edges) - 1)]))
    margins: np.ndarray = np.minimum(to_edge, (0.5 - abs(place % 1 - 0.5)) * length) < 3.5
    _grow(canvas, field, u, v)
    _verges(canvas, margins, rng.random(211)[field] < 0.35)
    return margins


def _grow(canvas: Canvas, field: np.ndarray, u: np.ndarray, v: np.ndarray) -> None:
    """Give each field its crop, tone and rows."""
    rng, count = canvas.rng, int(field.max()) + 1
    crop = rng.permutation(np.arange(count) % len(CROPS))[field]
    tone, period = (rng.uniform(low, high, count).astype(np.float32)[field] for low, high in ((0.9, 1.1), (5, 10)))
    across = np.where((rng.random(count) < 0.7)[field], u, v)
    rows = np.sin(2 * math.pi * across / period + 0.6 * canvas.lumps)
    tramlines = abs(across % 36 - 18) < 1.1
    strength = np.array([c[2] for c in CROPS], np.float32)[crop]
    shade = tone + strength * rows - 0.10 * tramlines + 0.06 * canvas.noise(90, 4) + 0.035 * canvas.lumps
    canvas.colour[:] = np.array([c[0] for c in CROPS], np.float32)[crop] * shade[..., None]
    canvas.labels[:] = np.array([c[1] for c in CROPS], np.uint8)[crop]


def _verges(canvas: Canvas, margins: np.ndarray, tracks: np.ndarray) -> None:
    """Draw rough grass or a farm track between fields."""
    rough = np.where(tracks[..., None], canvas.rough((178, 162, 130), 0.1), canvas.rough((104, 116, 66), 0.1))
    canvas.mix(rough, margins * 0.85)
    canvas.labels[margins] = np.where(tracks, LAND, VEGETATION)[margins]


def draw_river(canvas: Canvas, plan: Plan) -> None:
    """Let the river flow: darker where it is deep, with sand and reeds on its banks."""
    half = plan.river.half + 5 * canvas.noise(160, 2)
    off, wild = plan.to_river - half, canvas.noise(24, 2)
    reeds, sand = off < 15 + 6 * wild, off < 3.5 + 3 * wild
    canvas.mix(canvas.rough((92, 104, 58), 0.14), reeds * 0.9)
    canvas.labels[reeds] = VEGETATION
    canvas.mix(canvas.rough((176, 160, 130), 0.06), sand * 0.95)
    canvas.labels[sand] = LAND
    water, depth = off < 0, (-off / half).clip(0, 1)[..., None] ** 0.6
    colour = (1 - depth) * (112, 116, 90) + depth * (42, 72, 82) + 2.2 * canvas.noise(5)[..., None]
    canvas.mix(colour + 4 * canvas.noise(120, 3)[..., None], water)
    canvas.labels[water], canvas.height[water] = WATER, -1.0


def plant_woods(canvas: Canvas, plan: Plan, margins: np.ndarray) -> None:
    """Plant woods in the open country, a belt along the river, and hedges between fields."""
    dry = canvas.labels != WATER
    dense = canvas.noise(canvas.size / 6, 3) > 0.75
    belt = (plan.to_river < plan.river.half + 46) & (canvas.noise(80, 2) > 0.5)
    woods = dry & (plan.urban < -0.02) & (dense | belt)
    canvas.mix(canvas.rough((58, 70, 40), 0.2), woods * 0.9)
    canvas.labels[woods] = VEGETATION
    hedges = dry & margins & (plan.urban < 0) & (canvas.noise(110) > 0.5)
    for row, col in scattered(canvas, 10):
        if woods[row, col] or hedges[row, col]:
            tree(canvas, row, col, canvas.rng.uniform(5, 9), canvas.rng.uniform(6, 12))
