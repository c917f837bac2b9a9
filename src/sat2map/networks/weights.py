"""Weights for an encoder from a download or a file, fitted to any number of bands."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from sat2map.errors import BadOption, ModelError, Sat2mapError

logger = logging.getLogger(__name__)

Weights = dict[str, torch.Tensor]


def downloaded_weights(encoder: str) -> tuple[Weights, str]:
    """Return ImageNet weights for three bands, and a name for them.

    Args:
        encoder: Name of the encoder, as segmentation_models.pytorch knows it.

    Raises:
        BadOption: There are none for this encoder.
        Sat2mapError: They cannot be downloaded.
    """
    name = encoder.removeprefix("tu-")
    of_timm = name != encoder
    settings = {} if of_timm else smp.encoders.encoders[encoder]["pretrained_settings"]
    if not (timm.models.is_model_pretrained(name) if of_timm else "imagenet" in settings):
        raise BadOption(
            f"There are no ImageNet weights for the encoder {name!r}. Take 'none' or a file, or another encoder."
        )
    try:
        pretrained = smp.encoders.get_encoder(encoder, weights=True if of_timm else "imagenet")
    except Exception as error:  # of any of the libraries between here and the server
        raise Sat2mapError(
            f"The ImageNet weights of {name!r} could not be downloaded ({type(error).__name__}). Look after the "
            f"network connection, take --encoder-weights none, or name a file of weights."
        ) from error
    return pretrained.state_dict(), f"ImageNet weights of {name}"


def file_weights(path: Path) -> tuple[Weights, str]:
    """Return the weights in a safetensors file or a torch checkpoint, and a name for them; no code in it is run.

    Raises:
        BadOption: There is no such file.
        ModelError: It cannot be read.
    """
    if not path.is_file():
        raise BadOption(f"--encoder-weights is {str(path)!r}: neither 'none', nor 'imagenet', nor a file.")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError, SafetensorError) as error:
        raise ModelError(
            f"The weights in {path} cannot be read ({type(error).__name__}). "
            f"Save the state dict alone, with safetensors or torch.save."
        ) from error
    return _tensors(content), str(path)


def load_encoder_weights(encoder: nn.Module, weights: Weights, source: str) -> None:
    """Load weights into an encoder; those of the first convolution are fitted to its number of bands.

    Every tensor of the encoder must be found, under whatever prefix; what is left over (a classifier) is logged.

    Raises:
        ModelError: Tensors are missing or of another shape.
    """
    wanted, weights = _weights_alone(encoder.state_dict()), _weights_alone(weights)
    renamed = {ours: theirs for ours, theirs in _names(wanted, weights).items() if theirs in weights}
    fitted = {ours: _fit_bands(weights[theirs], wanted[ours]) for ours, theirs in renamed.items()}
    missing = [name for name in wanted if name not in fitted]
    other = [
        f"{name} is {tuple(fitted[name].shape)}, not {tuple(t.shape)}"
        for name, t in wanted.items()
        if name in fitted and fitted[name].shape != t.shape
    ]
    if missing or other:
        raise ModelError(
            f"{source} does not fit the encoder: of its {len(wanted)} tensors {len(missing)} are missing"
            f"{_first(missing)} and {len(other)} have another shape{_first(other)}. "
            f"Choose the --encoder that the weights are from."
        )
    nn.Module.load_state_dict(encoder, fitted, strict=False)  # encoders of their own rename what they are given
    unused = sorted(set(weights) - set(renamed.values()))
    logger.info("Encoder: %d tensors from %s; %d not used%s", len(fitted), source, len(unused), _first(unused))


def _weights_alone(state: Weights) -> Weights:
    """Leave out how often batches were counted, which older files do not have."""
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def _tensors(content: Any) -> Weights:
    """Return the state dict in a checkpoint: the largest dict of tensors, at the top or one level below."""
    candidates = [content, *content.values()] if isinstance(content, dict) else []
    dicts = [{k: v for k, v in c.items() if torch.is_tensor(v)} for c in candidates if isinstance(c, dict)]
    return max(dicts, key=len, default={})


def _names(wanted: Weights, weights: Weights) -> dict[str, str]:
    """Return for each name of ours the name it would have in `weights`, with the prefixes that fit the most of them.

    Checkpoints put `encoder.`, `module.`, `backbone.` and more before the names, and segmentation_models.pytorch
    puts `model.` before those of timm.
    """
    best: dict[str, str] = {name: name for name in wanted}
    for own in ("", "model."):
        bare = {name: name.removeprefix(own) for name in wanted}
        first = next(iter(bare.values()))
        for theirs in weights:
            if theirs.endswith(first):
                prefix = theirs[: -len(first)]
                named = {name: prefix + short for name, short in bare.items()}
                best = max(best, named, key=lambda names: sum(n in weights for n in names.values()))
    return best


def _fit_bands(weight: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Repeat the weights of a first convolution over the bands, and scale so that its sums stay as large.

    The rule of segmentation_models.pytorch. Returned as they are if more than the number of bands differs.
    """
    if weight.ndim != 4 or wanted.ndim != 4 or weight.shape[1] == wanted.shape[1]:
        return weight
    if (weight.shape[0], *weight.shape[2:]) != (wanted.shape[0], *wanted.shape[2:]):
        return weight
    before, after = weight.shape[1], wanted.shape[1]
    return weight[:, torch.arange(after) % before] * (before / after)


def _first(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f" ({shown})" if names else ""
