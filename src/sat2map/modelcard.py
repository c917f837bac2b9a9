"""A `MODEL_CARD.md`: what a model is for, how good it is and where it ends, from the facts of its report.

The parts are those of Mitchell et al. 2019, Model Cards for Model Reporting; what is between the lines of dashes at the
top is YAML as model hubs read it. Everything a user wrote is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sat2map.metrics import ClassScores
from sat2map.reports import Report, words
from sat2map.reports.pages import environment, write_text


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a card tells.

    Args:
        report: How good the model is, and on which ground.
        name: What the model is called.
        what_it_maps: What it turns into what, in a sentence or more.
        inputs: What it has to be shown: bands, resolution, type of the pixels, window.
        training: How it was trained, and on what.
        calibration: How far its probabilities can be believed.
        domain: What its training ground was like: outside of it, nothing is known of the model.
        limits: What has to be known before it is used, in sentences.
        commands: Command lines that use it.
        python: The same in Python.
        licence: Identifier of its licence as in the SPDX list; None if it has none yet.
    """

    report: Report
    name: str
    what_it_maps: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    training: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, str] = field(default_factory=dict)
    domain: Mapping[str, str] = field(default_factory=dict)
    limits: Sequence[str] = ()
    commands: Sequence[str] = ()
    python: str = ""
    licence: str | None = None


def write_model_card(path: Path, card: ModelCard) -> Path:
    """Write the card.

    Args:
        path: The Markdown file, or the folder that gets a `MODEL_CARD.md`.
        card: What it tells.

    Returns:
        The path of the card.

    Raises:
        OutputError: It cannot be written there.
    """
    made = environment(autoescape=False)
    made.filters.update(inline=inline, fenced=fenced, yaml=_yaml)
    text = made.get_template("model_card.md").render(_content(card))
    page = path if path.suffix.lower() == ".md" else path / "MODEL_CARD.md"
    return write_text(page, re.sub(r"\n{3,}", "\n\n", text).strip() + "\n", "model card")


def inline(text: object) -> str:
    """Return a text so that Markdown and HTML show just it, in one line, also within a table."""
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)
    return re.sub(r"^(\d*)([-+=#]|[.)](?= |$))", r"\1\\\2", line)  # else it would begin a heading or a list


def fenced(lines: Iterable[str], language: str) -> str:
    """Return lines as a block of code, whatever backticks are in them."""
    code = "\n".join(lines)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"


def _yaml(text: object) -> str:
    """Return a value as YAML: strings of JSON without signs that cannot be printed are strings of YAML."""
    if not isinstance(text, str):
        return json.dumps(text)
    return json.dumps("".join(c if c.isprintable() else " " for c in text), ensure_ascii=False)


def _content(card: ModelCard) -> dict[str, Any]:
    scores = card.report.scores
    return {
        "card": card,
        "report": card.report,
        "painted": bool(card.report.metrics),
        "verdict": words.whole_verdict(card.report),
        "means": _means(card.report),
        "results": _results(card.report),
        "columns": words.known_columns(scores),
        "classes": [(c, _cells(c, card.report)) for c in scores.classes] if scores else [],
        "objects": [(c, _objects(c, card.report)) for c in scores.classes if c.object_f1 is not None] if scores else [],
        "shares": words.shares(card.report),
    }


def _means(report: Report) -> dict[str, str]:
    """Return the scores of all the ground that there are, with their intervals."""
    known = {m.name: words.figure(m) for m in report.metrics if m.value is not None}
    ends = {name: words.decimal_range(report.intervals.get(name), name) for name in known}
    for key, name in words.MEANS.items() if report.scores else ():
        if (value := getattr(report.scores, key)) is not None:
            known[name] = words.decimal(value)
            ends[name] = words.decimal_range(report.intervals.get(key))
    return {name: _with_interval(value, ends[name]) for name, value in known.items()}


def _results(report: Report) -> dict[str, tuple[str, float]]:
    """Return names and values of the scores for hubs, by their identifiers."""
    results = {m.name.lower(): (m.name, m.value) for m in report.metrics if m.value is not None and m.reliable}
    for key, name in words.MEANS.items() if report.scores else ():
        if (value := getattr(report.scores, key)) is not None:
            results[key] = (name, value)
    return {key: (name, round(value, 6)) for key, (name, value) in results.items()}


def _cells(scores: ClassScores, report: Report) -> list[str]:
    return [_cell(scores, key, report) for key in words.known_columns(report.scores)]


def _objects(scores: ClassScores, report: Report) -> list[str]:
    return [_cell(scores, key, report) for key in words.OBJECTS]


def _cell(scores: ClassScores, key: str, report: Report) -> str:
    interval = words.decimal_range(report.intervals.get(f"{key}/{scores.name}"))
    return _with_interval(words.decimal(getattr(scores, key)), interval)


def _with_interval(value: str, interval: str) -> str:
    return f"{value} ({interval})" if interval else value
