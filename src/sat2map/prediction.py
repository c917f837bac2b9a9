"""From a scene to a map: the scene's lattice of windows, block by block, into a sink.

A block is computed from whole windows of the lattice that belongs to the scene, added up in the lattice's order. So it
can be computed alone, in any order, and the map does not depend on how the scene was cut into blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sat2map.errors import OutputError
from sat2map.legend import Legend
from sat2map.mapmodel import MapModel, load_model
from sat2map.options import PredictOptions
from sat2map.pictures import map_picture, to_rgb
from sat2map.polygons import WRITERS, polygonize
from sat2map.progress import track
from sat2map.runtimes import Runtime, open_runtime
from sat2map.scenes import Scene, open_scene
from sat2map.scenes.gdal import open_gdal
from sat2map.scenes.overview import overview
from sat2map.sinks import SINKS, check_destination, open_sink
from sat2map.tiling import Tiling, Window, chunks, grid, whole

log = logging.getLogger(__name__)

PICTURED = 2048
"""Largest side in pixels of what is drawn in a picture of the map."""


@dataclass(frozen=True)
class Predictor:
    """A model that is ready to compute blocks of scenes.

    Args:
        model: What pixels mean and what scores mean.
        tiling: The windows the network sees.
        runtime: Runs the network on `batch` windows at a time.
        batch: See `runtime`.
    """

    model: MapModel
    tiling: Tiling
    runtime: Runtime
    batch: int

    def block(self, scene: Scene, block: Window) -> tuple[np.ndarray, np.ndarray]:
        """Compute one block of a scene.

        Returns:
            Class ids `(height, width)` uint8, `IGNORED` where the scene holds no data; and validity, bool.
        """
        windows = list(self.tiling.windows(scene.shape, block))
        place = _hull(windows)
        read = scene.read(place, self.model.inputs.choose(scene))
        scores = np.zeros((self.model.output.channels, *block.shape), np.float32)
        image = self.model.inputs.apply(read)
        seen = [w for w in windows if read.valid[w.within(place).slices].any()]
        for window, probabilities in self._probabilities(image, place, seen):
            common = window.intersect(block)
            rows, cols = common.within(window).slices
            weights = self.tiling.weights(scene.shape, window)[rows, cols]
            scores[:, *common.within(block).slices] += probabilities[:, rows, cols] * weights
        valid = read.valid[block.within(place).slices]
        return self.model.output.decode(scores, valid), valid

    def _probabilities(
        self, image_CHW: np.ndarray, place: Window, windows: Sequence[Window]
    ) -> Iterator[tuple[Window, np.ndarray]]:
        """Yield each window with its probabilities `(K, size, size)`, in order; batches have a fixed shape."""
        x_NCHW = np.zeros((self.batch, len(image_CHW), self.tiling.size, self.tiling.size), np.float32)
        for chunk in chunks(windows, self.batch):
            for x_CHW, window in zip(x_NCHW, chunk, strict=False):
                x_CHW[:] = image_CHW[:, *window.within(place).slices]
            yield from zip(chunk, self.runtime(x_NCHW), strict=False)


def open_predictor(model: MapModel, options: PredictOptions) -> Predictor:
    """Open a model for prediction.

    Raises:
        ModelError: It does not run on windows of this size, or lacks what the runtime needs.
    """
    tiling = replace(
        model.tiling,
        size=options.window or model.tiling.size,
        overlap=_overlap(model.tiling, options),
    )
    runtime = open_runtime(
        model, batch=options.batch, size=tiling.size, runtime=options.runtime, precision=options.precision
    )
    return Predictor(model, tiling, runtime, options.batch)


def _overlap(tiling: Tiling, options: PredictOptions) -> int:
    """Return the overlap that is given, or the model's own, in windows of another size in proportion."""
    if options.overlap is not None:
        return options.overlap
    return tiling.overlap * (options.window or tiling.size) // tiling.size


