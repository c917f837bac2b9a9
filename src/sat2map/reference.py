"""A reference sample: drawn by the classes of a map, labelled by people, and turned into areas with their errors.

The verbs `sample` and `area`. Reference points are classes on the ground; the map's class at each point is its stratum.
Without points, the test ground of a report may tell how wrong the map is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import geopandas as gpd
import numpy as np
import pyogrio
from affine import Affine

from sat2map.areas import FEWEST, PLACES, SQUARE_METRES, Areas, estimate_areas, estimate_areas_from_places
from sat2map.errors import BadOption, SourceError
from sat2map.files import whole_file
from sat2map.labels import read_shapes
from sat2map.polygons.reading import ClassMap, open_class_map
from sat2map.raster import pixel_areas
from sat2map.sinks import check_destination

ROWS = 1024
"""Rows of a map that are read at a time."""

POINT_FILES = (".gpkg", ".geojson", ".fgb")
"""What reference points are written to."""


NOWHERE = np.empty(0, np.int64)
"""Rows, or columns, of no pixel."""


@dataclass(frozen=True)
class AreaReport:
    """What `area` found.

    Args:
        areas: Areas and accuracies with their errors.
        unit: Of the areas: `ha`, or `pixels` of a map without a CRS.
        used: Reference points that were used, or places of test ground.
        outside: Points that lie off the map or where it has no data.
        unlabelled: Points whose class is empty.
        source: Where the errors of the map are known from: reference points on it, or the test ground of a report.
    """

    areas: Areas
    unit: str
    used: int
    outside: int = 0
    unlabelled: int = 0
    source: Literal["reference", "report"] = "reference"

    @property
    def basis(self) -> str:
        """What the areas rest on, in a sentence."""
        if self.source == "reference":
            return f"From {self.used:,} reference points, taken to be drawn at random within each class of the map."
        return (
            f"As wrong on this map as on the test ground, of which there are {self.used:,} places: true only as far as "
            "that ground is like the map's. Reference points on the map (sat2map sample) do not need that."
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "basis": self.basis}


def area(
    map: Path | str,
    *,
    reference: Path | str | None = None,
    report: Path | str | None = None,
    column: str | None = None,
) -> AreaReport:
    """Estimate the area of each class of a map, with its error, from reference points or from test ground.

    Reference points have to be drawn at random within each class of the map, as `sample` does. Test ground tells how
    wrong the map is if it was made by the model that was evaluated, and its ground is like that of the test.

    Args:
        map: A class map.
        reference: Points with a column that names the class on the ground; other classes than the map's are taken too.
        report: The folder to which `evaluate` wrote the scores of the map's model.
        column: That column; found by its name if not given.

    Raises:
        UserError: The files cannot be read; the points do not lie on the map, or are too few; the test ground is too
            small, or lacks a class of the map.
    """
    if reference is not None and report is None:
        return _area_by_points(open_on_earth(map), reference, column)
    if reference is not None or report is None:
        raise BadOption(
            f"{'Neither' if report is None else 'Both'} --reference {'nor' if report is None else 'and'} --report "
            "came. Name one: labelled points on the map, or the report of its model on test ground."
        )
    if column is not None:
        raise BadOption(f"--column {column} is a column of reference points, but a report came. Leave it out.")
    return _area_by_places(open_on_earth(map), Path(report))


def open_on_earth(map: Path | str) -> ClassMap:
    """Open a class map to be measured: a CRS that is not tied to the earth, as of a building site, counts as none.

    Raises:
        SceneError: The file cannot be read, or is no class map.
    """
    opened = open_class_map(map)
    local = opened.crs is not None and opened.crs.geodetic_crs is None
    return replace(opened, crs=None) if local else opened


def _area_by_points(opened: ClassMap, reference: Path | str, column: str | None) -> AreaReport:
    points, labels = _read_points(reference, column)
    rows, cols = _pixels_of(opened, points)
    measured = _measure(opened, rows, cols)
    lie = measured.values != opened.outside
    labelled = np.array([bool(label) for label in labels])
    used = lie & labelled
    if not used.any():
        raise SourceError(f"None of the {len(labels)} points of {reference} lies on the map with a class. Same CRS?")
    strata = opened.named(measured.values[used])
    truth = [label for label, use in zip(labels, used, strict=True) if use]
    classes = _Classes([*measured.areas, *sorted(truth)])
    if len(classes.names) < 2:
        raise SourceError(f"Map and points hold one class alone, {classes.names[0]}: nothing can be taken for another.")
    areas = estimate_areas(classes.counts(strata, truth), classes.sizes(measured.areas), classes.names)
    return AreaReport(areas, measured.unit, int(used.sum()), int((labelled & ~lie).sum()), int((~labelled).sum()))


def _area_by_places(opened: ClassMap, report: Path) -> AreaReport:
    counts, names = _read_places(report)
    measured = _measure(opened, NOWHERE, NOWHERE)
    classes = _Classes(names)
    strange = [name for name in measured.areas if name not in classes]
    if strange:
        raise SourceError(
            f"The map holds {', '.join(strange)}, but the model of {report} maps {', '.join(names)}. "
            "Name the report of the model that made the map."
        )
    if len(names) < 2:
        raise SourceError(f"The model of {report} maps one class alone, {names[0]}: nothing can be taken for another.")
    areas = estimate_areas_from_places(counts, classes.sizes(measured.areas), names, pixels=measured.pixels)
    return AreaReport(areas, measured.unit, int(counts.any(axis=(1, 2)).sum()), source="report")


def _read_places(report: Path) -> tuple[np.ndarray, list[str]]:
    """Return the confusion matrices of a report's places `(P, K, K)`, and the names of its classes.

    Raises:
        SourceError: The report holds none.
    """
    path = (report.parent if report.suffix == ".html" else report) / PLACES
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            counts, names = file["counts"], file["classes"].tolist()
    except FileNotFoundError:
        raise SourceError(
            f"There is no {path}. Name the report of a model of classes; if an older version wrote it, evaluate the "
            "model again."
        ) from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise SourceError(f"{path} cannot be read: {error}. Evaluate the model again.") from None
    if counts.shape[1:] != (len(names), len(names)):
        raise SourceError(f"{path} holds counts {counts.shape} of {len(names)} classes. Evaluate the model again.")
    return counts, names


class _Classes:
    """Names in the order in which they come first, whatever their case."""

    def __init__(self, names: Sequence[str]) -> None:
        first = {name.casefold(): name for name in reversed(names)}
        self.names = list(dict.fromkeys(first[name.casefold()] for name in names))
        self._index = {name.casefold(): i for i, name in enumerate(self.names)}

    def __contains__(self, name: str) -> bool:
        return name.casefold() in self._index

    def index(self, name: str) -> int:
        """Return the place of a name."""
        return self._index[name.casefold()]

    def counts(self, rows: Sequence[str], cols: Sequence[str]) -> np.ndarray:
        """Count pairs of names `(K, K)`."""
        counts = np.zeros((len(self.names), len(self.names)), np.int64)
        np.add.at(counts, ([self.index(n) for n in rows], [self.index(n) for n in cols]), 1)
        return counts

    def sizes(self, areas: Mapping[str, float]) -> list[float]:
        """Return the area of each name, with those that differ by case together."""
        sizes = [0.0] * len(self.names)
        for name, size in areas.items():
            sizes[self.index(name)] += size
        return sizes


@dataclass(frozen=True)
class _Measured:
    """What a map holds.

    Args:
        areas: The area of each class by its name.
        unit: Of the areas.
        pixels: How many pixels have a class.
        values: The map's numbers at the pixels that were asked for `(N,)`.
    """

    areas: Mapping[str, float]
    unit: str
    pixels: int
    values: np.ndarray


def _read_points(path: Path | str, column: str | None) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Return points and the class of each, which may be empty."""
    shapes = read_shapes(path, column)
    if shapes.column is None:
        raise SourceError(f"{path} has no column that looks like classes. Name it with --column.")
    kinds = sorted(set(shapes.frame.geom_type))
    if kinds != ["Point"]:
        raise SourceError(f"{path} holds {' and '.join(kinds)}, but reference points are needed.")
    return shapes.frame, shapes.frame[shapes.column].tolist()


