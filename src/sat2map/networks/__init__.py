"""Networks by name: N bands in, raw scores of K channels out, for images of any size.

A new network is a `torch.nn.Module` class and a row in `NETWORKS`. The table can be read without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sat2map.errors import BadOption, MissingExtra, UnknownName

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "CRITICS",
    "NETWORKS",
    "STRIDE",
    "NetworkEntry",
    "build_any",
    "build_network",
    "count_parameters",
    "draw_network",
    "network_summary",
    "stride_of",
]

STRIDE = 32
"""How much the deepest level of most networks is reduced."""


@dataclass(frozen=True)
class NetworkEntry:
    """One network of the table.

    Args:
        name: What users call it.
        about: What it is, in one sentence.
        builder: Its class, as `module:name`; built with the keywords of segmentation_models.pytorch if it has an
            encoder, else with `bands`, `channels`, its `keywords` and, if given, `width`.
        encoder: Whether it is built on an encoder.
        least: Smallest side in pixels that it can work on, if that is more than its stride; smaller images are padded.
        stride: How much its deepest level is reduced: images are padded to multiples of it.
        keywords: What it is built with besides, if it has no encoder.
    """

    name: str
    about: str
    builder: str
    encoder: bool = True
    least: int = STRIDE
    stride: int = STRIDE
    keywords: Mapping[str, Any] = field(default_factory=dict)


def _pix2pix(name: str, about: str, levels: int, up: str) -> NetworkEntry:
    keywords = {"levels": levels, "up": up}
    return NetworkEntry(name, about, f"{_PIX2PIX}:Pix2pixGenerator", False, stride=2**levels, keywords=keywords)


_SMP = "segmentation_models_pytorch"
_OWN = "sat2map.networks.unets"
_PIX2PIX = "sat2map.networks.pix2pix"

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
        _pix2pix(
            "pix2pix", "U-Net of pix2pix, halved eight times (Isola 2017): 256 pixels see each other.", 8, "transposed"
        ),
        _pix2pix("pix2pix-7", "The same, halved seven times: for patches of 128 pixels.", 7, "transposed"),
        _pix2pix("pix2pix-resize", "pix2pix that repeats pixels before it convolves: no checkerboards.", 8, "resize"),
        _pix2pix("pix2pix-7-resize", "The same, halved seven times: for patches of 128 pixels.", 7, "resize"),
    )
}
"""The networks that `build_network` knows."""

_CRITIC = "sat2map.networks.critics:PatchCritic"

CRITICS: dict[str, NetworkEntry] = {
    row.name: row
    for row in (
        NetworkEntry(
            "patch-3", "Judges patches of 70 x 70 pixels (Isola 2017).", _CRITIC, False, keywords={"levels": 3}
        ),
        NetworkEntry("patch-4", "Judges patches of 142 x 142 pixels.", _CRITIC, False, keywords={"levels": 4}),
    )
}
"""The critics of adversarial training."""


def network_entry(name: str) -> NetworkEntry:
    """Return the row of a network.

    Raises:
        UnknownName: There is no such network.
    """
    if name not in NETWORKS:
        raise UnknownName("network", name, NETWORKS)
    return NETWORKS[name]


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
    entry = network_entry(name)
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


def build_any(name: str, *, bands: int, channels: int, encoder: str = "resnet34") -> tuple[nn.Module, int]:
    """Build a network or a critic, to be looked at.

    Returns:
        It, and the number of bands that it is given: a critic sees the image and the map.

    Raises:
        UnknownName: There is neither a network nor a critic of this name.
        BadOption: The network cannot be built on this encoder, or of so many bands.
        MissingExtra: torch is not installed.
    """
    if name in CRITICS:
        both = bands + channels
        return _torch_module("building").build_critic(CRITICS[name], both), both
    if name not in NETWORKS:
        raise UnknownName("network", name, [*NETWORKS, *CRITICS])
    return build_network(name, bands=bands, channels=channels, encoder=encoder), bands


def stride_of(name: str) -> int:
    """Return how much the deepest level of a network is reduced, `STRIDE` for one that is not in the table.

    Windows whose sides are multiples of it are not padded.
    """
    return NETWORKS[name].stride if name in NETWORKS else STRIDE


def network_summary(network: nn.Module, bands: int, size: int) -> str:
    """Return a table of layers, output shapes and parameters for one image of `(bands, size, size)`."""
    text: str = _torch_module("summary").summary_table(network, bands, size)
    return text


def draw_network(network: nn.Module, bands: int, size: int, path: Path, *, title: str) -> None:
    """Draw a network as a picture: its blocks, what they make of one image, and what flows from which to which.

    Args:
        network: It is left as it is.
        bands: Bands of the image.
        size: Side in pixels of the image.
        path: Where to write the PNG.
        title: The heading.
    """
    _torch_module("drawing").draw_blocks(network, bands, size, path, title)


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters that are learnt."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _torch_module(name: str) -> ModuleType:
    """Import a module of this package that needs torch."""
    try:
        return import_module(f"sat2map.networks.{name}")
    except ModuleNotFoundError as error:
        raise MissingExtra("Building a network", "train") from error
