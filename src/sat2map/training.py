"""The verb `train`: one run, or many of them to find good options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sat2map.learning.fitting import fit
from sat2map.learning.objectives import Loss
from sat2map.learning.tuning import tune
from sat2map.options import TrainOptions


def train(
    source: Path | str,
    run: Path | str,
    *,
    network: str | torch.nn.Module | None = None,
    loss: str | Loss | None = None,
    **words: Any,
) -> Path:
    """Train a network on a source and keep everything about it in a run folder.

    Args:
        source: Imagery with labels: see `sat2map.inspect`.
        run: The folder to make.
        network: A name of `NETWORKS`, or a module from `(N, bands, H, W)` to scores `(N, K, H, W)`: K classes, or three
            colours, which a tanh follows.
        loss: A sum such as `dice + 0.5*focal`, or a function of scores and the true map: class ids `(N, H, W)` uint8
            (255: ignored), or pictures `(N, 4, H, W)` uint8 with an alpha.
        words: The other words of the command: the fields of `TrainOptions`.

    Returns:
        The run folder; its model is for `sat2map.predict` and `sat2map.evaluate`.

    Raises:
        UserError: Source, folder or options cannot be used; nothing was trained.
        TrainingFailed: The loss is no longer a number.
    """
    names: dict[str, Any] = {
        name: value for name, value in (("network", network), ("loss", loss)) if isinstance(value, str)
    }
    options = TrainOptions(**words, **names)
    objects = None if isinstance(network, str) else network, None if isinstance(loss, str) else loss
    if options.tune:
        return tune(source, Path(run), options, *objects).path
    return fit(source, Path(run), options, *objects).path
