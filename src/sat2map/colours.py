"""The nearest of a few colours."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)  # type: ignore[misc, unused-ignore]
def nearest_colours(rgb: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the colours is the nearest to each pixel, and how far it is.

    Args:
        rgb: Pixels `(bands, H, W)` uint8: three bands, or one of grey.
        colours: `(K, bands)` int32, at most 255.

    Returns:
        Their numbers `(H, W)` uint16, the first of equals, and squared Euclidean distances `(H, W)` int32
        (1 << 20 where there are no colours).
    """
    bands, height, width = rgb.shape
    nearest = np.zeros((height, width), np.uint16)
    squared = np.empty((height, width), np.int32)
    for row in range(height):
        for col in range(width):
            least = 1 << 20
            for k in range(len(colours)):
                distance = 0
                for band in range(bands):
                    difference = np.int32(rgb[band, row, col]) - colours[k, band]
                    distance += difference * difference
                if distance < least:
                    least = distance
                    nearest[row, col] = k
            squared[row, col] = least
    return nearest, squared
