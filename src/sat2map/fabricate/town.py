"""The town: roads, lots with houses, halls, gardens, cars."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sat2map.fabricate.canvas import (
    BUILDING,
    LAND,
    RGB,
    ROAD,
    VEGETATION,
    WATER,
    Canvas,
    Place,
    nearest,
    roof,
    scattered,
    tree,
)
from sat2map.fabricate.plan import Plan

ROOFS: tuple[RGB, ...] = (
    (168, 98, 74), (156, 88, 68), (146, 84, 64), (176, 110, 84), (150, 94, 74), (128, 96, 78), (110, 84, 72),
    (92, 94, 98), (80, 82, 88), (104, 104, 106), (134, 134, 134), (192, 186, 174), (170, 150, 128), (98, 120, 100),
    (100, 116, 134),
)  # fmt: skip
FLAT_ROOFS: tuple[RGB, ...] = ((128, 128, 130), (104, 104, 108), (160, 158, 152), (206, 204, 198), (146, 138, 128))
CARS: tuple[RGB, ...] = ((225, 225, 225), (50, 52, 58), (150, 154, 160), (150, 40, 36), (52, 72, 120), (96, 96, 98))


def draw_town_ground(canvas: Canvas, plan: Plan) -> None:
    """Put lawns and yards between the houses, the more yards the nearer to the heart."""
    town = plan.urban + 0.02 * canvas.noise(16, 2) > 0.03
    yards = canvas.noise(40, 3) + 2.2 * plan.urban > 1.5
    worn = 0.06 * canvas.noise(30, 3)
    lawn, yard = canvas.rough((104, 122, 70), 0.05, worn), canvas.rough((164, 154, 138), 0.04, worn)
    canvas.mix(np.where(yards[..., None], yard, lawn), town)
    canvas.labels[town] = np.where(yards, LAND, VEGETATION)[town]


def draw_streets(canvas: Canvas, plan: Plan) -> None:
    """Draw the streets of the town."""
    far, _ = nearest(canvas.size, plan.streets, 14)
    _pave(canvas, far, 6.5, 3.5, (158, 154, 148), (112, 111, 112))


def draw_main_roads(canvas: Canvas, plan: Plan) -> None:
    """Draw main roads with markings; over the river they are bridges."""
    far, along = nearest(canvas.size, plan.mains, 17)
    bridge = (canvas.labels == WATER) & (far < 13)
    _pave(canvas, far, 9.0, 4.0, (166, 160, 150), (98, 98, 100))
    canvas.mix((228, 228, 222), ((0.9 - far).clip(0, 1) * (along % 22 < 11)) * 0.8)
    canvas.mix((214, 214, 208), (0.9 - abs(far - 7.6)).clip(0, 1) * 0.6)
    canvas.mix((190, 188, 182), bridge & (far > 10.5))
    canvas.height[bridge] = np.where(far > 11, 4.6, 3.6)[bridge]


def _pave(canvas: Canvas, far: np.ndarray, half: float, beside: float, pavement: RGB, asphalt: RGB) -> None:
    """Pave what is nearer than `half` to a road, and pavements of the width `beside` along it."""
    patches = 0.05 * canvas.noise(150, 2) - 0.07 * (canvas.noise(34) > 1.5)
    tracks = 0.05 * np.cos(far / half * 2.2 * math.pi)
    canvas.mix(canvas.rough(pavement, 0.04), (half + beside + 0.5 - far).clip(0, 1))
    canvas.mix(canvas.rough(asphalt, 0.03, patches - tracks), (half + 0.5 - far).clip(0, 1))
    paved = far < half + beside
    canvas.labels[paved], canvas.height[paved] = ROAD, 0


def settle(canvas: Canvas, plan: Plan) -> None:
    """Divide the ground along the roads into lots and build on them."""
    rng = canvas.rng
    used = np.isin(canvas.labels, (ROAD, WATER)) | (canvas.height > 2)
    for line in (*plan.mains, *plan.streets):
        beside = line.half + 4.5
        for points in (line.points, line.points[::-1]):
            steps = np.hypot(*np.diff(points, axis=0).T)
            run, at = np.concatenate([[0], np.cumsum(steps)]), rng.uniform(8, 20)
            while at < run[-1] - 20:
                lot, build = _lot(canvas, plan, points, run, at, beside)
                part, s, t = canvas.frame(*lot)
                inside = (abs(s) <= lot.along / 2) & (abs(t) <= lot.across / 2)
                if inside.sum() < 0.6 * lot.along * lot.across or (used[part] & inside).mean() > 0.01:
                    at += 9
                    continue
                used[part] |= inside
                build(canvas, lot)
                at += lot.along + 1


def _lot(
    canvas: Canvas, plan: Plan, points: np.ndarray, run: np.ndarray, at: float, beside: float
) -> tuple[Place, Callable[[Canvas, Place], None]]:
    """Return the lot to the right of a road, `at` pixels along it, and what is built there."""
    rng = canvas.rng
    row, col = (np.interp(at, run, points[:, i]) for i in (0, 1))
    urban = plan.urban[min(max(int(row), 0), canvas.size - 1), min(max(int(col), 0), canvas.size - 1)]
    if urban < 0.04 and rng.random() < 0.93:
        return Place(-1e3, -1e3, 0, 1, 1), _house
    if urban > 0.62 and rng.random() < 0.8:
        along, across, build = rng.uniform(48, 84), 40.0, _terrace
    elif urban < 0.45 and rng.random() < 0.10:
        along, across, build = rng.uniform(110, 150), 96.0, _hall
    else:
        along, across, build = rng.uniform(30, 44), rng.uniform(42, 50), _house
    row, col = (np.interp(at + along / 2, run, points[:, i]) for i in (0, 1))
    ahead = np.array([np.interp(at + along / 2 + 8, run, points[:, i]) for i in (0, 1)]) - (row, col)
    edge = Place(row, col, math.atan2(*ahead), 0, 0)
    return edge.inner(0, beside + across / 2, along, across), build


def _house(canvas: Canvas, lot: Place) -> None:
    """Build a house with its garden, drive and perhaps a wing, a shed or a pool."""
    rng = canvas.rng
    lawn = rng.random() < 0.72
    tone = rng.uniform(0.88, 1.1)
    ground: RGB = (104 * tone, 124 * tone, 68 * tone) if lawn else (172 * tone, 160 * tone, 138 * tone)
    canvas.paint(lot.inner(0, 0, lot.along - 1, lot.across - 1), ground, VEGETATION if lawn else LAND, 0)
    along, across = rng.uniform(20, lot.along - 8), rng.uniform(15, 20)
    front = -lot.across / 2 + rng.uniform(5, 9) + across / 2
    side = rng.choice((-1, 1))
    canvas.paint(lot.inner(side * (lot.along / 2 - 3.5), -lot.across / 4, 5, lot.across / 2), (176, 172, 164), LAND)
    canvas.paint(lot.inner(0, front + across / 2 + 2, along * 0.6, 7), (186, 174, 158), LAND)
    turn = math.pi / 2 if rng.random() < 0.25 and along < 26 else 0.0
    house = lot.inner(rng.uniform(-2, 2), front, along, across, turn + rng.normal(0, 0.03))
    colour, eaves = ROOFS[rng.integers(len(ROOFS))], rng.uniform(4, 6.5)
    roof(canvas, house, colour, eaves, rng.choice(("gable", "gable", "hip")))
    if rng.random() < 0.35:
        roof(canvas, house.inner(side * along * 0.28, across * 0.5, across * 1.3, across * 0.75, math.pi / 2), colour,
              eaves, "gable")  # fmt: skip
    canvas.paint(house.inner(rng.uniform(-5, 5), 2, 2.2, 2.2), (96, 84, 78), None, eaves + 3.4)
    back = lot.across / 2 - 7
    if rng.random() < 0.4:
        shed = lot.inner(-side * (lot.along / 2 - 8), back, rng.uniform(8, 12), rng.uniform(7, 9))
        roof(canvas, shed, FLAT_ROOFS[rng.integers(len(FLAT_ROOFS))], 2.6, "flat")
    elif rng.random() < 0.06:
        canvas.paint(lot.inner(side * 6, back, 15, 8), (214, 206, 192), LAND)
        canvas.paint(lot.inner(side * 6, back, 13, 6), (96, 176, 190), WATER)


def _terrace(canvas: Canvas, lot: Place) -> None:
    """Build town houses close to the pavement, with a yard behind."""
    rng = canvas.rng
    canvas.paint(lot, (160, 154, 144), LAND, 0)
    eaves, across = rng.uniform(8, 12), rng.uniform(20, 25)
    front = -lot.across / 2 + across / 2 + 1
    kind, colour = rng.choice(("gable", "gable", "hip", "flat")), ROOFS[rng.integers(len(ROOFS))]
    colour = FLAT_ROOFS[rng.integers(len(FLAT_ROOFS))] if kind == "flat" else colour
    roof(canvas, lot.inner(0, front, lot.along - 1, across), colour, eaves, kind)
    if rng.random() < 0.5:
        side = rng.choice((-1, 1)) * (lot.along / 2 - 8)
        wing = lot.inner(side, front + across / 2 + 4, 24, 14, math.pi / 2)
        roof(canvas, wing, colour, eaves - 2, "flat" if kind == "flat" else "gable")
    for s in np.arange(-lot.along / 2 + 8, lot.along / 2 - 6, rng.uniform(12, 18)):
        canvas.paint(lot.inner(s, front + 3, 2.2, 2.2), (104, 92, 84), None, eaves + 4)


def _hall(canvas: Canvas, lot: Place) -> None:
    """Build a hall with a flat roof behind its car park."""
    rng = canvas.rng
    canvas.paint(lot.inner(0, -lot.across / 4, lot.along, lot.across / 2), (116, 115, 116), ROAD, 0)
    canvas.paint(lot.inner(0, lot.across / 4, lot.along, lot.across / 2), (166, 160, 148), LAND, 0)
    for s in np.arange(-lot.along / 2 + 6, lot.along / 2 - 5, 5.2):
        for t in (-lot.across / 2 + 7, -lot.across / 2 + 29):
            canvas.paint(lot.inner(s - 2.6, t, 0.9, 10), (206, 206, 202))
            if rng.random() < 0.45:
                _car(canvas, lot.inner(s, t, 9, 4, math.pi / 2))
    hall = lot.inner(0, lot.across / 4 - 5, lot.along * rng.uniform(0.8, 0.94), lot.across * 0.46)
    eaves = rng.uniform(6, 8)
    roof(canvas, hall, FLAT_ROOFS[rng.integers(len(FLAT_ROOFS))], eaves, "flat")
    for _ in range(rng.integers(4, 10)):
        s, t = rng.uniform(-0.42, 0.42) * hall.along, rng.uniform(-0.35, 0.35) * hall.across
        canvas.paint(hall.inner(s, t, rng.uniform(3, 7), rng.uniform(3, 5)), (186, 188, 190), None, eaves + 1.2)


def plant_gardens(canvas: Canvas, plan: Plan) -> None:
    """Plant trees in town where there is room between houses and roads."""
    for row, col in scattered(canvas, 19):
        radius = canvas.rng.uniform(4, 8.5)
        part, x, y = canvas.frame(row, col, 0, radius, radius)
        built = np.isin(canvas.labels[part], (BUILDING, ROAD, WATER)) | (canvas.height[part] > 1)
        if (
            plan.urban[row, col] > 0
            and canvas.rng.random() < 0.55
            and (built & (x**2 + y**2 < radius**2)).mean() < 0.04
        ):
            tree(canvas, row, col, radius, radius * canvas.rng.uniform(0.8, 1.1))


def park_cars(canvas: Canvas, plan: Plan) -> None:
    """Let cars stand along the streets and drive on the main roads."""
    for line in (*plan.streets, *plan.mains):
        for (row, col), ahead in zip(line.points[:-1], np.diff(line.points, axis=0), strict=True):
            for side in (-1, 1):
                if canvas.rng.random() < 0.16:
                    place = Place(row, col, math.atan2(*ahead), 9, 4)
                    _car(canvas, place.inner(canvas.rng.uniform(-4, 4), side * line.half * 0.55, 9, 4))


def _car(canvas: Canvas, place: Place) -> None:
    red, green, blue = CARS[canvas.rng.integers(len(CARS))]
    canvas.paint(place, (red, green, blue), None, 1.3)
    canvas.paint(place.inner(-0.5, 0, 4.5, 3), (0.55 * red, 0.55 * green, 0.55 * blue), None, 1.5)
