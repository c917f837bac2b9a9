"""What a network is shown: which bands, on which grid, scaled how.

`Inputs` is fitted on the training ground, saved in the model, and is the only place where a normalisation constant is
written: training and prediction go through the same `apply`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from sat2map.errors import BadOption, ModelError
from sat2map.files import record
from sat2map.progress import track_map
from sat2map.raster import Raster, ground_size
from sat2map.scenes import Scene
from sat2map.sources.opening import on_grid
from sat2map.tiling import Window, grid

WINDOWS_READ = 400
"""From at most so many windows of 512 pixels the statistics are taken (about 100 megapixels)."""


@dataclass(frozen=True)
class Inputs:
    """Bands, grid and scaling of the pixels a network sees.

    Args:
        bands: Names of the bands, in the network's order.
        indexes: Their places (from 0) in the training images.
        of: How many bands the training images had.
        mean: Mean of the valid training pixels of each band.
        std: Their standard deviation.
        dtype: The training pixels' type.
        resolution: Pixel size in map units, if images were resampled to one.
        resize: Length in pixels of the shorter side, if images were resized to one.
        ground: Side in metres of the training pixels, in the middle of their range; None without georeference.
    """

    bands: tuple[str, ...]
    indexes: tuple[int, ...]
    of: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str
    resolution: float | None = None
    resize: int | None = None
    ground: float | None = None

    @property
    def constants(self) -> tuple[np.ndarray, np.ndarray]:
        """What is subtracted from each band and what it is then multiplied by, both `(bands, 1, 1)` float32."""
        mean = np.array(self.mean, np.float32)[:, None, None]
        return mean, (1 / np.array(self.std))[:, None, None].astype(np.float32)

    def apply(self, raster: Raster) -> np.ndarray:
        """Return `(bands, height, width)` float32 with mean 0 and deviation 1; pixels that are not valid are 0."""
        return self.scale(raster.pixels, raster.valid)

    def scale(self, pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Do what `apply` does for pixels `(bands, height, width)` and validity `(height, width)`."""
        mean, factor = self.constants
        with np.errstate(over="ignore"):  # what is not valid may be any number
            scaled: np.ndarray = (pixels.astype(np.float32) - mean) * factor
        if not valid.all():
            scaled[:, ~valid] = 0
        return scaled

    def choose(self, scene: Scene) -> tuple[int, ...]:
        """Return which bands of a scene to read: by name if it has all names, else by place if it has as many.

        Raises:
            ModelError: It has neither.
        """
        if set(self.bands) <= set(scene.bands) and len(set(self.bands)) == len(self.bands):
            return tuple(scene.bands.index(band) for band in self.bands)
        if len(scene.bands) == self.of:
            return self.indexes
        if len(scene.bands) == len(self.bands):
            return tuple(range(len(self.bands)))
        raise ModelError(
            f"The model reads {len(self.bands)} bands ({', '.join(self.bands)}), but {scene.name} has "
            f"{len(scene.bands)} ({', '.join(scene.bands)}). Give an image with these bands, "
            "or train with --bands on those that it has."
        )

    def on_grid(self, scene: Scene) -> Scene:
        """Return the scene resampled to the resolution or size of the training images, if they were."""
        return on_grid(scene, self.resolution, self.resize)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Inputs:
        """Make inputs from the dict of `to_json`."""
        return record(cls, data)


def select_bands(available: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """Return the places of the wanted bands, each given by name or by number from 1; of all if none is named.

    Raises:
        BadOption: There is no such band.
    """
    return tuple(_band(available, word) for word in wanted) or tuple(range(len(available)))


def _band(available: Sequence[str], word: str) -> int:
    if word in available:
        return available.index(word)
    if word.isdigit() and 1 <= int(word) <= len(available):
        return int(word) - 1
    names = ", ".join(f"{i} ({name})" for i, name in enumerate(available, 1))
    raise BadOption(f"There is no band {word!r}. The images have: {names}.")


def fit_inputs(
    areas: Iterable[tuple[Scene, Window]],
    indexes: Sequence[int],
    *,
    resolution: float | None = None,
    resize: int | None = None,
) -> Inputs:
    """Take the statistics of the training ground.

    Args:
        areas: Images and which part of each is trained on; all have the same bands.
        indexes: Which bands to use, counted from 0.
        resolution: See `Inputs`.
        resize: See `Inputs`.

    Raises:
        ModelError: Not one pixel is valid.
    """
    windows = [(scene, window) for scene, area in areas for window in grid(area, 512)]
    chosen = windows[:: -(-len(windows) // WINDOWS_READ)]
    sums = track_map(lambda item: _moments(item[0].read(item[1], indexes)), chosen, "Reading statistics")
    count = sum(n for n, _, _ in sums)
    total = np.sum([t for _, t, _ in sums], axis=0)
    squares = np.sum([s for _, _, s in sums], axis=0)
    if not count:
        raise ModelError("No pixel of the training ground is valid: is everything nodata or transparent?")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    scene = chosen[0][0]
    sizes = [size for size in (ground_size(scene.geobox) for scene, _ in chosen) if size is not None]
    return Inputs(
        bands=tuple(scene.bands[i] for i in indexes),
        indexes=tuple(indexes),
        of=len(scene.bands),
        mean=tuple(mean.tolist()),
        std=tuple(np.where(std > 0, std, 1.0).tolist()),
        dtype=scene.dtype,
        resolution=resolution,
        resize=resize,
        ground=median(sizes) if sizes else None,
    )


def _moments(raster: Raster) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the number of valid pixels and, per band, the sum of them and of their squares."""
    pixels = raster.pixels[:, raster.valid].astype(np.float64)
    return pixels.shape[1], pixels.sum(axis=1), (pixels**2).sum(axis=1)
