"""A map as work: what has to be known to compute any part of it, anywhere.

A `Job` is a few words: it can be sent to another process, which opens scene and model for itself, and each who opens
it takes the same lattice of windows.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from sat2map.domain import Difference, compare, quantiles, sample
from sat2map.errors import BadOption, SceneError
from sat2map.inputs import select_bands
from sat2map.layers import LAYERS
from sat2map.mapmodel import MapModel, load_model
from sat2map.options import PredictOptions, bytes_of
from sat2map.predictor import Predictor, Strip, choose_tiling
from sat2map.raster import ground_size, pixel_size
from sat2map.scenes import Scene, clip, image_files, open_scene, select, tolerant
from sat2map.scenes.handles import BLOCK_CACHE, file_version, is_remote
from sat2map.scenes.matched import match
from sat2map.scenes.stac import asset_of, is_item
from sat2map.scenes.tolerant import TolerantScene
from sat2map.sources.opening import on_grid
from sat2map.tiling import Tiling, Window

log = logging.getLogger(__name__)

RUNNING = 1_500_000_000
"""Bytes that a process takes for libraries, network and pixels; measured with a U-Net of ResNet34 (docs/log.md)."""


SHARED = 8
"""Height in windows of the blocks that workers share: an eighth of the network's work is done twice."""


