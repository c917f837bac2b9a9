"""PyTorch: prediction on GPUs, and wherever a graph cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from sat2map.devices import Place, choose_place
from sat2map.errors import ModelError
from sat2map.mapmodel import Architecture, MapModel
from sat2map.networks import build_network
from sat2map.networks.anysize import at_scale
from sat2map.networks.members import join
from sat2map.networks.tapping import Tapped
from sat2map.outputs import Output
from sat2map.runtimes.computed import Computed

GPU_BATCH = 4
"""Windows in a step on a GPU: enough to keep it busy, little enough for its memory."""


@dataclass(frozen=True)
class TorchRuntime:
    """A network on a device, which scales the pixels too."""

    network: torch.nn.Module
    output: Output
    place: Place
    mean: torch.Tensor = field(repr=False)
    factor: torch.Tensor = field(repr=False)
    batch: int
    ahead: int
    description: str

    @torch.inference_mode()
    def start(self, pixels_NCHW: np.ndarray, valid_NHW: np.ndarray) -> Callable[[], Computed]:
        """Start a step; see `Runtime.start`. A processor is done at once, a GPU computes on while the caller does."""
        pixels, valid = self._sent(pixels_NCHW), self._sent(valid_NHW)
        scaled = (pixels.float() - self.mean) * self.factor
        x_NCHW = torch.where(valid[:, None], scaled, 0.0).contiguous(memory_format=torch.channels_last)
        with self.place.autocast():
            given = self.network(x_NCHW)
        scores_NKHW, *inner = given if isinstance(given, tuple) else (given,)
        coming = [self._coming(tensor) for tensor in (self.output.activate(scores_NKHW.float()), *inner)]
        return lambda: Computed(*(array() for array in coming))

    def _sent(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array.astype(_LARGER.get(array.dtype.name, array.dtype), copy=False))
        if self.place.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.place.device, non_blocking=True)

    def _coming(self, tensor: torch.Tensor) -> Callable[[], np.ndarray]:
        if self.place.device.type != "cuda":
            array: np.ndarray = tensor.contiguous().cpu().numpy()
            return lambda: array
        host = torch.empty(tensor.shape, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        done: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()

        def result() -> np.ndarray:
            done.synchronize()
            copied: np.ndarray = host.numpy()
            return copied

        return result


_LARGER = {"uint16": np.int32, "uint32": np.int64}
"""Types that torch computes with in the next larger one."""


def open_torch(model: MapModel, batch: int | None = None, precision: str = "auto") -> TorchRuntime:
    """Build a model's network and load its weights; any window size will do.

    Raises:
        ModelError: The weights are damaged or not this network's.
    """
    network = build(model.architecture, bands=len(model.inputs.bands), channels=model.output.channels)
    try:
        network.load_state_dict(load_file(model.weights))
        if model.domain and model.domain.tap is not None:
            network = Tapped(network, model.domain.tap)
    except (AttributeError, RuntimeError, SafetensorError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{model.weights} does not fit the network {model.architecture.network}: {reason}") from None
    place = choose_place("auto", precision)
    network = network.eval().to(place.device).to(memory_format=torch.channels_last)
    mean, factor = (torch.from_numpy(constant).to(place.device) for constant in model.inputs.constants)
    on_gpu = place.device.type != "cpu"
    description = f"PyTorch on {place.device.type} in {place.precision}"
    return TorchRuntime(
        network, model.output, place, mean, factor, batch or (GPU_BATCH if on_gpu else 1), int(on_gpu), description
    )


def build(made: Architecture, *, bands: int, channels: int, encoder_weights: str = "none") -> torch.nn.Module:
    """Build the network of an architecture.

    Raises:
        ModelError: It was passed as an object and cannot be built.
    """
    if made.network == "custom":
        raise ModelError(
            "The network of this model was passed as an object, so only its graph is known. Take openvino."
        )

    def build_one() -> torch.nn.Module:
        return build_network(
            made.network,
            bands=bands,
            channels=channels,
            encoder=made.encoder,
            encoder_weights=encoder_weights,
            width=made.width,
        )

    return join([at_scale(build_one(), made.scale) for _ in range(made.members)])
