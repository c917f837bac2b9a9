"""How like the truth painted maps are: a `Metric` with all that belongs to it, and the errors of pixels.

A measure that cannot be had is absent, and says why; no other number stands in for it. Knows arrays, not scenes, and
numpy only; `patchmetrics` adds what needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

FULL = 255.0
"""The range of grey levels."""


@dataclass(frozen=True)
class Metric:
    """One measure of how like the truth pictures are.

    Args:
        name: What it is called.
        value: The measure; None where it cannot be had.
        samples: How many pixels or patches it was taken over.
        of: What these are.
        better: Which values are better.
        spread: Its standard deviation over subsets, if it has one.
        extractor: The network whose features are compared, if there is one.
        reason: Why it is absent or, if there is a value, unreliable.
    """

    name: str
    value: float | None
    samples: int
    of: Literal["pixels", "patches"]
    better: Literal["lower", "higher"]
    spread: float | None = None
    extractor: str = ""
    reason: str = ""

    @property
    def reliable(self) -> bool:
        """Whether there is a value that can be trusted."""
        return self.value is not None and not self.reason

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def _counts() -> np.ndarray:
    return np.zeros((3, 256), np.int64)


@dataclass(frozen=True)
class PixelErrors:
    """Counts of pixels from which errors follow; they add up.

    Args:
        colours: How often each grey level occurs in each band of the truth, `(3, 256)` int64.
        errors: How often each absolute difference in grey levels occurs, `(3, 256)` int64.
    """

    colours: np.ndarray = field(default_factory=_counts)
    errors: np.ndarray = field(default_factory=_counts)

    def __add__(self, other: PixelErrors) -> PixelErrors:
        return PixelErrors(self.colours + other.colours, self.errors + other.errors)

    @property
    def pixels(self) -> int:
        """How many pixels were compared."""
        return int(self.errors[0].sum())

    @property
    def l1(self) -> float | None:
        """Mean absolute difference in grey levels."""
        return _mean(self.errors, np.arange(256.0))

    @property
    def psnr(self) -> float | None:
        """Peak signal-to-noise ratio in decibels; infinite where there is no difference."""
        squared = _mean(self.errors, np.arange(256.0) ** 2)
        if not squared:
            return None if squared is None else math.inf
        return 10 * math.log10(FULL**2 / squared)

    @property
    def l1_of_mean_colour(self) -> float | None:
        """The L1 of painting everything in the mean colour of the truth: what takes no skill."""
        if not self.pixels:
            return None
        levels = np.arange(256.0)
        means = self.colours @ levels / self.pixels
        return _mean(self.colours, np.abs(levels - means[:, None]))

    def metrics(self) -> tuple[Metric, ...]:
        """Return L1 and PSNR."""
        nothing = "" if self.pixels else "No pixel could be compared."
        l1 = Metric("L1", self.l1, self.pixels, "pixels", "lower", reason=nothing)
        psnr = Metric("PSNR", self.psnr, self.pixels, "pixels", "higher", reason=nothing)
        if psnr.value == math.inf:
            equal = "Pictures and truth are equal, so that PSNR is infinite."
            psnr = Metric("PSNR", None, self.pixels, "pixels", "higher", reason=equal)
        return l1, psnr


def _mean(counts: np.ndarray, values: np.ndarray) -> float | None:
    total = counts.sum()
    return float((counts * values).sum() / total) if total else None


def pixel_errors(truth: np.ndarray, painted: np.ndarray) -> PixelErrors:
    """Count the errors of a picture where it and its truth are opaque.

    Args:
        truth: Red, green, blue and alpha `(4, H, W)` uint8.
        painted: The same of the map.
    """
    known = both_opaque(truth, painted)
    one, other = (picture[:3, known].astype(np.int16) for picture in (truth, painted))
    return PixelErrors(*(np.stack([np.bincount(b, minlength=256) for b in bands]) for bands in (one, abs(one - other))))


def both_opaque(truth: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """Return where two pictures `(4, H, W)` can be compared, `(H, W)`."""
    known: np.ndarray = (truth[3] == 255) & (painted[3] == 255)
    return known


def absent(metrics: Iterable[Metric]) -> dict[str, list[str]]:
    """Return the names of the measures that could not be had, by the reason why."""
    reasons: dict[str, list[str]] = {}
    for metric in metrics:
        if metric.value is None:
            reasons.setdefault(metric.reason, []).append(metric.name)
    return reasons
