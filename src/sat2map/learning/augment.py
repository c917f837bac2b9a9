"""Training patches turned, mirrored, moved, zoomed and relit at random: image and truth together, any band count.

Works on normalised images, in which 0 is the mean of a band, and 0 in all bands is a pixel without data. Free
geometry is one resampling, and mirroring and quarter turns are none: pixels are only moved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sat2map.errors import BadOption
from sat2map.legend import IGNORED
from sat2map.outputs import OPAQUE

SHARED = 0.75
"""Share of a change of light that all bands have in common: haze and exposure change more than colour does."""


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a patch; all of it is drawn evenly from these ranges.

    Args:
        rotate: Largest free rotation in degrees, either way.
        rotate90: Whether to rotate by quarter turns.
        flip: Whether to mirror.
        shift: Largest shift along each side, as a share of the patch.
        zoom: Largest zoom: 0.2 is a scale from 1/1.2 to 1.2, both ways alike.
        brightness: Most that is added to the bands, in their standard deviations.
        contrast: Most by which the bands are stretched, as a share.
        warp: Share of the patches that are rotated freely, shifted and zoomed. Resampled pixels are a little
            blurred, and a network that sees no others makes more mistakes in images as they are (docs/log.md).
    """

    rotate: float = 0.0
    rotate90: bool = True
    flip: bool = True
    shift: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.2
    warp: float = 0.5

    def __post_init__(self) -> None:
        limits = {"rotate": 180, "shift": 1, "zoom": math.inf, "brightness": math.inf, "warp": 1}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise BadOption(f"--{name} is {getattr(self, name)}; it must be from 0 to {most}.")
        if not 0 <= self.contrast < 1:
            raise BadOption(f"--contrast is {self.contrast}; it must be from 0 to less than 1, or a band could vanish.")

    def draw(self, rng: np.random.Generator, bands: int) -> Change:
        """Decide what happens to one patch with so many bands; the same state gives the same change."""
        warped = rng.random() < self.warp
        angle = math.radians(self.rotate) * rng.uniform(-1, 1) * warped
        scale = (1 + self.zoom) ** (rng.uniform(-1, 1) * warped)
        along_x, along_y = self.shift * rng.uniform(-1, 1, 2) * warped
        turns, mirror = self._draw_moves(rng)
        alike_2, own_2C = rng.uniform(-1, 1, 2), rng.uniform(-1, 1, (2, bands))
        stretch_C, lift_C = SHARED * alike_2[:, None] + (1 - SHARED) * own_2C
        return Change(
            float(angle), float(scale), (float(along_x), float(along_y)), turns, mirror,
            gains=tuple((1 + self.contrast * stretch_C).tolist()), lifts=tuple((self.brightness * lift_C).tolist()),
        )  # fmt: skip

    def _draw_moves(self, rng: np.random.Generator) -> tuple[int, bool]:
        """Return how many quarter turns to make, and whether to mirror afterwards."""
        turns = 0
        if self.rotate90:
            turns = int(rng.integers(4))
        elif self.flip:  # mirrored top to bottom is half a turn, mirrored left to right
            turns = 2 * int(rng.integers(2))
        return turns, self.flip and bool(rng.integers(2))


NO_AUGMENTATION = Augmentation(rotate90=False, flip=False, brightness=0, contrast=0)
"""Leaves every patch as it is."""


