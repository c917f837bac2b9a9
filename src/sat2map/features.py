"""Networks that see in pictures what people see, and their published weights: given as files, kept, or downloaded.

Torch and the packages that hold these networks are imported when they are needed; nothing is measured here.
"""

from __future__ import annotations

import hashlib
import logging
import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from sat2map.errors import BadOption, MissingExtra

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds to wait for an answer of the server that holds published weights."""


@dataclass(frozen=True)
class FeatureNetwork:
    """A network with published weights.

    Args:
        title: What it is called in a report.
        url: Gives the address of its weights; the file's name holds the first digits of its SHA-256.
        shapes: Shapes of some of its parameters, by which a file of weights is told to be for it.
        lpips: Whether it is for LPIPS.
    """

    title: str
    url: Callable[[], str]
    shapes: Mapping[str, tuple[int, ...]]
    lpips: bool = False

    @property
    def digest(self) -> str:
        """The first digits of the SHA-256 of the published weights."""
        return re.findall(r"-([a-f0-9]{8,})\.", self.url())[-1]


def _inception_url() -> str:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    return str(URL_INCEPTION_V3)


def _alexnet_url() -> str:
    from torchvision.models import AlexNet_Weights

    return str(AlexNet_Weights.DEFAULT.url)


def _vgg16_url() -> str:
    from torchvision.models import VGG16_Weights

    return str(VGG16_Weights.DEFAULT.url)


FEATURE_NETWORKS = {
    "inception": FeatureNetwork(
        "Inception-v3 of torch-fidelity",
        _inception_url,
        {"Mixed_7c.branch1x1.conv.weight": (320, 2048, 1, 1), "fc.weight": (1008, 2048)},
    ),
    "alexnet": FeatureNetwork(
        "AlexNet of torchvision", _alexnet_url, {"features.0.weight": (64, 3, 11, 11)}, lpips=True
    ),
    "vgg16": FeatureNetwork(
        "VGG16 of torchvision",
        _vgg16_url,
        {"features.0.weight": (64, 3, 3, 3), "features.17.weight": (512, 256, 3, 3)},
        lpips=True,
    ),
}
"""The networks by name."""


def sort_weights(files: Sequence[str]) -> dict[str, Path]:
    """Return files of weights by the name of the network they are for, which their parameters tell.

    Raises:
        BadOption: A file is for none of `FEATURE_NETWORKS`, or two are for the same measure.
        MissingExtra: torch is not installed.
    """
    if find_spec("torch") is None:
        raise MissingExtra("Comparing patches of pictures", "train")
    told: dict[str, Path] = {}
    for file in files:
        name = _network_of(Path(file))
        rival = next((n for n in told if FEATURE_NETWORKS[n].lpips == FEATURE_NETWORKS[name].lpips), None)
        if rival:
            raise BadOption(f"--feature-weights names {told[rival]} and {file} for the same measure. Give one of them.")
        told[name] = Path(file)
    return told


def _network_of(file: Path) -> str:
    shapes = {name: tuple(getattr(value, "shape", ())) for name, value in _state(file).items()}
    for name, network in FEATURE_NETWORKS.items():
        if network.shapes.items() <= shapes.items():
            return name
    titles = ", ".join(network.title for network in FEATURE_NETWORKS.values())
    raise BadOption(f"{file} holds the weights of another network. --feature-weights takes those of: {titles}.")


def _state(file: Path) -> Mapping[str, Any]:
    """Return the parameters in a file; nothing in it is executed."""
    import torch

    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadOption(f"The weights {file} cannot be read: {error.strerror}.") from None
    except Exception as error:  # of many kinds, where a file is anything else
        raise BadOption(f"{file} holds no weights that torch can load. Download it anew.") from error
    return state if isinstance(state, Mapping) else {}


def find_weights(name: str, given: Mapping[str, Path]) -> Path:
    """Return the file of a network's weights: the one that is given, or the published one, downloaded at first use.

    Args:
        name: A name of `FEATURE_NETWORKS`.
        given: What `sort_weights` returns.

    Raises:
        OSError: They cannot be downloaded; the message is a sentence.
    """
    import torch

    if name in given:
        return given[name]
    url = FEATURE_NETWORKS[name].url()
    kept = Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(url).name)
    if not kept.exists():
        _download(name, url, kept)
    return kept


def _download(name: str, url: str, kept: Path) -> None:
    import torch

    network, patience = FEATURE_NETWORKS[name], socket.getdefaulttimeout()
    log.info("Downloading %s to %s", url, kept)
    socket.setdefaulttimeout(PATIENCE)  # torch.hub has no word for it, and would wait for minutes
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(kept), network.digest, progress=sys.stderr.isatty())
    except (OSError, HTTPException, RuntimeError) as error:  # the last one: it came with another digest
        cause = getattr(error, "reason", error)
        raise OSError(
            f"The weights of {network.title} could not be downloaded ({getattr(cause, 'strerror', None) or cause}). "
            f"Get them from {url} and give the file with --feature-weights."
        ) from error
    finally:
        socket.setdefaulttimeout(patience)


def describe(name: str, file: Path) -> str:
    """Return the network's title, and whether a file holds other weights than the published ones."""
    network = FEATURE_NETWORKS[name]
    with file.open("rb") as content:
        published = hashlib.file_digest(content, "sha256").hexdigest().startswith(network.digest)
    return network.title if published else f"{network.title}, not the published weights"


def build_inception(file: Path) -> nn.Module:
    """Return what turns pictures `(N, 3, H, W)` uint8 into features `(N, 2048)` and unbiased logits `(N, 1008)`.

    Raises:
        BadOption: The weights are damaged.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        return FeatureExtractorInceptionV3(
            "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(file)
        )
    except RuntimeError as error:
        raise _damaged(file) from error


def build_lpips(name: str, file: Path) -> nn.Module:
    """Return what turns two batches of pictures `(N, 3, H, W)` into distances `(N, 1, 1, 1)`.

    torchmetrics builds LPIPS with downloaded weights only; here the same module gets those of a file.

    Args:
        name: `alexnet` or `vgg16`.
        file: Its weights.

    Raises:
        BadOption: The weights are damaged.
    """
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    net: Literal["alex", "vgg"] = "alex" if name == "alexnet" else "vgg"
    measure = _NoTrainLpips(net=net, pnet_rand=True)
    state = _state(file)
    try:
        for part in measure.net.children():
            for number, layer in part.named_children():  # layers keep the numbers they have in torchvision
                layer.load_state_dict({key: state[f"features.{number}.{key}"] for key in layer.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise _damaged(file) from error
    return measure


def _damaged(file: Path) -> BadOption:
    return BadOption(f"{file} does not hold all weights of its network. Download it anew.")
