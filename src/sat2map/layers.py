"""What a map can have beside its pixels: how sure it is of each, in numbers from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sat2map.calibration import UNCERTAINTIES
from sat2map.legend import CERTAIN, IGNORED


class Layer(NamedTuple):
    """Bands that are made of a window's probabilities.

    Args:
        bands: How many, for so many classes.
        measure: From probabilities `(K, H, W)` and the novelty of their window, 0 to 1, to `(bands, H, W)`.
        raw: Probabilities are kept as the network gave them, in float32; else calibrated, as bytes.
    """

    bands: Callable[[int], int]
    measure: Callable[[np.ndarray, float], np.ndarray]
    raw: bool = False

    def bytes(self, channels: int) -> int:
        """Return how many bytes a pixel takes."""
        return self.bands(channels) * (4 if self.raw else 1)

    def blank(self, channels: int, shape: tuple[int, int]) -> np.ndarray:
        """Return a layer without data."""
        bands = self.bands(channels), *shape
        return np.full(bands, np.nan, np.float32) if self.raw else np.full(bands, IGNORED, np.uint8)

    def stored(self, measured: np.ndarray) -> np.ndarray:
        """Return measures as they are kept: 0 to `CERTAIN`, if not as they are."""
        return measured if self.raw else np.rint(measured * CERTAIN)


def _one(_: int) -> int:
    return 1


def _all(channels: int) -> int:
    return channels


def _unsure(measure: Callable[[np.ndarray], np.ndarray]) -> Layer:
    return Layer(_one, lambda probabilities, _: measure(probabilities)[None])


LAYERS = {
    "scores": Layer(_all, lambda probabilities, _: probabilities),
    "confidence": Layer(_one, lambda probabilities, _: probabilities.max(axis=0, keepdims=True)),
    "novelty": Layer(_one, lambda probabilities, novelty: np.full((1, *probabilities.shape[1:]), novelty)),
    **{name: _unsure(measure) for name, measure in UNCERTAINTIES.items()},
    "probabilities": Layer(_all, lambda probabilities, _: probabilities, raw=True),
}
"""The layers by name."""
