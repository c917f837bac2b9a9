"""Traced outlines as rows of a table: polygons in map coordinates with class, area and confidence."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from sat2map.legend import CERTAIN
from sat2map.polygons.reading import ClassMap
from sat2map.polygons.squaring import TOLERANCE, squared
from sat2map.polygons.tracing import Outlines, trace
from sat2map.polygons.writing import GEOMETRY
from sat2map.raster import areas_on_ellipsoid, keeps_areas, metres_of, placed

BATCH = 1 << 16
"""How many polygons are written at a time."""


@dataclass(frozen=True)
class _Traced:
    """Polygons in columns and rows, their values and mean confidences, each `(N,)`."""

    polygons: np.ndarray
    values: np.ndarray
    confidences: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Features:
    """The polygons of a class map.

    Args:
        source: The map.
        classes: The numbers of the classes to keep; all if there are none.
        squared: The numbers of the classes whose outlines become right-angled.
        min_area: The least area, in the unit of areas.
        simplify: The length of details that vanish, in map units.
        confidence: The raster of confidences.
    """

    source: ClassMap
    classes: Sequence[int] = ()
    squared: Sequence[int] = ()
    min_area: float | None = None
    simplify: float | None = None
    confidence: Path | str | None = None

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        fields = {"class": pa.string(), "value": pa.int32(), "area": pa.float64()}
        fields |= {"confidence": pa.float64()} if self.confidence is not None else {}
        return pa.schema([*fields.items(), (GEOMETRY, pa.binary())])

    def batches(self, rows: int) -> Generator[pa.RecordBatch]:
        """Yield the table in batches, reading strips of some rows; the polygons do not depend on their number.

        Raises:
            SceneError: The map cannot be read.
        """
        traced = (part for outlines in trace(self._strips(rows), self.source.outside) for part in _parts(outlines))
        for part in traced if self.simplify is None else _gathered(traced):
            yield from self._table(part).to_batches(BATCH)

    def _strips(self, rows: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        for pixels, confidences in self.source.strips(rows, "Tracing polygons", self.confidence):
            if self.classes:
                pixels[~np.isin(pixels, self.classes)] = self.source.outside
            yield pixels, confidences

    def _table(self, traced: _Traced) -> pa.Table:
        polygons = self._shaped(traced)
        areas = self._areas(polygons)
        kept = ~(areas < (self.min_area or 0))  # where the CRS does not reach, areas are NaN
        columns = {
            "class": self.source.named(traced.values[kept]),
            "value": traced.values[kept],
            "area": areas[kept],
            "confidence": traced.confidences[kept],
            GEOMETRY: shapely.to_wkb(polygons[kept]),
        }
        return pa.table({name: columns[name] for name in self.schema.names}, self.schema)

    def _shaped(self, traced: _Traced) -> np.ndarray:
        """Return the polygons in map coordinates, smoothed and squared."""
        polygons = placed(traced.polygons, self.source.affine)
        made = polygons
        if self.simplify is not None:
            made = shapely.coverage_simplify(placed(_noded(traced.polygons), self.source.affine), self.simplify)
        square = np.isin(traced.values, self.squared)
        if square.any():
            made[square] = self._squared(polygons[square])
        return made

    def _squared(self, polygons: np.ndarray) -> np.ndarray:
        """Return polygons with right angles on the ground: degrees of longitude shrink with the cosine of latitude."""
        crs, pixel = self.source.crs, abs(self.source.affine.determinant)
        if crs is None or not crs.is_geographic:
            return squared(polygons, TOLERANCE * pixel**0.5)
        width = np.cos(np.radians(shapely.get_y(shapely.centroid(polygons))))
        made = squared(_widened(polygons, width), TOLERANCE * (pixel * width) ** 0.5)
        return _widened(made, 1 / width)

    def _areas(self, polygons: np.ndarray) -> np.ndarray:
        """Return square metres, or pixels without a CRS."""
        source, planar = self.source, shapely.area(polygons)
        if source.crs is None:
            return planar / abs(source.affine.determinant)
        if keeps_areas(source.affine, source.crs, source.shape):
            return planar * metres_of(source.crs) ** 2
        return areas_on_ellipsoid(polygons, source.crs)


def _parts(outlines: Outlines) -> Iterator[_Traced]:
    """Yield polygons by batches."""
    means = outlines.weights / (CERTAIN * outlines.pixels)
    for start in range(0, len(outlines.values), BATCH):
        part = slice(start, start + BATCH)
        yield _Traced(outlines.shapes(part), outlines.values[part], means[part])


def _gathered(parts: Iterable[_Traced]) -> Iterator[_Traced]:
    """Yield all parts as one, if there is any."""
    every = list(parts)
    if every:
        fields = zip(*((p.polygons, p.values, p.confidences) for p in every), strict=True)
        yield _Traced(*(np.concatenate(field) for field in fields))


def _noded(polygons: np.ndarray) -> np.ndarray:
    """Give polygons of whole pixels a vertex at each corner of a pixel, so that neighbours share all of theirs."""
    noded: np.ndarray = shapely.transform(shapely.segmentize(polygons, 1.0), np.rint)
    return noded


def _widened(polygons: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return polygons with their x multiplied by a factor each."""
    points = shapely.get_coordinates(polygons)
    points[:, 0] *= np.repeat(factors, shapely.get_num_coordinates(polygons))
    widened: np.ndarray = shapely.set_coordinates(polygons.copy(), points)
    return widened
