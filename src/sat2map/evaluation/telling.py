"""What a report tells of an evaluation: places, pictures, and facts about model and ground."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from sat2map.bootstrap import FEWEST, RESAMPLES, Figures, intervals
from sat2map.calibration import Reliability
from sat2map.charts import coverage_picture, reliability_picture
from sat2map.evaluation.counting import PLACE
from sat2map.evaluation.places import Place
from sat2map.evaluation.sizing import NOTE, ground_areas
from sat2map.evaluation.tallies import Tally
from sat2map.files import write_json
from sat2map.leaks import Leak, draw_leaks
from sat2map.mapmodel import MapModel
from sat2map.options import EvaluateOptions, PredictOptions
from sat2map.pictures import confusion_picture, sample_sheet, to_rgb
from sat2map.predictor import QUARTER_TURNS, Predictor
from sat2map.reports import Example, Figure, Overview, Report, Rival, SceneRow, percent, write_comparison
from sat2map.runs import RunFolder
from sat2map.scenes import Scene
from sat2map.sources import Finding, Source
from sat2map.tiling import Window, whole

OVERVIEW = 2048
"""Largest side in pixels of the map that is shown over its image."""

TOO_FEW = f"Fewer than {FEWEST} places of {PLACE} x {PLACE} pixels were scored: too few to say how sure the scores are."

OF_PICTURES = {"accuracy": "Accuracy", "mean_iou": "Mean IoU", "mean_f1": "Mean F1", "L1": "L1", "PSNR": "PSNR"}
"""Which figures are told of each picture."""

LEAKS = 4
"""How many pairs of leaking ground are drawn."""

HOW_SURE = (
    "Of the pixels that are mapped with a probability of 80 %, 80 % should be right. Where the line lies below the "
    "diagonal, the model is surer than it should be."
)

LEFT_OUT = (
    "How right the map is where its least sure pixels are left out. sat2map predict --abstain P maps pixels below "
    "the probability P as unsure."
)


@dataclass(frozen=True)
class Told:
    """An evaluation with all that belongs to it."""

    model: MapModel
    source: Source
    options: EvaluateOptions
    tally: Tally
    overview: Overview
    leaks: Sequence[Leak]
    findings: tuple[Finding, ...]
    commands: Sequence[str]

    @property
    def was_seen(self) -> bool:
        """Whether the model has surely learnt from some of this ground."""
        return any(leak.sure for leak in self.leaks)

    @property
    def mapping(self) -> PredictOptions:
        """The words with which `predict` makes maps as they were scored."""
        shared = {f.name for f in fields(PredictOptions)}
        return PredictOptions(**{name: value for name, value in self.options.given().items() if name in shared})


def write_pictures(folder: Path, told: Told) -> None:
    """Write places, what was mapped as what, how sure that is, and leaks, as far as there are any."""
    tally = told.tally
    if tally.counts:
        confusion_picture(tally.counts.matrix, tally.legend.names, folder / "confusion.png")
    if tally.reliability:
        reliability_picture(tally.reliability[0], _calibrated(tally), folder / "reliability.png")
        coverage_picture(tally.reliability[-1], folder / "coverage.png")
    if told.leaks:
        draw_leaks(told.leaks, folder / "leaks.png", most=LEAKS)
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
    """Map the picture that shows most, or the upper left part of a large one."""
    scenes, name = tally.scenes, _shows_most(tally)
    image = next(pair.image for pair in source.pairs if pair.name == name)
    window = whole(image.shape).intersect(Window(0, 0, OVERVIEW, OVERVIEW))
    mapped = predictor(image).block(image, window).pixels
    caption = f"{name}, rows 0 to {window.height}, columns 0 to {window.width}."
    if scenes[name] / (window.height * window.width) < 0.5:
        caption += " Only a part of this ground was scored; the model may have learnt from the rest."
    return Overview(caption, to_rgb(image.read(window), image.bands), tally.shown(mapped))


def _shows_most(tally: Tally) -> str:
    """Return the picture on which most was scored; of such of one size, that whose commonest class has least of it."""
    by_picture = tally.counts.by_picture if tally.counts else {}
    commonest = {name: max(c.pixels for c in scores.classes) for name, scores in by_picture.items()}
    return max(tally.scenes, key=lambda name: (tally.scenes[name], -commonest.get(name, 0)))


def tell(told: Told, folder: Path) -> Report:
    """Return what the page tells; its pictures lie in the folder."""
    model, tally = told.model, told.tally
    curves = RunFolder(model.folder.parent).curves
    areas, unit = ground_areas(tally, told.source)
    pixels = tally.scenes
    return Report(
        title=Path(told.source.path).resolve().name,
        subtitle=f"{model.architecture.title} on {_ground(told)}",
        legend=tally.legend,
        scores=tally.scores,
        intervals=intervals(tally.draws),
        interval_note=_interval_note(tally),
        confusion=tally.counts.matrix if tally.counts else None,
        metrics=tally.metrics,
        l1_of_mean_colour=tally.l1_of_mean_colour,
        areas=areas,
        area_unit=unit,
        area_note=NOTE,
        scenes=[SceneRow(name, pixels[name], _row(figures)) for name, figures in tally.by_picture.items()],
        best=tuple(_examples(tally.places.best, tally)),
        worst=tuple(_examples(tally.places.worst, tally)),
        overview=told.overview,
        figures=list(_sections(told, folder)),
        curves=curves if curves.exists() else None,
        facts={"How it was trained": training_facts(model), "What was scored": _scored_facts(told), **tally.facts()},
        findings=told.findings,
        commands=told.commands,
    )


def write_rivals(folder: Path, told: Mapping[str, Told], rivals: Sequence[Rival], repeated: str) -> Path:
    """Write the page that compares models, given by their names, and the same as plain values."""
    first = next(iter(told.values()))
    ground = _ground(next((one for one in told.values() if one.was_seen), first))
    notes = [_interval_note(first.tally), *(f.text for f in findings_of(told) if f.level != "note")]
    compared = {"models": [asdict(rival) for rival in rivals], "notes": notes, "mapped_with": first.mapping.given()}
    write_json(folder / "comparison.json", compared)
    title = Path(first.source.path).resolve().name
    return write_comparison(folder, title, f"Models on {ground}", rivals, notes, [repeated])


def findings_of(told: Mapping[str, Told]) -> tuple[Finding, ...]:
    """Return what has to be known of several models: each thing once, after the names of those it is true of."""
    names: dict[Finding, list[str]] = {}
    for name, one in told.items():
        for finding in one.findings:
            names.setdefault(finding, []).append(name)
    return tuple(
        finding if finding.level == "note" else replace(finding, text=f"{', '.join(those)}: {finding.text}")
        for finding, those in names.items()
    )


def _ground(told: Told) -> str:
    """Return which ground was scored; it is a test only if nothing of it was learnt from."""
    part = told.options.split
    if part == "test":
        return "ground that is no test, for it was seen in training" if told.was_seen else "ground kept for the test"
    return {"val": "validation ground", "train": "training ground"}.get(part, "all labelled ground")


def _interval_note(tally: Tally) -> str:
    if not tally.draws:
        return TOO_FEW
    return (
        f"Intervals of 95 %, from {RESAMPLES:,} times drawing {len(tally.spots):,} places of up to {PLACE} x {PLACE} "
        "pixels anew. They tell how much the scores depend on which ground was scored, not how other training would "
        "have turned out."
    )


def _row(figures: Figures) -> dict[str, float | None]:
    return {what: figures[key] for key, what in OF_PICTURES.items() if key in figures}


def _calibrated(tally: Tally) -> Reliability | None:
    return tally.reliability[1] if len(tally.reliability) > 1 else None


def _sections(told: Told, folder: Path) -> Iterator[Figure]:
    """Return further parts of the page: how sure the map is, and ground that was seen in training."""
    tally = told.tally
    if tally.reliability:
        yield Figure("How sure it is", HOW_SURE, folder / "reliability.png", reliability_facts(tally))
        yield Figure("If unsure pixels are left out", LEFT_OUT, folder / "coverage.png", _coverage_facts(tally))
    if told.leaks:
        text = f"{min(len(told.leaks), LEAKS)} of {len(told.leaks)}: each pair, and one laid over the other."
        title = "Ground that was seen in training" if told.was_seen else "Ground that looks like that of the training"
        yield Figure(title, text, folder / "leaks.png", wide=True)


def reliability_facts(tally: Tally) -> dict[str, str]:
    """Return the errors of the probabilities, before and after calibration."""
    measures = {"Expected calibration error": "ece", "Brier score": "brier", "Negative log likelihood": "nll"}
    return {
        what: ", calibrated ".join(
            "–" if v is None else f"{v:.3f}" for v in (getattr(r, name) for r in tally.reliability)
        )
        for what, name in measures.items()
    }


def _coverage_facts(tally: Tally) -> dict[str, str]:
    """Return how right the surest pixels are, and below which probability the others lie."""
    surest = tally.reliability[-1]
    return {
        f"The surest {100 * share:.0f} %": f"{percent(surest.accuracy_at(share))} right, those above {at:.2f}"
        for share in (0.95, 0.9, 0.8, 0.7)
        if (at := surest.confidence_at(share)) is not None
    }


def training_facts(model: MapModel) -> Mapping[str, str]:
    """Return how a model was trained."""
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


def _positions(tta: str) -> Mapping[str, str]:
    """Return that maps were averaged, if they were: such maps are better than what `predict` makes unasked."""
    return {} if tta == "none" else {"Each window": f"seen in {len(QUARTER_TURNS[tta])} positions (--tta {tta})"}


def _scored_facts(told: Told) -> Mapping[str, str]:
    scenes = told.tally.scenes
    return {
        "Part": told.options.split,
        "Divided by": told.model.provenance["split"],
        "Pictures": f"{len(scenes):,}",
        "Labelled pixels": f"{sum(scenes.values()):,}",
        "Labelled, but without image data": f"{told.tally.unscored:,}",
        **_positions(told.options.tta),
    }
