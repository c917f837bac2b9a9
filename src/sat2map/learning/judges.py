"""How good maps are, in sums that add up over windows and processes: classes by IoU, pictures by their colours."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch

from sat2map.legend import Legend
from sat2map.metrics import confusion, scores_of
from sat2map.outputs import HALF, Classes, Output, Picture


class Judge(Protocol):
    """Scores activated maps against true ones."""

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the totals in a row."""
        ...

    def sums(self, activated_NKHW: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return what adds up `(sums,)` float64."""
        ...

    def row(self, sums: torch.Tensor) -> dict[str, Any]:
        """Return what goes into the metrics."""
        ...

    def merit(self, row: dict[str, Any]) -> float:
        """Return one number from a row: the larger, the better the maps."""
        ...


class ClassJudge:
    """Accuracy and IoU, from one summed confusion matrix.

    Args:
        legend: The classes.
    """

    figures = ("val_accuracy", "val_mean_iou")

    def __init__(self, legend: Legend) -> None:
        self.names = legend.names

    def sums(self, activated_NKHW: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the confusion matrix, row by row."""
        predicted = activated_NKHW.argmax(dim=1).cpu().numpy()
        return torch.from_numpy(confusion(truth.cpu().numpy(), predicted, len(self.names)).ravel()).double()

    def row(self, sums: torch.Tensor) -> dict[str, Any]:
        """Return accuracy, mean IoU, and the IoU of each class."""
        side = len(self.names)
        scores = scores_of(sums.long().numpy().reshape(side, side), self.names)
        totals = dict(zip(self.figures, (scores.accuracy, scores.mean_iou), strict=True))
        return totals | {f"val_iou/{c.name}": c.iou for c in scores.classes}

    def merit(self, row: dict[str, Any]) -> float:
        """Return the mean IoU."""
        return float(row["val_mean_iou"] or 0.0)


class PictureJudge:
    """Mean absolute difference in grey levels of 255, and the peak signal-to-noise ratio in decibels."""

    figures = ("val_l1", "val_psnr")

    def sums(self, activated_NKHW: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return absolute and squared differences of the known colours, and how many these are."""
        colours_NKHW, known = Picture().encode(truth)
        differences = ((activated_NKHW - colours_NKHW) * known).cpu().double() * float(HALF)
        count = known.cpu().double().sum() * differences.shape[1]
        return torch.stack([differences.abs().sum(), differences.square().sum(), count])

    def row(self, sums: torch.Tensor) -> dict[str, Any]:
        """Return both; None where nothing is known, or nothing differs."""
        absolute, squared, count = sums.tolist()
        if not count:
            return dict.fromkeys(self.figures)
        psnr = 10 * math.log10(255**2 * count / squared) if squared else None
        return dict(zip(self.figures, (absolute / count, psnr), strict=True))

    def merit(self, row: dict[str, Any]) -> float:
        """Return the negative difference."""
        return -math.inf if row["val_l1"] is None else -float(row["val_l1"])


def choose_judge(output: Output) -> Judge:
    """Return the judge of a kind of maps."""
    return ClassJudge(output.legend) if isinstance(output, Classes) else PictureJudge()
