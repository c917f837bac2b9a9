"""Leaks for the eye: both grounds with the outline of what they share, and the second laid on the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from affine import Affine

from sat2map.leaks.base import Ground, Leak, carried, shared
from sat2map.leaks.finding import told
from sat2map.leaks.registration import laid
from sat2map.pictures import NO_DATA, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIDE = 480
"""The longest side of a drawn ground in pixels."""

NAME = 40
"""How many signs of a ground's name are shown: the last ones, by which paths differ."""

WIDE, HEADING = 12.0, 0.75
"""Width of the figure, and height of what is written above a pair, in inches."""

_INK, _LINE = "#22262B", "#D6006C"


def draw_leaks(leaks: Sequence[Leak], path: Path, most: int = 8) -> Path:
    """Draw leaks one below the other: first, second, and the second laid on the first.

    Args:
        leaks: What `find_leaks` returned; at least one.
        path: Where to write the PNG.
        most: At most so many are drawn, from the first on.

    Raises:
        SceneError: A picture is damaged or gone.
    """
    drawn = leaks[:most]
    heights = [HEADING + WIDE / 3 * max(_ratio(leak.first), _ratio(leak.second)) for leak in drawn]
    figure = new_figure(WIDE, sum(heights))
    strips = figure.subfigures(len(drawn), 1, squeeze=False, height_ratios=heights)
    for strip, leak in zip(strips.ravel(), drawn, strict=True):
        strip.suptitle(_plain(told(leak)), x=0.01, ha="left", fontsize=10, fontweight="bold", color=_INK)
        _draw(strip.subplots(1, 3), leak)
    save_figure(figure, path)
    return path


def _ratio(ground: Ground) -> float:
    return min(ground.window.height / ground.window.width, 2.0)


def _plain(text: str) -> str:
    """Return a user's text so that matplotlib takes no formula from it."""
    return text.replace("$", r"\$")


def _draw(row: Sequence[Axes], leak: Leak) -> None:
    matrix = Affine(*leak.matrix)
    common = shared(leak.first.window, leak.second.window, leak.matrix)
    _show(row[0], leak.first, common)
    _show(row[1], leak.second, carried(common, (~matrix)[:6]))
    rgb, place = _sight(leak.first)
    over, valid = laid(leak.second, ~matrix @ place, rgb.shape[:2])
    faded = (0.35 * rgb + 0.65 * 255).astype(np.uint8)
    _picture(row[2], np.where(valid[..., None], over, faded), carried(common, (~place)[:6]))
    for ax, title in zip(row, (_caption(leak.first), _caption(leak.second), "second laid on first"), strict=True):
        ax.set_title(_plain(title), fontsize=9, color=_INK, loc="left")


def _caption(ground: Ground) -> str:
    name = ground.name if len(ground.name) <= NAME else f"…{ground.name[1 - NAME :]}"
    return name if ground.part == ground.name else f"{ground.part}: {name}"


def _sight(ground: Ground) -> tuple[np.ndarray, Affine]:
    """Return a ground's colours `(H, W, 3)`, no side longer than `SIDE`, and the affine from there to its window."""
    pixel = max(max(ground.window.shape) / SIDE, 1.0)
    place = Affine.scale(pixel)
    height, width = (max(round(side / pixel), 1) for side in ground.window.shape)
    rgb, valid = laid(ground, place, (height, width))
    rgb[~valid] = NO_DATA
    return rgb, place


def _show(ax: Axes, ground: Ground, common: shapely.Polygon) -> None:
    rgb, place = _sight(ground)
    _picture(ax, rgb, carried(common, (~place)[:6]))


def _picture(ax: Axes, rgb: np.ndarray, common: shapely.Polygon) -> None:
    """Show a picture with the outline of the common ground, which is given in its pixels."""
    height, width = rgb.shape[:2]
    ax.imshow(rgb, extent=(0, width, height, 0), interpolation="antialiased")
    for colour, thickness in (("white", 3.4), (_LINE, 1.6)):
        ax.plot(*common.exterior.xy, color=colour, linewidth=thickness, clip_on=False)
    ax.axis((0, width, height, 0))
    ax.set_xticks([])
    ax.set_yticks([])
