"""What a run tells while it trains: metrics, curves, pictures, TensorBoard events, checkpoints and a progress bar."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import torch
from torch.utils.tensorboard import SummaryWriter

from sat2map.files import whole_file
from sat2map.learning.samples import Samples
from sat2map.learning.validation import Shown
from sat2map.outputs import Classes
from sat2map.pictures import curves, drawn_map, sample_sheet, to_rgb
from sat2map.progress import bar
from sat2map.runs import RunFolder

log = logging.getLogger(__name__)


NAMED = {
    "train_loss": "loss",
    "train_adversarial": "adversarial",
    "train_critic": "critic",
    "val_loss": "on validation loss",
    "val_mean_iou": "mean IoU",
    "val_l1": "L1",
}
"""The figures of an epoch that are told, and their names."""


class Journal:
    """Writes into a run folder; used with `with`, by the first process only.

    Args:
        run: The folder.
        samples: Reads the images of pictures, and knows what maps are.
    """

    def __init__(self, run: RunFolder, samples: Samples) -> None:
        self.run, self.samples, self.output = run, samples, samples.output
        self._legend = samples.output.legend if isinstance(samples.output, Classes) else None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._events = self._stack.enter_context(SummaryWriter(str(self.run.path / "tensorboard")))
        self._bar = self._stack.enter_context(bar())
        self._task = self._bar.add_task("Training", total=1000)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def advance(self, done: float, epoch: int, loss: float) -> None:
        """Move the progress bar: how much is done from 0 to 1, the epoch from 0, the last loss."""
        self._bar.update(self._task, completed=round(1000 * done), description=f"Epoch {epoch + 1}, loss {loss:.3f}")

    def write(self, row: Mapping[str, Any]) -> None:
        """Note the figures of an epoch."""
        self.run.log(row)
        for name, value in row.items():
            if isinstance(value, float):
                self._events.add_scalar(name, value, row["epoch"])
        named = {key: words for key, words in NAMED.items() if row.get(key) is not None}
        log.info(f"Epoch {row['epoch']}: " + ", ".join(f"{words} {row[key]:.3f}" for key, words in named.items()))
        if "val_loss" in row:
            curves(self.run.rows(), self.run.curves, legend=self._legend)

    def picture(self, epoch: int, shown: Sequence[Shown]) -> None:
        """Draw image, truth and prediction of a few windows."""
        rows, captions = [], []
        for item in shown:
            image = self.samples.pairs[item.pair].image
            rows.append(
                (
                    to_rgb(image.read(item.window), image.bands),
                    drawn_map(item.truth, self.output.legend),
                    drawn_map(item.predicted, self.output.legend),
                )
            )
            captions.append(f"{item.pair}, row {item.window.row}, column {item.window.col}")
        path = self.run.samples(epoch)
        path.parent.mkdir(exist_ok=True)
        sample_sheet(rows, self._legend, path, captions=captions)

    def keep(self, name: str, state: Mapping[str, Any]) -> None:
        """Write a checkpoint: there completely or not at all."""
        with whole_file(self.run.checkpoint(name)) as part:
            torch.save(dict(state), part)
