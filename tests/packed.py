"""The U-Net of `models`, exported with its inner features and a domain that knows a few windows of noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from models import unet_model
from sat2map.domain import fit_domain, fit_familiar, glimpse
from sat2map.mapmodel import MapModel
from sat2map.scenes import array_scene


def tapped_model(folder: Path) -> MapModel:
    """Write a model whose graph has two outputs."""
    from safetensors.torch import load_file

    from sat2map.learning.packing import export_graph
    from sat2map.networks import build_network
    from sat2map.networks.tapping import find_tap

    model = unet_model(folder)
    network = build_network("small-unet", bands=3, channels=3, width=4).eval()
    network.load_state_dict(load_file(model.weights))
    tap = find_tap(network, 3, 32)
    export_graph(network, model.output, model.graph, bands=3, size=32, tap=tap)
    rng = np.random.default_rng(0)
    windows = [array_scene(rng.integers(0, 256, (3, 40, 40), np.uint8)).read() for _ in range(4)]
    inner = rng.random((8, 64), np.float32)
    domain = fit_domain([glimpse(w) for w in windows], tap, fit_familiar(inner[:6], inner[6:]))
    assert domain is not None and domain.familiar is not None
    domain.familiar.save(model.inner)
    model = replace(model, domain=domain)
    model.save()
    return model
