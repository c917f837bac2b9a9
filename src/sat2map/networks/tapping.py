"""What a network sees of a window as a whole: its deepest features, averaged over the ground.

By this vector a window is compared with those the network learnt from. Where to tap is found by showing the network an
image, so it works for networks that this package has never heard of.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

PROBE = 128
"""Least height in pixels of the image that is shown; some networks pad what is smaller."""


GATE = 16
"""A map of fewer features is not taken where there is another: it steers others, as pyramids of attention do."""


def find_tap(network: nn.Module, bands: int, unit: int) -> str | None:
    """Return the name of the module whose output is the network's deepest feature map.

    The image is twice as wide as high, and so is a map of features; what was pooled to a fixed size is not (the gates
    of squeeze and excitation, pyramids of pooling). Of the maps with the fewest places it is the widest, as scores and
    what leads to them have fewer channels, and of these the last: after the activation, as the decoder reads it.

    Args:
        network: From `(N, bands, H, W)` to scores, in evaluation mode.
        bands: How many bands it takes.
        unit: What the sides of its images should be multiples of.

    Returns:
        None if no module gives such a map, or the network does not take the image.
    """
    found: list[tuple[bool, int, int, str]] = []
    hooks = [module.register_forward_hook(partial(_note, found, name)) for name, module in network.named_modules()]
    side = -(-PROBE // unit) * unit
    try:
        with torch.no_grad():
            network(torch.randn(1, bands, side, 2 * side, generator=torch.Generator().manual_seed(0)))
    except (RuntimeError, ValueError, AssertionError):  # made for squares
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return min(reversed(found), key=lambda one: one[:3])[3] if found else None


def _note(found: list[tuple[bool, int, int, str]], name: str, _module: nn.Module, _given: Any, output: Any) -> None:
    made = _deepest(output)
    if made is not None and made.shape[3] == 2 * made.shape[2]:
        found.append((made.shape[1] < GATE, made.shape[2], -made.shape[1], name))


def _deepest(output: Any) -> torch.Tensor | None:
    """Return the feature map that a module gives, the last one if it gives several, as encoders do."""
    if isinstance(output, Sequence):
        output = output[-1] if output else None
    return output if isinstance(output, torch.Tensor) and output.ndim == 4 else None


class Tapped(nn.Module):
    """A network that also tells what it sees at its tap.

    Args:
        network: From images to scores.
        tap: The name of one of its modules, from `find_tap`.

    Raises:
        AttributeError: The network has no such module.
    """

    def __init__(self, network: nn.Module, tap: str) -> None:
        super().__init__()
        network.get_submodule(tap)
        self.network, self.tap = network, tap

    def forward(self, x_NCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores `(N, K, H, W)` and the mean of the tapped features over the valid ground `(N, D)`."""
        valid_N1HW = _where_valid(x_NCHW)
        seen: list[torch.Tensor] = []

        def average(_module: nn.Module, _given: Any, output: Any) -> None:
            made = _deepest(output)
            assert made is not None
            seen.append(_average(made.float(), valid_N1HW.float()))  # at once: a ReLU in place may come next

        hook = self.network.get_submodule(self.tap).register_forward_hook(average)
        try:
            scores_NKHW = self.network(x_NCHW)
        finally:
            hook.remove()
        return scores_NKHW, seen[-1]


def _where_valid(x_NCHW: torch.Tensor) -> torch.Tensor:
    """Return `(N, 1, H, W)`: 1 where images `(N, C, H, W)` hold data, and 0 where all bands are 0, as `Inputs` says."""
    return (x_NCHW != 0).to(x_NCHW.dtype).amax(dim=1, keepdim=True)


def _average(features_NCHW: torch.Tensor, valid_N1HW: torch.Tensor) -> torch.Tensor:
    """Return the mean `(N, D)` of features, each place weighted by how much of it is valid."""
    weight_NHW = F.interpolate(valid_N1HW, size=features_NCHW.shape[-2:], mode="area")
    total = (features_NCHW * weight_NHW).sum(dim=(2, 3))
    return total / weight_NHW.sum(dim=(2, 3)).clamp(min=1e-6)
