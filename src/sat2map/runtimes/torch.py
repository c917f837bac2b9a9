"""PyTorch: prediction on GPUs, and wherever a graph cannot be used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sat2map.devices import Place, choose_place
from sat2map.errors import ModelError
from sat2map.mapmodel import MapModel
from sat2map.networks import build_network
from sat2map.networks.anysize import at_scale


@dataclass(frozen=True)
class TorchRuntime:
    """A network on a device."""

    network: torch.nn.Module
    place: Place
    description: str

    @torch.inference_mode()
    def __call__(self, batch_NCHW: np.ndarray) -> np.ndarray:
        """Return probabilities `(N, K, H, W)` float32."""
        x_NCHW = torch.from_numpy(batch_NCHW).to(self.place.device, memory_format=torch.channels_last)
        with self.place.autocast():
            scores_NKHW = self.network(x_NCHW)
        probabilities: np.ndarray = scores_NKHW.float().softmax(dim=1).cpu().numpy()
        return probabilities


def open_torch(model: MapModel, batch: int, size: int, precision: str = "auto") -> TorchRuntime:
    """Build a model's network and load its weights; any batch shape will do.

    Raises:
        ModelError: The weights are damaged or not this network's.
    """
    made = model.architecture
    if made.network == "custom":
        raise ModelError(
            "The network of this model was passed as an object, so only its graph is known. Take openvino."
        )
    network = build_network(
        made.network,
        bands=len(model.inputs.bands),
        channels=model.output.channels,
        encoder=made.encoder,
        width=made.width,
    )
    network = at_scale(network, made.scale)
    try:
        network.load_state_dict(load_file(model.weights))
    except (RuntimeError, SafetensorError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{model.weights} does not fit the network {model.architecture.network}: {reason}") from None
    place = choose_place("auto", precision)
    network = network.eval().to(place.device).to(memory_format=torch.channels_last)
    return TorchRuntime(network, place, f"PyTorch on {place.device.type} in {place.precision}")
