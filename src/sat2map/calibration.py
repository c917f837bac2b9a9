"""Probabilities one can believe: how they are corrected, how far they are from right, and how unsure they are.

A network says 0.9 more often than it is right nine times out of ten. What puts that right is fitted elsewhere
(`learning.calibrating`, on validation ground); here it is applied, and what it does is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from numbers import Real
from typing import Any, Literal, TypeAlias

import numba
import numpy as np

from sat2map.legend import IGNORED

Kind: TypeAlias = Literal["temperature", "vector"]
"""One temperature, or a scale and a shift of each class."""

FLOOR = float(np.finfo(np.float32).tiny)
"""Probabilities below this are taken for it: 0 has no logarithm."""

BINS = 15
"""Bins of equal width in which confidence is compared with accuracy, as in Guo et al. 2017."""

FINE = 1000
"""Bins of equal width by which pixels are sorted from the most certain to the least."""

SHARES = tuple(i / 20 for i in range(1, 21))
"""The shares of pixels at which the curve of a `Reliability` is written down."""

_CHUNK = 1 << 14
"""Pixels that are computed at once: their probabilities stay in the cache of a processor."""


@dataclass(frozen=True)
class Calibration:
    """Maps probabilities p to `softmax(scale * log p + shift)`.

    With one scale for all classes and no shift this is temperature scaling (Guo et al. 2017, On calibration of modern
    neural networks): logits and log-probabilities differ by what is the same for all classes, which softmax does not
    see. With a scale of each class it is Dirichlet calibration with a diagonal matrix (Kull et al. 2019, Beyond
    temperature scaling), which is vector scaling (Guo et al.) of log-probabilities in place of logits.

    Args:
        scale: A positive factor of each class.
        shift: What is added for each class.

    Raises:
        ValueError: There is no class, the lengths differ, or a number is not finite, or a scale not positive.
    """

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.scale) == len(self.shift) > 0:
            raise ValueError(f"A calibration has a scale and a shift of each class, not {self.scale} and {self.shift}.")
        numbers = (*self.scale, *self.shift)
        if not all(isinstance(v, Real) and math.isfinite(v) for v in numbers) or min(self.scale) <= 0:
            raise ValueError(f"Scales are positive and shifts finite, not {self.scale} and {self.shift}.")

    @classmethod
    def of_temperature(cls, temperature: float, classes: int) -> Calibration:
        """Return temperature scaling: above 1 probabilities become more even, below 1 more extreme.

        Raises:
            ValueError: The temperature is not positive and finite.
        """
        if not 0 < temperature < math.inf:
            raise ValueError(f"A temperature is positive and finite, not {temperature}.")
        return cls((1 / temperature,) * classes, (0.0,) * classes)

    @property
    def temperature(self) -> float | None:
        """The temperature; None if classes are scaled differently, or shifted."""
        return 1 / self.scale[0] if len(set(self.scale)) == 1 and not any(self.shift) else None

    @property
    def kind(self) -> Kind:
        """What it is."""
        return "vector" if self.temperature is None else "temperature"

    @property
    def keeps_classes(self) -> bool:
        """Whether the most probable class stays the most probable one.

        Rounding can make two probabilities equal that were not: who needs the same map to the last pixel decides
        classes by the probabilities before calibration.
        """
        return self.temperature is not None

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, float32 of the same shape; the array itself if nothing is to be done.

        Each pixel is computed alone, whatever it is computed together with.

        Args:
            probabilities: `(K, N)`, `(K, H, W)` or of more axes.

        Raises:
            ValueError: They are of another number of classes.
        """
        if len(probabilities) != len(self.scale):
            raise ValueError(f"A calibration of {len(self.scale)} classes does not fit {len(probabilities)} classes.")
        given = np.asarray(probabilities, np.float32)
        if self.temperature == 1:
            return given
        calibrated = np.empty(given.shape, np.float32)
        scale, shift = (np.array(v, np.float32).reshape(-1, *[1] * (given.ndim - 1)) for v in (self.scale, self.shift))
        for rows in _chunks(given.shape):
            part = calibrated[:, rows]
            np.log(np.maximum(given[:, rows], np.float32(FLOOR), out=part), out=part)
            part *= scale
            part += shift
            part -= part.max(axis=0)
            np.exp(part, out=part)
            part /= part.sum(axis=0)
        return calibrated

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Make a calibration from the dict of its `to_json`.

        Raises:
            ValueError: It holds no sound calibration.
        """
        try:
            return cls(tuple(data["scale"]), tuple(data["shift"]))
        except (LookupError, TypeError) as error:
            raise ValueError(f"A calibration has lists of numbers, scale and shift, not {data!r}.") from error


def _chunks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield runs along the second axis of `(K, ...)` that hold about `_CHUNK` pixels."""
    step = max(_CHUNK // max(math.prod(shape[2:]), 1), 1)
    return (slice(first, first + step) for first in range(0, shape[1], step))


@dataclass
class Reliability:
    """How far probabilities can be believed, in sums that add up over blocks and with `+`.

    Every labelled pixel counts once. Neighbouring pixels are not independent: the figures describe this ground, and how
    sure one may be of them is not to be told from the number of pixels.

    Attributes:
        pixels: How many pixels were counted, of each of `BINS` bins of confidence `(BINS,)`.
        right: How many of them have the right class.
        confidence: The sum of their confidences, which are their largest probabilities.
        fine: Pixels and right ones `(2, FINE)` in narrower bins.
        losses: Sums of the squared error and of the negative log likelihood, `(2,)`.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    right: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    confidence: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    fine: np.ndarray = field(default_factory=lambda: np.zeros((2, FINE), np.int64))
    losses: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def add(self, probabilities_KHW: np.ndarray, truth_ids: np.ndarray) -> None:
        """Count a block.

        Args:
            probabilities_KHW: `(K, H, W)` float32; pixels that have none, all NaN or all 0, are not counted.
            truth_ids: Ids `(H, W)`, `IGNORED` where there is no label.

        Raises:
            ValueError: The shapes differ, or an id is none of the K.
        """
        classes = len(probabilities_KHW)
        if probabilities_KHW.shape[1:] != truth_ids.shape:
            raise ValueError(f"Probabilities {probabilities_KHW.shape} and truth {truth_ids.shape} differ in shape.")
        if ((truth_ids >= classes) & (truth_ids != IGNORED)).any():
            raise ValueError(f"The truth holds ids that are none of {classes} classes.")
        given = np.ascontiguousarray(probabilities_KHW, np.float32)
        _count(given, np.asarray(truth_ids, np.uint8), self.pixels, self.right, self.confidence, self.fine, self.losses)

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def count(self) -> int:
        """How many pixels were counted."""
        return int(self.pixels.sum())

    @property
    def accuracy(self) -> float | None:
        """Share of the pixels whose most probable class is right."""
        return self._mean(self.right.sum())

    @property
    def mean_confidence(self) -> float | None:
        """Mean of the largest probability: above the accuracy, the network is too sure of itself."""
        return self._mean(self.confidence.sum())

    @property
    def ece(self) -> float | None:
        """Expected calibration error, 0 to 1: how far accuracy is from confidence, on average over the bins' pixels.

        After Naeini et al. 2015, Obtaining well calibrated probabilities using Bayesian binning, as Guo et al. 2017
        have it: of the largest probability, in bins of equal width. It is computed on pixels, which are not
        independent, and depends on the bins: for comparing probabilities of the same ground, Brier score and negative
        log likelihood are the sounder measures.
        """
        return self._mean(np.abs(self.confidence - self.right).sum())

    @property
    def brier(self) -> float | None:
        """Mean over pixels of the squared errors of all probabilities, summed over classes, 0 to 2.

        Brier 1950, Verification of forecasts expressed in terms of probability.
        """
        return self._mean(self.losses[0])

    @property
    def nll(self) -> float | None:
        """Mean negative logarithm of the probability of the true class, in nats."""
        return self._mean(self.losses[1])

    def _mean(self, total: float) -> float | None:
        return float(total) / self.count if self.count else None

    @property
    def curve(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Coverage and accuracy of the most certain pixels, from the few to all (`(points,)` each).

        The risk-coverage curve of Geifman and El-Yaniv 2017, Selective classification for deep neural networks, with
        accuracy in place of risk, which is 1 less accuracy.
        """
        if not self.count:
            return None
        kept, right = self._cumulated()
        return kept[1:] / self.count, right[1:] / kept[1:]

    def _cumulated(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how many pixels are kept, and of them right, when bins are added from the most certain one on."""
        held = self.fine[:, self.fine[0] > 0][:, ::-1]
        kept, right = np.concatenate([np.zeros((2, 1), np.int64), held.cumsum(axis=1)], axis=1)
        return kept, right

    def accuracy_at(self, coverage: float) -> float | None:
        """Return the accuracy of the most certain pixels.

        Args:
            coverage: Their share, above 0 and at most 1; of the pixels of one bin any are taken.

        Raises:
            ValueError: It is no such share.
        """
        wanted = self._wanted(coverage)
        return float(np.interp(wanted, *self._cumulated())) / wanted if self.count else None

    def confidence_at(self, coverage: float) -> float | None:
        """Return the confidence that this share of the pixels reaches: below it the others are *unsure*."""
        wanted = self._wanted(coverage)
        if not self.count:
            return None
        kept = np.concatenate([[0], self.fine[0, ::-1].cumsum()])
        last = int(np.searchsorted(kept, wanted))
        within = (wanted - kept[last - 1]) / (kept[last] - kept[last - 1])
        return 1 - (last - 1 + float(within)) / FINE

    def _wanted(self, coverage: float) -> float:
        if not 0 < coverage <= 1:
            raise ValueError(f"A coverage is above 0 and at most 1, not {coverage}.")
        return coverage * self.count

    def to_json(self) -> dict[str, Any]:
        """Return all figures, the bins, and the curve at `SHARES`; None where nothing was counted."""
        means = {name: getattr(self, name) for name in ("accuracy", "mean_confidence", "ece", "brier", "nll")}
        sums = (self.pixels.tolist(), self.right.tolist(), self.confidence.tolist())
        bins = [{"pixels": n, "right": r, "confidence": c} for n, r, c in zip(*sums, strict=True)]
        curve = [
            {"coverage": share, "accuracy": self.accuracy_at(share), "confidence": self.confidence_at(share)}
            for share in SHARES
        ]
        return {"pixels": self.count, **means, "bins": bins, "curve": curve}


@numba.njit(nogil=True, cache=True)  # type: ignore[misc, unused-ignore]
def _count(
    probabilities_KHW: np.ndarray,
    truth_ids: np.ndarray,
    pixels: np.ndarray,
    right: np.ndarray,
    confidence: np.ndarray,
    fine: np.ndarray,
    losses: np.ndarray,
) -> None:
    """Add labelled pixels to the sums of a `Reliability`; compiled, since these are many small sums a pixel."""
    classes, height, width = probabilities_KHW.shape
    best, largest, squared = np.empty(width, np.uint8), np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(height):
        best[:], largest[:], squared[:] = 0, 0, 0
        for k in range(classes):
            for col in range(width):
                p = probabilities_KHW[k, row, col]
                larger = p > largest[col]
                best[col] = k if larger else best[col]
                largest[col] = p if larger else largest[col]
                squared[col] += p * p
        for col in range(width):
            true = truth_ids[row, col]
            if true == IGNORED or not largest[col] > 0:
                continue
            hit, said = best[col] == true, probabilities_KHW[true, row, col]
            coarse = min(int(largest[col] * BINS), BINS - 1)
            pixels[coarse] += 1
            right[coarse] += hit
            confidence[coarse] += largest[col]
            narrow = min(int(largest[col] * FINE), FINE - 1)
            fine[0, narrow] += 1
            fine[1, narrow] += hit
            losses[0] += squared[col] - 2 * said + 1
            losses[1] -= math.log(max(said, FLOOR))


def entropy(probabilities_KHW: np.ndarray) -> np.ndarray:
    """Return the entropy of each pixel's probabilities `(H, W)` float32, as a share of the largest there can be.

    After Shannon 1948, A mathematical theory of communication: 0 where one class is certain, 1 where all are alike.
    """
    classes, height, width = probabilities_KHW.shape
    unsure = np.empty((height, width), np.float32)
    for rows in _chunks(probabilities_KHW.shape):
        part = probabilities_KHW[:, rows]
        unsure[rows] = -(part * np.log(np.maximum(part, np.float32(FLOOR)))).sum(axis=0)
    unsure /= np.float32(math.log(max(classes, 2)))
    return unsure.clip(0, 1)


def margin(probabilities_KHW: np.ndarray) -> np.ndarray:
    """Return 1 less the lead of the most probable class over the next one, `(H, W)` float32.

    After Scheffer et al. 2001, Active hidden Markov models for information extraction: 0 where one class is certain, 1
    where two are alike, however many others there are.
    """
    unsure: np.ndarray = _margin(np.ascontiguousarray(probabilities_KHW, np.float32))
    return unsure.clip(0, 1)


@numba.njit(nogil=True, cache=True)  # type: ignore[misc, unused-ignore]
def _margin(probabilities_KHW: np.ndarray) -> np.ndarray:
    classes, height, width = probabilities_KHW.shape
    unsure = np.empty((height, width), np.float32)
    first, second = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(height):
        first[:] = probabilities_KHW[0, row]
        second[:] = 0
        for k in range(1, classes):
            for col in range(width):
                p = probabilities_KHW[k, row, col]
                second[col] = max(second[col], min(p, first[col]))
                first[col] = max(first[col], p)
        unsure[row] = 1 - (first - second)
    return unsure


UNCERTAINTIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"entropy": entropy, "margin": margin}
"""How unsure a pixel is, 0 to 1 `(H, W)` float32, from its probabilities `(K, H, W)` float32."""
