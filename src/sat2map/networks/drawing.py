"""A network as a picture: its blocks from left to right as they compute, one row for each size of image.

A block is as high as its image is large (by powers of two), and as wide as its channels are many (their root).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from sat2map.networks import count_parameters
from sat2map.networks.blocks import Block, trace_blocks
from sat2map.pictures import new_figure, save_figure, short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = tuple[float, float]

BESIDE, ASLANT = 1.3, 0.95
"""Inches from one block to the next, in the same row and in another."""

LABEL, GAP = 0.5, 0.24
"""Inches of a row that are left above its blocks for their labels, and below them for lines."""

LETTERS = 18
"""Longest name of a block that has room."""

_INK, _FAINT, _FLOW, _SKIP = "#22262B", "#5C656E", "#8A929B", "#D9822B"
_IMAGE = "#B9C0C7"
_COLOURS = ("#3B7EA1", "#4F9D69", "#8E6BB0", "#B5545E", "#B08A2E", "#4A9C9C")


@dataclass(frozen=True)
class _Box:
    """A block in its place; in inches, y downwards."""

    block: Block
    x: float
    y: float
    colour: str

    @property
    def width(self) -> float:
        return 0.06 + 0.024 * math.sqrt(self.block.shape[0])

    @property
    def height(self) -> float:
        return _height(self.block)

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2


def draw_blocks(network: nn.Module, bands: int, size: int, path: Path, title: str) -> None:
    """Draw the picture of `sat2map.networks.draw_network`."""
    boxes = _placed(trace_blocks(network, bands, size))
    width = boxes[-1].x + BESIDE / 2
    height = max(box.bottom for box in boxes) + GAP
    figure = new_figure(width, height + 0.75)
    ax = figure.subplots()
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    ax.set_axis_off()
    ax.set_title(title, fontsize=14, fontweight="bold", color=_INK, loc="left", pad=20)
    facts = f"{short_count(count_parameters(network))} parameters; channels × height × width of what each block makes"
    ax.annotate(facts, (0, 1), (0, 7), "axes fraction", "offset points", fontsize=9, color=_FAINT)
    for number, box in enumerate(boxes):
        for source in box.block.sources:
            _flow(ax, boxes, source, number)
    for box in boxes:
        _box(ax, box)
    save_figure(figure, path)


def _placed(blocks: list[Block]) -> list[_Box]:
    """Return blocks in columns by their order and in rows by the size of their images."""
    rows, bottom = {}, 0.0
    for row in sorted({_row(block) for block in blocks}, reverse=True):
        tallest = max(_height(block) for block in blocks if _row(block) == row)
        rows[row] = bottom + LABEL + tallest / 2
        bottom += LABEL + tallest + GAP
    steps = (BESIDE if _row(a) == _row(b) else ASLANT for a, b in pairwise(blocks))
    columns = accumulate(steps, initial=BESIDE / 2)
    parts = [block.name.partition(".")[0] for block in blocks]  # of the network, such as its encoder
    colours = dict(zip(dict.fromkeys(parts), (_IMAGE, *_COLOURS * len(parts)), strict=False))
    return [
        _Box(block, x, rows[_row(block)], colours[part]) for block, x, part in zip(blocks, columns, parts, strict=True)
    ]


def _row(block: Block) -> int:
    return round(math.log2(max(block.shape[1:])))


def _height(block: Block) -> float:
    return 0.16 + 0.09 * math.log2(max(block.shape[1:]))


def _box(ax: Axes, box: _Box) -> None:
    from matplotlib.patches import Rectangle

    corner = (box.left, box.top)
    ax.add_patch(Rectangle(corner, box.width, box.height, facecolor=box.colour, edgecolor=_INK, linewidth=0.6))
    block = box.block
    lines = [" × ".join(str(n) for n in block.shape)]
    if block.parameters:
        lines.append(f"{short_count(block.parameters)} parameters")
    style: dict[str, Any] = {"xycoords": "data", "textcoords": "offset points", "ha": "center", "va": "bottom"}
    ax.annotate("\n".join(lines), (box.x, box.top), (0, 3), fontsize=7.5, color=_FAINT, linespacing=1.1, **style)
    lift = 4 + 9.5 * len(lines)
    ax.annotate(_label(block), (box.x, box.top), (0, lift), fontsize=8, fontweight="bold", color=_INK, **style)


def _label(block: Block) -> str:
    """Return a block's name, without the first of its parts where it is long."""
    name = block.name
    while len(name) > LETTERS and "." in name:
        name = "…" + name.partition(".")[2]
    return name if block.count == 1 else f"{name} × {block.count}"


def _flow(ax: Axes, boxes: list[_Box], source: int, number: int) -> None:
    """Draw what flows from one block to another: grey to the next one, in colour past others."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Outline

    skips = number > source + 1
    ax.add_patch(
        FancyArrowPatch(
            path=Outline(_way(boxes, source, number)),
            arrowstyle="-|>,head_length=3.4,head_width=1.7",
            color=_SKIP if skips else _FLOW,
            linewidth=1.2,
            fill=False,
            zorder=0.5,
        )
    )


def _way(boxes: list[_Box], source: int, number: int) -> list[Point]:
    """Return the corners of a line along the lower of two rows; where blocks are in its way, it runs below them."""
    start, end = boxes[source], boxes[number]
    row = max(start.y, end.y)
    passed = [box for box in boxes[source + 1 : number] if box.y == row]
    if passed:
        below = max(box.bottom for box in (*passed, start, end) if box.y == row) + GAP / 2
        down, up = start.x + _aside(start), end.x + _aside(end)
        return [(down, start.bottom), (down, below), (up, below), (up, end.bottom)]
    if end.y > start.y:
        return [(start.x, start.bottom), (start.x, row), (end.left, row)]
    if end.y < start.y:
        return [(start.right, row), (end.x, row), (end.x, end.bottom)]
    return [(start.right, row), (end.left, row)]


def _aside(box: _Box) -> float:
    return min(0.08, box.width / 4)
