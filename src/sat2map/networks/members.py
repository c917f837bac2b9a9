"""Several networks that learn side by side and decide together: a deep ensemble.

Each errs in its own way, so the mean of their probabilities is right more often than each of them (Lakshminarayanan et
al. 2017, Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles). They err the more differently the
less they see the same, so every second one is also shown what changes little with the light.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from sat2map.networks.tapping import where_valid

AROUND = 16
"""Side in pixels of the squares over which light is averaged; three by three of them are a place's surroundings."""

BLACK, LEAST = -2.0, 0.2
"""Where a band is taken to have no light, in its standard deviations, and how much is added so that its logarithm is
finite."""

RATIOS, CONTRAST = 0.075, 0.25
"""Usual deviations, in photographs, of the logarithms of bands about their mean and of light about its surroundings."""


class Members(nn.Module):
    """Networks of which each learns from its own share of a batch, and whose probabilities are averaged elsewhere.

    Losses, checkpoints and graphs need not know: what comes out has the form of one network's scores.

    Args:
        members: From images `(N, C, H, W)` to scores of classes `(N, K, H, W)`.
    """

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return scores `(N, K, H, W)`: in training each share's own, else the logarithm of the mean probabilities.

        Raises:
            ValueError: In training, there are fewer shares than members.
        """
        if self.training:
            shares = x_NCHW.chunk(len(self.members))
            return torch.cat([member(share) for member, share in zip(self.members, shares, strict=True)])
        logs = [F.log_softmax(member(x_NCHW).float(), dim=1) for member in self.members]
        return torch.logsumexp(torch.stack(logs), dim=0) - math.log(len(logs))


class WithRatios(nn.Module):
    """Shows a network more bands: what of each pixel stays the same when more or less light falls on all bands.

    These are the logarithm of each band less the mean of all bands' logarithms, the light, and the light less that of
    its surroundings. Where there is no data (all bands are 0) they are 0.

    Args:
        network: It takes `more_bands` of the bands that this is given.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return scores `(N, K, H, W)` of images `(N, C, H, W)` whose bands have mean 0 and deviation 1."""
        log_NCHW = torch.log((x_NCHW.float() - BLACK).clamp(min=0) + LEAST)
        light_N1HW = log_NCHW.mean(dim=1, keepdim=True)
        squares = F.avg_pool2d(light_N1HW, AROUND, ceil_mode=True)
        around = F.avg_pool2d(squares, 3, stride=1, padding=1, count_include_pad=False)
        around_N1HW = F.interpolate(around, size=x_NCHW.shape[-2:], mode="bilinear")
        more = torch.cat([(log_NCHW - light_N1HW) / RATIOS, (light_N1HW - around_N1HW) / CONTRAST], dim=1)
        scores_NKHW: torch.Tensor = self.network(
            torch.cat([x_NCHW, more.to(x_NCHW.dtype) * where_valid(x_NCHW)], dim=1)
        )
        return scores_NKHW


def more_bands(bands: int) -> int:
    """Return how many bands `WithRatios` makes of so many."""
    return 2 * bands + 1


def build_members(build: Callable[[int], nn.Module], bands: int, count: int) -> list[nn.Module]:
    """Return networks to take together, every second one with ratios of bands.

    Args:
        build: From a number of bands to a network with weights of its own.
        bands: Of the images.
        count: How many.
    """
    return [WithRatios(build(more_bands(bands))) if number % 2 else build(bands) for number in range(count)]


def join(members: list[nn.Module]) -> nn.Module:
    """Return networks as one; a single one as it is."""
    return members[0] if len(members) == 1 else Members(members)


def members_of(network: nn.Module) -> list[nn.Module]:
    """Return the networks that decide together in one; itself if it is alone."""
    return list(network.members) if isinstance(network, Members) else [network]