@dataclass(frozen=True)
class Job:
    """A scene to be mapped with a model.

    Args:
        path: The scene: a file, a URL, or a folder or pattern of tiles.
        model_path: A model's folder, or that of the run that trained it.
        options: Everything else that is asked for.
        keep: What is wanted beside the classes: names of `LAYERS`.
    """

    path: str
    model_path: str
    options: PredictOptions
    keep: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the words alone to another process, not what was opened here."""
        return Job, (self.path, self.model_path, self.options, self.keep)

    @cached_property
    def model(self) -> MapModel:
        """The model."""
        return load_model(self.model_path)

    @cached_property
    def original(self) -> Scene:
        """The scene on its own grid, with the bands that are asked for."""
        scene = open_scene(self.path)
        if not self.options.bands:
            return scene
        bands = self.model.inputs.bands
        indexes = select_bands(scene.bands, self.options.bands)
        if len(indexes) != len(bands):
            raise BadOption(
                f"--bands names {len(indexes)} bands, but the model reads {len(bands)}: {', '.join(bands)}."
            )
        return replace(select(scene, indexes), bands=bands)

    @cached_property
    def scene(self) -> Scene:
        """The scene as the network is shown it."""
        scene = self._tolerant if self.options.keep_going else self.original
        scene = self.model.inputs.on_grid(self._resampled(scene))
        if self.options.match_histogram:
            scene = self._matched(scene)
        return clip(scene, self.options.aoi) if self.options.aoi else scene

    @cached_property
    def _tolerant(self) -> TolerantScene:
        return tolerant(self.original)

    @property
    def grid(self) -> GeoBox:
        """The grid of the finished map."""
        return self.original.geobox if self.options.resample == "scene" else self.scene.geobox

    @property
    def tiling(self) -> Tiling:
        """The windows."""
        return choose_tiling(self.model, self.options, self.scene.shape)

    def strips(self, block: Window, predictor: Predictor) -> Iterator[Strip]:
        """Compute a part of the map from top to bottom, with the model at work on windows of this scene.

        Raises:
            SceneError: A part of the scene cannot be read, and `keep_going` is not asked for.
        """
        if self.options.keep_going:
            for strip in predictor.strips(self.scene, block):
                yield strip._replace(unreadable=tuple(self._tolerant.failed))
            return
        try:
            yield from predictor.strips(self.scene, block)
        except SceneError as error:
            raise SceneError(f"{error} The same command with --keep-going makes such parts nodata.") from error

    def blocks(self) -> list[Window]:
        """Cut the scene into blocks of work that keep to the memory.

        Blocks compute the windows along their upper and left edge anew. So they are as high as the scene, or where
        several workers share it, several windows.
        """
        height = width = self.options.block or 0
        if not height:
            height = self.scene.shape[0] if self.options.engine == "local" else SHARED * self.tiling.size
            width = self._width()
        return list(self.tiling.blocks(self.scene.shape, height, width))

    def facts(self) -> dict[str, Any]:
        """Return all that the map's pixels depend on, to tell whether an unfinished map is of this job.

        But for what computes it, which only an engine knows; and not `keep_going`: with it a map goes on that came to
        a stop at a damaged part.
        """
        shaping = (
            "window",
            "overlap",
            "batch",
            "runtime",
            "precision",
            "tta",
            "aoi",
            "bands",
            "resample",
            "match_histogram",
            "abstain",
            "uncertainty",
        )
        return {
            "scene": self.path,
            "scene changed": _state(_files(self.path)),
            "aoi changed": self.options.aoi and _state([self.options.aoi]),
            "model": self.model.id,
            **{name: getattr(self.options, name) for name in shaping},
        }

    def check(self) -> None:
        """Say what is unlike the training images, and refuse what the model cannot take.

        Raises:
            ModelError: The scene has other bands.
        """
        self.model.inputs.choose(self.scene)
        for difference in self.differences:
            level = logging.INFO if difference.level == "note" else logging.WARNING
            log.log(level, "%s: %s.", self.path, difference.text)

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """In what the scene, as the network is shown it, is unlike the training images."""
        return compare(self.model.domain, self.model.inputs, self.scene)

    def _matched(self, scene: Scene) -> Scene:
        """Return the scene's bands with the distribution of the training images, by a sample of all of the scene.

        Raises:
            BadOption: The model does not know it.
            SceneError: No pixel of the sample is valid.
        """
        domain, inputs = self.model.domain, self.model.inputs
        if domain is None:
            raise BadOption(
                "--match-histogram needs the distribution of the training pixels, which this model, of an older "
                "version, does not know. Train again, or leave it out."
            )
        chosen = replace(select(scene, inputs.choose(scene)), bands=inputs.bands)
        seen = sample(chosen)
        if not seen:
            raise SceneError(f"--match-histogram finds no valid pixel in {scene.name}. Leave it out.")
        return match(chosen, quantiles(seen), domain.quantiles, inputs.dtype)

    def _resampled(self, scene: Scene) -> Scene:
        """Return the scene with pixels as large on the ground as the training images had, if that is asked for.

        Raises:
            BadOption: The model does not know how large.
            SceneError: The scene has no CRS.
        """
        inputs, options = self.model.inputs, self.options
        if options.resample == "no" or inputs.resolution or inputs.resize:
            return scene
        if inputs.ground is None:
            raise BadOption(
                "--resample needs the size of the training pixels on the ground, which this model does not know. "
                "Leave it out."
            )
        here = ground_size(scene.geobox)
        if here is None:
            raise SceneError(
                f"{scene.name} has no CRS, so the size of its pixels on the ground is not known, which --resample "
                "needs. Give the image its place first, or leave that out."
            )
        return on_grid(scene, pixel_size(scene.geobox) * inputs.ground / here, None)

    def _width(self) -> int:
        """Return how many columns can be computed at a time within the memory."""
        tiling, channels, scene = self.tiling, self.model.output.channels, self.scene
        results = 4 * 4 * channels * tiling.size**2  # of float32, in up to four steps under way
        seam = 2 * 4 * tiling.overlap * channels
        pixel = self.model.output.blank((1, 1)).size + 1  # and whether it is valid
        rows = 1 if self.options.engine == "local" else SHARED  # a worker hands over whole blocks
        strips = rows * tiling.size * (pixel + sum(LAYERS[name].bytes(channels) for name in self.keep))
        read = tiling.size * len(scene.bands) * np.dtype(scene.dtype).itemsize  # kept decoded for the next row
        room = bytes_of(self.options.memory) - RUNNING - results
        return max(min(room // (seam + strips), BLOCK_CACHE // read), 4 * tiling.size)


def _files(path: str) -> list[str]:
    """Return the files that a scene is read from."""
    name = asset_of(path) if is_item(path) and not is_remote(path) else path
    return [name] if is_remote(name) else image_files(name)


def _state(files: Iterable[str]) -> str:
    """Return what changes with the name, time or size of any of these files; what is not on disk never changes."""
    versions = [file_version(file)[:3] for file in files]
    return hashlib.sha256(repr(versions).encode()).hexdigest()[:12]
