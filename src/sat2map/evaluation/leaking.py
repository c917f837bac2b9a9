"""Whether ground that is scored was learnt from: by the split, by place and by what the images show."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import fields
from pathlib import Path

from sat2map.errors import SourceError, UserError
from sat2map.files import record
from sat2map.leaks import LOOK_ALIKE, Ground, Leak, find_leaks, leak_findings
from sat2map.mapmodel import MapModel
from sat2map.options import EvaluateOptions, ReadOptions
from sat2map.runs import RunFolder
from sat2map.sources import Finding, Source, open_source
from sat2map.splits import Area, Split, read_split

Searched = dict[Hashable, tuple[Leak, ...]]
"""What searches found, by what they compared: models with one split share a search."""


def read_as_trained(model: MapModel) -> ReadOptions:
    """Return how the imagery that a model was trained on was read."""
    told = model.provenance["options"]  # of an older version, which may lack newer words
    return record(ReadOptions, {f.name: told[f.name] for f in fields(ReadOptions) if f.name in told})


def find_seen(
    model: MapModel, source: Source, areas: Sequence[Area], reading: ReadOptions, part: str, searched: Searched
) -> tuple[tuple[Leak, ...], list[Finding]]:
    """Return where areas that are scored show ground that a model has learnt from, and a note if that cannot be known.

    Args:
        model: The model, in its run's folder.
        source: The imagery that is scored.
        areas: Which of it.
        reading: How that imagery is read.
        part: The part of the split that these areas are; `all` for what is none.
        searched: Looked up first, and added to.
    """
    run, trained_on = RunFolder(model.folder.parent), Path(model.provenance["source"])
    if part == "train" or model.provenance["split"] == "random" or not run.split.exists():
        return (), []
    same = trained_on.resolve() == Path(source.path).resolve()
    if same and (part == "all" or _known_clean(run)):
        return (), []
    trained = read_as_trained(model)
    try:
        learnt_from = source if same else open_source(trained_on, trained)
    except UserError as error:
        return (), [_not_known(error)]
    pairs = {pair.name: pair for pair in source.pairs}
    scored = [Ground(area.pair, "scored", pairs[area.pair].image, area.window) for area in areas]
    grounds = [*_grounds("learnt", learnt_from, read_split(run.split), part), *scored]
    compared = reading, trained, trained_on, tuple((g.part, g.name, g.window) for g in grounds)
    if compared not in searched:
        searched[compared] = find_leaks(grounds)
    return searched[compared], []


def _not_known(error: UserError) -> Finding:
    text = f"Whether the model has seen this ground is not known, for what it was trained on cannot be read: {error}"
    return Finding("note", "leaks-not-known", text)


def _known_clean(run: RunFolder) -> bool:
    """Return whether no leak was found when the model was trained."""
    return run.leaks.exists() and json.loads(run.leaks.read_text()) == []


def _grounds(name: str, source: Source, split: Split, scored: str) -> list[Ground]:
    """Return the ground that a model has seen in training or validation."""
    pairs = {pair.name: pair for pair in source.pairs}
    seen = (area for part in ("train", "val") if part != scored for area in split.part(part))
    return [Ground(a.pair, name, pairs[a.pair].image, a.window) for a in seen if a.pair in pairs]


def check_leaks(model: MapModel, leaks: Sequence[Leak], options: EvaluateOptions) -> list[Finding]:
    """Return what has to be said of the ground; a test that is none is refused, unless that is accepted.

    Raises:
        SourceError: The model has seen what shall be its test, and that is not accepted.
    """
    findings = [*_by_split(model, options.split), *leak_findings(leaks)]
    known = [finding for finding in findings if finding.kind != LOOK_ALIKE]
    if known and options.split == "test" and options.leaks == "refuse":
        raise SourceError(
            f"This is no test: {known[0].text} Divide the ground anew and train again, or score it all the same "
            "with --leaks accept; the report then says so."
        )
    return findings


def _by_split(model: MapModel, part: str) -> list[Finding]:
    if model.provenance["split"] == "random":
        text = "The split was random, patch by patch: the model has seen the neighbours of what it is scored on."
        return [Finding("warning", "random-split", text)]
    if part in ("train", "all"):
        text = f"Scored on the part {part!r}: where the model has learnt from this ground, the scores are too good."
        return [Finding("warning", "seen-ground", text)]
    return []
