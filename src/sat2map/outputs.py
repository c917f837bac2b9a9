"""What a network's channels mean: `Classes` of a legend, or a map `Picture` in colours.

An output knows how scores become a map, what the truth of a map looks like, and how it is stored in a model; it knows
neither networks nor files. The truth always has the form of the finished map: ids, or colours with an alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numba
import numpy as np

from sat2map.legend import IGNORED, NO_LEGEND, Legend
from sat2map.raster import Raster

if TYPE_CHECKING:
    from torch import Tensor

COLOURS = ("red", "green", "blue")

OPAQUE = 255
"""The alpha of pixels that are drawn; those without data have 0."""

HALF = np.float32(127.5)
"""Half the range of a byte: colours of -1 to 1 times this, plus this, are 0 to 255."""


class Output(Protocol):
    """What a network's channels mean."""

    @property
    def kind(self) -> str:
        """Name of this kind of map."""
        ...

    @property
    def legend(self) -> Legend:
        """The classes, or what the colours of a picture mean; empty if that is not known."""
        ...

    @property
    def counted(self) -> tuple[str, ...]:
        """What pixels of the map are counted by: the classes, or what is drawn at all."""
        ...

    @property
    def channels(self) -> int:
        """How many channels the network has to have."""
        ...

    def activate(self, scores_NKHW: Tensor) -> Tensor:
        """Turn raw scores into what is blended over windows, and shown to a critic."""
        ...

    def encode(self, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return a batch of truths as `activate` would give it `(N, K, H, W)`, and where it is known `(N, 1, H, W)`."""
        ...

    def decode(self, activated_KHW: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Turn what `activate` gave into the map's pixels, uint8, without data where `valid` is False."""
        ...

    def blank(self, shape: tuple[int, int]) -> np.ndarray:
        """Return a map of this height and width without data."""
        ...

    def truth(self, target: Raster, known: np.ndarray) -> np.ndarray:
        """Return a target as the map it should become, without data where `known` `(H, W)` is False."""
        ...

    def count(self, truth: np.ndarray) -> np.ndarray:
        """Count the pixels of a map that can be learnt from: of each class `(K,)`, or all of a picture `(1,)`."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return what `output_from_json` takes."""
        ...


@dataclass(frozen=True)
class Classes:
    """One channel per class of a legend: the most probable class is the map, ids `(H, W)` uint8."""

    legend: Legend

    kind = "classes"

    @property
    def counted(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.legend.names

    @property
    def channels(self) -> int:
        """As many as classes."""
        return len(self.legend)

    def activate(self, scores_NKHW: Tensor) -> Tensor:
        """Return probabilities."""
        return scores_NKHW.softmax(dim=1)

    def encode(self, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return ids `(N, H, W)` as probabilities of 0 and 1; all 0 where there is no label."""
        ids = truth.new_tensor(range(self.channels)).view(-1, 1, 1)
        return (truth[:, None] == ids).float(), (truth != IGNORED)[:, None].float()

    def decode(self, activated_KHW: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Turn probabilities into ids, `IGNORED` where pixels are not valid."""
        ids: np.ndarray = most_probable(np.ascontiguousarray(activated_KHW))  # five times as fast when contiguous
        ids[~valid] = IGNORED
        return ids

    def blank(self, shape: tuple[int, int]) -> np.ndarray:
        """Return ids that are all `IGNORED`."""
        return np.full(shape, IGNORED, np.uint8)

    def truth(self, target: Raster, known: np.ndarray) -> np.ndarray:
        """Return the target's ids, `IGNORED` elsewhere."""
        return np.where(known, target.pixels[0], np.uint8(IGNORED))

    def count(self, truth: np.ndarray) -> np.ndarray:
        """Count the pixels of each class."""
        return np.bincount(truth.ravel(), minlength=256)[: self.channels]

    def to_json(self) -> dict[str, Any]:
        """Return kind and legend."""
        return {"kind": self.kind, "legend": self.legend.to_json()}


@dataclass(frozen=True)
class Picture:
    """Three channels of colour: the map is a picture, red, green, blue and alpha `(4, H, W)` uint8.

    Args:
        legend: What the colours mean, if that is known; empty if not.
    """

    legend: Legend = NO_LEGEND

    kind = "picture"
    counted = ("drawn",)
    channels = len(COLOURS)

    def activate(self, scores_NKHW: Tensor) -> Tensor:
        """Return colours from -1 to 1."""
        return scores_NKHW.tanh()

    def encode(self, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures `(N, 4, H, W)` uint8 as colours from -1 to 1, and where their alpha is opaque."""
        return truth[:, :-1].float() / float(HALF) - 1, (truth[:, -1:] == OPAQUE).float()

    def decode(self, activated_KHW: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Turn colours into bytes with an alpha."""
        drawn = self.blank((valid.shape[0], valid.shape[1]))
        np.rint(np.clip(activated_KHW, -1, 1) * HALF + HALF, out=drawn[:-1], casting="unsafe")
        drawn[-1] = OPAQUE
        return drawn * valid

    def blank(self, shape: tuple[int, int]) -> np.ndarray:
        """Return a picture that is clear."""
        return np.zeros((self.channels + 1, *shape), np.uint8)

    def truth(self, target: Raster, known: np.ndarray) -> np.ndarray:
        """Return the target's colours, opaque where they are known and valid."""
        colours = target.pixels[: self.channels].astype(np.uint8, copy=False)
        return np.concatenate([colours, np.full((1, *known.shape), OPAQUE, np.uint8)]) * (known & target.valid)

    def count(self, truth: np.ndarray) -> np.ndarray:
        """Count the opaque pixels."""
        return np.array([np.count_nonzero(truth[-1])])

    def to_json(self) -> dict[str, Any]:
        """Return kind and legend."""
        return {"kind": self.kind, "legend": self.legend.to_json()}


OUTPUTS: dict[str, type[Classes] | type[Picture]] = {kind.kind: kind for kind in (Classes, Picture)}
"""The kinds of maps by name."""


def output_from_json(data: dict[str, Any]) -> Output:
    """Make an output from the dict of its `to_json`."""
    return OUTPUTS[data["kind"]](Legend.from_json(data["legend"]))


@numba.njit(nogil=True, cache=True)  # type: ignore[misc, unused-ignore]
def most_probable(scores_KHW: np.ndarray) -> np.ndarray:
    """Return the channel with the largest score of each pixel `(H, W)` uint8, the first of equals.

    What `argmax` returns, compiled: numpy takes some twenty times as long, which at whole scenes is felt.
    """
    channels, height, width = scores_KHW.shape
    ids = np.zeros((height, width), np.uint8)
    best = np.empty(width, scores_KHW.dtype)
    for row in range(height):
        best[:] = scores_KHW[0, row]
        for k in range(1, channels):
            for col in range(width):
                score = scores_KHW[k, row, col]
                larger = score > best[col]
                best[col] = score if larger else best[col]
                ids[row, col] = k if larger else ids[row, col]
    return ids
