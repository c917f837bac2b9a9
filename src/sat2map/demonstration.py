"""The whole flow in one go: a scene, a model, an honest score, a map, polygons, a report."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rasterio

from sat2map.errors import OutputError, SceneError
from sat2map.evaluation import Evaluation, evaluate
from sat2map.fabricate import write_scene
from sat2map.files import write_json
from sat2map.mapmodel import load_model
from sat2map.options import ReadOptions, TrainOptions, part_of
from sat2map.outputs import Picture
from sat2map.prediction import predict
from sat2map.raster import is_georeferenced
from sat2map.runs import RunFolder, check_new_run
from sat2map.scenes import Scene, image_files, open_scene
from sat2map.scenes.gdal import GdalScene
from sat2map.scenes.mosaic import is_tiled
from sat2map.sources import open_source
from sat2map.splits import read_split
from sat2map.training import train

log = logging.getLogger(__name__)

WORDS: dict[str, Any] = {"encoder": "resnet18", "size": 128, "batch": 16}
"""How the fabricated scene is learnt: a lighter network and smaller patches than usual, to fit into a minute."""

MARK = "demo.json"
"""The file by which the folder of a demo is known to be one."""

LARGEST = 1 << 27
"""So many pixels a scene of tiles may have, what is empty included; of a larger one a single tile is mapped."""


@dataclass(frozen=True)
class Demo:
    """What the demo left behind.

    Args:
        map: The map.
        evaluation: How good such maps are, on ground that was not learnt from.
        polygons: The polygons of a class map.
        picture: A class map beside its image.
    """

    map: Path
    evaluation: Evaluation
    polygons: Path | None = None
    picture: Path | None = None


def demo(
    folder: Path | str = "demo", *, source: Path | str | None = None, minutes: float = 1.0, seed: int = 0, **words: Any
) -> Demo:
    """Fabricate a scene, learn from a part of it, score the model on another, and map all of it.

    Args:
        folder: Where everything goes: a new folder, an empty one, or that of an earlier demo, which is replaced.
        source: Your own imagery with labels, in place of the fabricated scene.
        minutes: How long to train.
        seed: Where the random numbers start.
        words: Other words of `train`.

    Raises:
        UserError: The source cannot be learnt from, or the folder holds something else or cannot be written to.
    """
    words = words if source is not None else WORDS | words
    options = TrainOptions(minutes=minutes, seed=seed, **words)  # a mistake is told before anything is written
    with _claimed(Path(folder)):
        return _demo(Path(folder), source, options, words)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Mark a folder as that of a demo; if nothing else is written to a new one, it goes again.

    Raises:
        OutputError: It holds something that no demo has made, or cannot be written to.
    """
    check_new_run(folder / "run", overwrite=True)
    made, mark = not folder.exists(), folder / MARK
    if not made and not mark.exists() and any(folder.iterdir()):
        raise OutputError(
            f"{folder} holds files that are no demo's, so the demo does not go there. Name a new folder. (Imagery of "
            "your own to learn from is named with --source.)"
        )
    with _told(folder):
        write_json(mark, {"verb": "demo"})
    try:
        yield
    finally:
        if [*folder.iterdir()] == [mark]:
            mark.unlink()
            if made:
                folder.rmdir()


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn what the system says while a folder is written to into a sentence."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"The demo cannot be written to {folder}: {error.strerror}. Name another folder.") from None


def _demo(folder: Path, source: Path | str | None, options: TrainOptions, words: Mapping[str, Any]) -> Demo:
    run = folder / "run"
    if source is None:
        source = folder / "scene"
        log.info("Fabricating a scene in %s", source)
        with _told(source):
            write_scene(source, seed=options.seed)
    train(source, run, minutes=options.minutes, seed=options.seed, overwrite=True, **words)
    log.info("Evaluating on ground the model has not seen")
    evaluated = evaluate(source, folder / "report", model=run, overwrite=True)
    image, *others = _images_to_map(source, run, options)
    scene = _scene_of(image, others) or _write_image(image, folder / "image.tif")
    suffix = ".tif" if scene.is_dir() or Path(image.name).suffix.lower() in (".tif", ".tiff") else ".png"
    log.info("Mapping %s", scene)
    beside = {"polygons": folder / "polygons.gpkg", "picture": folder / "map_and_image.png"}
    if isinstance(load_model(run).output, Picture):
        beside = {}
    made = predict(scene, folder / f"map{suffix}", model=run, overwrite=True, **beside)
    return Demo(made.map, evaluated, **beside)


def _images_to_map(source: Path | str, run: Path, options: TrainOptions) -> list[Scene]:
    """Return the images on their own grids, first the one with most of the ground that was kept for the test."""
    split = read_split(RunFolder(run).split)
    held: Counter[str] = Counter()
    for area in split.part("test") or split.areas:
        held[area.pair] += area.window.height * area.window.width
    opened = open_source(source, replace(part_of(ReadOptions, options), resolution=None, resize=None))
    return [pair.image for pair in sorted(opened.pairs, key=lambda pair: -held[pair.name])]


def _scene_of(image: Scene, others: Sequence[Scene]) -> Path | None:
    """Return the folder of an image that is a tile, or else its file; none if it is an array or a part of a picture."""
    if not isinstance(image, GdalScene):
        return None
    path = Path(image.path)
    files = {im.path for im in (image, *others) if isinstance(im, GdalScene)}
    return path.parent if _are_tiles(path.parent, files) else path


def _are_tiles(folder: Path, images: set[str]) -> bool:
    """Tell whether a folder holds tiles of one scene that is not too large, and nothing else."""
    try:
        if not images.issuperset(image_files(str(folder))):
            return False
        scene = open_scene(folder)
    except SceneError:  # images each by itself
        return False
    return is_tiled(scene) and math.prod(scene.shape) <= LARGEST


def _write_image(image: Scene, path: Path) -> Path:
    """Write an image that is no file of its own: a half of a picture, or an array in HDF5."""
    raster, geobox, (height, width) = image.read(), image.geobox, image.shape
    crs = str(geobox.crs) if geobox.crs else None
    place = {"crs": crs, "transform": geobox.affine} if is_georeferenced(geobox) else {}
    form = {"driver": "GTiff", "height": height, "width": width, "count": len(image.bands), "dtype": image.dtype}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", photometric="MINISBLACK", **form, **place) as file,
    ):
        file.write(raster.pixels)
        file.descriptions = image.bands
        file.write_mask(raster.valid)
    return path
