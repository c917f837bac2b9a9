"""What a model card tells, from a model and the report of its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sat2map.evaluation.telling import Told, reliability_facts, training_facts
from sat2map.mapmodel import MapModel
from sat2map.modelcard import ModelCard
from sat2map.outputs import Picture
from sat2map.reports import Report
from sat2map.runs import command


def describe(told: Told, report: Report) -> ModelCard:
    """Return the card of a model that was evaluated."""
    model = told.model
    name = model.folder.resolve().parent.name
    words = {"model": str(model.folder), **told.mapping.given()}
    keywords = ", ".join(f"{word}={value!r}" for word, value in words.items())
    return ModelCard(
        report=report,
        name=name,
        what_it_maps=_purpose(model),
        inputs=_inputs(model),
        training={"Trained on": Path(model.provenance["source"]).name, **training_facts(model)},
        calibration=reliability_facts(told.tally),
        domain=_domain(model),
        limits=[finding.text for finding in told.findings if finding.level != "note"],
        commands=[command("predict", ("SCENE.tif", "MAP.tif", "--model", model.folder), told.mapping)],
        python=f'import sat2map\n\nsat2map.predict("SCENE.tif", "MAP.tif", {keywords})',
    )


def _purpose(model: MapModel) -> str:
    painted, count = isinstance(model.output, Picture), len(model.output.legend)
    maps = "map pictures" if painted else f"maps of {count} classes"
    return f"It turns images of {len(model.inputs.bands)} bands into {maps}, with {model.architecture.title}."


def _inputs(model: MapModel) -> Mapping[str, str]:
    inputs = model.inputs
    return {
        "Bands": ", ".join(inputs.bands),
        "Type": inputs.dtype,
        "Pixels on the ground": "not known" if inputs.ground is None else f"{inputs.ground:.3g} m",
        "Windows": f"{model.tiling.size} x {model.tiling.size} pixels, blended over {model.tiling.overlap}",
    }


def _domain(model: MapModel) -> Mapping[str, str]:
    """Return what its training pixels were like; empty for models that do not know."""
    if model.domain is None:
        return {}
    middle = len(model.domain.quantiles[0]) // 2
    return {
        "Coordinates": ", ".join(model.domain.crs),
        **{
            f"Values of {band}": f"{levels[0]:g} to {levels[-1]:g}, half below {levels[middle]:g}"
            for band, levels in zip(model.inputs.bands, model.domain.quantiles, strict=True)
        },
    }
