"""Several models on the same places: their scores side by side, and how sure their differences are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from sat2map.bootstrap import Figures, differences, intervals, less
from sat2map.errors import ModelError
from sat2map.evaluation.tallies import Tally
from sat2map.reports import Rival

Value = TypeVar("Value")

SHOWN = {
    "accuracy": "Accuracy",
    "mean_iou": "Mean IoU",
    "mean_f1": "Mean F1",
    "mean_boundary_f1": "Mean boundary F1",
    "mean_boundary_iou": "Mean boundary IoU",
    "L1": "L1",
    "PSNR": "PSNR",
}
"""What figures that are compared are called; the IoU of each class comes after them."""


def compare(tallies: Mapping[str, Tally]) -> list[Rival]:
    """Compare models by their tallies: all with the first one.

    Each draw of places is the same for all models, so that what is easy or hard ground for both does not blur their
    difference (paired bootstrap).

    Raises:
        ModelError: They were not scored on the same places.
    """
    first, *_ = names = list(tallies)
    for name in names:
        _check_places(first, tallies[first], name, tallies[name])
    return [_rival(name, tallies[name], tallies[first], first=name == first) for name in names]


def _check_places(first: str, own: Tally, name: str, other: Tally) -> None:
    if own.spots != other.spots:
        raise ModelError(
            f"{first} and {name} were not scored on the same ground: their runs were divided differently. "
            "Train both with the same --seed and --split, or compare them on all ground with --split all."
        )


def _rival(name: str, tally: Tally, to: Tally, *, first: bool) -> Rival:
    names = _names(tally.figures)
    spans = {} if first else differences(tally.draws, to.draws)
    gains = {key: less(tally.figures[key], to.figures[key]) for key in spans}
    return Rival(
        name,
        _called(names, tally.figures),
        _called(names, intervals(tally.draws)),
        _called(names, {key: (gain, *spans[key]) for key, gain in gains.items() if gain is not None}),
    )


def _called(names: Mapping[str, str], values: Mapping[str, Value]) -> dict[str, Value]:
    """Return values by what they are called."""
    return {what: values[key] for key, what in names.items() if key in values}


def _names(figures: Figures) -> dict[str, str]:
    """Return what the figures that are compared are called, by their names."""
    classes = {key: f"IoU of {key.removeprefix('iou/')}" for key in figures if key.startswith("iou/")}
    return {key: what for key, what in SHOWN.items() if figures.get(key) is not None} | classes


def unique(names: Sequence[str]) -> list[str]:
    """Return names that differ: those that come more than once get their place in the list as a number."""
    numbered = list(names)
    while len(set(numbered)) < len(numbered):
        numbered = [n if numbered.count(n) == 1 else f"{n}-{i}" for i, n in enumerate(numbered, 1)]
    return numbered
