"""What is seen of images: their values, their ground, and which of them show the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from sat2map.errors import SceneError
from sat2map.leaks import Ground, Leak, find_leaks
from sat2map.progress import track_map
from sat2map.raster import is_georeferenced, pixel_size
from sat2map.scenes import Scene
from sat2map.sources import Source
from sat2map.sources.base import listed
from sat2map.tiling import grid, whole

WINDOW = 1024
"""Side of the windows images are looked at by."""

WINDOWS = 64
"""How many windows of an image are looked at, spread evenly; images of up to 8192 x 8192 pixels are seen whole."""

COMPARED = 500
"""How many images are compared by what they show, spread evenly: all pairs of more would take long."""


@dataclass(frozen=True)
class Look:
    """What was seen of an image: smallest and largest valid value, share of valid pixels, and a digest of its pixels.

    `fault` says why it cannot be read; the rest is then empty.
    """

    low: float = float("nan")
    high: float = float("nan")
    valid: float = 0.0
    digest: str = ""
    fault: str | None = None


@dataclass(frozen=True)
class Subject:
    """Images with what was seen of them; `source` is None where there are no labels, `leaks` are shared ground."""

    names: tuple[str, ...]
    images: tuple[Scene, ...]
    looks: tuple[Look, ...]
    source: Source | None
    leaks: tuple[Leak, ...] = ()


def look_at(names: Sequence[str], images: Sequence[Scene], source: Source | None) -> Subject:
    """Look at images, a window at a time, and for what several of them show."""
    looks = track_map(_look, images, "Looking at images")
    sound = [(n, im) for n, im, look in zip(names, images, looks, strict=True) if not look.fault]
    compared = sound[:: max(-(-len(sound) // COMPARED), 1)]
    leaks = find_leaks([Ground(name, name, image, whole(image.shape)) for name, image in compared])
    return Subject(tuple(names), tuple(images), tuple(looks), source, leaks)


def _look(image: Scene) -> Look:
    windows = list(grid(whole(image.shape), WINDOW))
    digest = blake2b(f"{image.shape} {image.dtype}".encode(), digest_size=16)
    low, high, valid, seen = np.inf, -np.inf, 0, 0
    try:
        for window in windows[:: -(-len(windows) // WINDOWS)]:
            raster = image.read(window)
            digest.update(raster.pixels.tobytes())
            inside = raster.pixels[:, raster.valid]
            if inside.size:
                low, high = min(low, float(inside.min())), max(high, float(inside.max()))
            valid += int(raster.valid.sum())
            seen += raster.valid.size
    except SceneError as error:
        return Look(fault=str(error))
    return Look(low, high, valid / seen, digest.hexdigest())


def properties(subject: Subject) -> tuple[tuple[str, str], ...]:
    """Return rows that say what the images are like."""
    images = subject.images
    sizes = sorted({im.shape for im in images}, key=lambda s: s[0] * s[1])
    shown = [f"{width} x {height}" for height, width in sizes]
    known = [look for look in subject.looks if look.valid]
    low, high = (f(v) for f, v in ((min, [k.low for k in known]), (max, [k.high for k in known]))) if known else (0, 0)
    share = sum(look.valid for look in subject.looks) / len(images)
    return (
        ("size in pixels", shown[0] if len(shown) == 1 else f"{shown[0]} to {shown[-1]} ({len(shown)} sizes)"),
        ("bands", summary(f"{len(im.bands)} ({listed(im.bands, 12)})" for im in images)),
        ("type", summary(im.dtype for im in images)),
        ("values", f"{low:g} to {high:g}" if known else "none"),
        ("valid pixels", f"{share:.1%}"),
        ("CRS", summary(crs_name(im) for im in images)),
        ("pixel size", summary(_resolution(im) for im in images)),
    )


def summary(values: Iterable[str]) -> str:
    """Return what all have, or what there is and how often."""
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    return listed([f"{value} ({count} of {counts.total()})" for value, count in counts.most_common()], 4)


def crs_name(image: Scene) -> str:
    """Return the EPSG code of an image's CRS, or that there is none."""
    crs = image.geobox.crs
    if crs is None:
        return "not known, but placed" if is_georeferenced(image.geobox) else "none"
    return f"EPSG:{crs.to_epsg()}" if crs.to_epsg() else "a CRS without EPSG number"


def _resolution(image: Scene) -> str:
    if not is_georeferenced(image.geobox):
        return "not known"
    crs = image.geobox.crs
    unit = "map units" if crs is None else "degrees" if crs.geographic else "m"
    return f"{pixel_size(image.geobox):.3g} {unit}"
