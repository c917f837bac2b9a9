"""From a source to a run: divide it by place, learn, and keep the network that did best on validation.

Reads top to bottom: `fit` plans, lets lightning-fabric start the processes, and packs the model when they are done.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from sat2map.devices import choose_place
from sat2map.errors import BadOption, SourceError
from sat2map.files import write_json
from sat2map.inputs import Inputs, fit_inputs, select_bands
from sat2map.learning.augment import NO_AUGMENTATION, Augmentation
from sat2map.learning.objectives import Loss
from sat2map.learning.packing import pack_model
from sat2map.learning.plan import Plan
from sat2map.learning.samples import Anchor, Samples, find_anchors
from sat2map.learning.trainer import Trainer
from sat2map.networks import network_summary
from sat2map.options import ReadOptions, SplitOptions, TrainOptions, part_of
from sat2map.outputs import Classes
from sat2map.runs import RunFolder, begin_run, resume_run
from sat2map.sources import Finding, Pair, Source, open_source
from sat2map.splits import Split, check_split, make_split, read_split

log = logging.getLogger(__name__)
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it tells, `open_fabric` tells in one line


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
    if options.resume:
        run, options = resume_run(path, str(source), options)
    else:
        run = begin_run(path, str(source), options)
    plan = plan_run(source, run, options, network, loss)
    fabric = open_fabric(options)
    fabric.launch(_train_in_process, plan)
    pack_model(plan)
    return run


def plan_run(
    source: Path | str,
    run: RunFolder,
    options: TrainOptions,
    network: torch.nn.Module | None = None,
    loss: Loss | None = None,
) -> Plan:
    """Open, divide and measure the source; write down the split."""
    opened = open_source(source, part_of(ReadOptions, options))
    if opened.output != "classes":
        raise SourceError(f"{source} holds map pictures, not classes; this version trains class maps only.")
    tell(opened.findings)
    split = _split(opened, run, options)
    pairs = {pair.name: pair for pair in opened.pairs}
    anchors = find_anchors(pairs, split.part("train"), size=options.size, classes=len(opened.legend))
    inputs = fit_inputs(
        [(pairs[a.pair].image, a.window) for a in split.part("train")],
        select_bands(opened.bands, options.bands),
        resolution=options.resolution,
        resize=options.resize,
    )
    plan = Plan(
        run=run,
        options=options,
        samples=_samples(pairs, anchors, inputs, options),
        validation=split.part("val"),
        inputs=inputs,
        output=Classes(opened.legend),
        network=network,
        loss=loss,
    )
    plan.build_loss()  # a loss or network that cannot be built is told before any process starts
    summary = network_summary(plan.build_network(), len(inputs.bands), options.size)
    (run.path / "network.txt").write_text(summary + "\n")
    return plan


def _split(source: Source, run: RunFolder, options: TrainOptions) -> Split:
    if options.resume and run.split.exists():
        split = read_split(run.split)
        check_split(split, source)
        return split
    split, findings = make_split(source, part_of(SplitOptions, options), seed=options.seed, patch=options.size)
    tell(findings)
    if not split.part("val"):
        raise SourceError("Nothing is left for validation. Give it a share or a group with --val.")
    write_json(run.split, split.to_json())
    return split


def _samples(pairs: dict[str, Pair], anchors: Sequence[Anchor], inputs: Inputs, options: TrainOptions) -> Samples:
    varied = Augmentation(**{n: getattr(options, n) for n in Augmentation.__dataclass_fields__})
    return Samples(
        pairs=pairs,
        anchors=anchors,
        inputs=inputs,
        size=options.size,
        augmentation=varied if options.augment else NO_AUGMENTATION,
        crops=options.patches == "random",
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
        BadOption: The device is not there, or a batch cannot be shared evenly.
    """
    place = choose_place(options.device, options.precision)
    if options.batch % options.devices:
        raise BadOption(f"A batch of {options.batch} cannot be shared by {options.devices} devices. Choose a multiple.")
    log.info("Training on %d x %s in %s", options.devices, place.device.type, place.precision)
    spawn = options.devices > 1 and place.device.type == "cpu"
    return Fabric(
        accelerator=place.device.type,
        devices=options.devices,
        strategy="ddp_spawn" if spawn else "auto",
        precision=place.fabric_precision,
    )


def _train_in_process(fabric: Fabric, plan: Plan) -> None:
    Trainer(fabric, plan).run()
