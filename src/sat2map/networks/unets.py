"""U-Nets of our own: one with attention gates on any encoder, one plain and small."""

from __future__ import annotations

from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.nn import functional as F


class AttentionUnet(smp.Unet):  # type: ignore[misc]  # segmentation_models.pytorch has no types
    """U-Net whose skips are weighted by attention gates, all but the finest.

    Oktay et al. 2018, Attention U-Net: Learning Where to Look for the Pancreas. The finest skip is left as it is
    because its features are too simple to be judged (section 2.1 there). Keywords are those of `smp.Unet`.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        skips = self.encoder.out_channels[-2:1:-1]
        for i, skip in enumerate(skips):
            block = self.decoder.blocks[i]
            signal = self.encoder.out_channels[-1] if i == 0 else self.decoder.blocks[i - 1].block.conv2[0].out_channels
            self.decoder.blocks[i] = GatedBlock(block, AttentionGate(skip, signal))


class GatedBlock(nn.Module):
    """A decoder block of `smp.Unet` behind an attention gate."""

    def __init__(self, block: nn.Module, gate: AttentionGate) -> None:
        super().__init__()
        self.block = block
        self.gate = gate

    def forward(
        self,
        feature_map: torch.Tensor,
        target_height: int,
        target_width: int,
        skip_connection: torch.Tensor,
    ) -> torch.Tensor:
        """Return the features of the next finer level, `(N, C, target_height, target_width)`."""
        gated_NCHW = self.gate(skip_connection, feature_map)
        finer_NCHW: torch.Tensor = self.block(feature_map, target_height, target_width, gated_NCHW)
        return finer_NCHW


class AttentionGate(nn.Module):
    """Additive attention: weights each pixel of a skip by what the coarser level knows of it.

    Oktay et al. 2018, eq. 1 and 2: the skip is brought to the coarser grid, the weights back to the finer one.

    Args:
        skip: Channels of the skip.
        signal: Channels of the coarser level.
    """

    def __init__(self, skip: int, signal: int) -> None:
        super().__init__()
        between = max(skip // 2, 1)
        self.of_skip = nn.Conv2d(skip, between, kernel_size=2, stride=2, bias=False)
        self.of_signal = nn.Conv2d(signal, between, kernel_size=1)
        self.to_weight = nn.Conv2d(between, 1, kernel_size=1)

    def forward(self, skip_NCHW: torch.Tensor, signal_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the skip, weighted; `signal` has half its height and width."""
        both_NCHW = F.relu(self.of_skip(skip_NCHW) + self.of_signal(signal_NCHW))
        weights_NKHW = torch.sigmoid(self.to_weight(both_NCHW))
        return skip_NCHW * F.interpolate(weights_NKHW, size=skip_NCHW.shape[-2:], mode="bilinear")


class SmallUnet(nn.Module):
    """Plain U-Net: four times halved, `width` channels at full size and twice as many at each level below.

    Ronneberger et al. 2015, with padding and batch normalisation. With a width of 4, 16 or 32 (0.1, 1.9 and 7.8 million
    parameters) it is the grid of published landslide studies; the original has 64.
    """

    def __init__(self, bands: int, channels: int, width: int = 32) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(_two_convolutions(a, b) for a, b in zip([bands, *widths[:-1]], widths, strict=True))
        self.widen = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, kernel_size=2, stride=2) for w in widths[-2::-1])
        self.up = nn.ModuleList(_two_convolutions(2 * w, w) for w in widths[-2::-1])
        self.head = nn.Conv2d(width, channels, kernel_size=1)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return scores `(N, K, H, W)` of images whose sides are multiples of 16."""
        skips = []
        for level, convolve in enumerate(self.down):
            x_NCHW = convolve(F.max_pool2d(x_NCHW, 2) if level else x_NCHW)
            skips.append(x_NCHW)
        for skip_NCHW, widen, convolve in zip(skips[-2::-1], self.widen, self.up, strict=True):
            x_NCHW = convolve(torch.cat([skip_NCHW, widen(x_NCHW)], dim=1))
        scores_NKHW: torch.Tensor = self.head(x_NCHW)
        return scores_NKHW


def _two_convolutions(before: int, after: int) -> nn.Sequential:
    """Return twice: 3x3 convolution, batch normalisation (which makes a bias needless), ReLU."""
    layers: list[nn.Module] = []
    for width in (before, after):
        layers += [nn.Conv2d(width, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
