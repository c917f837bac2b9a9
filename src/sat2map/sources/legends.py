"""Fit a legend to masks: the user's if it fits, a known one, or one discovered from what the masks hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sat2map.errors import SourceError
from sat2map.legend import IGNORED, KNOWN_LEGENDS, Legend, MapClass, palette, unpack_colour
from sat2map.sources.base import Finding, listed
from sat2map.sources.masks import FITS, MOST, RARE, Histogram, colour_text, known_share, legend_key


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
    legend, findings = _chosen(held, given, colours)
    findings += _unknown(held, legend, colours)
    legend = legend.without(ignore)
    if not len(legend):
        raise SourceError("The masks hold no class that could be learnt: all are named as ignored (--ignore).")
    findings += [
        Finding("note", "ignored-class", f"{c.name} ({_share(held, c, colours):.2%} of pixels) counts as unlabelled.")
        for c in legend.ignored
    ]
    return Fitted(legend, tuple(findings))


def _chosen(held: Histogram, given: Legend | None, colours: bool) -> tuple[Legend, list[Finding]]:
    """Return the user's legend if it fits, else a known one that does, else what the masks hold."""
    findings: list[Finding] = []
    if given is not None:
        if not colours:
            given, findings = _in_order(held, given)
        share = known_share(held, given, colours)
        if share >= FITS:
            return given, [*findings, *_twice(given, colours)]
        findings = [_does_not_fit(held, given, colours, share)]
    for name, known in KNOWN_LEGENDS.items() if colours else ():
        if known_share(held, known, colours) >= 0.9 and _occurring(held, known, colours) > len(known) / 2:
            return known, [*findings, Finding("note", "known-legend", f"The masks' colours are those of: {name}.")]
    legend, more = _discovered(held, given, colours)
    return legend, findings + more


def _in_order(held: Histogram, given: Legend) -> tuple[Legend, list[Finding]]:
    """Read masks of 0 and one other number, such as 255, by a legend of two classes counted 0 and 1."""
    numbers = sorted(held)
    if [c.value for c in given.classes] != [0, 1] or len(numbers) != 2 or numbers[0] != 0 or numbers[1] == 1:
        return given, []
    first, second = given.classes
    text = f"The masks' number {numbers[1]} is taken for the legend's second class, {second.name}."
    finding = Finding("note", "numbers-in-order", text)
    return Legend((first, replace(second, value=numbers[1])), given.ignored), [finding]


def _twice(legend: Legend, colours: bool) -> list[Finding]:
    """Report classes of one colour, of which masks of colours can only mean the last."""
    seen = [c.hex for c in legend.classes]
    shared = [c.name for c in legend.classes if seen.count(c.hex) > 1]
    if not colours or not shared:
        return []
    text = f"The legend gives one colour to several classes, which masks cannot tell apart: {listed(shared)}."
    return [Finding("warning", "colour-twice", text)]


def _share(held: Histogram, c: MapClass, colours: bool) -> float:
    return held[legend_key(c, colours)] / max(held.total(), 1)


def _occurring(held: Histogram, legend: Legend, colours: bool) -> int:
    return sum(held[legend_key(c, colours)] > 0 for c in legend.classes + legend.ignored)


def _does_not_fit(held: Histogram, given: Legend, colours: bool, share: float) -> Finding:
    what = "colours" if colours else "numbers"
    absent = [
        f"{c.name} {colour_text(legend_key(c, colours), colours)}"
        for c in given.classes
        if not held[legend_key(c, colours)]
    ]
    text = (
        f"The legend knows {share:.1%} of the masks' pixels and is not used, but for the {what} that occur. "
        f"It gives {what} that occur in no mask: {listed(absent)}. "
        f"The masks hold: {listed([colour_text(v, colours) for v, _ in held.most_common(12)], 12)}."
    )
    return Finding("warning", "legend-does-not-fit", text)


def _unknown(held: Histogram, legend: Legend, colours: bool) -> list[Finding]:
    known = {legend_key(c, colours) for c in legend.classes + legend.ignored}
    unknown, total = [(v, n) for v, n in held.most_common() if v not in known], held.total()
    if not unknown:
        return []
    shares = listed([f"{colour_text(v, colours)} {n / total:.2%}" for v, n in unknown])
    share = sum(n for _, n in unknown) / total
    what = "colours" if colours else "numbers"
    text = f"{share:.2%} of the masks' pixels have {what} the legend does not know and count as unlabelled: {shares}."
    return [Finding("warning", f"unknown-{what}", text)]


def _discovered(held: Histogram, given: Legend | None, colours: bool) -> tuple[Legend, list[Finding]]:
    """Make a legend of what the masks hold; names of the user's legend are kept where they fit."""
    least = RARE * held.total()
    values = sorted(v for v, n in held.items() if n >= least)
    findings = []
    if not colours and len(values) > 2 and values[-1] == IGNORED:
        values.pop()
        findings.append(Finding("note", "number-255", f"The number {IGNORED} counts as unlabelled, as is the custom."))
    if not values or len(values) > MOST:
        raise SourceError(
            f"The masks hold {len(held)} different {'colours' if colours else 'numbers'}: {_too(values)} for classes. "
            "If they are map pictures, say --output picture."
        )
    named = {legend_key(c, colours): c for c in given.classes + given.ignored} if given else {}
    classes = []
    for i, (value, colour) in enumerate(zip(values, palette(len(values)), strict=True)):
        if colours:
            name = named[value].name if value in named else _name(value, values, colours)
            classes.append(MapClass(name, unpack_colour(value), i))
        else:
            classes.append(named.get(value) or MapClass(_name(value, values, colours), colour, value))
    legend = Legend(tuple(classes))
    text = f"Classes were discovered from the masks: {listed(legend.names, 12)}. Name them in a file for --legend."
    return legend, [*findings, Finding("note", "discovered-legend", text)]


def _too(values: list[int]) -> str:
    return "too many" if values else "none frequent enough"


def _name(value: int, values: list[int], colours: bool) -> str:
    """Return a name for what stands in a mask; masks of two values, the lower one black or 0, are of one thing."""
    if len(values) == 2 and values[0] == 0 and (not colours or values[1] == 0xFFFFFF):
        return "background" if value == 0 else "foreground"
    return colour_text(value, colours) if colours else f"class {value}"