@dataclass(frozen=True)
class Change:
    """What happens to one patch, as `Augmentation.draw` decides.

    Args:
        angle: Free rotation in radians.
        scale: How much larger things become.
        shift: Along x and y, as a share of the patch.
        turns: Quarter turns.
        mirror: Whether to mirror left to right, after the turns.
        gains: By how much each band is stretched; 1 leaves it.
        lifts: What is added to each band, in its standard deviations.
    """

    angle: float
    scale: float
    shift: tuple[float, float]
    turns: int
    mirror: bool
    gains: tuple[float, ...]
    lifts: tuple[float, ...]

    @property
    def warps(self) -> bool:
        """Whether pixels get new values by free rotation, shift or zoom."""
        return (self.angle, self.scale, *self.shift) != (0, 1, 0, 0)

    def margin(self, size: int) -> int:
        """Return the pixels needed around a patch of `size` so that no corner of it looks outside."""
        if not self.warps:
            return 0
        half = (size - 1) / 2
        reach = half * (abs(math.cos(self.angle)) + abs(math.sin(self.angle))) / self.scale
        return max(math.ceil(reach + max(map(abs, self.shift)) * size - half + 0.5), 0)  # half a pixel for rounding

    def apply(self, image_CHW: np.ndarray, truth: np.ndarray, *, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Change a patch.

        Args:
            image_CHW: The patch with `margin(size)` pixels around it, normalised, float32.
            truth: Its class ids `(H, W)` uint8, or the picture it should become `(4, H, W)` uint8, the last an alpha.
            size: Side of the patch.

        Returns:
            The image and its truth, both `size` wide and high and contiguous; they may share memory with the input.
            What lay outside the input is 0 in the image, and `IGNORED` or clear in the truth.

        Raises:
            BadOption: The input is not as large as the change needs.
        """
        side = size + 2 * self.margin(size)
        if image_CHW.shape[1:] != (side, side) or truth.shape[-2:] != (side, side):
            raise BadOption(
                f"An image of {image_CHW.shape[1:]} pixels with labels of {truth.shape} cannot be augmented to "
                f"{size} pixels. Read {side} by {side} pixels of both: the patch and its margin."
            )
        if self.warps:
            places = self._places(size)
            image_CHW = _resample(image_CHW, places, "bilinear")
            truth = _resample_labels(truth, places) if truth.ndim == 2 else _resample_picture(truth, places)
        image_CHW = self._relit(self._moved(image_CHW))
        return np.ascontiguousarray(image_CHW), np.ascontiguousarray(self._moved(truth))

    def _places(self, size: int) -> np.ndarray:
        """Return for each pixel where it comes from, `(size, size, 2)`: x and y from the input's middle."""
        cos, sin = math.cos(self.angle) / self.scale, math.sin(self.angle) / self.scale
        offsets = np.arange(size) - (size - 1) / 2
        x, y = offsets[None, :], offsets[:, None]
        along_x, along_y = self.shift
        return np.stack([cos * x - sin * y + along_x * size, sin * x + cos * y + along_y * size], axis=-1)

    def _moved(self, array: np.ndarray) -> np.ndarray:
        """Turn and mirror the last two axes; a view, no copy."""
        turned = np.rot90(array, self.turns, axes=(-2, -1))
        return turned[..., ::-1] if self.mirror else turned

    def _relit(self, image_CHW: np.ndarray) -> np.ndarray:
        """Stretch and lift the bands; pixels without data stay 0."""
        gain_C, lift_C = (np.array(v, np.float32)[:, None, None] for v in (self.gains, self.lifts))
        if (gain_C == 1).all() and not lift_C.any():
            return image_CHW
        return (image_CHW * gain_C + lift_C) * image_CHW.any(axis=0)


def _resample_labels(labels_HW: np.ndarray, places: np.ndarray) -> np.ndarray:
    # What lies outside is filled with zero; labels are lowered by IGNORED on the way so that zero means that.
    lowered_HW = labels_HW.astype(np.float32) - IGNORED
    resampled_HW: np.ndarray = _resample(lowered_HW[None], places, "nearest")[0]
    resampled_HW += IGNORED
    return resampled_HW.astype(np.uint8)


def _resample_picture(picture_CHW: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Mix neighbouring colours; what is not opaque itself or in its neighbours becomes clear."""
    mixed_CHW = np.rint(_resample(picture_CHW.astype(np.float32), places, "bilinear")).astype(np.uint8)
    return mixed_CHW * (mixed_CHW[-1] == OPAQUE)


def _resample(image_CHW: np.ndarray, places: np.ndarray, mode: str) -> np.ndarray:
    """Return `(C, H, W)` with the values at these places, 0 outside of the image."""
    import torch
    from torch.nn.functional import grid_sample

    grid = torch.from_numpy((places * (2 / image_CHW.shape[-1])).astype(np.float32))[None]
    image_NCHW = torch.from_numpy(np.ascontiguousarray(image_CHW))[None]
    resampled: np.ndarray = grid_sample(image_NCHW, grid, mode, "zeros", align_corners=False)[0].numpy()
    return resampled
