"""Good options by trial: a grid over named ones, a learning-rate range test, a search for the batch size.

Every trial is a run of its own in `RUN/trials`; the best one's files become the run's.
"""

from __future__ import annotations

import itertools
import logging
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import torch

from sat2map.errors import BadOption, Sat2mapError, TrainingFailed, UnknownName
from sat2map.files import write_json
from sat2map.learning.checking import check_names
from sat2map.learning.fitting import learn, open_fabric, plan_run, replan
from sat2map.learning.judges import Judge, choose_judge
from sat2map.learning.objectives import Loss, to_device
from sat2map.learning.plan import Plan
from sat2map.learning.processes import crew_of
from sat2map.learning.samples import Batch
from sat2map.options import CriticOptions, LearnOptions, TrainOptions
from sat2map.progress import track
from sat2map.runs import RunFolder, as_stored, begin_run, check_new_run

log = logging.getLogger(__name__)

SEARCHED = ("lr", "batch")
"""Options that are searched by themselves when no values are given."""

RANGE = (1e-6, 1.0)
"""Learning rates between which the range test runs."""

RANGE_STEPS = 60
"""Steps of the range test."""

BATCHES = (2, 4, 8, 16, 32, 64, 128)
"""Batch sizes that are timed, for each device."""


def parse_tune(words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Read `name=value,value` words; a name without values is to be searched by itself.

    Raises:
        UnknownName: There is no such option.
        BadOption: A value is not of the option's kind, or there is none.
    """
    hints = get_type_hints(TrainOptions)
    kinds = {f.name: hints[f.name] for kind in (LearnOptions, CriticOptions) for f in fields(kind)}
    grid: dict[str, tuple[Any, ...]] = {}
    for word in words:
        name, _, values = word.partition("=")
        name = name.strip().replace("-", "_")
        if name not in kinds or name in ("tune", "resume", "overwrite"):
            raise UnknownName("option to tune", name, kinds.keys() - {"tune", "resume", "overwrite"})
        if not values and name not in SEARCHED:
            raise BadOption(f"--tune {word} needs values, such as {name}=1,2. Without values: {', '.join(SEARCHED)}.")
        grid[name] = tuple(_parse(name, value.strip(), kinds[name]) for value in values.split(",")) if values else ()
    return grid


_KINDS = {int: "a whole number", float: "a number", bool: "yes or no", str: "a word"}


def _parse(name: str, value: str, kind: Any) -> Any:
    """Read a value of an option of this type: one of several words or numbers, or of some types of their own."""
    given = [k for k in (get_args(kind) or (kind,)) if k is not NoneType]
    if len(given) == 1 and get_origin(given[0]) is Literal:  # a choice, or none
        given = list(get_args(given[0]))
    types = [k for k in given if k in _KINDS]
    choices = {str(k): k for k in given if k not in _KINDS}
    if value in choices:
        return choices[value]
    for candidate in types:
        try:
            return (
                {"yes": True, "no": False, "true": True, "false": False}[value]
                if candidate is bool
                else candidate(value)
            )
        except (ValueError, KeyError):
            continue
    allowed = " or ".join(_KINDS[k] for k in types) if types else ", ".join(choices)
    raise BadOption(f"--tune {name}: {value!r} is no value for it. Give {allowed}, such as --tune {name}=A,B.")


def tune(
    source: Path | str, path: Path, options: TrainOptions, network: torch.nn.Module | None, loss: Loss | None
) -> RunFolder:
    """Try options, write a table of what they brought, and keep the best run as `path`.

    All trials learn from, and are judged on, the ground that the options of the first one divide.

    Raises:
        BadOption: A word of `--tune` cannot be read.
        TrainingFailed: No trial came to its end.
    """
    options = as_stored(options)
    if options.resume:
        raise BadOption("A search by --tune cannot be gone on with by --resume. Start it anew with --overwrite.")
    grid = parse_tune(options.tune)
    check_new_run(path, overwrite=options.overwrite)
    tried = _grid(replace(options, tune=(), overwrite=False), grid)
    for trial in tried:
        check_names(trial)
    folders = [RunFolder(path / "trials" / f"{number:02d}") for number in range(1, len(tried) + 1)]
    first = plan_run(source, folders[0], tried[0], network, loss)
    plans = [first, *(replan(first, *other) for other in zip(folders[1:], tried[1:], strict=True))]
    begin_run(path, str(source), options)
    found: dict[str, Any] = {}
    for name in [n for n, values in grid.items() if not values]:
        found[name] = _search(name, source, path / "trials", _with_options(first, found))
    judge = choose_judge(first.output)
    rows = [_trial(source, _with_options(plan, found), tuple(grid), judge) for plan in _checked_once(plans)]
    rows.sort(key=lambda row: -math.inf if row["epoch"] is None else judge.merit(row), reverse=True)
    if rows[0]["epoch"] is None:
        raise TrainingFailed(
            "No trial came to its end; each has told why. Try a smaller --lr, --batch or --size, or --precision fp32."
        )
    best = RunFolder(path / "trials" / rows[0]["trial"])
    for item in best.path.iterdir():
        target = path / item.name
        if item.name != "tensorboard":
            shutil.copytree(item, target, dirs_exist_ok=True) if item.is_dir() else shutil.copy2(item, target)
    write_json(path / "tune.json", rows)
    return RunFolder(path)


def _with_options(plan: Plan, words: Mapping[str, Any]) -> Plan:
    return replace(plan, options=replace(plan.options, **words))


def _checked_once(plans: Sequence[Plan]) -> list[Plan]:
    """Let the first trial alone look for leaks: all have the same split."""
    return [*plans[:1], *(_with_options(plan, {"check_leaks": False}) for plan in plans[1:])]


def _grid(options: TrainOptions, grid: Mapping[str, tuple[Any, ...]]) -> list[TrainOptions]:
    """Return the options of all trials; names without values are left as they are."""
    named = {name: values for name, values in grid.items() if values}
    return [replace(options, **dict(zip(named, chosen, strict=True))) for chosen in itertools.product(*named.values())]


def _trial(source: Path | str, plan: Plan, names: tuple[str, ...], judge: Judge) -> dict[str, Any]:
    """Train once; return the row of the table: its best epoch's figures, or none if the trial failed."""
    trial = plan.run.path.name
    chosen = {name: getattr(plan.options, name) for name in names}
    log.info("Trial %s: %s", trial, ", ".join(f"{k} {v}" for k, v in chosen.items()))
    figures = ("epoch", "val_loss", *judge.figures, "seconds")
    row: dict[str, Any] = {"trial": trial, **chosen, **dict.fromkeys(figures)}
    try:
        learn(plan, source)
    except Sat2mapError as error:
        log.warning("Trial %s: %s", trial, error)
        return row
    told = plan.run.rows()
    best = max((line for line in told if "val_loss" in line), key=judge.merit)
    return row | {name: best[name] for name in figures} | {"seconds": told[-1]["seconds"]}


def _search(name: str, source: Path | str, trials: Path, plan: Plan) -> Any:
    run = begin_run(trials / f"search-{name}", str(source), plan.options)
    plan = replace(plan, run=run)
    found = find_lr(plan) if name == "lr" else find_batch(plan)
    log.info("Found --%s %g", name, found)
    return found


class _Rehearsal:
    """A network that is trained for a few steps and thrown away."""

    def __init__(self, plan: Plan, batch: int) -> None:
        self.plan, self.batch = plan, batch
        self.fabric = open_fabric(replace(plan.options, devices=1))
        self.objective = plan.build_objective(self.fabric, plan.starting_network())
        self.batches = self._batches()

    def _batches(self) -> Iterator[Batch]:
        for epoch in itertools.count():
            yield from self.plan.samples.batches(epoch, self.batch, threads=self.plan.options.workers)

    def step(self) -> float:
        """Train one step and return its loss."""
        return float(self.objective.step(*to_device(self.fabric, next(self.batches)))["loss"])


def find_lr(plan: Plan) -> float:
    """Return a learning rate by the range test of Smith (2017), "Cyclical learning rates for training neural networks".

    The rate rises exponentially from step to step; the one at which the smoothed loss is least is too much already, so
    a tenth of it is taken. Rates and losses are kept in `range.json`.
    """
    rehearsal = _Rehearsal(plan, plan.batch)
    rates = np.geomspace(*RANGE, RANGE_STEPS)
    smooth: list[float] = []
    for rate in track(rates, "Learning rates", len(rates)):
        rehearsal.objective.set_lr(float(rate) / plan.recipe.lr)
        loss = rehearsal.step()
        if not np.isfinite(loss) or (smooth and loss > 3 * min(smooth)):
            break
        smooth.append(0.8 * smooth[-1] + 0.2 * loss if smooth else loss)
    write_json(plan.run.path / "range.json", list(zip(rates.tolist(), smooth, strict=False)))
    return float(f"{rates[int(np.argmin(smooth))] / 10:.1g}")


def find_batch(plan: Plan) -> int:
    """Return the smallest batch that learns from at least 95 % as many patches a second as the fastest one.

    One device is timed, and the batch is for all of them together. Patches per second of one device with each batch of
    its own are kept in `batches.json`. Batches of more patches than an epoch has are not timed; one that does not fit
    into memory ends the search.
    """
    speeds: dict[int, float] = {}
    devices = crew_of(plan.options).size
    patches = len(plan.samples.anchors)
    batches = [batch for batch in BATCHES if batch * devices * plan.options.members <= patches] or BATCHES[:1]
    for batch in track(batches, "Batch sizes", len(batches)):
        try:
            speeds[batch] = _speed(_Rehearsal(plan, batch * plan.options.members))
        except (RuntimeError, MemoryError):
            break
        if speeds[batch] < 0.8 * max(speeds.values()):
            break
    if not speeds:
        raise BadOption(
            f"Not even {BATCHES[0]} patches of {plan.options.size} pixels can be learnt from. Give a smaller --size."
        )
    write_json(plan.run.path / "batches.json", speeds)
    return devices * min(batch for batch, speed in speeds.items() if speed >= 0.95 * max(speeds.values()))


def _speed(rehearsal: _Rehearsal) -> float:
    """Return patches per second, the first step (which allocates) left out."""
    rehearsal.step()
    began = time.perf_counter()
    for _ in range(2):
        rehearsal.step()
    return 2 * rehearsal.batch / (time.perf_counter() - began)
