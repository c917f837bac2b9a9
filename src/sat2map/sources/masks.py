"""What masks hold, and whether they are read as colours or as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from sat2map.errors import SourceError
from sat2map.labels import has_colours
from sat2map.legend import Legend, MapClass, pack_colour, pack_colours, unpack_colour
from sat2map.scenes import Scene, select
from sat2map.scenes.gdal import GdalScene, open_gdal
from sat2map.sources.base import Finding
from sat2map.tiling import grid, whole

FITS = 0.5
"""Share of the masks' pixels a legend must know to be used."""

RARE = 0.001
"""Colours below this share are not taken for classes where the legend is discovered."""

MOST = 64
"""More colours than this are a picture, not classes."""

Histogram = Counter[int]
"""How many pixels a mask has of each colour (packed) or number."""


def histogram(mask: Scene) -> Histogram:
    """Count the colours or numbers of a mask's valid pixels.

    Raises:
        SourceError: The colours have more than 8 bits.
    """
    counts: Histogram = Counter()
    for window in grid(whole(mask.shape), 2048):
        raster = mask.read(window)
        values = _packed(mask, raster.pixels[:3]) if has_colours(mask) else raster.pixels[0]
        if not np.issubdtype(values.dtype, np.integer):
            values = values.astype(np.int64)
        for value, count in zip(*np.unique(values[raster.valid], return_counts=True), strict=True):
            counts[int(value)] += int(count)
    return counts


def merged(counts: Iterable[Histogram]) -> Histogram:
    """Return what several masks hold together; of JPEG each has thousands of colours."""
    every = list(counts)
    values = np.fromiter(chain.from_iterable(every), np.int64)
    pixels = np.fromiter(chain.from_iterable(held.values() for held in every), np.int64)
    found, which = np.unique(values, return_inverse=True)
    totals = np.bincount(which, pixels, len(found)).astype(np.int64)
    return Counter(dict(zip(found.tolist(), totals.tolist(), strict=True)))


def _packed(mask: Scene, rgb: np.ndarray) -> np.ndarray:
    if rgb.dtype != np.uint8 and not ((rgb >= 0) & (rgb <= 255)).all():
        raise SourceError(
            f"{mask.name} holds colours as {rgb.dtype} beyond 0 to 255. Save masks and map pictures as 8-bit RGB."
        )
    return pack_colours(rgb)


def keep_named_nodata(mask: Scene, given: Legend | None) -> Scene:
    """Return a mask of numbers whose nodata is a class, if the user's legend names it as one."""
    named = given is not None and isinstance(mask, GdalScene) and mask.nodata in {c.value for c in given.classes}
    return replace(mask, masked=False) if named and isinstance(mask, GdalScene) and not has_colours(mask) else mask


def palettes(masks: Sequence[Scene], colours: bool) -> tuple[Finding, ...]:
    """Tell how masks with a palette are read, where others have none or the colours do not count."""
    indexed = tuple(m.name for m in masks if isinstance(m, GdalScene) and m.palette)
    if not indexed or (colours and len(indexed) == len(masks)):
        return ()
    how = "colours of their palettes" if colours else "indices, not by the colours of their palettes"
    text = f"Masks with a palette ({len(indexed)} of {len(masks)}) are read by the {how}."
    return (Finding("note", "palette-masks", text, indexed),)


def are_pictures(held: Histogram) -> bool:
    """Tell whether what masks hold are map pictures, not classes: more than a few dozen common colours."""
    total = held.total()
    common = [n for n in held.values() if n >= RARE * total]
    return len(common) > MOST or sum(common) < 0.5 * total


def legend_key(c: MapClass, colours: bool) -> int:
    """Return what stands for a class in masks of colours, or of numbers."""
    return pack_colour(c.colour) if colours else c.value


def colour_text(value: int, colours: bool) -> str:
    """Return a colour as `#RRGGBB`, or a number as it is."""
    return "#{:02X}{:02X}{:02X}".format(*unpack_colour(value)) if colours else str(value)


def known_share(held: Histogram, legend: Legend, colours: bool) -> float:
    """Return the share of pixels whose colour or number a legend knows."""
    keys = {legend_key(c, colours) for c in legend.classes + legend.ignored}
    return sum(held[key] for key in keys) / max(held.total(), 1)


@dataclass(frozen=True)
class Settled:
    """Masks as they are to be read, what they hold all in all, and whether that are colours (or numbers)."""

    masks: tuple[Scene, ...]
    held: Histogram
    colours: bool
    findings: tuple[Finding, ...] = ()


def settle(masks: Sequence[Scene], held: Sequence[Histogram], given: Legend | None) -> Settled:
    """Decide how to read masks of colours, of numbers, or of both kinds.

    Colours are read as numbers where the legend asks for that, or where some masks have numbers only: a palette
    image's numbers are its indices, those of a grey picture its shade.

    Args:
        masks: As they were opened: palettes as colours.
        held: The histogram of each.
        given: The user's legend, if there is one.
    """
    colourful = [has_colours(m) for m in masks]
    every = merged(h for h, c in zip(held, colourful, strict=True) if c)
    if not any(colourful):
        return Settled(tuple(masks), merged(held), False)
    misfit = given is not None and known_share(every, given, True) < FITS
    if misfit or (given is None and not all(colourful)):
        numbers = [_as_numbers(m, h, given) for m, h in zip(masks, held, strict=True)]
        readable = [pair for pair in numbers if pair is not None]
        total = merged(h for _, h in readable)
        if len(readable) == len(masks) and (given is None or known_share(total, given, False) >= FITS):
            return Settled(tuple(m for m, _ in readable), total, False)
    return _mixed(masks, held, given)


def _mixed(masks: Sequence[Scene], held: Sequence[Histogram], given: Legend | None) -> Settled:
    """Read masks as colours; those of numbers by the legend's numbers if it knows them, else as shades of grey."""
    single = [i for i, m in enumerate(masks) if not has_colours(m)]
    if not single:
        return Settled(tuple(masks), merged(held), True)
    numbers = merged(held[i] for i in single)
    by_number = given is not None and known_share(numbers, given, False) >= FITS
    colours = {c.value: pack_colour(c.colour) for c in given.classes + given.ignored} if given and by_number else {}
    read, counts = list(masks), list(held)
    for i in single:
        counts[i] = Counter()
        for number, count in held[i].items():
            counts[i][colours.get(number, pack_colour((number & 255,) * 3))] += count
        if not by_number:
            read[i] = select(masks[i], (0, 0, 0))
    how = "by the numbers of the legend" if by_number else "as shades of grey"
    text = f"{len(single)} of {len(masks)} masks hold numbers, the others colours; the numbers are read {how}."
    return Settled(tuple(read), merged(counts), True, (Finding("warning", "masks-mixed", text),))


def _as_numbers(mask: Scene, held: Histogram, given: Legend | None) -> tuple[Scene, Histogram] | None:
    """Return a mask of colours as one of numbers, if it can be, and what it then holds."""
    if not has_colours(mask):
        return mask, held
    if isinstance(mask, GdalScene) and mask.palette:
        opened = replace(open_gdal(mask.path, colours=False), geobox=mask.geobox)  # it may have the image's place
        indexed = keep_named_nodata(opened, given)
        return indexed, histogram(indexed)
    if all(len(set(unpack_colour(colour))) == 1 for colour in held):
        return select(mask, (0,)), Counter({unpack_colour(colour)[0]: n for colour, n in held.items()})
    return None
