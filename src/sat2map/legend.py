"""Which classes a map has: ids, names, colours, and masks to ids and back.

In memory a class map always holds ids 0 .. K-1 in the legend's order and `IGNORED` for pixels without a label. What
stood in the user's masks (colours, or numbers such as 10, 20, 30) is known here only.
"""

from __future__ import annotations

import colorsys
import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sat2map.errors import BadOption, SourceError

IGNORED = 255
"""The id of pixels that have no label, or no data: never a class."""

CERTAIN = 254
"""What stands for a probability of 1 in rasters of probabilities, in which `IGNORED` is no data."""

Colour = tuple[int, int, int]

UNSURE = "unsure"
"""Name of the class of pixels that a map leaves open."""

UNSURE_COLOUR: Colour = (186, 186, 186)


@dataclass(frozen=True)
class MapClass:
    """One class: its name, its colour, and the number that stands for it in masks and maps."""

    name: str
    colour: Colour
    value: int

    @property
    def hex(self) -> str:
        """The colour as `#RRGGBB`."""
        return "#{:02X}{:02X}{:02X}".format(*self.colour)


@dataclass(frozen=True)
class Legend:
    """The classes of a map in the order of their ids, and those that are known but not learnt.

    Args:
        classes: The classes; a class's id is its place here.
        ignored: Classes of the masks that count as unlabelled.
    """

    classes: tuple[MapClass, ...]
    ignored: tuple[MapClass, ...] = ()

    def __post_init__(self) -> None:
        for what in ("name", "value"):
            seen = [getattr(c, what) for c in self.classes]
            twice = sorted({str(v) for v in seen if seen.count(v) > 1})
            if twice:
                raise SourceError(f"The legend gives the {what} {', '.join(twice)} to more than one class.")
        if len(self.classes) > IGNORED:
            raise SourceError(f"The legend has {len(self.classes)} classes; at most {IGNORED} are possible.")

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in the order of their ids."""
        return tuple(c.name for c in self.classes)

    def without(self, names: Iterable[str]) -> Legend:
        """Return the legend with the classes of these names (whatever their case) ignored."""
        unwanted = {name.casefold() for name in names}
        every = self.classes + self.ignored
        return Legend(
            tuple(c for c in every if c.name.casefold() not in unwanted),
            tuple(c for c in every if c.name.casefold() in unwanted),
        )

    def with_unsure(self) -> Legend:
        """Return the legend with one more class, `unsure`, whose number is the largest that is free.

        Raises:
            BadOption: There is a class of that name already, or no number is left.
        """
        taken = {c.value for c in self.classes}
        free = [value for value in range(IGNORED) if value not in taken]
        if not free or UNSURE.casefold() in {name.casefold() for name in self.names}:
            why = "has such a class already" if free else "has no number left for it"
            raise BadOption(f"--abstain maps pixels as {UNSURE!r}, but the legend {why}. Leave it out.")
        return Legend((*self.classes, MapClass(UNSURE, UNSURE_COLOUR, free[-1])), self.ignored)

    def for_maps(self) -> Legend:
        """Return the legend with numbers that a map can hold: those of the masks, or ids where these do not fit.

        Masks of 0 and 255 are common, but `IGNORED` marks the pixels of a map that have no class.
        """
        if all(0 <= c.value < IGNORED for c in self.classes):
            return self
        return Legend(tuple(replace(c, value=i) for i, c in enumerate(self.classes)), self.ignored)

    @cached_property
    def _colour_table(self) -> np.ndarray:
        table = np.full(1 << 24, IGNORED, np.uint8)
        for i, c in enumerate(self.classes):
            table[pack_colour(c.colour)] = i
        return table

    def ids_from_colours(self, rgb: np.ndarray) -> np.ndarray:
        """Turn a mask of colours `(3, H, W)` uint8 into ids `(H, W)` uint8; other colours become `IGNORED`."""
        return self._colour_table[pack_colours(rgb)]

    def ids_from_values(self, values: np.ndarray) -> np.ndarray:
        """Turn a mask of numbers `(H, W)` into ids `(H, W)` uint8; other numbers become `IGNORED`."""
        ids = np.full(values.shape, IGNORED, np.uint8)
        for i, c in enumerate(self.classes):
            ids[values == c.value] = i
        return ids

    @cached_property
    def _values(self) -> np.ndarray:
        table = np.full(256, IGNORED, np.uint8)
        table[: len(self)] = [c.value for c in self.classes]
        return table

    def values(self, ids: np.ndarray) -> np.ndarray:
        """Turn ids into the numbers written to a map; `IGNORED` stays (it is the map's nodata)."""
        return self._values[ids]

    def colourise(self, ids: np.ndarray) -> np.ndarray:
        """Turn ids `(H, W)` into a picture `(H, W, 3)` uint8; ignored pixels are black."""
        table = np.zeros((256, 3), np.uint8)
        table[: len(self)] = [c.colour for c in self.classes]
        return table[ids]

    def to_json(self) -> dict[str, Any]:
        """Return the legend as the dict that `from_json` and `read_legend` take."""
        return {
            part: [{"name": c.name, "colour": c.hex, "value": c.value} for c in classes]
            for part, classes in (("classes", self.classes), ("ignored", self.ignored))
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Legend:
        """Make a legend from the dict of `to_json`."""
        parts = (
            tuple(MapClass(str(c["name"]), parse_colour(c["colour"]), int(c["value"])) for c in data.get(part, ()))
            for part in ("classes", "ignored")
        )
        return cls(*parts)


NO_LEGEND = Legend(())
"""Of map pictures whose colours mean nothing that is known."""


def pack_colour(colour: Colour) -> int:
    """Return a colour as one number, red in the highest byte."""
    return (colour[0] << 16) | (colour[1] << 8) | colour[2]


def unpack_colour(number: int) -> Colour:
    """Return the colour of one number, red in the highest byte."""
    return number >> 16 & 255, number >> 8 & 255, number & 255


def pack_colours(rgb: np.ndarray) -> np.ndarray:
    """Return the colours of `(3, H, W)` uint8 as numbers `(H, W)` uint32."""
    wide = rgb.astype(np.uint32)
    packed: np.ndarray = (wide[0] << 16) | (wide[1] << 8) | wide[2]
    return packed


def palette(count: int) -> tuple[Colour, ...]:
    """Return `count` colours that differ well: hues by the golden ratio, two brightnesses in turn."""
    colours = []
    for i in range(count):
        rgb = colorsys.hsv_to_rgb((0.08 + i * 0.61803398875) % 1, 0.65, 0.9 if i % 2 == 0 else 0.65)
        colours.append(tuple(round(255 * v) for v in rgb))
    return tuple(colours)  # type: ignore[arg-type]


def legend_of(names: Iterable[str], values: Iterable[int] | None = None) -> Legend:
    """Make a legend from names alone: colours are chosen, values count from 0 unless given."""
    listed = list(names)
    numbers = list(values) if values is not None else range(len(listed))
    return Legend(tuple(MapClass(n, c, v) for n, c, v in zip(listed, palette(len(listed)), numbers, strict=True)))


def parse_colour(colour: Any) -> Colour:
    """Read a colour: `#RRGGBB`, `rrggbb`, `[r, g, b]` or `r,g,b`.

    Raises:
        SourceError: It is none of these.
    """
    if isinstance(colour, str):
        text = colour.strip().removeprefix("#")
        colour = text.replace(",", " ").split() if "," in text or " " in text else [text[i : i + 2] for i in (0, 2, 4)]
        base = 10 if "," in text or " " in text else 16
    else:
        base = 10
    try:
        red, green, blue = (int(str(v), base) for v in colour)
    except (TypeError, ValueError):
        raise SourceError(f"{colour!r} is no colour. Write it as #RRGGBB, or as three numbers from 0 to 255.") from None
    if not all(0 <= v <= 255 for v in (red, green, blue)):
        raise SourceError(f"The colour {colour!r} is outside 0 to 255.")
    return red, green, blue


def read_legend(path: Path | str) -> Legend:
    """Read a legend file.

    JSON: a list of classes (or an object with `classes`), each with `name` (or `title`), and `color`/`colour`/`rgb` and
    `value`/`id` as far as known; or an object `{name: colour}` or `{id: name}`. CSV: columns `name`, `r`, `g`, `b`
    (optionally `value`), or `Pixel Value` and `Class` as of Roboflow. Text: lines `name:r,g,b` as in the `labelmap.txt`
    of CVAT.

    Raises:
        SourceError: The file cannot be read as one of these.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as lines:
                entries = [{k.strip().lower(): v for k, v in row.items()} for row in csv.DictReader(lines)]
        elif path.suffix.lower() == ".txt":
            entries = _labelmap_entries(path.read_text("utf-8-sig"))
        else:
            entries = _json_entries(json.loads(path.read_text("utf-8-sig")))
        return _legend_of_entries(entries)
    except OSError as error:
        raise SourceError(f"The legend {path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SourceError(
            f"{path} is not a legend: {str(error).rstrip('.')}. A legend is JSON such as "
            '{"classes": [{"name": "Water", "color": "#0000FF"}]}, CSV with the columns name, r, g, b, or text of '
            "lines name:r,g,b."
        ) from None


def _json_entries(data: Any) -> list[dict[str, Any]]:
    if isinstance(data, Mapping) and isinstance(data.get("classes"), list):
        if "ignored" in data:  # our own form
            return [*data["classes"], *data["ignored"]]
        data = data["classes"]
    if isinstance(data, Mapping):
        if all(str(k).lstrip("-").isdigit() for k in data):
            return [{"name": name, "value": int(k)} for k, name in data.items()]
        return [{"name": name, "color": colour} for name, colour in data.items()]
    return [{str(k).lower(): v for k, v in entry.items()} for entry in data]


def _labelmap_entries(text: str) -> list[dict[str, Any]]:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [dict(zip(("name", "color"), line.split(":"), strict=False)) for line in lines]


def _legend_of_entries(entries: list[dict[str, Any]]) -> Legend:
    if not entries:
        raise ValueError("it lists no classes")
    classes = []
    for i, (entry, default) in enumerate(zip(entries, palette(len(entries)), strict=True)):
        name = _first(entry, "name", "title", "class", "label", "class_name")
        colour = _first(entry, "color", "colour", "rgb", "hex")
        if colour is None and _first(entry, "r", "red") is not None:
            colour = [_first(entry, short, long) for short, long in (("r", "red"), ("g", "green"), ("b", "blue"))]
        value = _first(entry, "value", "id", "index", "pixel value")
        if name is None:
            raise ValueError(f"entry {i + 1} has no name")
        classes.append(
            MapClass(
                str(name).strip(),
                default if colour is None else parse_colour(colour),
                i if value is None else int(value),
            )
        )
    return Legend(tuple(classes))


def _first(entry: Mapping[str, Any], *keys: str) -> Any:
    return next((entry[k] for k in keys if entry.get(k) not in (None, "")), None)


def _known(**colours: str) -> Legend:
    entries = [{"name": name.replace("_", " "), "color": colour} for name, colour in colours.items()]
    return _legend_of_entries(entries)


KNOWN_LEGENDS: dict[str, Legend] = {
    "Humans in the Loop, aerial imagery of Dubai": _known(
        Building="#3C1098", Land="#8429F6", Road="#6EC1E4", Vegetation="#FEDD3A", Water="#E2A929", Unlabeled="#9B9B9B"
    ),
    "ISPRS Potsdam and Vaihingen": _known(
        Impervious_surfaces="#FFFFFF",
        Building="#0000FF",
        Low_vegetation="#00FFFF",
        Tree="#00FF00",
        Car="#FFFF00",
        Clutter="#FF0000",
    ),
    "DeepGlobe land cover": _known(
        Urban="#00FFFF",
        Agriculture="#FFFF00",
        Rangeland="#FF00FF",
        Forest="#00FF00",
        Water="#0000FF",
        Barren="#FFFFFF",
        Unlabeled="#000000",
    ),
}
"""Legends of public data sets whose masks are often passed on without one; recognised by their colours."""
