"""Any image size, and any scale, for networks that halve their input several times."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from sat2map.networks import STRIDE


class AnySize(nn.Module):
    """Pads images on the right and below to what a network can take, and crops its scores back.

    Repeats the edge, which works for any size and makes no new structure. Adds nothing where the size already fits.

    Args:
        network: The network.
        least: Smallest side in pixels it can take.
        stride: How much its deepest level is reduced: what the sides have to be multiples of.
    """

    def __init__(self, network: nn.Module, least: int = STRIDE, stride: int = STRIDE) -> None:
        super().__init__()
        self.network = network
        self.least = max(least, stride)
        self.stride = stride

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return scores `(N, K, H, W)` of images `(N, C, H, W)`."""
        height, width = x_NCHW.shape[-2:]
        below, right = (self._padded(side) - side for side in (int(height), int(width)))
        if not (below or right):
            scores_NKHW: torch.Tensor = self.network(x_NCHW)
            return scores_NKHW
        scores_NKHW = self.network(F.pad(x_NCHW, (0, right, 0, below), mode="replicate"))
        return scores_NKHW[..., :height, :width]

    def _padded(self, side: int) -> int:
        return max(-(-side // self.stride) * self.stride, self.least)


class Scaled(nn.Module):
    """Shows a network an image that is averaged down, and brings its scores back to the image's own size.

    Args:
        network: The network.
        scale: By how much, 1 or more.
    """

    def __init__(self, network: nn.Module, scale: float) -> None:
        super().__init__()
        self.network = network
        self.scale = scale

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return scores `(N, K, H, W)` of images `(N, C, H, W)`."""
        if min(x_NCHW.shape[-2:]) < self.scale:  # nothing would be left
            sides = [max(int(side / self.scale), 1) for side in x_NCHW.shape[-2:]]
            small_NCHW = F.interpolate(x_NCHW, size=sides, mode="area")
        else:  # by a factor, so that a traced graph takes any size
            small_NCHW = F.interpolate(x_NCHW, scale_factor=1 / self.scale, mode="area", recompute_scale_factor=True)
        return F.interpolate(self.network(small_NCHW), size=x_NCHW.shape[-2:], mode="bilinear")


def at_scale(network: nn.Module, scale: float) -> nn.Module:
    """Return a network that works on images averaged down by `scale`; the same one if that is 1."""
    return network if scale == 1 else Scaled(network, scale)
