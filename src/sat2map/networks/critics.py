"""Critics for adversarial training: they judge, patch by patch, whether a map looks like a true one."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from sat2map.errors import BadOption
from sat2map.networks.pix2pix import initialise

KERNEL, PADDING = 4, 1
"""Of every convolution, in pixels."""

STRIDES = {3: (2, 2, 2, 1, 1), 4: (2, 2, 2, 2, 1, 1)}
"""Strides of the convolutions, for each number of levels."""


class PatchCritic(nn.Module):
    """PatchGAN: one raw score for each of many overlapping patches.

    Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, section 6.1.2. How large a
    patch is, `receptive_field` tells.

    Args:
        bands: Bands of the image and channels of its map together.
        width: Channels of the first level; twice as many at each below, up to eight times.
        levels: How often the image is halved: 3 or 4.
        spectral: Whether weights are divided by their spectral norm (Miyato et al. 2018, Spectral Normalization for
            Generative Adversarial Networks), in place of batch normalisation.

    Raises:
        BadOption: There is no critic of so many levels.
    """

    def __init__(self, bands: int, width: int = 64, levels: int = 3, spectral: bool = False) -> None:
        super().__init__()
        *strides, _ = _strides(levels)
        widths = [bands, *(width * min(2**level, 8) for level in range(len(strides)))]
        self.features = nn.Sequential(
            *(
                _layer(before, after, stride, normed=level > 0 and not spectral)
                for level, (before, after, stride) in enumerate(zip(widths, widths[1:], strides, strict=False))
            )
        )
        self.head = nn.Conv2d(widths[-1], 1, KERNEL, padding=PADDING)
        self.apply(initialise)
        if spectral:
            for layer in [layer for layer in self.modules() if isinstance(layer, nn.Conv2d)]:
                spectral_norm(layer)

    def forward(self, both_NCHW: torch.Tensor) -> torch.Tensor:
        """Return scores `(N, 1, h, w)` of images and their maps, concatenated along the channels."""
        scores_NKHW: torch.Tensor = self.head(self.features(both_NCHW))
        return scores_NKHW


def _layer(before: int, after: int, stride: int, *, normed: bool) -> nn.Sequential:
    """Return a convolution that is activated; normalising makes a bias needless."""
    convolution = nn.Conv2d(before, after, KERNEL, stride, PADDING, bias=not normed)
    return nn.Sequential(convolution, *([nn.BatchNorm2d(after)] if normed else []), nn.LeakyReLU(0.2, inplace=True))


def receptive_field(levels: int) -> int:
    """Return the side in pixels of the patch that one score of a `PatchCritic` looks at."""
    return _side_before(_strides(levels), padding=0)


def smallest_side(levels: int) -> int:
    """Return the smallest side in pixels of an image for which a `PatchCritic` gives a score."""
    return _side_before(_strides(levels), padding=PADDING)


def _side_before(strides: tuple[int, ...], padding: int) -> int:
    """Return the side in pixels that convolutions need to give one pixel."""
    side = 1
    for stride in reversed(strides):
        side = (side - 1) * stride + KERNEL - 2 * padding
    return side


def _strides(levels: int) -> tuple[int, ...]:
    if levels not in STRIDES:
        offered = " or ".join(f"{known} ({_side_before(s, 0)} x {_side_before(s, 0)})" for known, s in STRIDES.items())
        raise BadOption(f"There is no patch critic of {levels} levels. Take {offered} for patches of so many pixels.")
    return STRIDES[levels]