@dataclass(frozen=True)
class Prediction:
    """What `predict` wrote.

    Args:
        map: The map's file.
        runtime: What ran the network, in words.
        counts: Pixels of each class in the map.
        invalid: Pixels without data.
    """

    map: Path
    runtime: str
    counts: Mapping[str, int]
    invalid: int


def predict(
    scene: Path | str,
    map: Path | str,
    *,
    model: Path | str,
    polygons: Path | str | None = None,
    picture: Path | str | None = None,
    overwrite: bool = False,
    **words: Any,
) -> Prediction:
    """Turn a scene into a map.

    Args:
        scene: An image file, a URL, or a folder or pattern of tiles.
        map: The file to write, `.tif` or `.png`; it has the scene's georeference.
        model: A model's folder, or that of the run that trained it.
        polygons: A vector file to write the map's polygons to as well.
        picture: A PNG to draw the map beside its image in.
        overwrite: Whether files that are there are replaced.
        words: The fields of `PredictOptions`.

    Raises:
        UserError: The scene, the model or the destination cannot be used; nothing was written.
    """
    options = PredictOptions(**words)
    target = check_destination(map, SINKS, overwrite=overwrite)
    for path, endings in ((polygons, WRITERS), (picture, (".png",))):
        if path is not None:
            check_destination(path, endings, overwrite=overwrite)
    _check_distinct(scene, (map, polygons, picture))
    loaded = load_model(model)
    opened = loaded.inputs.on_grid(open_scene(scene))
    loaded.inputs.choose(opened)
    if opened.dtype != loaded.inputs.dtype:
        log.warning("%s holds %s, the model learnt from %s: scaled alike?", scene, opened.dtype, loaded.inputs.dtype)
    predictor = open_predictor(loaded, options)
    counts = np.zeros(256, np.int64)
    blocks = list(grid(whole(opened.shape), options.block))
    with open_sink(target, opened.geobox, loaded.output.legend, tags=_tags(loaded, predictor)) as sink:
        for block in track(blocks, "Predicting", len(blocks)):
            ids, _ = predictor.block(opened, block)
            counts += np.bincount(ids.ravel(), minlength=256)
            sink.write(block, ids)
    if polygons is not None:
        polygonize(target, polygons, overwrite=overwrite)
    if picture is not None:
        _draw(opened, target, loaded.output.legend, Path(picture))
    names = loaded.output.legend.names
    held = dict(zip(names, counts[: len(names)].tolist(), strict=True))
    return Prediction(target, predictor.runtime.description, held, int(counts[-1]))


def _check_distinct(scene: Path | str, destinations: Sequence[Path | str | None]) -> None:
    """Refuse destinations that are the scene, or each other."""
    taken = set()
    for path in (Path(d).resolve() for d in destinations if d is not None):
        if path == Path(scene).resolve():
            raise OutputError(f"{path} is the scene itself. Choose another name.")
        if path in taken:
            raise OutputError(f"{path} is named twice. Choose another name for one of them.")
        taken.add(path)


def _tags(model: MapModel, predictor: Predictor) -> dict[str, str]:
    return {
        "SAT2MAP_NETWORK": f"{model.architecture.network}, {model.architecture.encoder}",
        "SAT2MAP_WINDOW": f"{predictor.tiling.size}, overlap {predictor.tiling.overlap}",
    }


def _draw(scene: Scene, made: Path, legend: Legend, path: Path) -> None:
    """Draw a finished map beside its image."""
    ids = legend.ids_from_values(overview(open_gdal(made, colours=False), PICTURED).pixels[0])
    map_picture(ids, legend, path, rgb=to_rgb(overview(scene, PICTURED), scene.bands))


def _hull(windows: Sequence[Window]) -> Window:
    """Return the window around all of these, in the lattice's order."""
    first, last = windows[0], windows[-1]
    return Window(first.row, first.col, last.bottom - first.row, last.right - first.col)
