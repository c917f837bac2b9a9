"""How good a network is on ground it does not learn from, while it is being trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from sat2map.learning.judges import choose_judge
from sat2map.learning.objectives import Loss
from sat2map.learning.samples import Samples
from sat2map.splits import Area
from sat2map.tiling import Window, chunks, grid

PICTURES = 4
"""How many windows are shown in the picture of an epoch."""


@dataclass(frozen=True)
class Shown:
    """A window with the true map and what the network makes of it, in the form that `Output.decode` gives."""

    pair: str
    window: Window
    truth: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Validation:
    """The result of one round.

    Args:
        row: What goes into the metrics: the mean loss over the batches, and how good the maps are.
        merit: One number of it: the larger, the better.
        variety: How much maps of different windows differ, as a share of how much the true ones do; None if these
            are alike.
        shown: A few windows for a picture.
    """

    row: dict[str, Any]
    merit: float
    variety: float | None
    shown: tuple[Shown, ...]


class Validator:
    """Runs a network over all windows of the validation areas.

    Args:
        fabric: Owns device, precision and processes; each process takes its share of the windows.
        samples: Reads windows; patches are neither augmented nor drawn here.
        areas: The validation ground.
        size: Largest side of the windows in pixels; they are not larger than the areas.
        batch: Windows in a step.
    """

    def __init__(self, fabric: Fabric, samples: Samples, areas: Sequence[Area], *, size: int, batch: int) -> None:
        self.fabric, self.samples, self.output, self.batch = fabric, samples, samples.output, batch
        self.judge = choose_judge(self.output)
        longest = max(side for area in areas for side in area.window.shape)
        self.size = min(size, -(-longest // 32) * 32)
        self.cells = [(area, cell) for area in areas for cell in grid(area.window, self.size)]
        step = max(len(self.cells) // PICTURES, 1)
        self.pictured = self.cells[step // 2 :: step][:PICTURES]

    @torch.inference_mode()
    def __call__(self, network: torch.nn.Module, loss: Loss) -> Validation:
        """Return figures and pictures of a network in evaluation mode."""
        mine = self.cells[self.fabric.global_rank :: self.fabric.world_size]
        sums = torch.stack([self._sums(network, loss, cells) for cells in chunks(mine, self.batch)] or [self._nothing])
        total: Any = sums.sum(dim=0)
        if self.fabric.world_size > 1:  # else it stays on the CPU: not every device has float64
            total = self.fabric.all_reduce(total.to(self.fabric.device), reduce_op="sum")
        lost, batches, drawn, true, *rest = total.tolist()
        row = self.judge.row(torch.tensor(rest, dtype=torch.float64))
        merit = self.judge.merit(row)
        shown = tuple(self._shown(network))
        return Validation({"val_loss": lost / max(batches, 1), **row}, merit, drawn / true if true else None, shown)

    @property
    def _nothing(self) -> torch.Tensor:
        """What a process without windows adds."""
        blank = torch.from_numpy(self.output.blank((1, 1)))[None]
        judged = self.judge.sums(self.output.encode(blank)[0], blank)
        return torch.cat([torch.zeros(4, dtype=torch.float64), judged])

    def _sums(self, network: torch.nn.Module, loss: Loss, cells: Sequence[tuple[Area, Window]]) -> torch.Tensor:
        """Return what adds up over batches: loss and whether there is one, both varieties, what the judge counts."""
        scores_NKHW, truth = self._scores(network, cells)
        activated_NKHW = self.output.activate(scores_NKHW)
        true_NKHW, known = self.output.encode(truth)
        lost = torch.where(known.any(), loss(scores_NKHW, truth), 0)  # where nothing is known, it may be NaN
        head = torch.stack([v.cpu().double() for v in (lost, known.any(), variety(activated_NKHW), variety(true_NKHW))])
        return torch.cat([head, self.judge.sums(activated_NKHW, truth)])

    def _shown(self, network: torch.nn.Module) -> Iterator[Shown]:
        for area, cell in self.pictured:
            scores_NKHW, truth = self._scores(network, [(area, cell)])
            activated_KHW = self.output.activate(scores_NKHW)[0].cpu().numpy()
            predicted = self.output.decode(activated_KHW, np.ones(activated_KHW.shape[1:], bool))
            part = np.s_[..., : cell.height, : cell.width]
            yield Shown(area.pair, cell, truth[0].cpu().numpy()[part], predicted[part])

    def _scores(
        self, network: torch.nn.Module, cells: Sequence[tuple[Area, Window]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        side = self.size
        windows = [(area, Window(cell.row, cell.col, side, side)) for area, cell in cells]
        images, truths = zip(*(self.samples.read(area, window) for area, window in windows), strict=True)
        x_NCHW = torch.from_numpy(np.stack(images)).to(self.fabric.device, memory_format=torch.channels_last)
        with self.fabric.autocast():
            scores_NKHW = network(x_NCHW)
        return scores_NKHW.float(), torch.from_numpy(np.stack(truths)).to(self.fabric.device)


def variety(maps_NKHW: torch.Tensor) -> torch.Tensor:
    """Return how much the maps of a batch differ from the next one, summed; 0 of a single one."""
    return (maps_NKHW[1:] - maps_NKHW[:-1]).abs().sum()
