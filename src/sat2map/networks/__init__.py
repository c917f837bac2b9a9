"""Networks by name: N bands in, raw scores of K channels out, for images of any size.

A new network is a `torch.nn.Module` class and a row in `NETWORKS`. The table can be read without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from sat2map.errors import BadOption, MissingExtra, UnknownName

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "NetworkEntry", "build_network", "count_parameters", "network_summary"]


@dataclass(frozen=True)
class NetworkEntry:
    """One network of the table.

    Args:
        name: What users call it.
        about: What it is, in one sentence.
        builder: Its class, as `module:name`; built with the keywords of segmentation_models.pytorch if it has an
            encoder, else with `bands`, `channels` and, if given, `width`.
        encoder: Whether it is built on an encoder.
        least: Smallest side in pixels that it can work on; smaller images are padded.
    """

    name: str
    about: str
    builder: str
    encoder: bool = True
    least: int = 32


_SMP = "segmentation_models_pytorch"
_OWN = "sat2map.networks.unets"

NETWORKS: dict[str, NetworkEntry] = {
    row.name: row
    for row in (
        NetworkEntry("unet", "U-Net (Ronneberger 2015) on an encoder: the first to try.", f"{_SMP}:Unet"),
        NetworkEntry("unet++", "U-Net with nested, dense skips (Zhou 2018).", f"{_SMP}:UnetPlusPlus"),
        NetworkEntry(
            "attention-unet", "U-Net with attention gates on its skips (Oktay 2018).", f"{_OWN}:AttentionUnet"
        ),
        NetworkEntry(
            "small-unet", "Plain U-Net without an encoder; --width sets its filters.", f"{_OWN}:SmallUnet", False
        ),
        NetworkEntry("manet", "U-Net with position and channel attention (Fan 2020).", f"{_SMP}:MAnet"),
        NetworkEntry("linknet", "Light encoder-decoder that adds its skips (Chaurasia 2017).", f"{_SMP}:Linknet"),
        NetworkEntry("fpn", "Feature pyramid with a prediction of all its levels (Kirillov 2019).", f"{_SMP}:FPN"),
        NetworkEntry("pspnet", "Pools over regions of several sizes; fast and coarse (Zhao 2017).", f"{_SMP}:PSPNet"),
        NetworkEntry("pan", "Pyramid attention with global guidance (Li 2018).", f"{_SMP}:PAN", least=128),
        NetworkEntry("deeplabv3", "Dilated convolutions of several rates (Chen 2017).", f"{_SMP}:DeepLabV3"),
        NetworkEntry("deeplabv3+", "DeepLabV3 with one fine skip (Chen 2018).", f"{_SMP}:DeepLabV3Plus"),
        NetworkEntry("upernet", "Feature pyramid and pyramid pooling (Xiao 2018).", f"{_SMP}:UPerNet"),
        NetworkEntry("segformer", "Light decoder of SegFormer (Xie 2021), on any encoder.", f"{_SMP}:Segformer"),
    )
}
"""The networks that `build_network` knows."""


def build_network(
    name: str,
    *,
    bands: int,
    channels: int,
    encoder: str = "resnet34",
    encoder_weights: str | Path = "none",
    width: int | None = None,
) -> nn.Module:
    """Build a network that turns images `(N, bands, H, W)` of any size into raw scores `(N, channels, H, W)`.

    Args:
        name: A name of `NETWORKS`.
        bands: Number of bands of the images.
        channels: Number of channels of the scores.
        encoder: An encoder of segmentation_models.pytorch or timm; not looked at where the network has none.
        encoder_weights: `none`, `imagenet` (downloaded), or a file of weights for the encoder.
        width: Filters of the first level, for networks without an encoder.

    Raises:
        UnknownName: There is no such network or encoder.
        BadOption: The options do not go together, or the network cannot be built on this encoder.
        ModelError: The file of weights does not fit the encoder.
        Sat2mapError: The weights cannot be downloaded.
        MissingExtra: torch is not installed.
    """
    if name not in NETWORKS:
        raise UnknownName("network", name, NETWORKS)
    entry = NETWORKS[name]
    if bands < 1 or channels < 1:
        raise BadOption(f"A network of {bands} bands and {channels} channels cannot be built. Give at least 1 of each.")
    if entry.encoder and width is not None:
        plain = ", ".join(row.name for row in NETWORKS.values() if not row.encoder)
        raise BadOption(f"--width is {width}, but {name} takes its widths from its encoder. Use it with: {plain}.")
    if not entry.encoder and str(encoder_weights) != "none":
        raise BadOption(f"--encoder-weights is {encoder_weights}, but {name} has no encoder. Leave it at 'none'.")
    building = _torch_module("building")
    if entry.encoder:
        network: nn.Module = building.build_on_encoder(entry, bands, channels, encoder, encoder_weights)
    else:
        network = building.build_plain(entry, bands, channels, width)
    return network


def network_summary(network: nn.Module, bands: int, size: int) -> str:
    """Return a table of layers, output shapes and parameters for one image of `(bands, size, size)`."""
    text: str = _torch_module("summary").summary_table(network, bands, size)
    return text


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters that are learnt."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _torch_module(name: str) -> ModuleType:
    """Import a module of this package that needs torch."""
    try:
        return import_module(f"sat2map.networks.{name}")
    except ModuleNotFoundError as error:
        raise MissingExtra("Building a network", "train") from error
