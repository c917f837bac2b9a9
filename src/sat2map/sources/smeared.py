"""Masks whose colours were smeared, by JPEG or by resizing: each pixel is brought back to the colour that was meant.

A mask of six colours holds hundreds of thousands after JPEG. Most of its pixels are still within a few levels of one of
the six; those at the edges lie between two of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sat2map.labels import has_colours
from sat2map.legend import KNOWN_LEGENDS, Legend, pack_colour
from sat2map.scenes import Scene
from sat2map.scenes.gdal import GdalScene
from sat2map.sources.base import Finding, listed
from sat2map.sources.masks import FITS, MOST, Histogram, colour_text, legend_key, merged
from sat2map.tiling import Window

REACH = 48
"""Pixels farther from all that is meant, in levels of red, green and blue together, lie between two: unlabelled."""

SHIFT = 10
"""How far from the colour of a legend the one may lie that a mask has in its place, after JPEG of low quality."""

COVERED = 0.8
"""Share of the pixels within reach of what is meant, below which masks are taken as they are: as pictures."""

LEAST = 0.002
"""Share of the pixels that what is meant has at least, unless a legend names it."""

PEAK = 0.05
"""Share of the pixels within its reach that have exactly a colour that is meant; in photographs it is less."""

PURE = 0.25
"""The same for a number, and for a colour between two others, which else is a mixture of both."""

DENSE = 0.2
"""Share of the pixels within its reach that lie within a shift of a colour that is meant; around edges it is less."""

LOSSY = {"JPEG", "WEBP"}
"""GDAL's drivers of files whose masks may be smeared though they hold few numbers."""


@dataclass(frozen=True)
class NearestScene(Scene):
    """A mask whose pixels take the nearest of a few colours or numbers; those out of reach are not valid."""

    mask: Scene
    meant: tuple[int, ...]

    def _read(self, window: Window, bands: list[int]) -> tuple[np.ndarray, np.ndarray]:
        raster = self.mask.read(window, range(len(self.bands)))
        meant = _levels(self.meant, len(self.bands))
        which = _nearest(raster.pixels, meant, _reach(self.meant))
        return np.moveaxis(meant[which], -1, 0)[bands], raster.valid & (which >= 0)


def sharpen(
    masks: Sequence[Scene], held: Sequence[Histogram], given: Legend | None
) -> tuple[list[Scene], list[Histogram], list[Finding]]:
    """Bring the pixels of smeared masks back to what was meant; other masks stay as they are.

    Args:
        masks: As they were opened, of colours, of numbers, or of both kinds.
        held: The histogram of each.
        given: The user's legend, if there is one; its colours are what is meant if they are near to the masks'.

    Returns:
        The masks, the histogram of each, and what to say about it.
    """
    scenes, counts, findings = list(masks), list(held), []
    for bands in (3, 1):
        places = [i for i, m in enumerate(masks) if has_colours(m) == (bands == 3) and m.dtype == "uint8"]
        total = merged(held[i] for i in places)
        lossy = all(isinstance(m, GdalScene) and m.driver in LOSSY for m in (masks[i] for i in places))
        meant = meant_by(total, given, bands) if lossy or len(total) > MOST else ()
        if not meant or set(meant) >= set(total):
            continue
        for i in places:
            m = masks[i]
            scenes[i] = NearestScene(m.name, m.geobox, m.bands[:bands], "uint8", m, meant)
            counts[i] = _brought_back(held[i], meant, bands, _reach(meant))
        left = 1 - sum(counts[i].total() for i in places) / total.total()
        findings.append(_told(total, meant, left, bands))
    return scenes, counts, findings


def _told(held: Histogram, meant: Sequence[int], left: float, bands: int) -> Finding:
    what = "colours" if bands == 3 else "shades of grey"
    few = listed([colour_text(v, bands == 3) for v in meant], 12)
    between = f"; {left:.2%} lie between two and count as unlabelled" if left else ""
    text = (
        f"The masks hold {len(held):,} {what}, as JPEG or resizing makes of few. Each pixel is taken for the nearest "
        f"of: {few}{between}. Masks saved as PNG from the start say more."
    )
    return Finding("warning", "smeared-masks", text)


