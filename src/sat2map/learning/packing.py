"""From the best checkpoint to a model that predicts without torch."""

from __future__ import annotations

import json
from pathlib import Path

import openvino
import torch
from safetensors.torch import save_file

from sat2map.errors import TrainingFailed
from sat2map.learning.plan import Plan
from sat2map.mapmodel import MapModel
from sat2map.runs import command


def pack_model(plan: Plan) -> MapModel:
    """Write the model of a finished run: the weights that did best on validation, its facts, and its graph.

    Raises:
        TrainingFailed: The run holds no checkpoint.
    """
    run, network = plan.run, plan.build_network()
    if not run.best.exists():
        raise TrainingFailed(f"The run in {run.path} ended before its first validation. Give it more --minutes.")
    best = torch.load(run.best, map_location="cpu", weights_only=True)
    network.cpu().load_state_dict(best["network"])
    call, environment = (json.loads((run.path / f"{name}.json").read_text()) for name in ("call", "environment"))
    provenance = {
        **call,
        "command": command("train", (call["source"], run.path), plan.options),
        "environment": environment,
        "epoch": best["epoch"],
        "val_mean_iou": best["val_mean_iou"],
        "split": json.loads(run.split.read_text())["how"],
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    model = MapModel(plan.inputs, plan.output, plan.architecture, plan.tiling, provenance, run.model)
    run.model.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, model.weights)
    export_graph(network, model.graph, bands=len(plan.inputs.bands), size=plan.tiling.size)
    model.save()
    return model


def export_graph(network: torch.nn.Module, path: Path, *, bands: int, size: int) -> None:
    """Write a network with a soft-max behind it as an OpenVINO graph for batches of windows of `size` pixels."""
    scored = torch.nn.Sequential(network, torch.nn.Softmax(dim=1)).float().cpu().eval()
    example = torch.zeros(2, bands, size, size)
    exported = torch.export.export(scored, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    openvino.save_model(openvino.convert_model(exported), path, compress_to_fp16=False)
