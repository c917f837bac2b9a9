"""The verb `predict`: a scene, or many, into maps that are there completely or can be gone on with."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from itertools import chain, dropwhile
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from sat2map.engines import ENGINES, Engine
from sat2map.errors import BadOption, ModelError, OutputError, SceneError, SourceError
from sat2map.jobs import Job
from sat2map.layers import LAYERS
from sat2map.legend import UNSURE, Legend
from sat2map.mapmodel import load_model
from sat2map.options import PredictOptions
from sat2map.outputs import Picture
from sat2map.pictures import map_picture, to_rgb
from sat2map.polygons import WRITERS, polygonize
from sat2map.progress import track_pixels
from sat2map.scenes import Scene, image_files
from sat2map.scenes.gdal import open_gdal
from sat2map.scenes.handles import reading
from sat2map.scenes.overview import overview
from sat2map.sinks import SCORES, SINKS, Sink, begun_job, check_destination, open_picture, open_scores, open_sink
from sat2map.tiling import Window

log = logging.getLogger(__name__)

BESIDE = {"polygons": tuple(WRITERS), "picture": (".png",), "scores": SCORES, "confidence": SCORES}
"""What can be made beside a map, and the endings it can have."""

PICTURED = 2048
"""Largest side in pixels of what is drawn in a picture of the map."""

MODEL_TAG = "SAT2MAP_MODEL"
"""Where the id of its model stands in a map."""


@dataclass(frozen=True)
class Prediction:
    """What `predict` wrote.

    Args:
        map: The map's file.
        runtime: What ran the network, in words.
        counts: Pixels of each class in the map, or all that is drawn of a picture.
        invalid: Pixels without data.
        unreadable: Parts of the scene that could not be read and are without data for that, with `keep_going`.
        strange: Parts that look unlike all that the model has learnt from.
        seconds: How long it took; an interrupted run's share is not counted.
    """

    map: Path
    runtime: str
    counts: Mapping[str, int]
    invalid: int
    unreadable: tuple[Window, ...]
    strange: tuple[Window, ...]
    seconds: float

    @property
    def pixels(self) -> int:
        """Pixels of the map."""
        return sum(self.counts.values()) + self.invalid

    def summary(self) -> str:
        """Return one line for people."""
        held = max(self.pixels - self.invalid, 1)
        shares = ", ".join(f"{name} {count / held:.1%}" for name, count in self.counts.items())
        rate = f"{self.pixels / 1e6 / max(self.seconds, 1e-3):.2f} Mpx/s"
        return f"{self.runtime}: {self.pixels:,} pixels, {self.invalid:,} without data, {rate}. {shares}"

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {**asdict(self), "map": str(self.map), "counts": dict(self.counts), "pixels": self.pixels}


def predict(
    scene: Path | str,
    map: Path | str,
    *,
    model: PathLike[str] | str,
    polygons: Path | str | None = None,
    picture: Path | str | None = None,
    scores: Path | str | None = None,
    confidence: Path | str | None = None,
    overwrite: bool = False,
    **words: Any,
) -> Prediction:
    """Turn a scene into a map.

    Interrupted at any moment, the same call goes on where it was, and makes the same file.

    Args:
        scene: An image file, a URL, or a folder or pattern of tiles.
        map: The file to write, `.tif` or `.png`; it has the scene's georeference.
        model: A model's folder, or that of the run that trained it; or one that is loaded.
        polygons: A vector file to write the map's polygons to as well.
        picture: A PNG to draw the map beside its image in.
        scores: A GeoTIFF for the probabilities of all classes, 0 to 254, and 255 where there is no data.
        confidence: A GeoTIFF for the largest of them, in the same numbers; polygons then tell its mean.
        overwrite: Whether files that are there are replaced, and an unfinished map of another call is begun anew.
        words: The fields of `PredictOptions`.

    Raises:
        UserError: The scene, the model or the destination cannot be used; nothing was written.
    """
    options = PredictOptions(**words)
    beside = {"polygons": polygons, "picture": picture, "scores": scores, "confidence": confidence}
    with closing(ENGINES[options.engine](options)) as engine:
        return _predict(engine, Job(fspath(scene), fspath(model), options), map, beside, overwrite=overwrite)


def _predict(
    engine: Engine,
    job: Job,
    map: Path | str,
    beside: Mapping[str, Path | str | None],
    *,
    overwrite: bool,
) -> Prediction:
    """Turn a scene into a map with an engine that is open, and what is asked for by names of `BESIDE`."""
    began = time.monotonic()
    if job.options.uncertainty and not beside.get("confidence"):
        raise BadOption(
            f"--uncertainty {job.options.uncertainty[0]} is a band of the file of --confidence. Name that file: "
            "--confidence FILE.tif"
        )
    target = check_destination(map, SINKS, overwrite=overwrite)
    begun = begun_job(target)
    paths = {name: Path(path) for name, path in beside.items() if path is not None}
    for name, path in paths.items():
        ours = str(path) in begun.get("other files", ())  # made by the call that is gone on with
        check_destination(path, BESIDE[name], overwrite=overwrite or ours)
    _check_distinct(job.path, (map, *paths.values()))
    _check_kind(job, paths)
    layers = {name: _layers(name, job.options) for name in paths if name in LAYERS}
    job = replace(job, keep=tuple(chain.from_iterable(layers.values())))
    job.check()
    facts = {"computed by": _computed_by(engine, job, begun), "other files": [str(path) for path in paths.values()]}
    with ExitStack() as stack:
        sinks = [stack.enter_context(sink) for sink in _open_sinks(job, target, paths, facts, overwrite)]
        blocks = _remaining(job, sinks)
        total = sum(block.height * block.width for block in blocks)
        strips = engine.compute(job, blocks)
        for strip in track_pixels(strips, "Predicting", total, lambda strip: strip.window.height * strip.window.width):
            bands = (np.concatenate([strip.layers[name] for name in names]) for names in layers.values())
            sinks[0].note("unreadable", strip.unreadable)
            sinks[0].note("strange", strip.strange)
            for sink, pixels in zip(sinks, (strip.pixels, *bands), strict=True):
                sink.write(strip.window, pixels)
        _publish(job, dict(zip(("map", *layers), sinks, strict=True)), paths)
    unreadable, strange = (tuple(sorted(sinks[0].notes.get(what, ()))) for what in ("unreadable", "strange"))
    _tell_odd(job, unreadable, strange)
    *counts, invalid = sinks[0].counts.tolist()
    unsure = (UNSURE,) if job.options.abstain else ()
    held = dict(zip((*job.model.output.counted, *unsure), counts, strict=True))
    seconds = round(time.monotonic() - began, 3)
    return Prediction(target, engine.description(job), held, invalid, unreadable, strange, seconds)


def predict_all(
    scenes: str, folder: Path | str, *, model: PathLike[str] | str, overwrite: bool = False, **words: Any
) -> list[Prediction]:
    """Turn each of many scenes into a map of its name in a folder; arguments as in `predict`.

    Finished maps stay and are passed over, so that the same call goes on after an interruption. With `keep_going`
    scenes that cannot be read, or do not fit the model, are left out with a warning. Images in the folder of the maps
    are no scenes.

    Raises:
        UserError: As in `predict`, or two scenes have one name, or a finished map is of another model.
    """
    files = _scenes(scenes, Path(folder))
    targets = [Path(folder) / f"{file.stem}.tif" for file in files]
    if twice := [target for target, count in Counter(targets).items() if count > 1]:
        raise SceneError(f"Several scenes are called {twice[0].stem}, so their maps would be one. Rename them.")
    options = PredictOptions(**words)
    wanted = load_model(model)  # without it no scene can be mapped
    finished = set() if overwrite else {target for target in targets if target.exists()}
    _check_finished(sorted(finished), wanted.id)
    waiting = [(file, target) for file, target in zip(files, targets, strict=True) if target not in finished]
    with closing(ENGINES[options.engine](options)) as engine:

        def turn(pair: tuple[Path, Path]) -> Prediction | None:
            try:
                return _predict(engine, Job(str(pair[0]), fspath(model), options), pair[1], {}, overwrite=overwrite)
            except (SceneError, SourceError, ModelError) as error:
                if not options.keep_going:
                    raise
                log.warning("%s is left out: %s", pair[0].name, error)
                return None

        made = [one for one in engine.each(turn, waiting) if one is not None]
    if missing := len(waiting) - len(made):
        log.warning("%d of %d scenes are left out; the same call tries them again.", missing, len(waiting))
    return made


def _scenes(scenes: str, folder: Path) -> list[Path]:
    """Return the files to be mapped: not those in the folder of the maps, which may lie among the scenes.

    Raises:
        OutputError: There are no others.
    """
    found = [Path(file) for file in image_files(scenes)]
    files = [file for file in found if file.parent.resolve() != folder.resolve()]
    if not files:
        raise OutputError(f"{scenes} lies in {folder}, where the maps would be. Name another folder for the maps.")
    if maps := len(found) - len(files):
        log.info("%d images in %s are taken for maps, not for scenes.", maps, folder)
    return files


def _check_finished(maps: Sequence[Path], model: str) -> None:
    """Refuse maps that are there, but were not made by this model.

    Raises:
        OutputError: There is one.
    """
    if other := next((path for path in maps if _made_by(path) != model), None):
        raise OutputError(
            f"{other} is there already, but was not made by this model. Name another folder, or make all maps anew "
            "with --overwrite."
        )
    if maps:
        log.info("%d maps are finished and passed over.", len(maps))


def _made_by(path: Path) -> str | None:
    """Return the id of the model that made a map; None of another file."""
    try:
        with reading(str(path)), rasterio.open(path) as file:
            tags: dict[str, str] = file.tags()
    except SceneError:
        return None
    return tags.get(MODEL_TAG)


def _layers(file: str, options: PredictOptions) -> tuple[str, ...]:
    """Return the layers that a file holds: names of `LAYERS`."""
    return (file, *options.uncertainty) if file == "confidence" else (file,)


def _legend(job: Job) -> Legend:
    """Return the classes of the map."""
    legend = job.model.output.legend
    return legend.with_unsure() if job.options.abstain else legend


def _computed_by(engine: Engine, job: Job, begun: Mapping[str, Any]) -> str | None:
    """Return what will compute, in words; a cluster tells only with its first block, so what was noted stays."""
    noted: str | None = begun.get("computed by")
    known = job.options.engine == "local" and (noted or not begun)
    return engine.description(job) if known else noted


def _open_sinks(
    job: Job, target: Path, beside: Mapping[str, Path], facts: Mapping[str, Any], overwrite: bool
) -> Iterator[Sink]:
    """Open the map, and the files of layers among those that lie beside it."""
    grid = job.grid if job.grid != job.scene.geobox else None
    how: dict[str, Any] = {"tags": _tags(job), "job": {**job.facts(), **facts}, "overwrite": overwrite, "grid": grid}
    if isinstance(job.model.output, Picture):
        yield open_picture(target, job.scene.geobox, **how)
    else:
        yield open_sink(target, job.scene.geobox, _legend(job), **how)
    for name in (n for n in beside if n in LAYERS):
        bands = job.model.output.legend.names if name == "scores" else _layers(name, job.options)
        yield open_scores(beside[name], job.scene.geobox, bands, **how)


def _publish(job: Job, sinks: dict[str, Sink], paths: Mapping[str, Path]) -> None:
    """Publish the map, which is the first sink, and all that is asked for beside it: where the map is, all is.

    What was computed is let go only after that, so that an interruption costs no strip.
    """
    made = {name: sink.finish() for name, sink in sinks.items()}
    if "polygons" in paths:
        polygonize(made["map"], paths["polygons"], confidence=made.get("confidence"), overwrite=True)
    if "picture" in paths:
        _draw(job.scene, made["map"], _legend(job), paths["picture"])
    for sink in reversed(sinks.values()):
        sink.publish()
    for sink in sinks.values():
        sink.discard()


def _remaining(job: Job, sinks: Sequence[Sink]) -> list[Window]:
    """Return the blocks that are not in all sinks yet."""
    return [rest for rest in (_rest(job, block, sinks) for block in job.blocks()) if not rest.empty]


def _rest(job: Job, block: Window, sinks: Sequence[Sink]) -> Window:
    """Return what is left of a block: its strips come from top to bottom."""
    axis = job.tiling.axis(job.scene.shape[0])
    rows = (axis.cell(i) for i in range(len(axis.starts)))
    strips = (Window(row, block.col, end - row, block.width).intersect(block) for row, end in rows)
    left = next(dropwhile(lambda s: s.empty or all(s in sink.done for sink in sinks), strips), None)
    if left is None:
        return block._replace(height=0)
    return Window(left.row, block.col, block.bottom - left.row, block.width)


def _tell_odd(job: Job, unreadable: Sequence[Window], strange: Sequence[Window]) -> None:
    """Warn of parts without a map, and of those whose map may be wrong."""
    if unreadable:
        log.warning("%d parts of %s cannot be read and are nodata: %s", len(unreadable), job.path, _listed(unreadable))
    if strange:
        unlike, mapped = (sum(part.height * part.width for part in parts) for parts in (strange, job.blocks()))
        log.warning(
            "%.0f %% of %s looks unlike anything the model has learnt from: %s. --confidence FILE.tif --uncertainty "
            "novelty shows where.", max(100 * unlike / mapped, 1), job.path, _listed(strange),
        )  # fmt: skip


def _listed(windows: Collection[Window]) -> str:
    places = [f"rows {w.row} to {w.bottom}, columns {w.col} to {w.right}" for w in sorted(windows)[:5]]
    return "; ".join(places) + ("; ..." if len(windows) > 5 else "")


def _check_kind(job: Job, beside: Mapping[str, Path]) -> None:
    """Refuse what can only be made of a class map."""
    asked = [*beside, *(name for name in ("abstain", "uncertainty") if getattr(job.options, name))]
    if isinstance(job.model.output, Picture) and asked:
        raise BadOption(
            f"The model draws a map picture, which has no --{asked[0]}: it holds colours, not classes. "
            "Leave that out, or train on classes."
        )


def _check_distinct(scene: Path | str, destinations: Sequence[Path | str | None]) -> None:
    """Refuse destinations that are the scene, or each other."""
    taken = set()
    for path in (Path(d).resolve() for d in destinations if d is not None):
        if path == Path(scene).resolve():
            raise OutputError(f"{path} is the scene itself. Choose another name.")
        if path in taken:
            raise OutputError(f"{path} is named twice. Choose another name for one of them.")
        taken.add(path)


def _tags(job: Job) -> dict[str, str]:
    return {
        MODEL_TAG: job.model.id,
        "SAT2MAP_NETWORK": job.model.architecture.title,
        "SAT2MAP_WINDOW": f"{job.tiling.size}, overlap {job.tiling.overlap}",
    }


def _draw(scene: Scene, made: Path, legend: Legend, path: Path) -> None:
    """Draw a finished map beside its image."""
    ids = legend.ids_from_values(overview(open_gdal(made, colours=False), PICTURED).pixels[0])
    map_picture(ids, legend, path, rgb=to_rgb(overview(scene, PICTURED), scene.bands))