def meant_by(held: Histogram, given: Legend | None, bands: int = 3) -> tuple[int, ...]:
    """Return the colours (packed) or numbers that smeared masks mean, sorted; none if they look like pictures.

    Args:
        held: Pixels of all masks by colour or number.
        given: The user's legend, if there is one.
        bands: 3 where the masks hold colours, 1 where they hold numbers from 0 to 255.
    """
    peaks = _peaks(held, bands)
    if sum(peaks.values()) < COVERED * held.total() or len(peaks) < 2:
        return ()
    known = KNOWN_LEGENDS.values() if bands == 3 else ()
    for legend, least in [*([(given, FITS)] if given else []), *((legend, 0.9) for legend in known)]:
        keys = {legend_key(c, bands == 3) for c in legend.classes + legend.ignored}
        near = {peak for peak in peaks if _away(peak, keys, bands) <= SHIFT}
        if _told_apart(keys, bands) and sum(peaks[peak] for peak in near) >= least * held.total():
            return tuple(sorted({key for key in keys if _is_dense(held, key, bands)} | (set(peaks) - near)))
    ends = (0, pack_colour((255, 255, 255)) if bands == 3 else 255)
    return tuple(sorted({next((end for end in ends if _away(p, [end], bands) <= SHIFT), p) for p in peaks}))


def _peaks(held: Histogram, bands: int) -> Histogram:
    """Return the colours around which others lie, with the pixels within their reach."""
    values, left = np.array(list(held)), np.array(list(held.values()))
    levels, least = _levels(values, bands), LEAST * held.total()
    peaks: list[int] = []
    for _ in range(MOST if held else 0):
        top = int(left.argmax())
        away = np.linalg.norm(levels - levels[top], axis=1)
        size, close = left[away <= REACH].sum(), left[away <= SHIFT].sum()
        mixed = bands == 1 or _between(int(values[top]), peaks, bands)
        if size >= least and close >= DENSE * size and left[top] >= (PURE if mixed else PEAK) * size:
            peaks.append(int(values[top]))
        left[away <= REACH] = 0
    return _brought_back(held, peaks, bands, REACH)


def _is_dense(held: Histogram, key: int, bands: int) -> bool:
    """Tell whether enough lies close to a legend's colour for it to be meant: around edges there are all mixtures."""
    away = np.linalg.norm(_levels(list(held), bands) - _levels([key], bands), axis=1)
    counts = np.array(list(held.values()))
    close = counts[away <= SHIFT].sum()
    return bool(close > 0 and close >= DENSE * counts[away <= REACH].sum())


def _brought_back(held: Histogram, meant: Sequence[int], bands: int, reach: float) -> Histogram:
    """Return how many pixels there are of what is meant, once each is brought back to it; those between are left."""
    which = _nearest(_levels(list(held), bands).T[:, None], _levels(meant, bands), reach)[0]
    counts = np.bincount(which[which >= 0], np.array(list(held.values()))[which >= 0], len(meant))
    return Counter({value: int(n) for value, n in zip(meant, counts, strict=True) if n})


def _reach(meant: Sequence[int]) -> float:
    """Return how far from what is meant pixels may lie: where that is two, a mixture can be taken for no third."""
    return REACH if len(meant) > 2 else np.inf


def _nearest(levels: np.ndarray, meant: np.ndarray, reach: float) -> np.ndarray:
    """Return which of `meant` (m, bands) is nearest to levels `(bands, h, w)`, `(h, w)` int; -1 if out of reach."""
    from sat2map.colours import nearest_colours  # its compiler takes half a second

    which, squared = nearest_colours(np.ascontiguousarray(levels, np.uint8), meant)
    return np.where(squared <= min(reach, 500) ** 2, which.astype(int), -1)


def _between(value: int, others: Iterable[int], bands: int) -> bool:
    """Tell whether a colour lies on the line between two others, as a mixture of both does."""
    point, *ends = _levels([value, *others], bands)
    for one, other in combinations(ends, 2):
        along = np.dot(point - one, other - one) / np.dot(other - one, other - one)
        if 0 < along < 1 and np.linalg.norm(one + along * (other - one) - point) <= SHIFT:
            return True
    return False


def _told_apart(keys: Iterable[int], bands: int) -> bool:
    """Tell whether colours are so far apart that a shift does not carry one to another."""
    return all(_away(one, [other], bands) > 2 * SHIFT for one, other in combinations(keys, 2))


def _away(value: int, others: Iterable[int], bands: int) -> float:
    """Return how far a colour is from the nearest of others, in levels."""
    point, *rest = _levels([value, *others], bands)
    return min((float(np.linalg.norm(point - other)) for other in rest), default=np.inf)


def _levels(values: Sequence[int] | np.ndarray, bands: int) -> np.ndarray:
    """Return packed colours, or numbers, as levels `(n, bands)` int32."""
    numbers = np.asarray(values, np.int32)
    return np.stack([numbers >> shift & 255 for shift in (16, 8, 0)[-bands:]], axis=1)
