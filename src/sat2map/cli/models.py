"""Commands about models: inspect, train, evaluate, export, networks."""

from __future__ import annotations

import logging
import shlex
from dataclasses import asdict
from pathlib import Path

import sat2map
from sat2map.cli.app import Evaluating, Judging, Learning, Reading, Splitting, command, console, say, show
from sat2map.errors import BadOption
from sat2map.options import CriticOptions, EvaluateOptions, LearnOptions, ReadOptions, SplitOptions

log = logging.getLogger(__name__)


@command
def inspect(source: str, /, *, leaks: Path | None = None, json: bool = False, read: Reading = ReadOptions()) -> int:
    """Tell what a folder or file of imagery and labels holds, and what is wrong with it.

    Exit code 0 if it can be trained on, 2 if not.

    Args:
        source: A folder, or an image or HDF5 file.
        leaks: Draw images that show the same ground, pair by pair: .png.
        json: Print JSON.
    """
    from sat2map.inspection import inspect as look

    found = look(source, leaks=leaks, **asdict(read))
    if json:
        console().print_json(data=found.to_json())
    else:
        console().print(found)
    return 0 if found.trainable else 2


@command
def train(
    source: str,
    run: Path,
    /,
    *,
    read: Reading = ReadOptions(),
    split: Splitting = SplitOptions(),
    learn: Learning = LearnOptions(),
    critic: Judging = CriticOptions(),
) -> None:
    """Train a network on imagery with labels.

    Args:
        source: A folder, or an image or HDF5 file.
        run: The folder to make: model, metrics, curves, samples, checkpoints.
    """
    from sat2map import tables
    from sat2map.learning.processes import is_first
    from sat2map.runs import RunFolder
    from sat2map.splits import read_split

    folder = RunFolder(sat2map.train(source, run, **asdict(read), **asdict(split), **asdict(learn), **asdict(critic)))
    if not is_first():
        return
    if learn.tune:
        show(tables.trials(folder.path))
    last = folder.rows()[-1]
    epochs, minutes = "1 epoch" if last["epoch"] == 1 else f"{last['epoch']} epochs", last["seconds"] / 60
    say(f"Trained {epochs} in {minutes:.1f} minutes; curves in {folder.curves}")
    say(f"Model in {folder.model}. Next:")
    part = "" if read_split(folder.split).part("test") else " --split val"
    say(f"  sat2map evaluate {shlex.quote(source)} REPORT --model {shlex.quote(str(run))}{part}")
    say(f"  sat2map predict SCENE MAP.tif --model {shlex.quote(str(run))}")


@command
def evaluate(
    source: str,
    report: Path,
    /,
    *,
    model: tuple[Path, ...],
    overwrite: bool = False,
    options: Evaluating = EvaluateOptions(),
) -> None:
    """Score a model on labelled ground it has not seen, and write a report; or compare several.

    Args:
        source: A folder, or an image or HDF5 file.
        report: The folder for metrics.json, pictures and report.html.
        model: The run that trained it, or its model folder. Repeated, the models are compared on the same ground.
        overwrite: Replace a report that is there.
    """
    from sat2map import tables
    from sat2map.evaluation import evaluate as score

    made = score(source, report, model=model, overwrite=overwrite, **asdict(options))
    for finding in made.findings:
        if finding.level != "note":
            log.warning(finding.text)
    show(tables.evaluation(made))
    say(f"Report in {made.report}")


@command
def export(run: Path, /) -> int:
    """Add a graph in int8 to a trained model, for `predict --precision int8` on a processor.

    Exit code 1 if it draws another map than float32 does: then it is not kept.

    Args:
        run: The run; its imagery has to be where it was.
    """
    made = sat2map.export(run)
    verdict = f"kept in {made.model}" if made.kept else "less than 99.5%, so it is not kept"
    say(f"int8 gives {made.agreement:.2%} of the validation pixels the class of float32: {verdict}")
    return 0 if made.kept else 1


@command
def networks(
    name: str | None = None,
    /,
    *,
    bands: int = 3,
    encoder: str = "resnet34",
    size: int = 256,
    picture: Path | None = None,
) -> None:
    """List the networks and critics there are, or show the layers of one.

    Args:
        name: A network of the list.
        bands: Number of bands.
        encoder: Its encoder.
        size: Side of the image in pixels for which shapes are shown.
        picture: Also draw it: .png.
    """
    from sat2map import tables
    from sat2map.networks import build_any, draw_network, network_summary

    if size < 1:
        raise BadOption(f"--size is {size}; it must be above 0.")
    if name is None and picture is not None:
        raise BadOption("--picture draws one network. Name it: sat2map networks NAME --picture FILE.png.")
    if name is not None:
        network, given = build_any(name, bands=bands, channels=3, encoder=encoder)
        print(network_summary(network, given, size))
        if picture is not None:
            draw_network(network, given, size, picture, title=name)
            say(f"Picture in {picture}")
        return
    show(tables.networks())
