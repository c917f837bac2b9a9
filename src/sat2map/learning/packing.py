"""From the best checkpoint to a model that predicts without torch."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import openvino
import torch
from safetensors.torch import save_file

from sat2map.calibration import Calibration
from sat2map.errors import TrainingFailed
from sat2map.learning.calibrating import calibrate
from sat2map.learning.indicators import indicators
from sat2map.learning.plan import Plan
from sat2map.learning.remembering import learn_domain
from sat2map.mapmodel import MapModel
from sat2map.networks import STRIDE
from sat2map.networks.tapping import Tapped, find_tap
from sat2map.outputs import Output
from sat2map.runs import command
from sat2map.tiling import Window

AGREEING = 2e-3
"""By how much activated scores of graph and network may differ: sums in another order."""

NEEDED = 0.9
"""Share of what a score depends on that a window has to see of a pixel in the middle of a seam."""

SEAM = 32
"""Narrowest seam in pixels."""

PROBED = 16
"""Side in pixels of the middle of a window whose scores' gradient is taken."""


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
        "options": {**call["options"], **asdict(plan.recipe), **dict.fromkeys(call.get("own", ()), "custom")},
        "command": command("train", (call["source"], run.path), plan.options),
        "environment": environment,
        "epoch": best["epoch"],
        **best["row"],
        **indicators(network, plan),
        "split": json.loads(run.split.read_text())["how"],
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    network.eval()
    calibration, believed = _calibrated(network, plan)
    tiling = replace(plan.tiling, overlap=choose_overlap(network, plan))
    model = MapModel(
        inputs=plan.inputs,
        output=plan.output,
        architecture=plan.architecture,
        tiling=tiling,
        provenance=provenance | believed,
        folder=run.model,
        calibration=calibration,
    )
    run.model.mkdir(exist_ok=True)
    remove_int8(model)  # of a run that went on
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, model.weights)
    bands = len(plan.inputs.bands)
    tap = find_tap(network, bands, plan.unit)
    unit = export_graph(network, plan.output, model.graph, bands=bands, size=tiling.size, unit=plan.unit, tap=tap)
    model = replace(model, unit=unit)
    domain = learn_domain(plan, model, tap)
    if domain and domain.familiar:
        domain.familiar.save(model.inner)
    model = replace(model, domain=domain)
    model.save()
    return model


def remove_int8(model: MapModel) -> None:
    """Remove the graph in int8, if there is one: of other weights, or one that is not kept."""
    for file in (model.int8_graph, model.int8_graph.with_suffix(".bin")):
        file.unlink(missing_ok=True)


def _calibrated(network: torch.nn.Module, plan: Plan) -> tuple[Calibration | None, dict[str, float | None]]:
    """Return what corrects the probabilities of classes, and by how much it does on validation."""
    kind = plan.options.calibration
    if kind == "none" or plan.output.kind != "classes":
        return None, {}
    return calibrate(network, plan, kind)


def choose_overlap(network: torch.nn.Module, plan: Plan) -> int:
    """Return how wide neighbouring windows should be blended: a seam in which each sees what it needs of its pixels.

    In the middle of the seam both weigh the same and are half a seam from their edge. So half a seam is the distance
    within which `NEEDED` of what a score depends on lies: of the gradient's magnitude, measured on a training image
    (the effective receptive field of Luo et al. 2016, Understanding the Effective Receptive Field).
    """
    size = plan.tiling.size
    area = plan.samples.anchors[0].area
    image_CHW, _ = plan.samples.read(area, Window(area.window.row, area.window.col, size, size))
    x_NCHW = torch.from_numpy(image_CHW)[None].requires_grad_()
    middle = slice(size // 2 - PROBED // 2, size // 2 + PROBED // 2)
    score = network(x_NCHW)[..., middle, middle].abs().sum()
    (gradient_NCHW,) = torch.autograd.grad(score, x_NCHW)
    weights_HW = gradient_NCHW[0].abs().sum(0).double().numpy()
    along = np.abs(np.arange(size) - (size - 1) / 2)
    distance_HW = np.maximum(along[:, None], along)
    order = distance_HW.argsort(axis=None)
    seen = weights_HW.ravel()[order].cumsum()
    radius = distance_HW.ravel()[order][np.searchsorted(seen, NEEDED * seen[-1])] - PROBED / 2
    return min(max(round(radius / 8) * 16, SEAM), size // 4)


def export_graph(
    network: torch.nn.Module,
    output: Output,
    path: Path,
    *,
    bands: int,
    size: int,
    unit: int = STRIDE,
    tap: str | None = None,
) -> int | None:
    """Write a network with the activation of its output behind it as an OpenVINO graph.

    Args:
        network: From `(N, bands, H, W)` to scores.
        output: What they mean.
        path: The graph's file.
        bands: How many bands it takes.
        size: Side in pixels of the windows it is traced with.
        unit: What the sides of windows have to be multiples of so that the network need not pad them.
        tap: The module whose averaged output is the graph's second output; there is none if None.

    Returns:
        What the sides of other windows have to be multiples of; None if the graph is right for this size alone.
    """
    scored = Activated(network if tap is None else Tapped(network, tap), output).float().cpu().eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of each branch that depends on the size; the check below tells
        graph = openvino.convert_model(scored, example_input=torch.zeros(2, bands, size, size))
    graph.reshape([-1, bands, -1, -1])
    flexible = size % unit == 0 and _agrees(graph, scored, bands, size + unit)
    if not flexible:
        graph.reshape([-1, bands, size, size])
    openvino.save_model(graph, path, compress_to_fp16=False)
    return unit if flexible else None


class Activated(torch.nn.Module):
    """A network with the activation of its output."""

    def __init__(self, network: torch.nn.Module, output: Output) -> None:
        super().__init__()
        self.network, self.output = network, output

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Return what `Output.activate` makes of the scores of images `(N, C, H, W)`; inner features too, if tapped."""
        given = self.network(x_NCHW)
        if not isinstance(given, tuple):
            return self.output.activate(given)
        return self.output.activate(given[0]), given[1]


def _agrees(graph: openvino.Model, network: torch.nn.Module, bands: int, size: int) -> bool:
    """Tell whether a graph computes what its network does on windows of another size than it was traced with."""
    x_NCHW = torch.randn(1, bands, size, size, generator=torch.Generator().manual_seed(0))
    try:
        compiled = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled(x_NCHW.numpy())[0]
    except RuntimeError:
        return False
    with torch.no_grad():
        given = network(x_NCHW)
    expected = (given[0] if isinstance(given, tuple) else given).numpy()
    return found.shape == expected.shape and bool(np.allclose(found, expected, atol=AGREEING))
