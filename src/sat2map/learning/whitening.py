"""A network's first filters taken from the imagery, so that it need not learn first what all imagery has in common.

Neighbouring pixels and bands are nearly alike: behind random filters brightness drowns edges and textures, and it takes
many steps to tell them apart. Filters along the principal components of small patches, each divided by its deviation,
answer with equal strength and tell nothing twice. Networks come near to that whitening by themselves, in time (Chowers
and Weiss 2022, What do CNNs Learn in the First Layer and Why?). Each filter is there with both signs, as a rectifier
follows (Jordan 2024, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

FLOOR = 1e-4
"""Share of the largest variance that is added to all: components of next to none are not blown up."""


def whiten(network: nn.Module, images: Sequence[torch.Tensor]) -> None:
    """Put the strongest principal components of images into the first convolution that sees them.

    Filters that are left over stay as they are. So does all of the network where the images are blank, or where its
    first convolution sees bands in groups or is not followed by a batch normalisation, as in transformers: there no
    rectifier parts the signs.

    Args:
        network: From `(N, C, H, W)` to scores, on the CPU.
        images: At least one, `(C, H, W)` float32, as the network is shown them: 0 is the mean of a band, and no data.

    Raises:
        ValueError: The network has no convolution.
    """
    reached = [_first_convolution(network, image_CHW[None]) for image_CHW in images]
    conv = reached[0][0]
    if conv.groups > 1 or not _normalises_batches(network, conv):
        return
    moments = [_moment(conv, seen_NCHW) for _, seen_NCHW in reached]
    _fill(conv.weight, torch.stack(moments).mean(dim=0))


class _Reached(Exception):
    """The first convolution is about to work on an image."""


def _first_convolution(network: nn.Module, x_NCHW: torch.Tensor) -> tuple[nn.Conv2d, torch.Tensor]:
    """Return the convolution that is reached first, and what it is given; what would follow is not computed."""

    def stop(conv: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        raise _Reached(conv, given[0])

    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    hooks = [conv.register_forward_pre_hook(stop) for conv in convolutions]
    try:
        with torch.no_grad():
            network(x_NCHW)
    except _Reached as reached:
        conv, seen_NCHW = reached.args
        return conv, seen_NCHW
    finally:
        for hook in hooks:
            hook.remove()
    raise ValueError(f"{type(network).__name__} has no convolution to put filters into.")


def _normalises_batches(network: nn.Module, conv: nn.Conv2d) -> bool:
    """Tell whether the first normalisation behind a convolution is one of batches."""
    modules = list(network.modules())
    behind = modules[modules.index(conv) + 1 :]
    first = next((m for m in behind if isinstance(m, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm)), None)
    return isinstance(first, nn.BatchNorm2d)


def _moment(conv: nn.Conv2d, seen_NCHW: torch.Tensor) -> torch.Tensor:
    """Return how what the filters see side by side varies together, `(D, D)` for `D` weights in a filter."""
    patches_ND = F.unfold(seen_NCHW, conv.kernel_size, conv.dilation, stride=conv.kernel_size)[0].T.double()
    return patches_ND.T @ patches_ND / len(patches_ND)


def _fill(weight: torch.Tensor, moment_DD: torch.Tensor) -> None:
    """Write components into filters, from the strongest on, each with both signs."""
    variances_D, components_DD = torch.linalg.eigh(moment_DD)
    if variances_D[-1] <= 0:
        return
    deviations_D = torch.sqrt(variances_D + FLOOR * variances_D[-1])
    filters_KD = (components_DD / deviations_D).T.flip(0)[: len(weight) // 2]
    pairs = torch.cat([filters_KD, -filters_KD]).to(weight.dtype)
    with torch.no_grad():
        weight[: len(pairs)] = pairs.reshape(-1, *weight.shape[1:])
