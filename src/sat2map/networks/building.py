"""From the row of a network to a module: encoders by name, and parameters that really learn."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from torch import nn

from sat2map.errors import BadOption, UnknownName
from sat2map.networks import NetworkEntry
from sat2map.networks.anysize import AnySize
from sat2map.networks.weights import downloaded_weights, file_weights, load_encoder_weights


def build_on_encoder(
    entry: NetworkEntry, bands: int, channels: int, encoder: str, encoder_weights: str | Path
) -> nn.Module:
    """Build a network on an encoder; see `sat2map.networks.build_network`."""
    encoder = smp_name(encoder)
    try:
        inner = _builder(entry)(encoder_name=encoder, encoder_weights=None, in_channels=bands, classes=channels)
        network = AnySize(inner, entry.least, entry.stride)
        _freeze_unused(network, bands)
    except Exception as error:  # which of a thousand encoders fits which network only their authors know
        raise BadOption(
            f"{entry.name} cannot be built on the encoder {encoder.removeprefix('tu-')!r} for images of any size "
            f"({type(error).__name__}: {error}). Choose another --encoder; resnet34 fits every network."
        ) from error
    if str(encoder_weights) == "imagenet":
        load_encoder_weights(inner.encoder, *downloaded_weights(encoder))
    elif str(encoder_weights) != "none":
        load_encoder_weights(inner.encoder, *file_weights(Path(encoder_weights)))
    return network


def build_plain(entry: NetworkEntry, bands: int, channels: int, width: int | None) -> nn.Module:
    """Build a network without an encoder; see `sat2map.networks.build_network`."""
    chosen = {} if width is None else {"width": width}
    inner = _builder(entry)(bands=bands, channels=channels, **entry.keywords, **chosen)
    return AnySize(inner, entry.least, entry.stride)


def build_critic(entry: NetworkEntry, bands: int) -> nn.Module:
    """Build a critic of `sat2map.networks.CRITICS` for the bands of image and map together."""
    critic: nn.Module = _builder(entry)(bands, **entry.keywords)
    return critic


def smp_name(encoder: str) -> str:
    """Return the name by which segmentation_models.pytorch knows an encoder: `tu-` before those of timm.

    Raises:
        UnknownName: Neither has such an encoder.
    """
    own = smp.encoders.get_encoder_names()
    if encoder in own:
        return encoder
    name = encoder.removeprefix("tu-")
    if not timm.is_model(name):
        raise UnknownName("encoder", name, [*own, *timm.list_models()])
    return f"tu-{name}"


def _builder(entry: NetworkEntry) -> Any:
    module, _, name = entry.builder.partition(":")
    return getattr(import_module(module), name)


def _freeze_unused(network: AnySize, bands: int) -> None:
    """Freeze parameters that no score depends on, such as the last levels of an encoder that a network leaves out.

    They would be counted, saved and, on several devices, waited for. Found by one small image going through, which
    also shows at once whether an encoder is bound to one image size.
    """
    network.eval()
    parameters = list(network.parameters())
    with torch.enable_grad():
        scores_NKHW = network(torch.zeros(1, bands, network.least, network.least))
        gradients = torch.autograd.grad(scores_NKHW.sum(), parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    network.train()
