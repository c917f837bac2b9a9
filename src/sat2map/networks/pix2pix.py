"""The generator of pix2pix: a U-Net down to one pixel."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

SPREAD = 0.02
"""Standard deviation of the weights at the start (Isola et al. 2017, section 6.2)."""

DROPPED = 3
"""How many levels of the way up have dropout, from the innermost."""


class Pix2pixGenerator(nn.Module):
    """U-Net that halves an image `levels` times and learns how to, both ways.

    Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, section 6.1.1. Dropout and the
    statistics of batches are left out at prediction, unlike there, so that the same ground always gets the same map.
    A batch may be one image, also where the innermost level is one pixel: that level is not normalised.

    Args:
        bands: Bands of the images.
        channels: Channels of the scores, which no activation follows.
        width: Channels of the first level; twice as many at each below, up to eight times.
        levels: How often the image is halved, 2 or more.
        up: How a level is brought to the next finer one: by a transposed convolution, as published, or by repeating
            pixels before a convolution, which draws no checkerboards (Odena et al. 2016).
    """

    def __init__(
        self,
        bands: int,
        channels: int,
        width: int = 64,
        levels: int = 8,
        up: Literal["transposed", "resize"] = "transposed",
    ) -> None:
        super().__init__()
        widths = [width * min(2**level, 8) for level in range(levels)]
        enlarge = {"transposed": _transposed, "resize": _resized}[up]
        self.down = nn.ModuleList(
            _down(before, after, first=level == 0, normed=0 < level < levels - 1)
            for level, (before, after) in enumerate(zip([bands, *widths], widths, strict=False))
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(inplace=True),
                enlarge(widths[level] * (1 if level == levels - 1 else 2), widths[level - 1], bias=False),
                nn.BatchNorm2d(widths[level - 1]),
                nn.Dropout(0.5 if levels - level <= DROPPED else 0.0),
            )
            for level in range(levels - 1, 0, -1)
        )
        self.head = nn.Sequential(nn.ReLU(inplace=True), enlarge(2 * width, channels, bias=True))
        self.apply(initialise)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return scores `(N, K, H, W)` of images whose sides are multiples of 2 to the power of `levels`."""
        skips = []
        for down in self.down:
            x_NCHW = down(x_NCHW)
            skips.append(x_NCHW)
        for up, skip_NCHW in zip(self.up, skips[-2::-1], strict=True):
            x_NCHW = torch.cat([skip_NCHW, up(x_NCHW)], dim=1)
        scores_NKHW: torch.Tensor = self.head(x_NCHW)
        return scores_NKHW


def _down(before: int, after: int, *, first: bool, normed: bool) -> nn.Sequential:
    """Return a level of the way down; normalising makes a bias needless."""
    layers: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2)]
    layers.append(nn.Conv2d(before, after, kernel_size=4, stride=2, padding=1, bias=not normed))
    return nn.Sequential(*layers, *([nn.BatchNorm2d(after)] if normed else []))


def _transposed(before: int, after: int, *, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(before, after, kernel_size=4, stride=2, padding=1, bias=bias)


def _resized(before: int, after: int, *, bias: bool) -> nn.Module:
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1, bias=bias))


def initialise(layer: nn.Module) -> None:
    """Give a layer the weights of Isola et al. 2017 to start from: normal ones, around 1 for batch normalisation."""
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)):
        nn.init.normal_(layer.weight, mean=1.0 if isinstance(layer, nn.BatchNorm2d) else 0.0, std=SPREAD)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
