"""Models made without training: one layer that knows the colours of `synthetic`, and a small U-Net as it begins."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino
from openvino import opset13 as ops

import synthetic
from sat2map.inputs import Inputs
from sat2map.legend import Legend
from sat2map.mapmodel import Architecture, MapModel
from sat2map.options import ReadOptions, SplitOptions, TrainOptions
from sat2map.outputs import Classes
from sat2map.runs import RunFolder, begin_run, command
from sat2map.sources import open_source
from sat2map.splits import make_split
from sat2map.tiling import Tiling

INPUTS = Inputs(("red", "green", "blue"), (0, 1, 2), 3, (110.0, 120.0, 110.0), (60.0, 50.0, 40.0), "uint8")
"""What all models here are shown, unless a test says otherwise."""

PLAIN = Inputs(("band 1",), (0,), 1, (0.0,), (1.0,), "uint8")
"""One band that is shown as it is."""


def colour_model(
    folder: Path,
    *,
    inputs: Inputs = INPUTS,
    legend: Legend = synthetic.LEGEND,
    provenance: dict | None = None,
    never: tuple[int, ...] = (),
    unit: int | None = None,
) -> MapModel:
    """Write a model that sees in each pixel the class whose colour is the nearest, but for those it `never` sees."""
    colours = (synthetic.SEEN[:3] - INPUTS.mean) / INPUTS.std
    weights = colours[:, :, None, None].astype(np.float32)
    bias = (-(colours**2).sum(axis=1) / 2)[None, :, None, None].astype(np.float32)
    bias[:, list(never)] = -1e3
    x_NCHW = ops.parameter([-1, 3, -1, -1], np.float32)
    scores_NKHW = ops.add(ops.convolution(x_NCHW, weights, [1, 1], [0, 0], [0, 0], [1, 1]), bias)
    folder.mkdir(parents=True, exist_ok=True)
    model = MapModel(inputs, Classes(legend), Architecture("custom"), Tiling(32, 8), provenance or {}, folder, unit)
    graph = openvino.Model([ops.softmax(scores_NKHW, axis=1)], [x_NCHW], "colours")
    openvino.save_model(graph, model.graph, compress_to_fp16=False)
    model.save()
    return model


def provenance_of(source: Path, path: Path, options: TrainOptions, **told: object) -> dict:
    """Return what a model knows of a training that took one epoch."""
    return {
        "source": str(source),
        "options": asdict(options),
        "command": command("train", (source, path), options),
        "environment": {"sat2map": "0.1.0"},
        "epoch": 1,
        "parameters": 12,
        **told,
    }


def colour_run(
    path: Path, source: Path, *, never: tuple[int, ...] = (), unit: int | None = None, **words: object
) -> RunFolder:
    """Write the folder of a run that seems to have trained `colour_model` on a source."""
    options = TrainOptions(size=32, epochs=1, **words)
    run = begin_run(path, str(source), options)
    read = ReadOptions(**{name: getattr(options, name) for name in ReadOptions.__dataclass_fields__})
    divided = SplitOptions(**{name: getattr(options, name) for name in SplitOptions.__dataclass_fields__})
    split, _ = make_split(open_source(source, read), divided, seed=0, patch=32)
    run.split.write_text(json.dumps(split.to_json()))
    provenance = provenance_of(source, path, options, val_mean_iou=0.5, split=split.how)
    colour_model(run.model, provenance=provenance, never=never, unit=unit)
    return run


@cache
def _exported() -> dict[str, bytes]:
    """Return the files of a small U-Net, made once: exporting takes seconds."""
    import torch
    from safetensors.torch import save_file

    from sat2map.learning.packing import export_graph
    from sat2map.networks import build_network

    torch.manual_seed(0)
    network = build_network("small-unet", bands=3, channels=3, width=4)
    with TemporaryDirectory() as name:
        folder = Path(name)
        save_file(network.state_dict(), folder / "weights.safetensors")
        export_graph(network, Classes(synthetic.LEGEND), folder / "graph.xml", bands=3, size=32)
        return {file.name: file.read_bytes() for file in folder.iterdir()}


def unet_model(folder: Path) -> MapModel:
    """Write the model of a small U-Net whose weights are as they begin."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _exported().items():
        (folder / name).write_bytes(content)
    made = Architecture("small-unet", width=4)
    model = MapModel(INPUTS, Classes(synthetic.LEGEND), made, Tiling(32, 8), {"epoch": 1}, folder, unit=32)
    model.save()
    return model
