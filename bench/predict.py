"""Whole scenes beside a peer: same network and weights, same scene, same overlap, in turn on one machine.

python bench/predict.py SCENE --model RUN --peer PEER.py --peer-python ENV/bin/python --rounds 3 --json predict.json

Each map is made by a process of its own, so that memory and processor time are its own. `model only` runs the network
on as many windows as the scene needs and nothing else: no reading, no blending, no writing. What its process takes
before, to import, load and compile, is not counted as stitching either. With a peer the model has to be a U-Net of
`segmentation_models.pytorch` at scale 1, whose weights the peer is given. Peers scale pixels by the constants of
ImageNet, so a copy of the model that does the same is measured: both networks see the same numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rasterio

from sat2map.jobs import Job
from sat2map.mapmodel import load_model
from sat2map.options import PredictOptions
from sat2map.predictor import in_flight, predictors
from sat2map.runs import environment

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and deviation by which peers scale pixels from 0 to 1."""


def timed(words: list[str]) -> tuple[dict[str, float], str]:
    """Run a command and return what it took, its children counted, and what it printed."""
    began = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    printed = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(words)}")
    wall, cpu = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    return {"wall_s": wall, "cpu_s": cpu, "peak_rss_gb": usage.ru_maxrss / 1e6}, printed


def alone(words: list[str]) -> dict[str, float]:
    """Run the network alone and return what its windows took, and the processor seconds of its process before them."""
    process, printed = timed(words)
    windows = json.loads(printed.splitlines()[-1])
    shown = windows["cpu_s"] * (1 + 1 / windows["windows"])  # one was shown before the clock ran
    return {**windows, "start_cpu_s": process["cpu_s"] - shown}


def model_only(scene: str, model: str, precision: Any, overlap: int) -> None:
    """Print how long the network alone takes for the windows of a scene, and how many processor seconds."""
    job = Job(scene, model, PredictOptions(precision=precision, overlap=overlap))
    tiling, runtime = job.tiling, predictors(job.model, job.options)(job.scene).runtime
    count = int(np.prod([len(tiling.axis(side).starts) for side in job.scene.shape]))
    pixels = np.full((1, len(job.scene.bands), tiling.size, tiling.size), 100, np.uint8)
    valid = np.ones((1, tiling.size, tiling.size), bool)
    runtime.start(pixels, valid)()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in in_flight(lambda _: runtime.start(pixels, valid), range(count), runtime.ahead):
        pass
    print(json.dumps({"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu, "windows": count}))


def agreement(one: Path, other: Path) -> float:
    """Return the share of pixels with the same class; row by row of blocks, so that scenes of any size will do."""
    same = total = 0
    with rasterio.open(one) as a, rasterio.open(other) as b:
        for _, window in a.block_windows():
            equal = a.read(1, window=window) == b.read(1, window=window)
            same, total = same + int(equal.sum()), total + equal.size
    return same / total


def as_peers_scale(model: str, folder: Path) -> Path:
    """Copy a model and let it scale pixels as ImageNet's are."""
    shutil.copytree(load_model(model).folder, folder)
    copy = load_model(folder)
    mean, std = ((tuple(255 * v for v in values)) for values in IMAGENET)
    replace(copy, inputs=replace(copy.inputs, mean=mean, std=std)).save()
    return folder


def peer_weights(model: str, path: Path) -> Path:
    """Write the weights as segmentation_models.pytorch names them."""
    import torch
    from safetensors.torch import load_file

    weights = load_file(load_model(model).weights)
    torch.save({name.removeprefix("network."): value for name, value in weights.items()}, path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene")
    parser.add_argument("--model", required=True)
    parser.add_argument("--peer", help="a script that takes SCENE MAP --weights FILE --classes N --overlap N")
    parser.add_argument("--peer-python", default=sys.executable, help="of the environment that the peer needs")
    parser.add_argument("--overlap", type=int, default=64)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--model-only", metavar="PRECISION", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.model_only:
        model_only(told.scene, told.model, told.model_only, told.overlap)
        return
    with tempfile.TemporaryDirectory() as name:
        result = compare(told, Path(name))
    print(json.dumps(result, indent=1))
    if told.json:
        told.json.write_text(json.dumps(result, indent=1) + "\n")


def compare(told: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run everything in turn, round by round, and return medians and ratios."""
    model = str(as_peers_scale(told.model, folder / "model"))
    ours = [sys.executable, "-m", "sat2map.cli", "predict", told.scene, "--model", model, "--overwrite"]
    network = [sys.executable, __file__, told.scene, "--model", model, "--overlap", str(told.overlap)]
    peer = []
    if told.peer:
        weights = peer_weights(told.model, folder / "weights.pt")
        classes = load_model(told.model).output.channels
        peer = [told.peer_python, told.peer, told.scene, str(folder / "peer.tif"), "--weights", str(weights)]
        peer += ["--classes", str(classes), "--overlap", str(told.overlap)]
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(told.rounds):
        if peer:
            runs.setdefault("peer", []).append(timed(peer)[0])
        for precision in told.precisions:
            words = [*ours, str(folder / f"{precision}.tif"), "--overlap", str(told.overlap), "--precision", precision]
            runs.setdefault(precision, []).append(timed(words)[0])
            runs.setdefault(f"model_only_{precision}", []).append(alone([*network, "--model-only", precision]))
    return summary(told, folder, runs)


def summary(told: argparse.Namespace, folder: Path, runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return medians of all runs, and how they compare."""
    with rasterio.open(told.scene) as file:
        mpx = file.height * file.width / 1e6
    middle = {name: {key: median(run[key] for run in each) for key in each[0]} for name, each in runs.items()}
    result: dict[str, Any] = {"environment": environment(), "scene_mpx": mpx, "overlap": told.overlap, "runs": runs}
    for name, took in middle.items():
        result[f"mpx_per_s_{name}"] = mpx / took["wall_s"]
        result[f"cpu_s_per_mpx_{name}"] = took["cpu_s"] / mpx
        if "peak_rss_gb" in took:
            result[f"peak_rss_gb_{name}"] = took["peak_rss_gb"]
    for precision in told.precisions:
        whole, network = middle[precision], middle[f"model_only_{precision}"]
        result[f"of_model_only_{precision}"] = network["wall_s"] / whole["wall_s"]
        rest = whole["cpu_s"] - network["cpu_s"] - network["start_cpu_s"]
        result[f"stitch_cpu_s_per_mpx_{precision}"] = rest / mpx
        if "peer" in middle:
            result[f"ratio_{precision}"] = middle["peer"]["wall_s"] / whole["wall_s"]
            result[f"agreement_with_peer_{precision}"] = agreement(folder / "peer.tif", folder / f"{precision}.tif")
        if "fp32" in told.precisions:
            result[f"agreement_{precision}"] = agreement(folder / "fp32.tif", folder / f"{precision}.tif")
    return result


if __name__ == "__main__":
    main()
