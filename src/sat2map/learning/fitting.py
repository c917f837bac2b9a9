"""From a source to a run: divide it by place, learn, and keep the network that did best on validation.

Reads top to bottom: `fit` plans; `learn` lets lightning-fabric start the processes, and packs the model when they are
done.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.multiprocessing.spawn import ProcessException

from sat2map.devices import choose_place
from sat2map.errors import SourceError, TrainingFailed
from sat2map.files import write_json
from sat2map.inputs import Inputs, fit_inputs, select_bands
from sat2map.leaks import Ground, draw_leaks, find_leaks, leak_findings
from sat2map.learning.augment import NO_AUGMENTATION, Augmentation
from sat2map.learning.checking import check_names, check_plan, tell_memory
from sat2map.learning.objectives import Loss
from sat2map.learning.packing import pack_model
from sat2map.learning.plan import Plan, own_of
from sat2map.learning.processes import crew_of
from sat2map.learning.resolution import choose_scale
from sat2map.learning.samples import Samples, find_anchors
from sat2map.learning.trainer import Trainer
from sat2map.networks import draw_network
from sat2map.networks.critics import receptive_field
from sat2map.networks.members import members_of
from sat2map.options import ReadOptions, SplitOptions, TrainOptions, part_of
from sat2map.outputs import Classes, Output, Picture
from sat2map.runs import RunFolder, as_stored, begin_run, check_new_run, resume_run
from sat2map.sources import Finding, Pair, Source, open_source
from sat2map.sources.base import one_class
from sat2map.splits import Split, check_split, make_split, read_split

log = logging.getLogger(__name__)
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it tells, `learn` tells in one line


def fit(
    source: Path | str,
    path: Path,
    options: TrainOptions,
    network: torch.nn.Module | None = None,
    loss: Loss | None = None,
) -> RunFolder:
    """Train once, as `sat2map.train` describes it.

    Args:
        source: Imagery with labels.
        path: The run folder to make, or to go on with.
        options: Everything else.
        network: Taken in place of the one the options name.
        loss: Taken in place of the one the options name.
    """
    options = as_stored(options)
    crew = crew_of(options)
    if options.resume:
        run, options = resume_run(path, str(source), options, own=own_of(network, loss))
    else:
        run = RunFolder(path)
        if crew.first:
            check_new_run(path, overwrite=options.overwrite)
    learn(plan_run(source, run, options, network, loss), source)
    return run


def learn(plan: Plan, source: Path | str) -> None:
    """Train as it is planned and pack the model; the source is written down as where the imagery came from."""
    crew, fabric = crew_of(plan.options), open_fabric(plan.options)
    place = choose_place(plan.options.device, plan.options.precision)
    log.info("Training on %d x %s in %s", crew.size, place.device.type, place.precision)
    if crew.first:
        _begin(plan, source)
    with tell_memory(plan):
        _launch(fabric, plan)  # the others wait there for the first
    if crew.first:
        pack_model(plan)


def _begin(plan: Plan, source: Path | str) -> None:
    """Write down what is planned; only now, so that a mistake leaves nothing behind and an older run as it is."""
    if not plan.options.resume:  # coarse_first as it is chosen: it holds also if the run goes on by another clock
        chosen = replace(plan.options, coarse_first=plan.recipe.coarse_first)
        begin_run(plan.run.path, str(source), chosen, own=own_of(plan.network, plan.loss))
        _write_leaks(plan)
    write_json(plan.run.split, plan.split.to_json())
    _tell_networks(plan)


def plan_run(
    source: Path | str,
    run: RunFolder,
    options: TrainOptions,
    network: torch.nn.Module | None = None,
    loss: Loss | None = None,
) -> Plan:
    """Open, divide and measure the source, and try whether network and loss can be built; writes nothing.

    Raises:
        UserError: It cannot be learnt from, or not in this way.
    """
    check_names(options)
    opened = open_source(source, part_of(ReadOptions, options))
    output: Output = Classes(opened.legend) if opened.output == "classes" else Picture(opened.colours)
    tell(opened.findings)
    if lone := one_class(opened):
        raise SourceError(lone.text)
    split = _split(opened, run, options)
    pairs = {pair.name: pair for pair in opened.pairs}
    ground = [(pairs[a.pair], a.window) for a in split.part("train")]
    scale = options.scale or (choose_scale(ground, len(opened.legend)) if opened.output == "classes" else 1.0)
    inputs = fit_inputs(
        [(pair.image, window) for pair, window in ground],
        select_bands(opened.bands, options.bands),
        resolution=options.resolution,
        resize=options.resize,
    )
    plan = Plan(
        run=run,
        options=options,
        samples=_samples(pairs, split, inputs, output, scale, options),
        split=split,
        inputs=inputs,
        output=output,
        scale=scale,
        network=network,
        loss=loss,
    )
    check_plan(plan)
    return plan


def replan(plan: Plan, run: RunFolder, options: TrainOptions) -> Plan:
    """Return a plan of another run on the same ground: what was opened, divided and measured stays as it is.

    Raises:
        UserError: It cannot be learnt from in this way.
    """
    scale, old = options.scale or plan.scale, plan.samples
    samples = _samples(old.pairs, plan.split, plan.inputs, plan.output, scale, options)
    other = replace(plan, run=run, options=options, samples=samples, scale=scale)
    check_plan(other)
    return other


def _write_leaks(plan: Plan) -> None:
    """Warn of ground that lies in several parts, and draw it; where patches are divided at random, that is known."""
    if not plan.options.check_leaks or plan.split.how == "random":
        return
    pairs = plan.samples.pairs
    leaks = find_leaks([Ground(a.pair, a.part, pairs[a.pair].image, a.window) for a in plan.split.areas])
    tell(leak_findings(leaks))
    write_json(plan.run.leaks, [leak.to_json() for leak in leaks])
    if leaks:
        draw_leaks(leaks, plan.run.leaks.with_suffix(".png"))


def _tell_networks(plan: Plan) -> None:
    """Write what network and critic are made of, as tables and as drawings."""
    bands, size, folder = len(plan.inputs.bands), plan.samples.size, plan.run.path
    for name, text in plan.summaries.items():
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    one, *others = members_of(plan.build_network())
    title = plan.architecture.network + (f", the first of {1 + len(others)}" if others else "")
    draw_network(one, bands, size, folder / "network.png", title=title)
    if critic := plan.build_critic():
        title = f"critic of {receptive_field(plan.options.critic_levels)} pixels"
        draw_network(critic, bands + plan.output.channels, size, folder / "critic.png", title=title)


def _split(source: Source, run: RunFolder, options: TrainOptions) -> Split:
    if options.resume and run.split.exists():
        split = read_split(run.split)
        check_split(split, source)
        return split
    split, findings = make_split(source, part_of(SplitOptions, options), seed=options.seed, patch=options.size)
    tell(findings)
    if not split.part("val"):
        raise SourceError("Nothing is left for validation. Give it a share or a group with --val.")
    return split


def _samples(
    pairs: Mapping[str, Pair], split: Split, inputs: Inputs, output: Output, scale: float, options: TrainOptions
) -> Samples:
    """Return the patches of the training ground: where they are cut, and how they are varied."""
    size = round(options.size * scale)
    cells = None if options.patches == "picture" else size
    varied = Augmentation(**{n: getattr(options, n) for n in Augmentation.__dataclass_fields__})
    return Samples(
        pairs=pairs,
        anchors=find_anchors(pairs, split.part("train"), output, size=cells),
        inputs=inputs,
        output=output,
        size=size,
        augmentation=varied if options.augment else NO_AUGMENTATION,
        crops=options.patches != "grid",
        balance=options.balance,
        seed=options.seed,
    )


def tell(findings: Sequence[Finding]) -> None:
    """Log findings."""
    for finding in findings:
        log.log(logging.INFO if finding.level == "note" else logging.WARNING, finding.text)


def open_fabric(options: TrainOptions) -> Any:
    """Return a `Fabric` for the device, precision and number of processes that are asked for.

    Raises:
        BadOption: The device is not there.
    """
    place, crew = choose_place(options.device, options.precision), crew_of(options)
    # spawned, not started by the command line again: that would plan, and begin the run, once more
    strategy = "ddp" if crew.started else "ddp_spawn" if crew.devices > 1 else "auto"
    return Fabric(
        accelerator=place.device.type,
        devices=crew.devices,
        num_nodes=crew.machines,
        strategy=strategy,
        precision=place.fabric_precision,
    )


def _launch(fabric: Any, plan: Plan) -> None:
    """Train in as many processes as `fabric` has.

    Raises:
        TrainingFailed: A process of its own failed.
    """
    try:
        # bound, not passed: lightning-fabric looks into arguments for networks, and stumbles over frozen dataclasses
        fabric.launch(partial(_train_in_process, plan=plan, level=log.getEffectiveLevel()))
    except ProcessException as error:
        last = str(error).strip().splitlines()[-1]
        raise TrainingFailed(last.removeprefix(f"{TrainingFailed.__module__}.{TrainingFailed.__name__}: ")) from error


def _train_in_process(fabric: Fabric, plan: Plan, level: int) -> None:
    if parent_process() is not None:  # a new process knows nothing of how this one logs
        logging.basicConfig(format="%(message)s")
        logging.getLogger("sat2map").setLevel(level)
    Trainer(fabric, plan).run()
