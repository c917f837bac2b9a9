"""A lattice of cells over a scene: what is done cell by cell does not depend on the window that is read."""

from __future__ import annotations

from collections.abc import Iterator

from sat2map.tiling import Window

CELL = 512
"""Side of a cell in pixels, unless a file's own blocks say otherwise."""


def aligned(window: Window, cell: tuple[int, int] = (CELL, CELL)) -> Window:
    """Return the smallest window of whole cells of (height, width) pixels that holds all of `window`."""
    height, width = cell
    row, col = window.row // height * height, window.col // width * width
    return Window(row, col, -(-window.bottom // height) * height - row, -(-window.right // width) * width - col)


def cells(window: Window, cell: tuple[int, int] = (CELL, CELL)) -> Iterator[Window]:
    """Yield the whole cells that `window` touches, row by row."""
    area = aligned(window, cell)
    for row in range(area.row, area.bottom, cell[0]):
        for col in range(area.col, area.right, cell[1]):
            yield Window(row, col, *cell)
