"""The verb `suggest`: the places of a scene whose labels would teach a model most.

A scene is cut into square places. Of each it is kept how unsure the model is there, which classes it sees and how the
ground looks; memory grows with the number of places, not of pixels. Places are then chosen one after the other: unsure,
and unlike those that are chosen or labelled already.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from affine import Affine

from sat2map.calibration import entropy
from sat2map.errors import BadOption, SceneError, SourceError
from sat2map.files import whole_file
from sat2map.jobs import Job
from sat2map.labels import read_shapes
from sat2map.legend import CERTAIN, IGNORED
from sat2map.options import PredictOptions, RuntimeOptions
from sat2map.outputs import Picture
from sat2map.predictor import Predictor, Strip, predictors
from sat2map.progress import track_pixels
from sat2map.raster import is_georeferenced
from sat2map.scenes import Scene, image_files, open_scene
from sat2map.scenes.handles import is_remote
from sat2map.scenes.stac import is_item
from sat2map.sinks import check_destination
from sat2map.tiling import Window, grid, whole

log = logging.getLogger(__name__)

PLACE_FILES = (".gpkg", ".geojson", ".fgb")
"""What places are written to."""

SMALLEST = 16
"""Side in pixels of the smallest places: nobody can tell the class of less."""

COVERED = 0.5
"""Share of a place that has to hold data."""

TOLD = 0.1
"""Share of a place from which a class is named as one of its likeliest."""

Opener = Callable[[Scene], Predictor]


@dataclass(frozen=True)
class Suggestion:
    """What `suggest` wrote.

    Args:
        path: The file of places.
        number: How many places are in it.
        asked: How many were asked for.
        of: How many places there are that hold data and are not labelled.
        labelled: How many were left out because they are labelled.
        uncertainty: Mean uncertainty of the suggested places, from 0 to 1.
        usual: That of all places from which they were chosen.
    """

    path: Path
    number: int
    asked: int
    of: int
    labelled: int
    uncertainty: float
    usual: float

    def summary(self) -> str:
        """Return one line for people."""
        left = f", {self.labelled:,} more are labelled already" if self.labelled else ""
        few = f" There are no more, though {self.asked:,} were asked for." if self.number < self.asked else ""
        return (
            f"{self.number:,} places of {self.of:,}{left}: mean uncertainty {self.uncertainty:.2f}, of all "
            f"{self.usual:.2f}.{few}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class Places:
    """The places of one scene or of several that hold data, arrays over all of them.

    Args:
        sites: `(N, 3)`: number of the scene, row and column in its lattice of places.
        outlines: `(N,)` polygons in map coordinates, or in columns and negative rows of their picture.
        cores: `(N,)` the same without a pixel along the edge.
        uncertainty: `(N,)`: mean entropy of the pixels' probabilities, as a share of the largest there can be.
        mix: `(N, K)`: mean probability of each class.
        look: `(N, 2 * bands)`: mean and standard deviation of each band, scaled as for the network.
    """

    sites: np.ndarray
    outlines: np.ndarray
    cores: np.ndarray
    uncertainty: np.ndarray
    mix: np.ndarray
    look: np.ndarray

    def __len__(self) -> int:
        return len(self.sites)

    @classmethod
    def joined(cls, parts: Sequence[Places]) -> Places:
        """Return the places of several scenes as one table."""
        fields = ([getattr(part, name) for part in parts] for name in cls.__dataclass_fields__)
        return cls(*(np.concatenate(field) for field in fields))

    def descriptors(self) -> np.ndarray:
        """Return `(N, F)`, whose distances say how unlike places are; classes and looks weigh alike in them."""
        return np.concatenate([_scaled(self.mix), _scaled(self.look)], axis=1)


def suggest(
    scene: Path | str,
    places: Path | str,
    *,
    model: PathLike[str] | str,
    count: int = 50,
    size: int = 256,
    labelled: Path | str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    **words: Any,
) -> Suggestion:
    """Choose the places whose labels would teach a model most, as polygons.

    Args:
        scene: An image file, a URL, a folder or pattern of tiles, or one of pictures without georeference.
        places: The file to write: `.gpkg`, `.geojson` or `.fgb`, with the columns `rank` (1 is to be labelled first),
            `scene`, `uncertainty` (0 to 1) and `likeliest` (classes and their shares). In the CRS of the scene; without
            one x is the column and y the negative row in the picture that `scene` names.
        model: A model's folder, or that of the run that trained it; or one that is loaded. It has to map classes.
        count: How many places; all there are if there are fewer.
        size: Side of a place in pixels, as the network is shown them.
        labelled: A vector file of ground that has labels, such as earlier places: left out, and kept away from.
        seed: Where the random numbers start, by which is chosen among equals.
        overwrite: Replace a file that is there.
        words: The fields of `RuntimeOptions`.

    Raises:
        UserError: The scene, the model or an option cannot be used, or no place is left; nothing was written.
    """
    options = PredictOptions(**asdict(RuntimeOptions(**words)))
    for name, value, least in (("count", count, 1), ("size", size, SMALLEST)):
        if value < least:
            raise BadOption(f"--{name} is {value}; it must be {least} or more.")
    target = check_destination(places, PLACE_FILES, overwrite=overwrite)
    jobs = _jobs(fspath(scene), fspath(model), options)
    found = _measure(jobs, size)
    if not len(found):
        raise SceneError(f"No place of {size} pixels in {scene} holds data on half of it. Try a smaller --size.")
    crs = jobs[0].scene.geobox.crs if len(jobs) == 1 else None
    table = gpd.GeoDataFrame(_columns(found, jobs), geometry=found.outlines, crs=crs)
    taken = np.zeros(len(found), bool) if labelled is None else _labelled(labelled, found, table, many=len(jobs) > 1)
    order = choose(found, count, taken=np.flatnonzero(taken), seed=seed)
    if not len(order):
        raise SourceError(f"All {len(found)} places of {scene} are labelled in {labelled}: there is none to suggest.")
    _write(table.iloc[order].assign(rank=range(1, len(order) + 1)), target)
    usual = found.uncertainty[~taken]
    unsure = float(found.uncertainty[order].mean())
    return Suggestion(target, len(order), count, len(usual), int(taken.sum()), unsure, float(usual.mean()))


def choose(places: Places, count: int, *, taken: Sequence[int] | np.ndarray = (), seed: int = 0) -> np.ndarray:
    """Choose places, the best first: `(min(count, those left),)` of their numbers.

    The farthest point first (Gonzalez 1985; for active learning Sener and Savarese 2018, Active learning for
    convolutional neural networks: a core-set approach), with distances multiplied by uncertainty: each time the place
    with the largest product of its uncertainty and its distance to the nearest one chosen before. The very first is
    the most uncertain. A place that touches a chosen one waits until no other is left.

    Args:
        places: The places.
        count: How many to choose.
        taken: Places that count as chosen before, and are not chosen again.
        seed: Decides between equals.
    """
    shuffled = np.random.default_rng(seed).permutation(len(places))
    sites, descriptors = places.sites[shuffled], places.descriptors()[shuffled]
    nearest = np.full(len(places), np.inf)
    free, apart = np.ones(len(places), bool), np.ones(len(places), bool)

    def take(i: int) -> None:
        nearest[:] = np.minimum(nearest, np.linalg.norm(descriptors - descriptors[i], axis=1))
        free[i] = False
        beside = np.abs(sites[:, 1:] - sites[i, 1:]).max(axis=1) <= 1
        apart[beside & (sites[:, 0] == sites[i, 0])] = False

    for i in np.flatnonzero(np.isin(shuffled, taken)).tolist():
        take(i)
    order: list[int] = []
    while free.any() and len(order) < count:
        gains = places.uncertainty[shuffled] * np.where(np.isinf(nearest), 1, nearest)
        among = np.flatnonzero(free & apart if (free & apart).any() else free)
        order.append(int(among[gains[among].argmax()]))
        take(order[-1])
    return shuffled[order]


def _jobs(path: str, model: str, options: PredictOptions) -> list[Job]:
    """Return a job for each scene: each picture without a place on the ground is one, all else together is one.

    Raises:
        UserError: There is no scene, or the model is not for it.
    """
    job = Job(path, model, options)
    if isinstance(job.model.output, Picture):
        raise BadOption("The model draws a map picture, which does not tell how sure it is. Train on classes.")
    files = [] if is_remote(path) or is_item(path) else image_files(path)
    pictures = bool(files) and all(open_scene(file).geobox.crs is None for file in files)
    jobs = [Job(file, model, options) for file in files] if pictures else [job]
    for job in jobs:
        job.model.inputs.choose(job.scene)  # ground unlike the training is what is looked for: no warning
    return jobs


def _measure(jobs: Sequence[Job], size: int) -> Places:
    """Map all scenes and keep what is known of their places."""
    opened = predictors(jobs[0].model, jobs[0].options, keep=("scores",))
    sums = [np.zeros((*_lattice(job.scene, size), _fields(job)), np.float64) for job in jobs]
    strips = ((i, strip) for i, job in enumerate(jobs) for strip in _strips(job, opened))
    total = sum(math.prod(job.scene.shape) for job in jobs)
    for i, strip in track_pixels(strips, "Looking for places", total, lambda item: math.prod(item[1].window.shape)):
        _add(sums[i], jobs[i], strip, size)
    return Places.joined([_summed(i, job, sums[i], size) for i, job in enumerate(jobs)])


def _lattice(scene: Scene, size: int) -> tuple[int, int]:
    return -(-scene.shape[0] // size), -(-scene.shape[1] // size)


def _fields(job: Job) -> int:
    """Return how many sums are kept of a place: pixels, entropies, classes, bands and their squares."""
    return 2 + job.model.output.channels + 2 * len(job.model.inputs.bands)


def _strips(job: Job, opened: Opener) -> Iterator[Strip]:
    return (strip for block in job.blocks() for strip in job.strips(block, opened(job.scene)))


def _add(sums: np.ndarray, job: Job, strip: Strip, size: int) -> None:
    """Add the pixels of a strip to the sums `(rows, columns, fields)` of the places they lie in."""
    inputs, window = job.model.inputs, strip.window
    raster = job.scene.read(window, inputs.choose(job.scene))
    for place in grid(_aligned(window, size), size):
        part = place.intersect(window)
        where = (..., *part.within(window).slices)
        valid = strip.pixels[where] != IGNORED
        probabilities = _probabilities(strip, where)[:, valid]
        pixels = inputs.scale(raster.pixels[where], valid)[:, valid]
        told = np.concatenate([entropy(probabilities[:, None]), probabilities, pixels, pixels**2])
        site = place.row // size, place.col // size
        sums[site] += [valid.sum(), *told.sum(axis=1, dtype=np.float64)]


def _aligned(window: Window, size: int) -> Window:
    """Return the window grown to whole places upwards and to the left."""
    row, col = window.row // size * size, window.col // size * size
    return Window(row, col, window.bottom - row, window.right - col)


def _probabilities(strip: Strip, where: tuple[Any, ...]) -> np.ndarray:
    """Return the probabilities of a part of a strip, `(K, height, width)` float32."""
    return strip.layers["scores"][where] / np.float32(CERTAIN)


def _summed(number: int, job: Job, sums: np.ndarray, size: int) -> Places:
    """Return the places of a scene that hold data, of their sums."""
    least = COVERED * min(size, job.scene.shape[0]) * min(size, job.scene.shape[1])
    rows, cols = np.nonzero(sums[..., 0] >= least)
    means = sums[rows, cols] / sums[rows, cols, :1]
    classes, bands = job.model.output.channels, len(job.model.inputs.bands)
    uncertainty, mix, first, second = np.split(means[:, 1:], np.cumsum([1, classes, bands]), axis=1)
    spread = np.sqrt(np.maximum(second - first**2, 0))
    windows = [Window(r * size, c * size, size, size) for r, c in zip(rows.tolist(), cols.tolist(), strict=True)]
    cut = [window.intersect(whole(job.scene.shape)) for window in windows]
    return Places(
        sites=np.column_stack([np.full(len(rows), number), rows, cols]),
        outlines=_outlines(job, cut),
        cores=_outlines(job, [window.pad(-1) for window in cut]),
        uncertainty=uncertainty[:, 0],
        mix=mix,
        look=np.concatenate([first, spread], axis=1),
    )


def _outlines(job: Job, windows: Sequence[Window]) -> np.ndarray:
    """Return windows of a scene as polygons `(N,)` in map coordinates."""
    affine = job.scene.geobox.affine
    if not is_georeferenced(job.original.geobox):
        affine = Affine.scale(1, -1) @ affine
    corners = np.array([[(w.col, w.row), (w.right, w.row), (w.right, w.bottom), (w.col, w.bottom)] for w in windows])
    cols, rows = np.moveaxis(corners.reshape(-1, 4, 2), -1, 0)
    x, y = affine.a * cols + affine.b * rows + affine.c, affine.d * cols + affine.e * rows + affine.f
    outlines: np.ndarray = shapely.polygons(np.stack([x, y], axis=-1))
    return outlines


def _scaled(values: np.ndarray) -> np.ndarray:
    """Return `(N, F)` divided so that its columns have a variance of 1 together."""
    spread = math.sqrt(values.var(axis=0).sum())
    return values / (spread or 1.0)


def _columns(places: Places, jobs: Sequence[Job]) -> dict[str, Any]:
    names = jobs[0].model.output.legend.names
    return {
        "rank": 0,
        "scene": [jobs[i].path for i in places.sites[:, 0]],
        "uncertainty": places.uncertainty.round(4),
        "likeliest": [_likeliest(mix, names) for mix in places.mix],
    }


def _likeliest(mix: np.ndarray, names: Sequence[str]) -> str:
    """Return the classes with a good share of a place, the first one in any case, as `Land 62 %, Road 30 %`."""
    order = np.argsort(-mix, kind="stable").tolist()
    return ", ".join(f"{names[k]} {mix[k]:.0%}" for k in order if k == order[0] or mix[k] >= TOLD)


def _labelled(path: Path | str, places: Places, table: gpd.GeoDataFrame, *, many: bool) -> np.ndarray:
    """Tell which places share ground with a shape of a file, `(N,)`; a pixel along the edge does not count.

    Raises:
        SourceError: The file cannot be read, or does not say in which of several pictures its shapes lie.
    """
    shapes = read_shapes(path).frame
    if shapes.crs is not None and table.crs is not None:
        shapes = shapes.to_crs(table.crs)
    placed, shape = shapely.STRtree(shapes.geometry).query(places.cores, predicate="intersects")
    if many:  # all pictures have the same coordinates
        if "scene" not in shapes:
            raise SourceError(f"{path} has no column 'scene' to tell in which picture its shapes lie. Add it.")
        same = shapes["scene"].to_numpy()[shape] == table["scene"].to_numpy()[placed]
        placed = placed[same]
    taken = np.zeros(len(places), bool)
    taken[placed] = True
    if not taken.any():
        log.warning("No place shares ground with a shape of %s. Is it of this scene?", path)
    return taken


def _write(table: gpd.GeoDataFrame, target: Path) -> None:
    with whole_file(target) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # nor has the scene one
        pyogrio.write_dataframe(table, part, layer=target.stem)
