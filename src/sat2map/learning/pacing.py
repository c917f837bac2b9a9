"""How far training is, and what follows from it: the learning rate, and how far moving averages look back."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch

from sat2map.options import LearnOptions

EPOCHS = 50
"""How many epochs are trained if neither epochs nor minutes are given."""

WARM_UP = 0.08
"""Share of the training in which the learning rate rises from 0."""

FLOOR = 0.01
"""Share of the learning rate that is left at the end of the cosine."""

PLATEAU = 5
"""More epochs without gain than these, and the schedule `plateau` lowers the learning rate to a tenth."""

RECENT = 3
"""Statistics of batch normalisations are of about the latest 1 / `RECENT` of the first steps."""


@dataclass
class Pace:
    """How far training is, from 0 to 1: by steps of all epochs, or by the clock.

    Args:
        steps: Steps in an epoch.
        epochs: Epochs to train; None if the clock counts.
        seconds: Seconds to train; None if epochs count.
        spent: Seconds that an interrupted run had trained before.
    """

    steps: int
    epochs: int | None
    seconds: float | None
    spent: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, options: LearnOptions, steps: int, spent: float = 0.0) -> Pace:
        """Make the pace that the options ask for; where both are given, what ends first counts."""
        epochs = options.epochs if options.epochs or options.minutes else EPOCHS
        return cls(steps, epochs, options.minutes * 60 if options.minutes else None, spent)

    @property
    def elapsed(self) -> float:
        """Seconds trained so far, those before an interruption included."""
        return self.spent + time.monotonic() - self._began

    def done(self, step: int) -> float:
        """Return how much is done after `step` steps from the very start; 1 or more is the end."""
        by_steps = step / (self.epochs * self.steps) if self.epochs else 0.0
        by_clock = self.elapsed / self.seconds if self.seconds else 0.0
        return max(by_steps, by_clock)


def lr_factor(schedule: str, done: float) -> float:
    """Return the share of the peak learning rate when `done` (0 to 1) of the training is behind.

    A linear warm-up, then half a cosine (Loshchilov and Hutter 2017, SGDR) down to `FLOOR`, or nothing more; or
    `linear`, without a warm-up, down to 0 in the second half, as pix2pix is trained.
    """
    if schedule == "plateau":
        return 1.0
    if schedule == "linear":
        return min(2 * max(1 - done, 0.0), 1.0)
    if done < WARM_UP:
        return max(done / WARM_UP, FLOOR)
    if schedule == "constant":
        return 1.0
    share = min((done - WARM_UP) / (1 - WARM_UP), 1.0)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share))


class Average:
    """An exponential moving average of a network's weights, over a fixed share of the training.

    Polyak averaging in the exponential form. In the first steps it looks back less far, so that the random start is
    soon forgotten.

    Args:
        network: Its weights are the first ones.
        horizon: The time constant, as a share of the training whatever its length.
    """

    def __init__(self, network: torch.nn.Module, horizon: float) -> None:
        self.horizon = horizon
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.steps = 0

    @torch.no_grad()
    def update(self, network: torch.nn.Module, progress: float) -> None:
        """Move towards the network's weights after a step that was `progress` (0 to 1) of the training."""
        self.steps += 1
        pull = max(1 - math.exp(-progress / self.horizon), min(1.0, 2 / (self.steps + 1)) if self.steps < 10 else 0.0)
        state = network.state_dict()
        floats = [name for name, value in self.state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.state[n] for n in floats], [state[n] for n in floats], pull)
        for name in self.state.keys() - set(floats):
            self.state[name].copy_(state[name])


class RunningStatistics:
    """What batch normalisations remember of the steps, for validation and maps: of the latest third of them at first.

    A layer's own moving average forgets where it starts, 0 and 1, by a tenth with each step as a rule, so networks of a
    dozen steps would be judged by statistics of nothing; and in these steps weights change fast (docs/log.md).

    Args:
        network: Its layers' own momentum holds as soon as it looks back less far.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)]
        self._own = {layer: layer.momentum for layer in layers if layer.momentum is not None}

    def set_step(self, step: int) -> None:
        """Set how much the step after `step` others counts: all at first, and later `RECENT / (step + RECENT)`."""
        for layer, own in self._own.items():
            layer.momentum = max(own, RECENT / (step + RECENT))
