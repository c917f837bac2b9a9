"""What a report tells of an evaluation: places, pictures, and facts about model and ground."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sat2map.evaluation.places import Place
from sat2map.evaluation.tallies import Tally
from sat2map.mapmodel import MapModel
from sat2map.options import EvaluateOptions
from sat2map.pictures import confusion_picture, sample_sheet, to_rgb
from sat2map.predictor import Predictor
from sat2map.reports import Example, Overview, Report
from sat2map.runs import RunFolder
from sat2map.scenes import Scene
from sat2map.sources import Finding, Source
from sat2map.tiling import Window, whole

OVERVIEW = 2048
"""Largest side in pixels of the map that is shown over its image."""


@dataclass(frozen=True)
class Told:
    """An evaluation with all that belongs to it."""

    model: MapModel
    source: Source
    options: EvaluateOptions
    tally: Tally
    overview: Overview
    findings: Sequence[Finding]
    commands: Sequence[str]


def write_pictures(folder: Path, tally: Tally) -> None:
    """Write the best and the worst places, and which class was mapped as which, as far as there are any."""
    if tally.matrix is not None:
        confusion_picture(tally.matrix, tally.legend.names, folder / "confusion.png")
    for name, places in (("best", tally.places.best), ("worst", tally.places.worst)):
        if places:
            examples = list(_examples(places, tally))
            rows = [(e.image, e.truth, e.prediction) for e in examples]
            captions = [f"{e.caption}: {e.score}" for e in examples]
            sample_sheet(rows, tally.legend or None, folder / f"{name}.png", captions=captions)


def _examples(places: Sequence[Place], tally: Tally) -> Iterator[Example]:
    for place in places:
        image = place.pair.image
        yield Example(
            caption=f"{place.pair.name}, row {place.window.row}, column {place.window.col}",
            image=to_rgb(image.read(place.window), image.bands),
            truth=tally.shown(place.truth),
            prediction=tally.shown(place.mapped),
            score=place.said,
        )


def overview_of(predictor: Callable[[Scene], Predictor], source: Source, tally: Tally) -> Overview:
    """Map the picture on which most was scored, or the upper left part of a large one."""
    scenes = tally.scenes
    name = max(scenes, key=lambda n: scenes[n])
    image = next(pair.image for pair in source.pairs if pair.name == name)
    window = whole(image.shape).intersect(Window(0, 0, OVERVIEW, OVERVIEW))
    mapped = predictor(image).block(image, window)
    caption = f"{name}, rows 0 to {window.height}, columns 0 to {window.width}."
    if scenes[name] / (window.height * window.width) < 0.5:
        caption += " Only a part of this ground was scored; the model may have learnt from the rest."
    return Overview(caption, to_rgb(image.read(window), image.bands), tally.shown(mapped))


def tell(told: Told) -> Report:
    """Return what the page tells."""
    model, tally, part = told.model, told.tally, told.options.split
    curves = RunFolder(model.folder.parent).curves
    ground = {"test": "ground kept for the test", "val": "validation ground", "train": "training ground"}
    return Report(
        title=Path(told.source.path).resolve().name,
        subtitle=f"{model.architecture.network} on {ground.get(part, 'all labelled ground')}",
        legend=tally.legend,
        scores=tally.scores,
        confusion=tally.matrix,
        metrics=tally.metrics,
        l1_of_mean_colour=tally.l1_of_mean_colour,
        best=tuple(_examples(tally.places.best, tally)),
        worst=tuple(_examples(tally.places.worst, tally)),
        overview=told.overview,
        curves=curves if curves.exists() else None,
        facts={"How it was trained": _training_facts(model), "What was scored": _scored_facts(told), **tally.facts()},
        findings=told.findings,
        commands=told.commands,
    )


def _training_facts(model: MapModel) -> Mapping[str, str]:
    told, options = model.provenance, model.provenance["options"]
    critic = f", and {options['adversarial']:g} * a critic" if options.get("adversarial") else ""
    duration = f"{options['minutes']:g} minutes" if options["minutes"] else f"{options['epochs'] or 50} epochs"
    return {
        "Network": model.architecture.title,
        "Parameters": f"{told['parameters']:,}",
        "Weights at the start": options["encoder_weights"],
        "Bands": ", ".join(model.inputs.bands),
        "Loss": f"{options['loss']}{critic}",
        "Length": f"{duration}, seed {options['seed']}",
        "Best epoch": _best_epoch(model),
        "Version": f"sat2map {told['environment']['sat2map']}",
        **_seams(model),
    }


def _best_epoch(model: MapModel) -> str:
    told = model.provenance
    if told.get("val_l1") is not None:
        return f"{told['epoch']} (L1 on validation {told['val_l1']:.1f} grey levels)"
    return f"{told['epoch']} (mean IoU on validation {told['val_mean_iou']:.3f})"


def _seams(model: MapModel) -> Mapping[str, str]:
    """Return what was measured of a painting network when it was packed, with what it means."""
    meanings = {
        "tile_mismatch": (
            "Mismatch of windows",
            "mean difference of the same ground seen through two windows; seams show where it is large",
        ),
        "train_eval_disparity": (
            "Training and prediction",
            "mean difference of a window normalised as in training and as in prediction; near 0 is good",
        ),
    }
    told = model.provenance
    return {
        name: f"{told[key]:.1f} grey levels ({meaning})"
        for key, (name, meaning) in meanings.items()
        if told.get(key) is not None
    }


def _scored_facts(told: Told) -> Mapping[str, str]:
    scenes = told.tally.scenes
    return {
        "Part": told.options.split,
        "Divided by": told.model.provenance["split"],
        "Pictures": f"{len(scenes):,}",
        "Labelled pixels": f"{sum(scenes.values()):,}",
        "Labelled, but without image data": f"{told.tally.unscored:,}",
    }
