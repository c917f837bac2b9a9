"""What the pixels of a map mean: classes of a legend, scores from 0 to 1, or colours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from odc.geo.crs import CRS

from sat2map.errors import OutputError
from sat2map.legend import IGNORED, Legend
from sat2map.sinks.names import describe, describe_place, legend_tag
from sat2map.sinks.overviews import pyramid
from sat2map.sinks.raw import RawFile
from sat2map.sinks.style import qgis_style


class Content(ABC):
    """The meaning of a map's numbers, which are uint8.

    Attributes:
        nothing: What stands in all bands where there is no data.
        counted: The band whose numbers are counted.
        interpretation: What the bands are, in GDAL's names of colour interpretations; the files have a nodata value
            unless one is "Alpha".
    """

    nothing: ClassVar[int] = IGNORED
    counted: ClassVar[int] = 0
    interpretation: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def bands(self) -> tuple[str, ...]:
        """What to call each band; empty if the map has one that needs no name."""

    @property
    def tags(self) -> dict[str, str]:
        """What to note in the file."""
        return {}

    @property
    def colours(self) -> dict[int, tuple[int, int, int, int]]:
        """Red, green, blue and opacity of the numbers; none if they are measured, not counted."""
        return {}

    @property
    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What distinguishes this content from another, as JSON can hold it."""

    @abstractmethod
    def encode(self, block: np.ndarray) -> np.ndarray:
        """Return the numbers `(bands, h, w)` uint8 of a block as it is given to the sink."""

    def overviews(self, raw: RawFile, folder: Path, smallest: int) -> Iterator[RawFile]:
        """Write overviews until one is not larger than `smallest`; none if they shall be averages."""
        return iter(())

    def counts(self, numbers: np.ndarray) -> np.ndarray:
        """Return how many pixels there are of each sort, from how many hold each number `(256,)`; nodata comes last."""
        return np.zeros(0, np.int64)

    @abstractmethod
    def beside(self, path: Path, counts: np.ndarray, crs: CRS | None = None) -> None:
        """Write what explains the map at `path` beside it; the CRS too, if the file itself cannot hold it."""


@dataclass(frozen=True)
class ClassMap(Content):
    """Class ids in, the numbers of a legend in the file.

    Raises:
        OutputError: A class has a number that a map cannot hold.
    """

    legend: Legend

    interpretation = ("Palette",)

    def __post_init__(self) -> None:
        for c in self.legend.classes:
            if not 0 <= c.value < IGNORED:
                raise OutputError(
                    f"The class {c.name} has the number {c.value}, but a map holds 0 to {IGNORED - 1} "
                    f"({IGNORED} is nodata). Give it another value in the legend file."
                )

    @property
    def bands(self) -> tuple[str, ...]:
        """One band without a name."""
        return ("",)

    @property
    def tags(self) -> dict[str, str]:
        """The legend."""
        return legend_tag(self.legend)

    @property
    def colours(self) -> dict[int, tuple[int, int, int, int]]:
        """The legend's colours; nodata is transparent."""
        return {c.value: (*c.colour, 255) for c in self.legend.classes} | {IGNORED: (0, 0, 0, 0)}

    @property
    def facts(self) -> dict[str, Any]:
        """The legend."""
        return {"legend": self.legend.to_json()}

    def encode(self, block: np.ndarray) -> np.ndarray:
        """Take ids `(h, w)` uint8."""
        return self.legend.values(block)[None]

    def overviews(self, raw: RawFile, folder: Path, smallest: int) -> Iterator[RawFile]:
        """Write the most frequent classes."""
        return pyramid(raw, folder, smallest)

    def counts(self, numbers: np.ndarray) -> np.ndarray:
        """Count by the legend."""
        counted: np.ndarray = numbers[[*(c.value for c in self.legend.classes), IGNORED]]
        return counted

    def beside(self, path: Path, counts: np.ndarray, crs: CRS | None = None) -> None:
        """Write names, colours and numbers of pixels for GDAL, and a style for QGIS."""
        aux = path.with_name(f"{path.name}.aux.xml")
        aux.write_text(describe(self.legend, counts, crs), encoding="utf-8")
        path.with_suffix(".qml").write_text(qgis_style(self.legend), encoding="utf-8")


@dataclass(frozen=True)
class Scores(Content):
    """Scores from 0 to 1 as numbers from 0 to 254, a band for each name."""

    names: tuple[str, ...]

    @property
    def bands(self) -> tuple[str, ...]:
        """The names."""
        return self.names

    @property
    def facts(self) -> dict[str, Any]:
        """The names."""
        return {"bands": list(self.names)}

    def encode(self, block: np.ndarray) -> np.ndarray:
        """Take numbers `(bands, h, w)` uint8."""
        return block

    def beside(self, path: Path, counts: np.ndarray, crs: CRS | None = None) -> None:
        """Write nothing: the names stand in the file."""


@dataclass(frozen=True)
class Colours(Content):
    """Colours with an alpha: 255 where the picture is drawn; where it is clear, all bands are 0."""

    nothing = 0
    counted = 3
    interpretation = ("Red", "Green", "Blue", "Alpha")

    @property
    def bands(self) -> tuple[str, ...]:
        """Red, green, blue, alpha."""
        return tuple(name.lower() for name in self.interpretation)

    @property
    def facts(self) -> dict[str, Any]:
        """The bands."""
        return {"bands": list(self.bands)}

    def encode(self, block: np.ndarray) -> np.ndarray:
        """Take colours `(4, h, w)` uint8."""
        return block

    def counts(self, numbers: np.ndarray) -> np.ndarray:
        """Count what is drawn and what is clear, `(2,)`."""
        return np.array([numbers[1:].sum(), numbers[0]])

    def beside(self, path: Path, counts: np.ndarray, crs: CRS | None = None) -> None:
        """Write the CRS for GDAL, if the file itself cannot hold it."""
        if crs is not None:
            path.with_name(f"{path.name}.aux.xml").write_text(describe_place(crs), encoding="utf-8")
