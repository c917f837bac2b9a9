"""The nouns of leaks: a `Ground` that belongs to a part, and the `Leak` of two that show the same.

Coordinates are pixels of a ground's window: (0, 0) is the upper left corner of its first pixel, x goes right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely

from sat2map.scenes import Scene
from sat2map.tiling import Window

LEAST = 0.01
"""Share of the smaller ground below which two do not count as the same: less may be rounding at the edges."""

SURE, COPIED = 0.45, 0.82
"""Likeness from which on ground is surely the same: of `FEW` pixels with texture or more, and of fewer."""

FEW = 25_000
"""Fewer pixels show some houses with their streets, and such may have been built twice to one plan (docs/leaks.md)."""

Matrix = tuple[float, float, float, float, float, float]
"""An affine as affine.Affine has it: x' = a x + b y + c, y' = d x + e y + f."""


@dataclass(frozen=True)
class Ground:
    """A piece of ground that belongs to a part.

    Args:
        name: What to call it.
        part: Which part it belongs to; ground of one part may overlap.
        image: The picture that shows it.
        window: Where it is in the picture.
    """

    name: str
    part: str
    image: Scene
    window: Window


@dataclass(frozen=True)
class Leak:
    """Two pieces of ground of different parts that show the same, or may show it.

    Args:
        first: One of them.
        second: The other.
        how: By what it was found: where both lie, or what they show.
        share: Share of the smaller one's ground that is shared, by outline.
        matrix: Where pixel (x, y) of the second, within its window, lies in the first, within its own.
        likeness: Mean local correlation of the shared pixels, at most 1, for leaks found by content; else None.
        textured: Of how many pixels that is the mean, for leaks found by content; else None.
    """

    first: Ground
    second: Ground
    how: Literal["georeference", "content"]
    share: float
    matrix: Matrix
    likeness: float | None = None
    textured: int | None = None

    @property
    def sure(self) -> bool:
        """Whether the ground is the same; what else looks alike may have been built twice to one plan."""
        if self.likeness is None or self.textured is None:
            return True
        return self.likeness >= (SURE if self.textured >= FEW else COPIED)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        grounds = ({"name": g.name, "part": g.part, "window": list(g.window)} for g in (self.first, self.second))
        names = ("first", "second"), ("how", "share", "matrix", "likeness", "textured", "sure")
        return dict(zip(names[0], grounds, strict=True)) | {name: getattr(self, name) for name in names[1]}


def outline(window: Window) -> shapely.Polygon:
    """Return a window's outline in its own pixels."""
    return shapely.box(0, 0, window.width, window.height)


def carried(polygon: shapely.Geometry, matrix: Matrix) -> shapely.Geometry:
    """Return a shape of the second ground where it lies in the first, or any other shape under an affine."""
    a, b, c, d, e, f = matrix
    turn = np.array([[a, d], [b, e]])
    return shapely.transform(polygon, lambda xy: xy @ turn + (c, f))


def shared(first: Window, second: Window, matrix: Matrix) -> shapely.Polygon:
    """Return the ground that two windows share, in pixels of the first."""
    return shapely.intersection(outline(first), carried(outline(second), matrix))


def share_of_smaller(first: Window, second: Window, matrix: Matrix) -> float:
    """Return which share of the smaller of two windows lies in the other, 0 to 1."""
    areas = shapely.area([outline(first), carried(outline(second), matrix)])
    return float(shapely.area(shared(first, second, matrix)) / areas.min()) if areas.min() > 0 else 0.0
