"""The picture of a change: both maps and what became what, side by side, with what the colours mean."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sat2map.changes.classes import OTHER, OTHER_COLOUR, PALE, Transitions
from sat2map.changes.found import Change
from sat2map.legend import Colour
from sat2map.pictures import HATCH, map_colours, new_figure, plain, save_figure, show
from sat2map.tiling import Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE = 1000
"""The longest side of a map in the picture, in pixels of that map."""

LISTED = 10
"""Classes and changes that are named below a map; the smaller ones are told as one line."""

WIDTH = 5.6
"""Of a map that is higher than wide, in inches; others are as much larger as they are wider."""

Row = tuple[str, Colour, float]
"""What is named below a map: name, colour and area."""


@dataclass(frozen=True)
class Thumbnails:
    """The earlier map, the later one, and what became what, as pictures of every so many pixels.

    Args:
        pictures: Red, green, blue and an alpha, 0 where nothing was compared `(3, 4, h, w)` uint8.
        step: Each of how many pixels of a row or column is shown.
    """

    pictures: np.ndarray
    step: int

    @classmethod
    def blank(cls, shape: tuple[int, int]) -> Thumbnails:
        """Return pictures of maps of this height and width, on which nothing is drawn."""
        step = math.ceil(max(shape) / SIDE)
        return cls(np.zeros((3, 4, *(-(-side // step) for side in shape)), np.uint8), step)

    def add(self, window: Window, colours: Sequence[np.ndarray], valid: np.ndarray) -> None:
        """Draw a window.

        Args:
            window: Where, in pixels of the maps.
            colours: Of the earlier map, the later one, and the transitions, `(n, 3)` uint8 each: of valid pixels.
            valid: Which pixels were compared `(h, w)`.
        """
        rows, cols = (slice(-start % self.step, None, self.step) for start in (window.row, window.col))
        places = np.cumsum(valid).reshape(valid.shape)[rows, cols] - 1
        shown = valid[rows, cols]
        row, col = (-(-start // self.step) for start in (window.row, window.col))
        for picture, own in zip(self.pictures, colours, strict=True):
            part = picture[:, row : row + shown.shape[0], col : col + shown.shape[1]]
            part[:3, shown] = own[places[shown]].T
            part[3, shown] = 255


def draw_change(seen: Thumbnails, found: Change, transitions: Transitions, path: Path) -> None:
    """Draw both maps and what became what.

    Args:
        seen: The maps.
        found: What changed.
        transitions: Which colour stands for what.
        path: The PNG to write.
    """
    height, width = seen.pictures.shape[2:]
    wide = width > 1.6 * height
    side = WIDTH * max(width / height, 1) if not wide else 2 * WIDTH
    across = side if wide else min(side, 1.3 * WIDTH)
    tall = across * height / width
    figure = new_figure(across + 4, 3 * (tall + 0.5)) if wide else new_figure(3 * across, tall + 3)
    axes = figure.subplots(3, 1) if wide else figure.subplots(1, 3)
    striped = bool((seen.pictures[0, 3] == 0).any())
    tables = (*_classes(found, transitions), _changes(found, transitions))
    for ax, title, picture, rows in zip(axes, ("Before", "After", "Change"), seen.pictures, tables, strict=True):
        show(ax, map_colours(picture))
        ax.set_title(title, fontsize=13, fontweight="bold")
        _legend(ax, rows, found.compared, striped, beside=wide)
    save_figure(figure, path)


def _classes(found: Change, transitions: Transitions) -> tuple[list[Row], list[Row]]:
    """Return the classes of both maps, the largest first."""
    colours = [(red, green, blue) for red, green, blue in transitions.colours.tolist()]
    before, after = (
        [(c.name, colour, area) for c, colour, area in zip(found.classes, colours, areas, strict=True) if area]
        for areas in ([c.before for c in found.classes], [c.after for c in found.classes])
    )
    return _largest(before), _largest(after)


def _changes(found: Change, transitions: Transitions) -> list[Row]:
    """Return what stayed as one row, then what changed, the largest first."""
    colours = {c.name: c.colour for c in transitions.legend.classes}
    changes = [(t.name, colours[t.mapped_as], t.area) for t in found.transitions if t.mapped_as in colours]
    own = [row for row, t in zip(changes, found.transitions, strict=True) if t.changed and t.mapped_as != OTHER]
    rare = sum(t.area for t in found.transitions if t.mapped_as == OTHER)
    stayed = ("unchanged (pale)", PALE, found.compared - found.changed)
    return [stayed, *_largest([*own, *([(OTHER, OTHER_COLOUR, rare)] if rare else [])])]


def _largest(rows: Iterable[Row]) -> list[Row]:
    falling = sorted(rows, key=lambda row: -row[2])
    rest = falling[LISTED:]
    if len(rest) < 2:
        return falling
    return [*falling[:LISTED], (f"{len(rest)} smaller ones", (255, 255, 255), sum(area for _, _, area in rest))]


def _legend(ax: Axes, rows: Sequence[Row], compared: float, striped: bool, *, beside: bool) -> None:
    """Name the colours of a map, with their shares of the ground."""
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=_hex(colour), edgecolor="#8A929B", label=f"{plain(name, 40)}  {_share(area / compared)}")
        for name, colour, area in rows
    ]
    if striped:
        light, dark = map(_hex, HATCH)
        handles.append(Patch(facecolor=light, edgecolor=dark, hatch="////", label="not compared"))
    place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)} if beside else _below(handles)
    ax.legend(handles=handles, frameon=False, fontsize=9.5, handlelength=1.4, handleheight=1.1, **place)


def _below(handles: Sequence[object]) -> dict[str, object]:
    return {"loc": "upper center", "bbox_to_anchor": (0.5, -0.01), "ncols": 1 if len(handles) < 5 else 2}


def _hex(colour: Colour) -> str:
    return "#{:02X}{:02X}{:02X}".format(*colour)


def _share(share: float) -> str:
    return f"{share:.1%}".replace("%", " %") if share >= 0.001 else "<0.1 %"
