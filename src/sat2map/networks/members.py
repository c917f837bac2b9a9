"""Several networks that learn side by side and decide together: a deep ensemble.

Each errs in its own way, so the mean of their probabilities is right more often than each of them (Lakshminarayanan et
al. 2017, Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles).
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


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


def join(members: list[nn.Module]) -> nn.Module:
    """Return networks as one; a single one as it is."""
    return members[0] if len(members) == 1 else Members(members)


def members_of(network: nn.Module) -> list[nn.Module]:
    """Return the networks that decide together in one; itself if it is alone."""
    return list(network.members) if isinstance(network, Members) else [network]
