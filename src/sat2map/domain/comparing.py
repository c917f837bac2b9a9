"""How a scene differs from what a model learnt from, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sat2map.domain.known import Domain, crs_family
from sat2map.domain.looks import looks, sample
from sat2map.raster import ground_size
from sat2map.scenes import Scene

if TYPE_CHECKING:
    from sat2map.inputs import Inputs

SAME_RESOLUTION = 1.2
"""Pixels that differ in size by less than this factor count as alike."""

FAR = 2.5
"""Deviations of a training window's brightness and contrast, from which on the mean of a scene's windows is unlike."""

BLURRED = 2.0
"""Deviations of a training window's detail, from which on the mean of a scene's windows is unlike."""


BLUR = 1.4
"""Factor of detail below which nothing is told, however alike all training windows were."""


@dataclass(frozen=True)
class Difference:
    """One way in which a scene is unlike the training images.

    Args:
        kind: `dtype`, `resolution`, `crs`, `brightness`, `contrast` or `detail`.
        text: A sentence without its full stop, with the option that may help, if one does.
        level: `warning` where maps are likely to suffer, `note` where it cannot be told.
    """

    kind: str
    text: str
    level: Literal["warning", "note"] = "warning"


def compare(domain: Domain | None, inputs: Inputs, scene: Scene) -> tuple[Difference, ...]:
    """Say how a scene, as the network is to be shown it, differs from the training images.

    Reads up to 36 windows of 256 pixels, and none if the domain is not known or the pixels have another type.

    Args:
        domain: What the model knows; of an older model None: then only type and resolution are compared.
        inputs: The model's.
        scene: It has the model's bands.

    Raises:
        ModelError: It has not.
    """
    found = [*_type(inputs, scene), *_resolution(inputs, scene)]
    if domain is not None:
        found += _coordinates(domain, scene)
        if scene.dtype == inputs.dtype:  # of another one all bands differ, which says nothing new
            found += _pixels(domain, inputs, scene)
    return tuple(found)


def _type(inputs: Inputs, scene: Scene) -> Iterator[Difference]:
    if scene.dtype != inputs.dtype:
        yield Difference(
            "dtype", f"pixels are {scene.dtype}, trained on {inputs.dtype}: --match-histogram scales them alike"
        )


def _resolution(inputs: Inputs, scene: Scene) -> Iterator[Difference]:
    here = ground_size(scene.geobox)
    if inputs.ground and here and not 1 / SAME_RESOLUTION < here / inputs.ground < SAME_RESOLUTION:
        text = f"resolution {here:.3g} m, trained on {inputs.ground:.3g} m: --resample model brings them together"
        yield Difference("resolution", text)


def _coordinates(domain: Domain, scene: Scene) -> Iterator[Difference]:
    family = crs_family(scene.geobox)
    if family in domain.crs or family == "none":
        return
    if domain.crs == ("none",):
        text = "trained on images without georeference, so whether these pixels are as large cannot be told"
    else:
        text = f"coordinates are {family}, trained on {' and '.join(domain.crs)}: shapes may be stretched"
    yield Difference("crs", text, "note")


def _pixels(domain: Domain, inputs: Inputs, scene: Scene) -> Iterator[Difference]:
    """Compare the mean look of a scene's windows with those of training windows."""
    found = looks(sample(scene, inputs.choose(scene)))
    if not len(found):
        return
    sigmas = (found.mean(axis=0) - domain.looks) / domain.spread
    brightness, contrast, detail = np.split(sigmas, [len(inputs.bands), 2 * len(inputs.bands)])
    yield from _bands("brightness", brightness, inputs, ("brighter", "darker"))
    yield from _bands("contrast", contrast, inputs, ("richer in contrast", "poorer in contrast"))
    factor = math.exp(abs(found.mean(axis=0)[-1] - domain.looks[-1]))
    if abs(detail[0]) > BLURRED and factor > BLUR:
        what = (
            "less detailed: blurred or enlarged?" if detail[0] < 0 else "more detailed: noisy, or finer on the ground?"
        )
        yield Difference("detail", f"pixels are {factor:.1f} times {what}")


def _bands(kind: str, sigmas: np.ndarray, inputs: Inputs, words: tuple[str, str]) -> Iterator[Difference]:
    """Tell of the band that differs most, and how many others do too."""
    far = np.abs(sigmas) > FAR
    if not far.any():
        return
    worst = int(np.abs(sigmas).argmax())
    others = f" (and {far.sum() - 1} more)" if far.sum() > 1 else ""
    sigma, word = abs(sigmas[worst]), words[0] if sigmas[worst] > 0 else words[1]
    text = f"band {worst + 1} ({inputs.bands[worst]}){others} is {sigma:.1f} sigma {word} than in training"
    yield Difference(kind, f"{text}: --match-histogram may help")
