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
    """

    rotate: float = 0.0
    rotate90: bool = True
    flip: bool = True
    shift: float = 0.0
    zoom: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.2

    def __post_init__(self) -> None:
        for name, most in (("rotate", 180), ("shift", 1), ("zoom", math.inf), ("brightness", math.inf)):
            if not 0 <= getattr(self, name) <= most:
                raise BadOption(f"--{name} is {getattr(self, name)}; it must be from 0 to {most}.")
        if not 0 <= self.contrast < 1:
            raise BadOption(f"--contrast is {self.contrast}; it must be from 0 to less than 1, or a band could vanish.")

    @property
    def resamples(self) -> bool:
        """Whether pixels get new values by free rotation, shift or zoom."""
        return bool(self.rotate or self.shift or self.zoom)

    def margin(self, size: int) -> int:
        """Return the pixels needed around a patch of `size` so that no corner of it looks outside."""
        if not self.resamples:
            return 0
        angle = math.radians(min(self.rotate, 45))
        half = (size - 1) / 2
        reach = half * (math.cos(angle) + math.sin(angle)) * (1 + self.zoom) + self.shift * size
        return math.ceil(reach - half + 0.5)  # half a pixel for rounding


NO_AUGMENTATION = Augmentation(rotate90=False, flip=False, brightness=0, contrast=0)
"""Leaves every patch as it is."""


def augment(
    image_CHW: np.ndarray, truth: np.ndarray, augmentation: Augmentation, rng: np.random.Generator, *, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Change a patch at random.

    Args:
        image_CHW: The patch with `augmentation.margin(size)` pixels around it, normalised, float32.
        truth: Its class ids `(H, W)` uint8, or the picture it should become `(4, H, W)` uint8, the last an alpha.
        augmentation: What may happen.
        rng: Where the random numbers come from; the same state gives the same patch.
        size: Side of the patch.

    Returns:
        The image and its truth, both `size` wide and high and contiguous; they may share memory with the input. What
        lay outside the input is 0 in the image, and `IGNORED` or clear in the truth.

    Raises:
        BadOption: The input is not as large as the augmentation needs.
    """
    side = size + 2 * augmentation.margin(size)
    if image_CHW.shape[1:] != (side, side) or truth.shape[-2:] != (side, side):
        raise BadOption(
            f"An image of {image_CHW.shape[1:]} pixels with labels of {truth.shape} cannot be augmented to "
            f"{size} pixels. Read {side} by {side} pixels of both: the patch and its margin."
        )
    if augmentation.resamples:
        places = _draw_places(augmentation, rng, size)
        image_CHW = _resample(image_CHW, places, "bilinear")
        truth = _resample_labels(truth, places) if truth.ndim == 2 else _resample_picture(truth, places)
    turns, mirror = _draw_moves(augmentation, rng)
    image_CHW = _relight(_move(image_CHW, turns, mirror), augmentation, rng)
    return np.ascontiguousarray(image_CHW), np.ascontiguousarray(_move(truth, turns, mirror))


def _draw_places(augmentation: Augmentation, rng: np.random.Generator, size: int) -> np.ndarray:
    """Return for each pixel of the patch where it comes from, `(size, size, 2)`: x and y from the input's middle."""
    angle = math.radians(augmentation.rotate) * rng.uniform(-1, 1)
    scale = (1 + augmentation.zoom) ** rng.uniform(-1, 1)
    shift = augmentation.shift * size * rng.uniform(-1, 1, 2)
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    offsets = np.arange(size) - (size - 1) / 2
    x, y = offsets[None, :], offsets[:, None]
    return np.stack([cos * x - sin * y + shift[0], sin * x + cos * y + shift[1]], axis=-1)


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


def _draw_moves(augmentation: Augmentation, rng: np.random.Generator) -> tuple[int, bool]:
    """Return how many quarter turns to make, and whether to mirror afterwards."""
    turns = 0
    if augmentation.rotate90:
        turns = int(rng.integers(4))
    elif augmentation.flip:  # mirrored top to bottom is half a turn, mirrored left to right
        turns = 2 * int(rng.integers(2))
    return turns, augmentation.flip and bool(rng.integers(2))


def _move(array: np.ndarray, turns: int, mirror: bool) -> np.ndarray:
    """Turn and mirror the last two axes; a view, no copy."""
    turned = np.rot90(array, turns, axes=(-2, -1))
    return turned[..., ::-1] if mirror else turned


def _relight(image_CHW: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Stretch and lift the bands, `SHARED` of it all alike and the rest each by itself; pixels without data stay 0."""
    if not (augmentation.brightness or augmentation.contrast):
        return image_CHW
    alike_2, own_2C = rng.uniform(-1, 1, 2), rng.uniform(-1, 1, (2, len(image_CHW)))
    change_2C = SHARED * alike_2[:, None] + (1 - SHARED) * own_2C
    gain_C, lift_C = change_2C.astype(np.float32)[..., None, None]
    known_HW = image_CHW.any(axis=0)
    return (image_CHW * (1 + augmentation.contrast * gain_C) + augmentation.brightness * lift_C) * known_HW
