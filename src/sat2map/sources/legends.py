"""Fit a legend to masks: the user's if it fits, a known one, or one discovered from what the masks hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sat2map.errors import SourceError
from sat2map.legend import KNOWN_LEGENDS, Legend, MapClass, pack_colour, pack_colours, palette, unpack_colour
from sat2map.scenes import Scene
from sat2map.sources.base import Finding, listed
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
    """Count the colours or numbers of a mask's valid pixels."""
    counts: Histogram = Counter()
    for window in grid(whole(mask.shape), 2048):
        raster = mask.read(window)
        values = pack_colours(raster.pixels[:3]) if len(mask.bands) >= 3 else raster.pixels[0]
        if not np.issubdtype(values.dtype, np.integer):
            values = values.astype(np.int64)
        for value, count in zip(*np.unique(values[raster.valid], return_counts=True), strict=True):
            counts[int(value)] += int(count)
    return counts


def are_pictures(masks: Sequence[Scene]) -> bool:
    """Tell whether these are map pictures, not classes: the first ones hold more than a few dozen common colours."""
    held = sum((histogram(mask) for mask in masks[:3]), Counter[int]())
    common = [n for n in held.values() if n >= RARE * held.total()]
    return len(common) > MOST or sum(common) < 0.5 * held.total()


@dataclass(frozen=True)
class Fitted:
    """A legend that fits the masks, what the masks hold that it does not know, and what to say about it."""

    legend: Legend
    findings: tuple[Finding, ...]


def fit_legend(held: Histogram, given: Legend | None, *, colours: bool, ignore: Iterable[str]) -> Fitted:
    """Choose the legend for masks that hold these colours or numbers.

    Args:
        held: Pixels of all masks by colour or number.
        given: The user's legend, if there is one.
        colours: Whether the masks hold colours (else numbers).
        ignore: Names of classes that count as unlabelled.

    Raises:
        SourceError: The masks hold so many colours that they must be pictures, or nothing but ignored classes.
    """
    findings = []
    legend = None
    if given is not None:
        share = _known_share(held, given, colours)
        if share >= FITS:
            legend = given
        else:
            findings.append(_does_not_fit(held, given, colours, share))
    if legend is None and colours:
        for name, known in KNOWN_LEGENDS.items():
            if _known_share(held, known, colours) >= 0.9 and _occurring(held, known, colours) > len(known) / 2:
                findings.append(Finding("note", "known-legend", f"The masks' colours are those of: {name}."))
                legend = known
                break
    if legend is None:
        legend = _discovered(held, given, colours)
        text = f"Classes were discovered from the masks: {listed(legend.names, 12)}. Name them in a file for --legend."
        findings.append(Finding("note", "discovered-legend", text))
    findings += _unknown(held, legend, colours)
    legend = legend.without(ignore)
    if not len(legend):
        raise SourceError("The masks hold no class that could be learnt: all are named as ignored (--ignore).")
    findings += [
        Finding("note", "ignored-class", f"{c.name} ({_share(held, c, colours):.2%} of pixels) counts as unlabelled.")
        for c in legend.ignored
    ]
    return Fitted(legend, tuple(findings))


def _key(c: MapClass, colours: bool) -> int:
    return pack_colour(c.colour) if colours else c.value


def _share(held: Histogram, c: MapClass, colours: bool) -> float:
    return held[_key(c, colours)] / max(held.total(), 1)


def _known_share(held: Histogram, legend: Legend, colours: bool) -> float:
    return sum(_share(held, c, colours) for c in legend.classes + legend.ignored)


def _occurring(held: Histogram, legend: Legend, colours: bool) -> int:
    return sum(held[_key(c, colours)] > 0 for c in legend.classes + legend.ignored)


def _text(value: int, colours: bool) -> str:
    return "#{:02X}{:02X}{:02X}".format(*unpack_colour(value)) if colours else str(value)


def _does_not_fit(held: Histogram, given: Legend, colours: bool, share: float) -> Finding:
    what = "colours" if colours else "numbers"
    absent = [f"{c.name} {_text(_key(c, colours), colours)}" for c in given.classes if not held[_key(c, colours)]]
    text = (
        f"The legend knows {share:.1%} of the masks' pixels and is not used, but for the {what} that occur. "
        f"It gives {what} that occur in no mask: {listed(absent)}. "
        f"The masks hold: {listed([_text(v, colours) for v, _ in held.most_common(12)], 12)}."
    )
    return Finding("warning", "legend-does-not-fit", text)


def _unknown(held: Histogram, legend: Legend, colours: bool) -> list[Finding]:
    known = {_key(c, colours) for c in legend.classes + legend.ignored}
    unknown = [(v, n) for v, n in held.most_common() if v not in known]
    if not unknown:
        return []
    shares = listed([f"{_text(v, colours)} {n / held.total():.2%}" for v, n in unknown])
    share = sum(n for _, n in unknown) / held.total()
    what = "colours" if colours else "numbers"
    text = f"{share:.2%} of the masks' pixels have {what} the legend does not know and count as unlabelled: {shares}."
    return [Finding("warning", f"unknown-{what}", text)]


def _discovered(held: Histogram, given: Legend | None, colours: bool) -> Legend:
    """Make a legend of what the masks hold; names of the user's legend are kept where they fit."""
    values = sorted(v for v, n in held.items() if n >= RARE * held.total())
    if not values or len(values) > MOST:
        raise SourceError(
            f"The masks hold {len(held)} different {'colours' if colours else 'numbers'}: too many for classes. "
            "If they are map pictures, lay them out side by side; if they were saved as JPEG, save them as PNG."
        )
    named = {_key(c, colours): c for c in given.classes + given.ignored} if given else {}
    classes = []
    for i, (value, colour) in enumerate(zip(values, palette(len(values)), strict=True)):
        if colours:
            name = named[value].name if value in named else _text(value, colours)
            classes.append(MapClass(name, unpack_colour(value), i))
        else:
            classes.append(named.get(value) or MapClass(_number_name(value, values), colour, value))
    return Legend(tuple(classes))


def _number_name(value: int, values: list[int]) -> str:
    if len(values) == 2 and values[0] == 0:
        return "background" if value == 0 else "foreground"
    return f"class {value}"
