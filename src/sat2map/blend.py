"""Overlapping windows into finished pixels, row by row of the lattice.

Only seams are ever added up, and only they are kept from one window to the next: memory grows with the width of what
is computed, not with its area. The sum of a pixel has the same order however the scene was cut: the windows of the
lattice from left to right, row by row.
"""

from __future__ import annotations

import numpy as np

from sat2map.tiling import Axis, Window, ramp


class Blender:
    """Blends the windows over a part of a scene, which have to come in the lattice's order.

    Args:
        rows: The windows from top to bottom.
        cols: The windows from left to right.
        over: The part; pixels outside of it may come out wrong.
        channels: How many scores a pixel has.
    """

    def __init__(self, rows: Axis, cols: Axis, over: Window, channels: int) -> None:
        self.rows, self.cols = rows, cols
        self._down, self._right = ramp(rows.width), ramp(cols.width)
        row_range, col_range = rows.over(over.row, over.bottom), cols.over(over.col, over.right)
        self.places = [(i, j) for i in row_range for j in col_range]
        self._first = row_range[0], col_range[0]
        self._col = cols.cell(col_range[0])[0]
        width = cols.cell(col_range[-1])[1] - self._col
        self._above = np.zeros((channels, rows.width, width), np.float32)
        self._left = np.zeros((channels, 0, 0), np.float32)

    def window(self, i: int, j: int) -> Window:
        """Return the window at row `i` and column `j` of the lattice."""
        return Window(self.rows.starts[i], self.cols.starts[j], self.rows.size, self.cols.size)

    def row(self, i: int) -> Window:
        """Return the pixels that are finished with row `i` of the windows."""
        (row, bottom), (_, last) = self.rows.cell(i), self.places[-1]
        return Window(row, self._col, bottom - row, self.cols.cell(last)[1] - self._col)

    def cell(self, i: int, j: int) -> Window:
        """Return the pixels that are finished with this window."""
        (row, bottom), (col, right) = self.rows.cell(i), self.cols.cell(j)
        return Window(row, col, bottom - row, right - col)

    def finish(self, i: int, j: int, scores_KHW: np.ndarray) -> np.ndarray:
        """Add a window's scores, which are changed, and return those of its cell `(K, height, width)`, a view."""
        (row, bottom), (col, right) = self.rows.reach(i), self.cols.reach(j)
        reach = Window(row, col, bottom - row, right - col).within(self.window(i, j))
        part = scores_KHW[:, *reach.slices]
        self._weigh(part, i, j)
        cell, start = self.cell(i, j), col - self._col
        known = 0  # columns that hold all from the left, and so from above
        if j > self._first[1]:
            known = self.cols.width
            part[:, :, :known] += self._left
        if i > self._first[0]:
            above = self._above[:, :, start + known : start + reach.width]
            part[:, : self.rows.width, known : known + above.shape[2]] += above
        self._left = part[:, :, cell.width :].copy()
        if i < len(self.rows.seams):
            self._above[:, :, start : start + cell.width] = part[:, cell.height :, : cell.width]
        return part[:, : cell.height, : cell.width]

    def _weigh(self, part: np.ndarray, i: int, j: int) -> None:
        """Weigh the seams on all sides that have one."""
        height, width = self.rows.width, self.cols.width
        if i > 0 and height:
            part[:, :height] *= self._down[:, None]
        if i < len(self.rows.seams) and height:
            part[:, -height:] *= self._down[::-1, None]
        if j > 0 and width:
            part[:, :, :width] *= self._right
        if j < len(self.cols.seams) and width:
            part[:, :, -width:] *= self._right[::-1]
