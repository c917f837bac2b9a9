"""Normalisation that does not go with maps made of windows."""

from __future__ import annotations

from torch import nn

from sat2map.errors import BadOption


def refuse_instance_norm(network: nn.Module) -> None:
    """Refuse a network that normalises each window by what is in it, also at prediction.

    Raises:
        BadOption: A layer (instance normalisation, mostly) keeps no running statistics.
    """
    for name, layer in network.named_modules():
        if not getattr(layer, "track_running_stats", True):
            raise BadOption(
                f"The network's layer {name!r} ({type(layer).__name__}) normalises each window of a map by its own "
                f"content, so the same ground gets another tone in the next window. Use batch normalisation, whose "
                f"statistics are frozen at prediction."
            )


def has_group_norm(network: nn.Module) -> bool:
    """Tell whether a network has group normalisation, whose statistics are those of the window as well.

    Normalisation of each pixel on its own, such as timm's `LayerNorm2d`, does not count.
    """
    return any(isinstance(layer, nn.GroupNorm) for layer in network.modules())
