"""The training loop of one process."""

from __future__ import annotations

import copy
import logging
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sat2map.errors import TrainingFailed
from sat2map.learning.coarse import halved
from sat2map.learning.criteria import CRITERIA
from sat2map.learning.journal import Journal
from sat2map.learning.objectives import to_device
from sat2map.learning.pacing import PLATEAU, Average, Pace, RunningStatistics, lr_factor
from sat2map.learning.plan import Plan
from sat2map.learning.samples import Batch
from sat2map.learning.validation import Validation, Validator

log = logging.getLogger(__name__)

ASIDE = 0.05
"""Share of the time that validation, pictures and checkpoints may take when training against the clock."""


COLLAPSED = 0.05
"""Below this share of the variety of true maps, maps are taken to be the same everywhere."""


class Trainer:
    """Trains according to a plan, in one of `fabric`'s processes.

    Args:
        fabric: Owns device, precision and processes.
        plan: What to do.
    """

    def __init__(self, fabric: Fabric, plan: Plan) -> None:
        self.fabric, self.plan, self.options = fabric, plan, plan.options
        if fabric.world_size > 1 and fabric.device.type == "cpu":
            torch.set_num_threads(max((os.cpu_count() or 1) // plan.options.devices, 1))
        network = plan.starting_network()
        self.judged = copy.deepcopy(network).to(fabric.device).to(memory_format=torch.channels_last).eval()
        self.objective = plan.build_objective(fabric, network)
        self.average = Average(self.objective.network.module, plan.recipe.horizon) if self.options.average else None
        self.statistics = RunningStatistics(self.objective.network.module)
        self.plateau = ReduceLROnPlateau(self.objective.learner.optimizer, "max", factor=0.1, patience=PLATEAU)
        self.validator = self._validator()
        self.journal = Journal(plan.run, plan.samples) if fabric.is_global_zero else None
        self.steps = -(-len(plan.samples.anchors) // plan.batch)
        self.step = self.epoch = self.stale = 0
        self.best = -math.inf
        self.aside = 0.0
        self.paused = True  # what is trained so far, nothing or a checkpoint, is validated and kept
        self.pace = Pace.of(self.options, self.steps)

    def run(self) -> None:
        """Train to the end, from the last checkpoint if there is one."""
        if self.plan.run.last.exists():
            self._load()
        with ExitStack() as stack:
            if self.journal:
                stack.enter_context(self.journal)
            while not self._finished():
                self._epoch()
        self.fabric.barrier()

    def _finished(self) -> bool:
        """Tell whether training is over; never before what was trained last is validated and kept."""
        patience = self.options.patience
        return (self.paused and self._done() >= 1) or (patience is not None and self.stale >= patience)

    def _done(self) -> float:
        """Return how much is done, alike in all processes: the first one's clock counts."""
        return float(self.fabric.broadcast(self.pace.done(self.step)))

    def _epoch(self) -> None:
        torch.manual_seed(self.options.seed + self.epoch)
        self.objective.network.train()
        sums: dict[str, list[torch.Tensor]] = defaultdict(list)
        lr = 0.0
        for batch in self._batches():
            before = self._done()
            if before >= 1 and sums:  # one step at least, though the time may have run out just before the epoch
                break
            lr = self._set_lr(before)
            x_NCHW, truth = to_device(self.fabric, batch)
            if before < self.plan.recipe.coarse_first:
                x_NCHW, truth = halved(x_NCHW, truth)
            self.statistics.set_step(self.step)
            for name, value in self.objective.step(x_NCHW, truth).items():
                sums[name].append(value)
            self.step += 1
            self._after_step(before, sums)
        self.epoch += 1
        self._close_epoch({f"train_{name}": _mean(values) for name, values in sums.items()}, lr)

    def _batches(self) -> Iterator[Batch]:
        return self.plan.samples.batches(
            self.epoch,
            self.plan.batch,
            part=self.fabric.global_rank,
            parts=self.fabric.world_size,
            threads=self.options.workers,
        )

    def _set_lr(self, done: float) -> float:
        if self.plan.recipe.schedule != "plateau":
            self.objective.set_lr(lr_factor(self.plan.recipe.schedule, done))
        return self.objective.lr

    def _after_step(self, before: float, sums: dict[str, list[torch.Tensor]]) -> None:
        done = min(self.pace.done(self.step), 1.0)
        if self.average:
            self.average.update(self.objective.network.module, done - before)
        if self.journal:
            self.journal.advance(done, self.epoch, float(sums["loss"][-1]))

    def _close_epoch(self, losses: dict[str, float], lr: float) -> None:
        """Validate, log and keep what an epoch brought; against the clock only as often as time allows."""
        self._check_finite(losses)
        row: dict[str, Any] = {"epoch": self.epoch, "step": self.step, "seconds": round(self.pace.elapsed, 3)}
        row |= {"lr": lr, **losses}
        began = time.monotonic()
        self.paused = self._may_pause()
        if self.paused:
            row |= self._validate()
        if self.journal:
            self.journal.write(row)
            self._tell_defeat(losses)
        if self.paused:  # the checkpoint comes last: on resuming, rows without one are forgotten, none are missing
            self._save()
            self.aside += time.monotonic() - began

    def _check_finite(self, figures: Mapping[str, float | None]) -> None:
        """Make sure that figures are numbers, where there are any.

        Raises:
            TrainingFailed: One is NaN or infinite.
        """
        if not all(math.isfinite(figure) for figure in figures.values() if figure is not None):
            raise TrainingFailed(
                f"The loss is no longer a number in epoch {self.epoch}. Try a smaller --lr, or --precision fp32."
            )

    def _tell_defeat(self, losses: Mapping[str, float]) -> None:
        """Warn if the critic tells all drawn maps from true ones: the network then learns nothing from it."""
        wins = CRITERIA[self.options.criterion].wins
        if losses.get("train_critic", math.inf) < wins:
            log.warning(
                "The critic has won: its loss was %.4f in epoch %d, and the network learns nothing from it. Try a "
                "smaller --critic-lr, --spectral-norm or --r1 10.", losses["train_critic"], self.epoch,
            )  # fmt: skip

    def _tell_collapse(self, variety: float | None) -> None:
        """Warn if the network draws the same wherever it looks."""
        if self.journal and self.options.adversarial and variety is not None and variety < COLLAPSED:
            log.warning(
                "The network draws nearly the same everywhere: maps of different places differ by %.1f %% of what true "
                "ones do, after epoch %d. Try a smaller --adversarial or --lr.", 100 * variety, self.epoch,
            )  # fmt: skip

    def _may_pause(self) -> bool:
        """Tell, alike in all processes, whether there is time to validate now."""
        hurried = self.pace.seconds is not None and self.pace.done(self.step) < 1
        wanted = not hurried or self.aside <= ASIDE * self.pace.elapsed
        return bool(self.fabric.broadcast(wanted))

    def _validate(self) -> dict[str, Any]:
        network = self.objective.network.module
        self.judged.load_state_dict(self.average.state if self.average else network.state_dict())
        validation: Validation = self.validator(self.judged, self.objective.loss)
        self._check_finite(validation.row)
        reached = validation.merit
        if self.plan.recipe.schedule == "plateau":
            self.plateau.step(reached)
            self.objective.set_lr(self.objective.lr / self.plan.recipe.lr)
        self.stale = 0 if reached > self.best else self.stale + 1
        if reached > self.best:
            self.best = reached
            self._keep("best", {"network": self.judged.state_dict(), "epoch": self.epoch, "row": validation.row})
        if self.journal and self.epoch % self.options.sample_every == 0:
            self.journal.picture(self.epoch, validation.shown)
        self._tell_collapse(validation.variety)
        return validation.row

    def _validator(self) -> Validator:
        size = self.plan.tiling.size
        batch = max(self.options.batch * self.options.size**2 // size**2, 2)  # two can be compared
        return Validator(self.fabric, self.plan.samples, self.plan.validation, size=size, batch=batch)

    def _save(self) -> None:
        state = {
            "objective": self.objective.state_dict(),
            "average": (self.average.state, self.average.steps) if self.average else None,
            "plateau": self.plateau.state_dict(),
            "progress": {"epoch": self.epoch, "step": self.step, "stale": self.stale, "best": self.best},
            "elapsed": self.pace.elapsed,
        }
        self._keep("last", state)
        if self.options.save_every and self.epoch % self.options.save_every == 0:
            self._keep(f"epoch_{self.epoch:04d}", {"network": self.judged.state_dict(), "epoch": self.epoch})

    def _keep(self, name: str, state: dict[str, Any]) -> None:
        if self.journal:
            self.journal.keep(name, state)

    def _load(self) -> None:
        state = torch.load(self.plan.run.last, map_location=self.fabric.device, weights_only=True)
        self.objective.load_state_dict(state["objective"])
        if self.average:
            self.average.state, self.average.steps = state["average"]
        self.plateau.load_state_dict(state["plateau"])
        for name, value in state["progress"].items():
            setattr(self, name, value)
        self.pace = Pace.of(self.options, self.steps, state["elapsed"])
        if self.journal:
            self.plan.run.rewind(self.epoch)


def _mean(values: list[torch.Tensor]) -> float:
    return float(torch.stack(values).cpu().double().mean()) if values else float("nan")
