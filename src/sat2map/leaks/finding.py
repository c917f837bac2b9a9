"""All leaks between the parts of a split, and what to tell of them."""

from __future__ import annotations

from collections.abc import Sequence

from sat2map.leaks.base import LEAST, Ground, Leak, share_of_smaller
from sat2map.leaks.candidates import Candidate, candidates
from sat2map.leaks.ground import leaks_by_place, planes_of
from sat2map.leaks.looking import Features, features, grain
from sat2map.leaks.registration import likeness, register, register_mirrored
from sat2map.progress import track_map
from sat2map.sources.base import Finding, counted, listed

ALIKE = 0.35
"""Likeness from which on two grounds may be the same."""

LOOK_ALIKE = "look-alike"
"""The kind of finding that tells of leaks that are not sure."""


def find_leaks(grounds: Sequence[Ground]) -> tuple[Leak, ...]:
    """Find grounds of different parts that show the same, or may show it: the sure ones and the largest share first.

    Grounds with a CRS are compared by where they lie, and so are windows of one picture; all others by what they show,
    at any rotation, also as in a mirror, and at scales from 1/4 to 4.

    Raises:
        SceneError: A picture is damaged or gone.
    """
    sheets = planes_of(grounds)
    leaks = [*leaks_by_place(grounds, sheets), *_leaks_by_content(grounds, [sheet.plane for sheet in sheets])]
    return tuple(sorted(leaks, key=lambda leak: (not leak.sure, -leak.share)))


def _leaks_by_content(grounds: Sequence[Ground], planes: Sequence[str]) -> list[Leak]:
    if len({ground.part for ground in grounds}) < 2 or len(set(planes)) < 2:
        return []
    found = track_map(features, grounds, "Looking for leaks")
    pairs = candidates(found, [ground.part for ground in grounds], planes)
    leaks = track_map(lambda pair: _verified(pair, grounds, found), pairs, "Verifying leaks")
    best: dict[tuple[int, int], Leak] = {}
    for pair, leak in zip(pairs, leaks, strict=True):
        known = best.get(pair[:2])
        if leak and (known is None or (leak.likeness or 0) > (known.likeness or 0)):
            best[pair[:2]] = leak
    return list(best.values())


def _verified(pair: Candidate, grounds: Sequence[Ground], found: Sequence[Features]) -> Leak | None:
    first, second = grounds[pair.first], grounds[pair.second]
    find = register_mirrored if pair.mirrored else register
    place = find(found[pair.first], found[pair.second], (grain(first), grain(second)))
    if place is None:
        return None
    share = share_of_smaller(first.window, second.window, place.affine[:6])
    if share <= LEAST:
        return None
    value, textured = likeness(first, second, place)
    return Leak(first, second, "content", share, place.affine[:6], value, textured) if value >= ALIKE else None


def leak_findings(leaks: Sequence[Leak]) -> list[Finding]:
    """Return what to tell of leaks: an error if some are sure, a warning if some are not, each with the largest."""
    findings = []
    if sure := [leak for leak in leaks if leak.sure]:
        text = (
            f"{_pairs(sure)} show the same ground on both sides of a split {_between(sure)}: {told(sure[0])}. A score "
            "on such ground is no test. Put both into one part: name the group of each side for --test or --val, or "
            "split by blocks of ground (--split blocks)."
        )
        findings.append(Finding("error", "leak", text, _names(sure)))
    if unsure := [leak for leak in leaks if not leak.sure]:
        text = (
            f"{_pairs(unsure)} look alike on both sides of a split {_between(unsure)}: {told(unsure[0])}. That is the "
            "same ground, or what was built twice to one plan: look at leaks.png."
        )
        findings.append(Finding("warning", LOOK_ALIKE, text, _names(unsure)))
    return findings


def _pairs(leaks: Sequence[Leak]) -> str:
    return f"{counted(leaks, 'pair')} of pictures or areas"


def _between(leaks: Sequence[Leak]) -> str:
    return f"({listed(sorted({' and '.join(sorted((leak.first.part, leak.second.part))) for leak in leaks}), 3)})"


def _names(leaks: Sequence[Leak]) -> tuple[str, ...]:
    return tuple(sorted({ground.name for leak in leaks for ground in (leak.first, leak.second)}))


def told(leak: Leak) -> str:
    """Return which grounds share how much of the smaller one, and by what that is known."""
    how = "where they lie" if leak.likeness is None else f"what they show, correlation {leak.likeness:.2f}"
    share = f"{'share' if leak.sure else 'may share'} {leak.share:.0%} of the smaller one"
    return f"{leak.first.name} and {leak.second.name} {share} (by {how})"
