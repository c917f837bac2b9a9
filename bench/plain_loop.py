"""A U-Net as one would train it in forty lines: pictures in memory, a PyTorch loop, none of this package's choices.

Random crops of 256 pixels with flips, quarter turns and brightness; batches of 16; AdamW with a warm-up and half a
cosine against the clock; cross-entropy and Dice; bf16 where the processor has it; the last weights are kept. It reads
by way of this package, so that both learn from the same pixels, and its maps are counted in the same way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch

from sat2map.devices import choose_place
from sat2map.files import record
from sat2map.learning.fitting import plan_run
from sat2map.legend import IGNORED
from sat2map.metrics import Scores, confusion, scores_of
from sat2map.options import TrainOptions
from sat2map.outputs import Classes
from sat2map.runs import RunFolder

PLACE = choose_place("cpu")
LAYOUT = torch.channels_last if PLACE.precision == "bf16" else torch.contiguous_format
SIDE, BATCH, PEAK, WARM_UP = 256, 16, 1e-3, 0.08
WINDOW = 512

Picture = tuple[np.ndarray, np.ndarray]
"""An image `(C, H, W)` float32, each band scaled by its mean and deviation, and its ids `(H, W)` uint8."""


def train_plainly(source: str, *, minutes: float, seed: int, **parts: tuple[str, ...]) -> tuple[int, Scores]:
    """Train for some minutes, and return the steps that were made and the scores on the test ground."""
    plan = plan_run(source, RunFolder(Path("plain")), record(TrainOptions, {"check_leaks": False, **parts}))
    assert isinstance(plan.output, Classes), "map pictures have no classes to score"
    learnt, tested = (
        [plan.samples.read(area, area.window) for area in plan.split.part(part)] for part in ("train", "test")
    )
    names = plan.output.legend.names
    torch.manual_seed(seed)
    network = smp.Unet("resnet34", encoder_weights=None, in_channels=len(plan.inputs.bands), classes=len(names))
    network = network.to(memory_format=LAYOUT)
    steps = learn(network, learnt, 60 * minutes, np.random.default_rng(seed))
    counts = sum((count(network, picture, len(names)) for picture in tested), np.zeros((len(names),) * 2, np.int64))
    return steps, scores_of(counts, names)


def learn(network: torch.nn.Module, pictures: Sequence[Picture], seconds: float, rng: np.random.Generator) -> int:
    """Train until the time is over, and return how many steps that were."""
    optimizer = torch.optim.AdamW(network.parameters(), PEAK)
    dice = smp.losses.DiceLoss("multiclass", ignore_index=IGNORED)
    chances = np.array([ids.size for _, ids in pictures], float)
    chances /= chances.sum()
    began, step = time.monotonic(), 0
    network.train()
    while (done := (time.monotonic() - began) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = PEAK * min(done / WARM_UP, 0.5 * (1 + math.cos(math.pi * done)))
        chosen = rng.choice(len(pictures), BATCH, p=chances)
        patches, truths = zip(*(crop(pictures[i], rng) for i in chosen), strict=True)
        x_NCHW = torch.from_numpy(np.stack(patches)).contiguous(memory_format=LAYOUT)
        ids_NHW = torch.from_numpy(np.stack(truths)).long()
        with PLACE.autocast():
            scores_NKHW = network(x_NCHW).float()
        loss = torch.nn.functional.cross_entropy(scores_NKHW, ids_NHW, ignore_index=IGNORED)
        loss = loss + dice(scores_NKHW, ids_NHW)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
    return step


def crop(picture: Picture, rng: np.random.Generator) -> Picture:
    """Cut a patch anywhere, turn and mirror it, and make it lighter or darker."""
    image, ids = picture
    row, col = (int(rng.integers(max(side - SIDE, 0) + 1)) for side in ids.shape)
    image, ids = image[:, row : row + SIDE, col : col + SIDE], ids[row : row + SIDE, col : col + SIDE]
    turns = int(rng.integers(4))
    image, ids = np.rot90(image, turns, (1, 2)), np.rot90(ids, turns)
    if rng.random() < 0.5:
        image, ids = image[..., ::-1], ids[..., ::-1]
    return np.ascontiguousarray(image * rng.uniform(0.8, 1.2) + rng.uniform(-0.2, 0.2), np.float32), ids.copy()


@torch.no_grad()
def count(network: torch.nn.Module, picture: Picture, classes: int) -> np.ndarray:
    """Map a picture in windows side by side, and return its confusion matrix."""
    image, ids = picture
    height, width = ids.shape
    network.eval()
    counts = np.zeros((classes, classes), np.int64)
    for row in range(0, height, WINDOW):
        for col in range(0, width, WINDOW):
            part = image[:, row : row + WINDOW, col : col + WINDOW]
            padded = np.pad(part, [(0, 0), *((0, -side % 32) for side in part.shape[1:])], mode="reflect")
            with PLACE.autocast():
                scores_KHW = network(torch.from_numpy(padded)[None])[0].float()
            mapped = scores_KHW.argmax(0).numpy().astype(np.uint8)[: part.shape[1], : part.shape[2]]
            counts += confusion(ids[row : row + WINDOW, col : col + WINDOW], mapped, classes)
    return counts
