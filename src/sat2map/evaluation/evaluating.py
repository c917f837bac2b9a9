"""From a model and labelled ground to a folder with a report: what is scored, by which tally, and what goes with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from sat2map.bootstrap import RESAMPLES, Interval, intervals
from sat2map.errors import BadOption, ModelError, SourceError
from sat2map.evaluation.comparing import compare, unique
from sat2map.evaluation.counting import PLACE
from sat2map.evaluation.describing import describe
from sat2map.evaluation.leaking import Searched, check_leaks, find_seen, read_as_trained
from sat2map.evaluation.tallies import ClassTally, PictureTally, Tally
from sat2map.evaluation.telling import Told, findings_of, overview_of, tell, write_pictures, write_rivals
from sat2map.fidelity import Metric
from sat2map.files import check_folder, whole_folder, write_json
from sat2map.leaks import Leak
from sat2map.legend import IGNORED, Legend
from sat2map.mapmodel import MapModel, load_model
from sat2map.metrics import Scores
from sat2map.modelcard import write_model_card
from sat2map.options import EvaluateOptions, ReadOptions, RuntimeOptions, part_of
from sat2map.outputs import Picture
from sat2map.patchmetrics import PatchMetrics
from sat2map.predictor import Predictor, predictors
from sat2map.progress import track
from sat2map.reports import Rival, write_report
from sat2map.runs import RunFolder, command
from sat2map.scenes import Scene
from sat2map.sources import Finding, Source, open_source
from sat2map.splits import Area, Split, check_split, read_split
from sat2map.tiling import grid, whole

BLOCK = 2048
"""Side in pixels of the blocks that are mapped at once."""

FILES = (
    "metrics.json", "comparison.json", "report.html", "comparison.html", "MODEL_CARD.md", "places.npz",
    "best.png", "worst.png", "confusion.png", "leaks.png", "reliability.png", "coverage.png",
)  # fmt: skip
"""What a report of any kind may have; what an older one had and a new one lacks goes."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Args:
        scores: Of classes, over all of the ground; None for pictures whose colours have no legend. Of the first model.
        report: The page; of several models, the one that compares them.
        findings: What has to be known with it; of several models, after the names of those it is true of.
        metrics: How like their truth pictures are; empty for classes.
        intervals: The 95 % intervals of scores and metrics, by name; empty if there are too few places.
        rivals: The models side by side, if there are several.
    """

    scores: Scores | None
    report: Path
    findings: tuple[Finding, ...]
    metrics: tuple[Metric, ...] = ()
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    rivals: tuple[Rival, ...] = ()


@dataclass(frozen=True)
class Ready:
    """A model that can be scored.

    Args:
        path: Where it is.
        model: The same, loaded.
        source: The imagery, read as the model needs it.
        areas: What of it is scored.
        leaks: Where it shows ground that the model has learnt from.
        tally: What counts, still empty.
        findings: What has to be known about ground and labels.
    """

    path: Path | str
    model: MapModel
    source: Source
    areas: tuple[Area, ...]
    leaks: tuple[Leak, ...]
    tally: Tally
    findings: tuple[Finding, ...]


def evaluate(
    source: Path | str,
    report: Path | str,
    *,
    model: PathLike[str] | str | Sequence[PathLike[str] | str],
    overwrite: bool = False,
    **words: Any,
) -> Evaluation:
    """Score a model on labelled ground and write a report; several models are compared on the same ground.

    Args:
        source: Imagery with labels, or with map pictures.
        report: The folder to write `metrics.json`, pictures, `report.html` and `MODEL_CARD.md` to; with several models,
            each has a folder in it, and `comparison.html` is beside them.
        model: A model's folder, that of the run that trained it, or one that is loaded; or several of them.
        overwrite: Whether a report that is there is replaced.
        words: The fields of `EvaluateOptions`.

    Raises:
        UserError: Source, model or destination cannot be used, or the model has learnt from what shall be its test;
            nothing was written.
    """
    options = EvaluateOptions(**words)
    folder = check_folder(report, "a report", files=FILES, overwrite=overwrite)
    models = [fspath(one) for one in ([model] if isinstance(model, (str, PathLike)) else model)]
    if not models:
        raise BadOption("There is no model to score. Name a run with --model.")
    names = unique([Path(path).resolve().name for path in models])
    for name in names if len(names) > 1 else []:
        check_folder(folder / name, "a report", files=FILES, overwrite=overwrite)
    searched: Searched = {}
    ready = [_prepare(source, path, options, searched) for path in models]  # all are checked before one is scored
    told = {name: _score(one, report, options) for name, one in zip(names, ready, strict=True)}
    if len(told) == 1:
        return _write(folder, told[names[0]])
    named = [word for path in models for word in ("--model", path)]
    return _write_all(folder, told, command("evaluate", (source, report, *named), options))


def _prepare(source: Path | str, path: Path | str, options: EvaluateOptions, searched: Searched) -> Ready:
    """Open all that one model is scored with, and refuse what would be no test."""
    model = load_model(path)
    reading = _reading(model, source, options)
    opened = open_source(source, reading)
    areas = _areas(model, opened, options.split)
    leaks, not_known = find_seen(model, opened, areas, reading, options.split, searched)
    seen = check_leaks(model, leaks, options)
    tally, findings = _tally(model, opened, options)
    return Ready(path, model, opened, areas, leaks, tally, (*opened.findings, *findings, *not_known, *seen))


def _score(ready: Ready, report: Path | str, options: EvaluateOptions) -> Told:
    """Count all of the ground for one model."""
    model, source, tally = ready.model, ready.source, ready.tally
    predictor = predictors(model, part_of(RuntimeOptions, options), keep=tally.keep)
    _count(tally, predictor, source, ready.areas)
    if not any(tally.scenes.values()):
        raise SourceError(f"The part {options.split!r} of {source.path} holds no labelled pixel to score.")
    scored = command("evaluate", (source.path, report, "--model", ready.path), options)
    return Told(
        model=model,
        source=source,
        options=options,
        tally=tally,
        overview=overview_of(predictor, source, tally),
        leaks=ready.leaks,
        findings=(*ready.findings, *tally.findings),
        commands=(str(model.provenance["command"]), scored),
    )


def _write(folder: Path, told: Told) -> Evaluation:
    """Write the report of one model."""
    tally = told.tally
    with whole_folder(folder, stale=FILES) as part:
        write_json(part / "metrics.json", {**tally.to_json(), **_facts(told)})
        if tally.counts and tally.counts.spots:
            tally.counts.save(part / "places.npz")
        write_pictures(part, told)
        page = tell(told, part)
        write_report(part, page)
        write_model_card(part, describe(told, page))
    return Evaluation(tally.scores, folder / "report.html", told.findings, tuple(tally.metrics), page.intervals)


def _write_all(folder: Path, told: Mapping[str, Told], repeated: str) -> Evaluation:
    """Write the reports of several models, and what compares them."""
    rivals = compare({name: one.tally for name, one in told.items()})
    first, *_ = [_write(folder / name, one) for name, one in told.items()]
    with whole_folder(folder, stale=FILES) as part:
        page = write_rivals(part, told, rivals, repeated)
    return replace(first, report=folder / page.name, findings=findings_of(told), rivals=tuple(rivals))


def _reading(model: MapModel, source: Path | str, options: EvaluateOptions) -> ReadOptions:
    """Read as in training, but for the words that are given; another source brings its own labels and legend."""
    trained = read_as_trained(model)
    if Path(model.provenance["source"]).resolve() != Path(source).resolve():
        names = ("ignore", "line_width", "rest", "resolution", "resize", "output")
        trained = ReadOptions(**{name: getattr(trained, name) for name in names})
    if isinstance(model.output, Picture):
        trained = replace(trained, output="picture")
    return replace(trained, **part_of(ReadOptions, options).given())


def _areas(model: MapModel, source: Source, part: str) -> tuple[Area, ...]:
    """Return the ground to be scored: of the split that was written at training, or all there is."""
    if part == "all":
        return tuple(Area(pair.name, whole(pair.image.shape), "test") for pair in source.pairs)
    path = RunFolder(model.folder.parent).split
    if not path.exists():
        raise ModelError(f"{model.folder} is not in its run's folder, so its split is not known. Use --split all.")
    split: Split = read_split(path)
    try:
        check_split(split, source)
    except SourceError as error:
        raise SourceError(f"{error} For other imagery than that of the training use --split all.") from None
    areas = split.part(part)
    if not areas:
        raise SourceError(f"The model was trained without a part {part!r}. Use --split val, train or all.")
    return areas


def _tally(model: MapModel, source: Source, options: EvaluateOptions) -> tuple[Tally, list[Finding]]:
    """Return what counts for this kind of model, and what of the source it leaves out.

    Raises:
        ModelError: The source holds the other kind of truth.
    """
    output = model.output
    if output.kind != source.output:
        maps = {"classes": "maps classes", "picture": "paints pictures"}[output.kind]
        holds = {"classes": "classes", "picture": "map pictures"}[source.output]
        raise ModelError(
            f"The model {maps}, but the labels of {source.path} were read as {holds}. "
            f"Read them as the model needs them with --output {output.kind}, or name other labels with --labels."
        )
    if isinstance(output, Picture):
        colours = source.colours if options.legend or not len(output.legend) else output.legend
        return PictureTally(Picture(colours), PatchMetrics(options.feature_weights)), []
    to_ids, findings = _match(source.legend, output.legend)
    return ClassTally(output.legend, to_ids, model.calibration), findings


def _match(found: Legend, wanted: Legend) -> tuple[np.ndarray, list[Finding]]:
    """Return a table `(256,)` from the source's ids to the model's, by class names, and what was left out.

    Raises:
        ModelError: Not one class has the same name.
    """
    ids = {name.casefold(): i for i, name in enumerate(wanted.names)}
    table = np.full(256, IGNORED, np.uint8)
    for i, name in enumerate(found.names):
        table[i] = ids.get(name.casefold(), IGNORED)
    strange = [name for name in found.names if name.casefold() not in ids]
    if len(strange) == len(found):
        raise ModelError(
            f"The model knows the classes {', '.join(wanted.names)}, but the labels hold {', '.join(found.names)}. "
            "Give their names and colours with --legend."
        )
    if not strange:
        return table, []
    text = f"The model does not know {', '.join(strange)}; pixels with these labels are not scored."
    return table, [Finding("warning", "unknown-classes", text)]


def _count(tally: Tally, predictor: Callable[[Scene], Predictor], source: Source, areas: Sequence[Area]) -> None:
    pairs = {pair.name: pair for pair in source.pairs}
    blocks = [(pairs[area.pair], window) for area in areas for window in grid(area.window, BLOCK)]
    for pair, window in track(blocks, "Evaluating", len(blocks)):
        truth = tally.truth(pair.target.read(window))
        if truth is not None:
            tally.add(pair, truth, predictor(pair.image).block(pair.image, window))


def _facts(told: Told) -> dict[str, Any]:
    """Return what stands beside the scores in `metrics.json`."""
    return {
        "intervals": {name: list(ends) for name, ends in intervals(told.tally.draws).items()},
        "places": {"count": len(told.tally.spots), "side": PLACE, "resamples": RESAMPLES},
        "source": told.source.path,
        "part": told.options.split,
        "split": told.model.provenance["split"],
        "leaks": [leak.to_json() for leak in told.leaks],
        "model": str(told.model.folder),
        "mapped_with": told.mapping.given(),
    }