def _pixels_of(opened: ClassMap, points: gpd.GeoDataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of each point `(N,)`; -1 where the map's projection does not reach."""
    if points.crs is not None and opened.crs is not None:
        points = points.to_crs(opened.crs)
    xy = points.get_coordinates().to_numpy()
    reached = np.isfinite(xy).all(axis=1)
    cols, rows = _moved(~opened.affine, *np.where(reached[:, None], xy, 0).T)
    row, col = (np.where(reached, np.floor(axis), -1).astype(np.int64) for axis in (rows, cols))
    return row, col


def _moved(affine: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _measure(opened: ClassMap, rows: np.ndarray, cols: np.ndarray) -> _Measured:
    """Measure a map, and look up the number at each of these pixels, in one pass."""
    sizes: dict[int, float] = {}
    pixels = 0
    values = np.full(len(rows), opened.outside, np.int64)
    of_row = row_areas(opened)
    inside = (cols >= 0) & (cols < opened.shape[1])
    for first, strip in zip(range(0, opened.shape[0], ROWS), _strips(opened), strict=True):
        here = np.flatnonzero(inside & (rows >= first) & (rows < first + len(strip)))
        values[here] = strip[rows[here] - first, cols[here]]
        for value in np.unique(strip).tolist():
            if value != opened.outside:
                in_row = (strip == value).sum(axis=1)
                sizes[value] = sizes.get(value, 0.0) + float(in_row @ of_row[first : first + len(strip)])
                pixels += int(in_row.sum())
    numbers = sorted(sizes)
    areas = dict.fromkeys(opened.named(np.array(numbers)), 0.0)
    for name, number in zip(opened.named(np.array(numbers)), numbers, strict=True):
        areas[name] += sizes[number]
    return _Measured(areas, "pixels" if opened.crs is None else "ha", pixels, values)


def _strips(opened: ClassMap) -> Iterator[np.ndarray]:
    return (pixels for pixels, _ in opened.strips(ROWS, "Reading the map"))


def row_areas(opened: ClassMap) -> np.ndarray:
    """Return how large a pixel of each row is `(rows,)`: hectares, or 1 pixel where the map has no CRS.

    Measured on the ellipsoid, in the middle of the row, where the CRS is geographic or its projection does not keep
    areas (Web Mercator); else on the map.
    """
    height = opened.shape[0]
    if opened.crs is None:
        return np.ones(height)
    return pixel_areas(opened.affine, opened.crs, opened.shape, np.arange(height)) / SQUARE_METRES


def sample(map: Path | str, count: int, points: Path | str, *, seed: int = 0, overwrite: bool = False) -> Path:
    """Draw a random sample of a map's pixels within each of its classes, to be labelled.

    Half of the points are shared evenly by the classes, so that rare ones get enough of them, half by area (between
    equal and proportional allocation, as Olofsson et al. 2014 advise). The points do not say what the map says there:
    whoever labels them should not know.

    Args:
        map: A class map.
        count: How many points.
        points: The file to write: `.gpkg`, `.geojson` or `.fgb`, with an empty column `class`.
        seed: Where the random numbers start.
        overwrite: Replace a file that is there.

    Returns:
        The file of points.

    Raises:
        UserError: The map cannot be read, holds too few pixels or classes, or the file cannot be written.
    """
    target = check_destination(points, POINT_FILES, overwrite=overwrite)
    opened = open_class_map(map)
    held: dict[int, int] = {}
    for pixels in _strips(opened):
        for value, n in zip(*np.unique(pixels[pixels != opened.outside], return_counts=True), strict=True):
            held[int(value)] = held.get(int(value), 0) + int(n)
    rng = np.random.default_rng(seed)
    ranks = {v: np.sort(rng.choice(held[v], n, replace=False)) for v, n in allocate(held, count).items()}
    rows, cols = _at_ranks(opened, ranks)
    order = rng.permutation(len(rows))  # neighbours in the list are not of one class
    x, y = _moved(opened.affine, cols[order] + 0.5, rows[order] + 0.5)
    frame = gpd.GeoDataFrame(
        {"id": range(1, len(x) + 1), "class": ""}, geometry=gpd.points_from_xy(x, y, crs=opened.crs)
    )
    with whole_file(target) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # nor has the map one
        pyogrio.write_dataframe(frame, part, layer=target.stem)
    return target


def allocate(held: Mapping[int, int], count: int) -> dict[int, int]:
    """Share `count` points by classes that hold so many pixels; each gets `FEWEST` at least, and none more than it has.

    Raises:
        BadOption: There is no class, or there are too few points or pixels.
    """
    if not held:
        raise BadOption("The map holds no class, so there is nothing to draw from.")
    if count < FEWEST * len(held):
        raise BadOption(
            f"{count} points are too few for {len(held)} classes. Draw {FEWEST * len(held)} at least; some hundreds "
            "are usual."
        )
    scarce = [str(value) for value, n in held.items() if n < FEWEST]
    if scarce:
        raise BadOption(f"The map holds less than {FEWEST} pixels of the class {', '.join(scarce)}. Map it as another.")
    total, even = sum(held.values()), count / (2 * len(held))
    wanted = {value: max(round(even + count / 2 * n / total), FEWEST) for value, n in held.items()}
    return {value: min(n, held[value]) for value, n in wanted.items()}


def _at_ranks(opened: ClassMap, ranks: Mapping[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of the pixels that are at these places among those of their number."""
    seen = dict.fromkeys(ranks, 0)
    rows, cols = [], []
    for first, pixels in zip(range(0, opened.shape[0], ROWS), _strips(opened), strict=True):
        for value, wanted in ranks.items():
            at = np.flatnonzero(pixels == value)
            here = wanted[(wanted >= seen[value]) & (wanted < seen[value] + len(at))] - seen[value]
            row, col = np.unravel_index(at[here], pixels.shape)
            rows.append(row + first)
            cols.append(col)
            seen[value] += len(at)
    return np.concatenate(rows), np.concatenate(cols)
