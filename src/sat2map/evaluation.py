"""How good a model's maps are, on ground it has not learnt from: whole scenes, one confusion matrix, one report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from sat2map.errors import ModelError, OutputError, SourceError
from sat2map.files import record, whole_folder, write_json
from sat2map.legend import IGNORED, Legend
from sat2map.mapmodel import MapModel, load_model
from sat2map.metrics import Scores, confusion, scores_of, unscored
from sat2map.options import EvaluateOptions, ReadOptions, RuntimeOptions, part_of
from sat2map.pictures import class_picture, confusion_picture, sample_sheet, to_rgb
from sat2map.predictor import Predictor, predictors
from sat2map.progress import track
from sat2map.reports import Example, Overview, Report, write_report
from sat2map.runs import RunFolder, command
from sat2map.scenes import Scene
from sat2map.sources import Finding, Pair, Source, open_source
from sat2map.splits import Area, Split, check_split, read_split
from sat2map.tiling import Window, grid, whole

log = logging.getLogger(__name__)

PATCH = 256
"""Side in pixels of the patches of which the best and the worst are shown."""

SHOWN = 4
"""How many best and worst patches are shown."""

BLOCK = 2048
"""Side in pixels of the blocks in which ground is scored."""

OVERVIEW = 2048
"""Largest side in pixels of the map that is shown over its image."""


@dataclass(frozen=True)
class Patch:
    """A patch that was mapped: where it is, what was mapped there, and which share of its labels is right."""

    pair: Pair
    window: Window
    truth: np.ndarray
    predicted: np.ndarray
    score: float
    classes: int


@dataclass
class Tally:
    """Counts that add up over the ground, and what is kept of it to be shown.

    Args:
        legend: The classes of the model.
    """

    legend: Legend
    scenes: dict[str, np.ndarray] = field(default_factory=dict)
    unscored: int = 0
    best: list[Patch] = field(default_factory=list)
    worst: list[Patch] = field(default_factory=list)

    @property
    def matrix(self) -> np.ndarray:
        """The summed confusion matrix `(K, K)`: rows are the truth."""
        size = len(self.legend)
        return sum(self.scenes.values(), np.zeros((size, size), np.int64))

    def add(self, pair: Pair, block: Window, truth: np.ndarray, predicted: np.ndarray) -> None:
        """Count a block: ids of the model's legend `(height, width)`."""
        counts = confusion(truth, predicted, len(self.legend))
        self.scenes[pair.name] = self.scenes.get(pair.name, 0) + counts
        self.unscored += unscored(truth, predicted)
        for cell in grid(block, PATCH):
            rows, cols = cell.within(block).slices
            self._keep(pair, cell, truth[rows, cols], predicted[rows, cols])

    def _keep(self, pair: Pair, cell: Window, truth: np.ndarray, predicted: np.ndarray) -> None:
        scored = (truth != IGNORED) & (predicted != IGNORED)
        if scored.mean() < 0.25 or min(cell.shape) < PATCH // 2:
            return
        counts = np.bincount(truth[scored], minlength=len(self.legend)) / scored.sum()
        score = float((truth == predicted)[scored].mean())
        patch = Patch(pair, cell, truth.copy(), predicted.copy(), score, int((counts > 0.05).sum()))
        # A patch of one class alone is no feat: it comes last among the best.
        self.best = sorted([*self.best, patch], key=lambda p: (p.classes < 2, -p.score))[:SHOWN]
        self.worst = sorted([*self.worst, patch], key=lambda p: p.score)[:SHOWN]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Args:
        scores: Over all of the ground.
        report: The page.
        findings: What has to be known with it.
    """

    scores: Scores
    report: Path
    findings: tuple[Finding, ...]


def evaluate(
    source: Path | str, report: Path | str, *, model: Path | str, overwrite: bool = False, **words: Any
) -> Evaluation:
    """Score a model on labelled ground and write a report.

    Args:
        source: Imagery with labels.
        report: The folder to write `metrics.json`, pictures and `report.html` to.
        model: A model's folder, or that of the run that trained it.
        overwrite: Whether a report that is there is replaced.
        words: The fields of `EvaluateOptions`.

    Raises:
        UserError: Source, model or destination cannot be used; nothing was written.
    """
    options = EvaluateOptions(**words)
    folder = _check_folder(Path(report), overwrite)
    loaded = load_model(model)
    opened = open_source(source, _reading(loaded, source, options))
    areas = _areas(loaded, opened, options.split)
    to_ids, findings = _match(opened.legend, loaded.output.legend)
    predictor = predictors(loaded, part_of(RuntimeOptions, options))
    tally = _tally(predictor, opened, areas, to_ids, loaded.output.legend)
    if not tally.matrix.sum():
        raise SourceError(f"The part {options.split!r} of {source} holds no labelled pixel to score.")
    overview = _overview(predictor, opened, tally)
    scores = scores_of(tally.matrix, loaded.output.legend.names)
    said = (*opened.findings, *findings, *_leaks(loaded, options.split))
    again = command("evaluate", (source, report, "--model", model), options)
    with whole_folder(folder) as part:
        write_json(part / "metrics.json", {**scores.to_json(), **_facts(loaded, opened, options, tally)})
        _write_pictures(part, tally)
        for stale in ("best.png", "worst.png"):  # an older report may have had what this one lacks
            (folder / stale).unlink(missing_ok=True)
        commands = [str(loaded.provenance["command"]), again]
        write_report(part, _report(loaded, opened, options, tally, overview, said, commands))
    return Evaluation(scores, folder / "report.html", said)


def _check_folder(path: Path, overwrite: bool) -> Path:
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file. Name a folder for the report.")
    if (path / "metrics.json").exists() and not overwrite:
        raise OutputError(f"{path} holds a report already. Name another folder, or replace it with --overwrite.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written to: {error.strerror}. Choose another folder.") from None
    return path


def _reading(model: MapModel, source: Path | str, options: EvaluateOptions) -> ReadOptions:
    """Read as in training, but for the words that are given; another source brings its own labels and legend."""
    trained = record(ReadOptions, {f.name: model.provenance["options"][f.name] for f in fields(ReadOptions)})
    if Path(model.provenance["source"]).resolve() != Path(source).resolve():
        kept = {name: getattr(trained, name) for name in ("ignore", "line_width", "rest", "resolution", "resize")}
        trained = ReadOptions(**kept)
    given = {f.name: getattr(options, f.name) for f in fields(ReadOptions) if getattr(options, f.name) != f.default}
    return replace(trained, **given)


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


def _leaks(model: MapModel, part: str) -> list[Finding]:
    if model.provenance["split"] == "random":
        text = "The split was random, patch by patch: the model has seen the neighbours of what it is scored on."
        return [Finding("warning", "random-split", text)]
    if part in ("train", "all"):
        text = f"Scored on the part {part!r}: where the model has learnt from this ground, the scores are too good."
        return [Finding("warning", "seen-ground", text)]
    return []


def _tally(
    predictor: Callable[[Scene], Predictor], source: Source, areas: Sequence[Area], to_ids: np.ndarray, legend: Legend
) -> Tally:
    pairs = {pair.name: pair for pair in source.pairs}
    tally = Tally(legend)
    blocks = [(pairs[area.pair], window) for area in areas for window in grid(area.window, BLOCK)]
    for pair, window in track(blocks, "Evaluating", len(blocks)):
        truth = to_ids[pair.target.read(window).pixels[0]]
        if (truth != IGNORED).any():
            predicted = predictor(pair.image).block(pair.image, window)
            tally.add(pair, window, truth, predicted)
    return tally


def _facts(model: MapModel, source: Source, options: EvaluateOptions, tally: Tally) -> dict[str, Any]:
    """Return what stands beside the scores in `metrics.json`."""
    names = model.output.legend.names
    return {
        "confusion": {"classes": list(names), "rows_are_truth": tally.matrix.tolist()},
        "unscored_pixels": tally.unscored,
        "scenes": [{"name": n, **_totals(scores_of(m, names))} for n, m in sorted(tally.scenes.items())],
        "source": source.path,
        "part": options.split,
        "split": model.provenance["split"],
        "model": str(model.folder),
    }


def _totals(scores: Scores) -> dict[str, Any]:
    return {k: v for k, v in scores.to_json().items() if k != "classes"}


def _write_pictures(folder: Path, tally: Tally) -> None:
    confusion_picture(tally.matrix, tally.legend.names, folder / "confusion.png")
    for name, patches in (("best", tally.best), ("worst", tally.worst)):
        if patches:
            examples = list(_examples(patches, tally.legend))
            rows = [(e.image, e.truth, e.prediction) for e in examples]
            captions = [f"{e.caption}: {e.score:.0%} right" for e in examples]
            sample_sheet(rows, tally.legend, folder / f"{name}.png", captions=captions)


def _examples(patches: Sequence[Patch], legend: Legend) -> Iterator[Example]:
    for patch in patches:
        image = patch.pair.image
        yield Example(
            caption=f"{patch.pair.name}, row {patch.window.row}, column {patch.window.col}",
            image=to_rgb(image.read(patch.window), image.bands),
            truth=class_picture(patch.truth, legend),
            prediction=class_picture(patch.predicted, legend),
            score=patch.score,
        )


def _overview(predictor: Callable[[Scene], Predictor], source: Source, tally: Tally) -> Overview:
    """Map the picture on which most was scored, or the upper left part of a large one."""
    name = max(tally.scenes, key=lambda n: int(tally.scenes[n].sum()))
    image = next(pair.image for pair in source.pairs if pair.name == name)
    window = whole(image.shape).intersect(Window(0, 0, OVERVIEW, OVERVIEW))
    ids = predictor(image).block(image, window)
    scored = tally.scenes[name].sum() / (window.height * window.width)
    caption = f"{name}, rows 0 to {window.height}, columns 0 to {window.width}."
    if scored < 0.5:
        caption += " Only a part of this ground was scored; the model may have learnt from the rest."
    return Overview(caption, to_rgb(image.read(window), image.bands), class_picture(ids, tally.legend))


def _report(
    model: MapModel,
    source: Source,
    options: EvaluateOptions,
    tally: Tally,
    overview: Overview,
    findings: Sequence[Finding],
    commands: Sequence[str],
) -> Report:
    curves = RunFolder(model.folder.parent).curves
    part = {"test": "ground kept for the test", "val": "validation ground", "train": "training ground"}
    return Report(
        title=Path(source.path).resolve().name,
        subtitle=f"{model.architecture.network} on {part.get(options.split, 'all labelled ground')}",
        legend=tally.legend,
        scores=scores_of(tally.matrix, tally.legend.names),
        confusion=tally.matrix,
        best=tuple(_examples(tally.best, tally.legend)),
        worst=tuple(_examples(tally.worst, tally.legend)),
        overview=overview,
        curves=curves if curves.exists() else None,
        facts={"How it was trained": _training_facts(model), "What was scored": _scored_facts(model, options, tally)},
        findings=findings,
        commands=commands,
    )


def _training_facts(model: MapModel) -> Mapping[str, str]:
    told, options = model.provenance, model.provenance["options"]
    duration = f"{options['minutes']:g} minutes" if options["minutes"] else f"{options['epochs'] or 50} epochs"
    return {
        "Network": f"{model.architecture.network}, encoder {model.architecture.encoder}",
        "Parameters": f"{told['parameters']:,}",
        "Weights at the start": options["encoder_weights"],
        "Bands": ", ".join(model.inputs.bands),
        "Loss": options["loss"],
        "Length": f"{duration}, seed {options['seed']}",
        "Best epoch": f"{told['epoch']} (mean IoU on validation {told['val_mean_iou']:.3f})",
        "Version": f"sat2map {told['environment']['sat2map']}",
    }


def _scored_facts(model: MapModel, options: EvaluateOptions, tally: Tally) -> Mapping[str, str]:
    return {
        "Part": options.split,
        "Divided by": model.provenance["split"],
        "Pictures": f"{len(tally.scenes):,}",
        "Labelled pixels": f"{int(tally.matrix.sum()):,}",
        "Labelled, but without image data": f"{tally.unscored:,}",
    }
