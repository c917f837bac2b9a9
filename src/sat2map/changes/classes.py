"""Transitions as the classes of a map: which there are, what they are called, and in which colours they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sat2map.areas import FEWEST
from sat2map.changes.found import Transition, transition_name
from sat2map.changes.ground import Counts
from sat2map.errors import SourceError
from sat2map.legend import IGNORED, Colour, Legend, MapClass, palette, parse_colour
from sat2map.sinks import read_map_legend

OTHER = "other change"
"""The class of changes that are too rare for one of their own."""

OTHER_COLOUR: Colour = (34, 34, 34)

STRONG = tuple(
    map(parse_colour, (
        "C10020", "007D34", "FFB300", "803E75", "FF6800", "00538A", "F6768E", "93AA00", "7F180D", "53377A", "FF7A5C",
        "B32851", "593315", "F13A13", "F4C800",
    ))
)  # fmt: skip
"""The vivid ones of the colours of maximum contrast (Kelly 1965, Twenty-two colors of maximum contrast)."""

PALE: Colour = (236, 236, 236)
"""What the colour of a class is mixed with where nothing changed."""

TINT = 0.3
"""How much of the class's own colour is left there."""


@dataclass(frozen=True, eq=False)
class Transitions:
    """The classes of a map of transitions.

    Args:
        listed: Each transition that occurs: what stayed, then what changed, the largest first.
        legend: The map's classes.
        colours: The colours of the K classes of both maps `(K, 3)` uint8.
        table: The id in `legend` of each class before and after `(K, K)` uint8, `IGNORED` of what does not occur.
    """

    listed: tuple[Transition, ...]
    legend: Legend
    colours: np.ndarray
    table: np.ndarray

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of the map's classes that are changes."""
        return tuple(dict.fromkeys(t.mapped_as for t in self.listed if t.changed))


def known_colours(*maps: Path | str) -> dict[str, Colour]:
    """Return the colours of the classes in maps' legends by their names in lower case, the first map's first."""
    legends = [legend for path in reversed(maps) if (legend := read_map_legend(path)) is not None]
    return {c.name.casefold(): c.colour for legend in legends for c in legend.classes}


def transitions_of(counts: Counts, known: Mapping[str, Colour], rare: float) -> Transitions:
    """Choose the classes of the map.

    Args:
        counts: What occurs.
        known: The colours of classes by their names in lower case.
        rare: The share of the compared pixels below which changes become one class.

    Raises:
        SourceError: They are more than a map can hold.
    """
    colours = {
        name: known.get(name.casefold(), other)
        for name, other in zip(counts.names, palette(len(counts.names)), strict=True)
    }
    listed = _listed(counts, rare * int(counts.pixels.sum()))
    shown = {t.mapped_as: t for t in listed}
    if len(shown) > IGNORED:
        raise SourceError(
            f"{len(shown)} transitions occur, but a map holds {IGNORED} classes. Put rare changes together with --rare "
            "0.001, or merge classes of the maps."
        )
    strong = iter((*STRONG, *palette(len(shown))))
    legend = Legend(tuple(MapClass(name, _colour(shown[name], colours, strong), i) for i, name in enumerate(shown)))
    table = np.full(counts.pixels.shape, IGNORED, np.uint8)
    for t in listed:
        table[counts.names.index(t.before), counts.names.index(t.after)] = legend.names.index(t.mapped_as)
    return Transitions(listed, legend, np.array(list(colours.values()), np.uint8), table)


def _listed(counts: Counts, fewest: float) -> tuple[Transition, ...]:
    cells = list(zip(*(axis.tolist() for axis in np.nonzero(counts.pixels)), strict=True))
    stayed = [cell for cell in cells if cell[0] == cell[1]]
    changed = sorted(set(cells).difference(stayed), key=lambda cell: (-counts.areas[cell], cell))
    scarce = _scarce({cell: int(counts.pixels[cell]) for cell in changed}, fewest)
    listed = []
    for cell in (*stayed, *changed):
        before, after = (counts.names[i] for i in cell)
        name = OTHER if cell in scarce else transition_name(before, after)
        listed.append(Transition(before, after, int(counts.pixels[cell]), float(counts.areas[cell]), name))
    return tuple(listed)


def _scarce(pixels: Mapping[tuple[int, int], int], fewest: float) -> set[tuple[int, int]]:
    """Return which changes share a class: the rare ones, if need be with the next, so that it can be sampled."""
    rising = sorted(pixels, key=lambda cell: (pixels[cell], cell))
    count = sum(pixels[cell] < max(fewest, FEWEST) for cell in rising)
    if count == 1 and len(rising) > 2:  # the largest of all keeps its own
        count = 2
    return set(rising[:count]) if count > 1 else set()


def _colour(transition: Transition, colours: Mapping[str, Colour], strong: Iterator[Colour]) -> Colour:
    if transition.mapped_as == OTHER:
        return OTHER_COLOUR
    return next(strong) if transition.changed else _pale(colours[transition.before])


def _pale(colour: Colour) -> Colour:
    red, green, blue = (round(TINT * c + (1 - TINT) * p) for c, p in zip(colour, PALE, strict=True))
    return red, green, blue
