"""How good a network is on ground it does not learn from, while it is being trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric

from sat2map.learning.objectives import Loss
from sat2map.learning.samples import Samples
from sat2map.legend import IGNORED, Legend
from sat2map.metrics import Scores, confusion, scores_of
from sat2map.splits import Area
from sat2map.tiling import Window, chunks, grid

PICTURES = 4
"""How many windows are shown in the picture of an epoch."""


@dataclass(frozen=True)
class Shown:
    """A window with what stands there and what the network sees there, both ids `(height, width)`."""

    pair: str
    window: Window
    truth: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Validation:
    """The result of one round.

    Args:
        loss: Mean over the batches.
        scores: From one summed confusion matrix.
        shown: A few windows for a picture.
    """

    loss: float
    scores: Scores
    shown: tuple[Shown, ...]

    def row(self) -> dict[str, float | None]:
        """Return what goes into the metrics."""
        totals = {
            "val_loss": self.loss,
            "val_accuracy": self.scores.accuracy,
            "val_mean_iou": self.scores.mean_iou,
        }
        return totals | {f"val_iou/{c.name}": c.iou for c in self.scores.classes}


class Validator:
    """Runs a network over all windows of the validation areas.

    Args:
        fabric: Owns device, precision and processes; each process takes its share of the windows.
        samples: Reads windows; patches are neither augmented nor drawn here.
        areas: The validation ground.
        legend: The classes.
        size: Largest side of the windows in pixels; they are not larger than the areas.
        batch: Windows in a step.
    """

    def __init__(
        self, fabric: Fabric, samples: Samples, areas: Sequence[Area], legend: Legend, *, size: int, batch: int
    ) -> None:
        self.fabric, self.samples, self.legend, self.batch = fabric, samples, legend, batch
        longest = max(side for area in areas for side in area.window.shape)
        self.size = min(size, -(-longest // 32) * 32)
        self.cells = [(area, cell) for area in areas for cell in grid(area.window, self.size)]
        step = max(len(self.cells) // PICTURES, 1)
        self.pictured = self.cells[step // 2 :: step][:PICTURES]

    @torch.inference_mode()
    def __call__(self, network: torch.nn.Module, loss: Loss) -> Validation:
        """Return loss, scores and pictures of a network in evaluation mode."""
        matrix = np.zeros((len(self.legend), len(self.legend)), np.int64)
        losses: list[float] = []
        mine = self.cells[self.fabric.global_rank :: self.fabric.world_size]
        for cells in chunks(mine, self.batch):
            scores_NKHW, ids_NHW = self._scores(network, cells)
            if (ids_NHW != IGNORED).any():
                losses.append(float(loss(scores_NKHW, torch.from_numpy(ids_NHW).to(scores_NKHW.device))))
            matrix += confusion(ids_NHW, scores_NKHW.argmax(dim=1).cpu().numpy(), len(self.legend))
        totals = torch.tensor([*matrix.ravel(), sum(losses), len(losses)], dtype=torch.float64)
        reduced = self.fabric.all_reduce(totals.to(self.fabric.device), reduce_op="sum")
        summed = torch.as_tensor(reduced).cpu().numpy()
        scores = scores_of(summed[:-2].reshape(matrix.shape).astype(np.int64), self.legend.names)
        return Validation(summed[-2] / max(summed[-1], 1), scores, tuple(self._shown(network)))

    def _shown(self, network: torch.nn.Module) -> Iterator[Shown]:
        for area, cell in self.pictured:
            scores_NKHW, ids_NHW = self._scores(network, [(area, cell)])
            predicted = scores_NKHW.argmax(dim=1)[0].cpu().numpy().astype(np.uint8)
            part = np.s_[: cell.height, : cell.width]
            yield Shown(area.pair, cell, ids_NHW[0][part], predicted[part])

    def _scores(
        self, network: torch.nn.Module, cells: Sequence[tuple[Area, Window]]
    ) -> tuple[torch.Tensor, np.ndarray]:
        side = self.size
        windows = [(area, Window(cell.row, cell.col, side, side)) for area, cell in cells]
        images, labels = zip(*(self.samples.read(area, window) for area, window in windows), strict=True)
        x_NCHW = torch.from_numpy(np.stack(images)).to(self.fabric.device, memory_format=torch.channels_last)
        with self.fabric.autocast():
            scores_NKHW = network(x_NCHW)
        return scores_NKHW.float(), np.stack(labels)
