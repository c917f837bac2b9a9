"""A reference sample: drawn by the classes of a map, labelled by people, and turned into areas with their errors.

The verbs `sample` and `area`. Reference points are classes on the ground; the map's class at each point is its stratum.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
from affine import Affine

from sat2map.areas import FEWEST, Areas, estimate_areas
from sat2map.errors import BadOption, SourceError
from sat2map.files import whole_file
from sat2map.labels import read_shapes
from sat2map.polygons.reading import ClassMap, open_class_map
from sat2map.sinks import check_destination

ROWS = 1024
"""Rows of a map that are read at a time."""

DISTORTED = 0.01
"""A projection that shows areas by more than this share too large or small is not measured in."""

SQUARE_METRES = 10_000
"""Of a hectare."""

POINT_FILES = (".gpkg", ".geojson", ".fgb")
"""What reference points are written to."""


@dataclass(frozen=True)
class AreaReport:
    """What `area` found.

    Args:
        areas: Areas and accuracies with their errors.
        unit: Of the areas: `ha`, or `pixels` of a map without a CRS.
        used: Reference points that were used.
        outside: Points that lie off the map or where it has no data.
        unlabelled: Points whose class is empty.
    """

    areas: Areas
    unit: str
    used: int
    outside: int
    unlabelled: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def area(map: Path | str, *, reference: Path | str, column: str | None = None) -> AreaReport:
    """Estimate the area of each class of a map, with its error, from reference points.

    The points have to be drawn at random within each class of the map, as `sample` does.

    Args:
        map: A class map.
        reference: Points with a column that names the class on the ground; other classes than the map's are taken too.
        column: That column; found by its name if not given.

    Raises:
        UserError: The files cannot be read, the points do not lie on the map, or are too few.
    """
    opened = open_class_map(map)
    points, labels = _read_points(reference, column)
    rows, cols = _pixels_of(opened, points)
    sizes, values = _measure(opened, rows, cols)
    lie = values != opened.outside
    labelled = np.array([bool(label) for label in labels])
    used = lie & labelled
    if not used.any():
        raise SourceError(f"None of the {len(labels)} points of {reference} lies on the map with a class. Same CRS?")
    strata = opened.named(values[used])
    truth = [label for label, use in zip(labels, used, strict=True) if use]
    classes = _Classes([*opened.named(np.array(sorted(sizes))), *sorted(truth)])
    if len(classes.names) < 2:
        raise SourceError(f"Map and points hold one class alone, {classes.names[0]}: nothing can be taken for another.")
    mapped = np.zeros(len(classes.names))
    for value, size in sizes.items():
        mapped[classes.index(opened.named(np.array([value]))[0])] += size
    areas = estimate_areas(classes.counts(strata, truth), mapped.tolist(), classes.names)
    unit = "pixels" if opened.crs is None else "ha"
    return AreaReport(areas, unit, int(used.sum()), int((labelled & ~lie).sum()), int((~labelled).sum()))


class _Classes:
    """Names in the order in which they come first, whatever their case."""

    def __init__(self, names: Sequence[str]) -> None:
        first = {name.casefold(): name for name in reversed(names)}
        self.names = list(dict.fromkeys(first[name.casefold()] for name in names))
        self._index = {name.casefold(): i for i, name in enumerate(self.names)}

    def index(self, name: str) -> int:
        """Return the place of a name."""
        return self._index[name.casefold()]

    def counts(self, rows: Sequence[str], cols: Sequence[str]) -> np.ndarray:
        """Count pairs of names `(K, K)`."""
        counts = np.zeros((len(self.names), len(self.names)), np.int64)
        np.add.at(counts, ([self.index(n) for n in rows], [self.index(n) for n in cols]), 1)
        return counts


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
    """Return row and column of each point `(N,)`."""
    if points.crs is not None and opened.crs is not None:
        points = points.to_crs(opened.crs)
    cols, rows = _moved(~opened.affine, points.geometry.x.to_numpy(), points.geometry.y.to_numpy())
    return np.floor(rows).astype(np.int64), np.floor(cols).astype(np.int64)


def _moved(affine: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


def _measure(opened: ClassMap, rows: np.ndarray, cols: np.ndarray) -> tuple[dict[int, float], np.ndarray]:
    """Return the area of each number of a map, and the number at each of these pixels, in one pass."""
    sizes: dict[int, float] = {}
    values = np.full(len(rows), opened.outside, np.int64)
    of_row = row_areas(opened)
    inside = (cols >= 0) & (cols < opened.shape[1])
    for first, pixels in zip(range(0, opened.shape[0], ROWS), _strips(opened), strict=True):
        here = np.flatnonzero(inside & (rows >= first) & (rows < first + len(pixels)))
        values[here] = pixels[rows[here] - first, cols[here]]
        for value in np.unique(pixels).tolist():
            if value != opened.outside:
                size = float((pixels == value).sum(axis=1) @ of_row[first : first + len(pixels)])
                sizes[value] = sizes.get(value, 0.0) + size
    return sizes, values


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
    if not opened.crs.is_geographic:
        factor = opened.crs.axis_info[0].unit_conversion_factor
        planar = abs(opened.affine.determinant) * factor**2 / SQUARE_METRES
        if abs(planar / _on_ellipsoid(opened, np.array([height // 2]))[0] - 1) < DISTORTED:
            return np.full(height, planar)
    return _on_ellipsoid(opened, np.arange(height))


def _on_ellipsoid(opened: ClassMap, rows: np.ndarray) -> np.ndarray:
    """Return the hectares of a pixel in the middle of each of these rows."""
    assert opened.crs is not None
    degrees = pyproj.Transformer.from_crs(opened.crs, opened.crs.geodetic_crs, always_xy=True)
    geod = opened.crs.get_geod() or pyproj.Geod(ellps="WGS84")
    col = opened.shape[1] // 2
    corners = [(col, rows), (col + 1, rows), (col + 1, rows + 1), (col, rows + 1)]
    places = [degrees.transform(*_moved(opened.affine, np.full(len(rows), x), y)) for x, y in corners]
    longitudes, latitudes = (np.stack(axis, axis=1) for axis in zip(*places, strict=True))
    areas = [geod.polygon_area_perimeter(x, y)[0] for x, y in zip(longitudes, latitudes, strict=True)]
    return np.abs(areas) / SQUARE_METRES


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
