"""The nouns of splits: an `Area` belongs to one part, a `Split` is all of them; and how they are written and read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sat2map.errors import SourceError
from sat2map.sources.base import Source, listed
from sat2map.tiling import Window, grid, whole

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Area:
    """A window of a pair that belongs to one part.

    Args:
        pair: Name of the pair.
        window: The pixels that are learnt from or scored.
        part: `train`, `val` or `test`.
        context: How many pixels around the window may be looked at without seeing ground that another part sees.
    """

    pair: str
    window: Window
    part: Part
    context: int = 0


@dataclass(frozen=True)
class Split:
    """How a source was divided, and by what (`groups`, `blocks`, `files` or `random`)."""

    how: str
    areas: tuple[Area, ...]

    def part(self, name: str) -> tuple[Area, ...]:
        """Return the areas of a part; of all parts for `all`."""
        return tuple(a for a in self.areas if name in (a.part, "all"))

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        areas = [{"pair": a.pair, "part": a.part, "window": list(a.window), "context": a.context} for a in self.areas]
        return {"how": self.how, "areas": areas}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Split:
        """Make a split from the dict of `to_json`."""
        return cls(str(data["how"]), tuple(_area_of_json(a) for a in data["areas"]))


def _area_of_json(data: Mapping[str, Any]) -> Area:
    if data["part"] not in PARTS:
        raise ValueError(f"the part {data['part']!r} is none of {', '.join(PARTS)}")
    window = Window(*(int(v) for v in data["window"]))
    return Area(str(data["pair"]), window, data["part"], int(data["context"]))


def read_split(path: Path) -> Split:
    """Read a split from a file written by `train`.

    Raises:
        SourceError: The file cannot be read, or is no split.
    """
    try:
        return Split.from_json(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise SourceError(f"{path} is not a split: {reason}. Name the split.json of a training run.") from None


def check_split(split: Split, source: Source) -> None:
    """Refuse a split that was made of other pictures.

    Raises:
        SourceError: A pair of the split is not in the source, or has become smaller.
    """
    shapes = {p.name: p.image.shape for p in source.pairs}
    missing = sorted({a.pair for a in split.areas if a.pair not in shapes})
    if missing:
        raise SourceError(
            f"The split names pictures that {source.path} does not hold: {listed(missing)}. "
            "Evaluate on the imagery the model was trained with."
        )
    outside = sorted({a.pair for a in split.areas if a.window.intersect(whole(shapes[a.pair])) != a.window})
    if outside:
        raise SourceError(
            f"The split was made on larger pictures than {source.path} holds now: {listed(outside)}. "
            "Use the same --resolution and --resize as in training."
        )


def spread_windows(areas: Iterable[Area], size: int, most: int) -> list[tuple[Area, Window]]:
    """Return up to `most` windows of one size, spread evenly over areas; they may reach over an area's edge."""
    cells = [(area, Window(cell.row, cell.col, size, size)) for area in areas for cell in grid(area.window, size)]
    return cells[:: max(-(-len(cells) // most), 1)]
