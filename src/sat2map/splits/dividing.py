"""Who learns from which ground: training, validation and test by place, so that a score is about unseen places.

A split is a list of areas, each a window of a pair that belongs to one part. Blocks of ground are cells of one lattice
over all pictures, so the same ground goes to one part in whichever picture and at whichever resolution it is seen.
Knows nothing of patches but their size: how areas are sampled is for the training to say.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sat2map.errors import BadOption, SourceError, UnknownName
from sat2map.options import SplitOptions
from sat2map.progress import track_map
from sat2map.raster import is_georeferenced
from sat2map.scenes import Scene
from sat2map.sources.base import Finding, Source, listed
from sat2map.sources.naming import PART_WORDS
from sat2map.splits.assignment import FREE, assign
from sat2map.splits.base import PARTS, Area, Part, Split
from sat2map.splits.lattice import Cell, Lattice, Sheet, Sides, ground_area, lay_out, overlap
from sat2map.tiling import Window, grid, whole

BLOCKS = 40
"""About how many blocks of ground a source is cut into."""

FEWEST = 9
"""How many blocks there should be, even if they become smaller than half a patch."""

FEW_PAIRS = 10
"""Fewer pictures than this are cut into blocks rather than divided whole."""


@dataclass(frozen=True)
class PartRow:
    """What a part holds: number of areas, their pixels, and the share of each class among the labelled pixels."""

    part: Part
    areas: int
    pixels: int
    shares: dict[str, float]


def describe(split: Split, source: Source) -> list[PartRow]:
    """Return what each part holds, in the order train, val, test; parts without areas are left out."""
    windows: dict[str, list[Area]] = defaultdict(list)
    for area in split.areas:
        windows[area.pair].append(area)
    pairs = [p for p in source.pairs if p.name in windows]
    counted = track_map(
        lambda p: window_counts(p.target, [a.window for a in windows[p.name]], len(source.legend)),
        pairs,
        "Counting classes",
    )
    held = {part: np.zeros(len(source.legend), np.int64) for part in PARTS}
    for pair, counts in zip(pairs, counted, strict=True):
        for area, count in zip(windows[pair.name], counts, strict=True):
            held[area.part] += count
    return [_row(split, part, source.legend.names, held[part]) for part in PARTS if split.part(part)]


def _row(split: Split, part: Part, names: Sequence[str], counts: np.ndarray) -> PartRow:
    areas = split.part(part)
    shares = dict(zip(names, (counts / max(counts.sum(), 1)).tolist(), strict=True))
    return PartRow(part, len(areas), sum(a.window.height * a.window.width for a in areas), shares)


def window_counts(target: Scene, windows: Sequence[Window], classes: int) -> np.ndarray:
    """Count the pixels of each class in windows of a truth that is read once, `(windows, classes)` int64."""
    counts = np.zeros((len(windows), 256), np.int64)
    for chunk in grid(whole(target.shape), 2048) if classes else ():
        touched = [(i, common) for i, w in enumerate(windows) if not (common := w.intersect(chunk)).empty]
        if touched:
            ids = target.read(chunk).pixels[0]
            for i, common in touched:
                counts[i] += np.bincount(ids[common.within(chunk).slices].ravel(), minlength=256)
    return counts[:, :classes]


def make_split(source: Source, options: SplitOptions, *, seed: int, patch: int) -> tuple[Split, list[Finding]]:
    """Divide a source into training, validation and test.

    Args:
        source: What to divide.
        options: By what, and in which shares.
        seed: Where the random numbers start.
        patch: Side of a training patch in pixels; blocks are not made smaller than half of it where ground is plenty.

    Raises:
        BadOption: A share is no share, or options exclude each other.
        UnknownName: A group does not exist.
        SourceError: There are too few places to divide.
    """
    wanted = {part: _request(part, options, source.groups) for part in ("val", "test")}
    _check_requests(wanted)
    how = options.split if options.split != "auto" else _fitting(source, options, wanted)
    if how in ("groups", "files"):
        areas, findings = _divide_pictures(source, how, wanted, seed)
    else:
        areas, findings = _divide_ground(source, how, options, wanted, seed, patch)
    if wanted["test"] and not any(a.part == "test" for a in areas):  # folders say what belongs to which part
        text = "No folder is named for a test, so nothing is kept for one. Evaluate with --split val."
        findings.append(Finding("note", "no-test", text))
    return Split(how, areas), [*_warnings(source, how, areas), *findings]


# --- what is asked for ------------------------------------------------------------------------------------------------

Requests = Mapping[str, "float | tuple[str, ...]"]
"""What validation and test shall get: a share of the ground, or groups by name."""


def _request(part: str, options: SplitOptions, groups: Sequence[str]) -> float | tuple[str, ...]:
    """Return the share or the groups that an option names."""
    values: tuple[str, ...] = getattr(options, part)
    unknown = [v for v in values if v not in groups]
    if values and not unknown:
        if options.split not in ("auto", "groups"):
            raise BadOption(f"--{part} names groups, which only --split groups can follow, not {options.split}.")
        return values
    try:
        share = float(*values) if len(values) < 2 else math.nan  # without any value: 0
    except ValueError:
        share = math.nan
    if math.isnan(share) and not any(groups):
        raise BadOption(f"--{part} is {values[0]!r}, but all images lie in one group. Give a share, such as 0.2.")
    if math.isnan(share):
        raise UnknownName("group", unknown[0], filter(None, groups))
    if not 0 <= share < 1 or (part == "val" and share == 0):
        least = "0 or more" if part == "test" else "above 0 (the best epoch is chosen by validation)"
        raise BadOption(f"--{part} is {share:g}; a share must be {least} and below 1. Or name groups.")
    return share


def _check_requests(wanted: Requests) -> None:
    val, test = wanted["val"], wanted["test"]
    if isinstance(val, tuple) and isinstance(test, tuple):
        twice = sorted(set(val) & set(test))
        if twice:
            raise BadOption(f"{listed(twice)} cannot be in --val and --test at once. Name it in one of them.")
    if isinstance(val, float) and isinstance(test, float) and val + test >= 1:
        raise BadOption(f"--val {val:g} and --test {test:g} leave nothing to train on. Their sum must be below 1.")


def _fitting(source: Source, options: SplitOptions, wanted: Requests) -> str:
    """Choose by what to split where the user leaves it open."""
    if any(isinstance(w, tuple) for w in wanted.values()) or _folder_parts(source):
        return "groups"
    if options.block or options.buffer is not None:
        return "blocks"
    if len(source.groups) >= 3 and not overlap(_sheets(source), [p.group for p in source.pairs]):
        return "groups"
    georeferenced = any(is_georeferenced(p.image.geobox) for p in source.pairs)
    return "blocks" if georeferenced or len(source.pairs) < FEW_PAIRS else "files"


def _folder_parts(source: Source) -> dict[str, Part]:
    """Return the parts that the folders are named after; nothing unless all are, and one is for training."""
    named = {g: [PART_WORDS[f] for f in g.casefold().split("/") if f in PART_WORDS] for g in source.groups}
    parts = {group: parts[0] for group, parts in named.items() if parts}
    fit = len(parts) == len(named) and "train" in parts.values() and len(set(parts.values())) > 1
    return parts if fit else {}


def _warnings(source: Source, how: str, areas: Sequence[Area]) -> list[Finding]:
    """Tell where a score may be too good because parts share ground."""
    if how == "random":
        text = "Patches are split at random: neighbours lie on both sides, so the scores will be too good."
        return [Finding("warning", "random-split", text)]
    if how == "blocks":
        return []
    part = {a.pair: a.part for a in areas}
    if overlap(_sheets(source), [part[p.name] for p in source.pairs]):
        text = f"Split by {how}, but pictures of different parts show the same ground: use --split blocks."
        return [Finding("warning", "parts-overlap", text)]
    placed = any(is_georeferenced(p.image.geobox) for p in source.pairs)
    if how == "files" and len(source.groups) == 1 and not placed:
        text = "Pictures are split one by one: if some are parts of one scene, put each scene's in a folder of its own."
        return [Finding("warning", "files-split", text)]
    return []


# --- whole pictures ---------------------------------------------------------------------------------------------------


def _divide_pictures(source: Source, how: str, wanted: Requests, seed: int) -> tuple[tuple[Area, ...], list[Finding]]:
    """Give whole groups or whole pictures to the parts."""
    named = _named_groups(wanted)
    folders = _folder_parts(source) if how == "groups" and not named else {}
    alone = how == "files"
    if folders:
        # without a folder for validation, pictures of the training folders are taken for it
        alone = "val" not in folders.values()
        wanted = {"val": wanted["val"] if alone else 0.0, "test": 0.0}
        named = {g: p for g, p in folders.items() if p != "train" or not alone}
    keys = [p.name if alone and p.group not in named else p.group for p in source.pairs]
    places, index = np.unique(keys, return_inverse=True)
    counts = np.zeros((len(places), 1 + len(source.legend)))
    np.add.at(counts, index, _amounts([math.prod(p.image.shape) for p in source.pairs], source.counts))
    fixed = np.array([PARTS.index(named[k]) if k in named else FREE for k in places])
    parts = assign(counts, _shares(wanted, counts, fixed), fixed, seed)
    _check_parts(parts, counts, wanted, how)
    chosen = [PARTS[parts[i]] for i in index]
    areas = tuple(Area(p.name, whole(p.image.shape), part) for p, part in zip(source.pairs, chosen, strict=True))
    return areas, _absent(source, counts, parts)


def _named_groups(wanted: Requests) -> dict[str, Part]:
    return {g: part for part in PARTS[1:] if isinstance(groups := wanted[part], tuple) for g in groups}


def _amounts(pixels: Sequence[int] | np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return what is to be divided, `(places, 1 + classes)`: labelled pixels (pixels if none are), and each class."""
    sizes = counts.sum(axis=1) if counts.any() else np.asarray(pixels)
    return np.column_stack([sizes, counts])


def _absent(source: Source, held: np.ndarray, parts: np.ndarray) -> list[Finding]:
    """Tell which classes a part does not hold though others do."""
    findings = []
    for i in np.unique(parts):
        lacking = (held[parts == i, 1:].sum(axis=0) == 0) & (held[:, 1:].sum(axis=0) > 0)
        names = [name for name, lacks in zip(source.legend.names, lacking, strict=True) if lacks]
        if names:
            text = f"The {PARTS[i]} part holds no {listed(names)}: it is too rare, or in too few places, to be divided."
            findings.append(Finding("warning", "class-not-in-part", text))
    return findings


# --- blocks of ground -------------------------------------------------------------------------------------------------


def _divide_ground(
    source: Source, how: str, options: SplitOptions, wanted: Requests, seed: int, patch: int
) -> tuple[tuple[Area, ...], list[Finding]]:
    """Cut all pictures into cells and give each cell to a part."""
    blocks = how == "blocks"
    sheets = _sheets(source) if blocks else [Sheet(p.name, p.image.geobox, p.image.geobox) for p in source.pairs]
    side = (options.block or _block_side(sheets, patch)) if blocks else patch
    buffer = _buffer(options, how, side)
    laid = [(sheet, sheet.lattice(side, fit=blocks and not options.block)) for sheet in sheets]
    shown = [list(sheet.cells(lattice)) for sheet, lattice in laid]
    cells, counts = _count_cells(source, shown)
    fixed = np.full(len(cells), FREE)
    parts = assign(counts, _shares(wanted, counts, fixed), fixed, seed)
    _check_parts(parts, counts, wanted, how)
    part_of = {cell: PARTS[part] for cell, part in zip(cells, parts, strict=True)}
    areas = tuple(
        area
        for pair, (sheet, lattice), here in zip(source.pairs, laid, shown, strict=True)
        for area in _areas(pair.name, sheet, lattice, [cell for cell, _ in here if cell in part_of], part_of, buffer)
    )
    for part in sorted(set(part_of.values()) - {a.part for a in areas}):
        raise SourceError(f"The buffer of {buffer:g} pixels leaves nothing for {part}. Give a smaller --buffer.")
    return areas, _absent(source, counts, parts)


def _sheets(source: Source) -> list[Sheet]:
    return list(lay_out({p.name: p.image.geobox for p in source.pairs}).values())


def _block_side(sheets: Sequence[Sheet], patch: int) -> float:
    """Return the side that gives about `BLOCKS` blocks, not below half a patch unless there would be but a few."""
    area = ground_area(sheets)
    least = min(patch / 2, math.sqrt(area / FEWEST))
    return max(math.sqrt(area / BLOCKS), least)


def _buffer(options: SplitOptions, how: str, side: float) -> float:
    if options.buffer is None:
        return round(side / 10) if how == "blocks" else 0
    if not 0 <= options.buffer < side:
        raise BadOption(
            f"--buffer is {options.buffer}; it must be 0 or more and below the side of a block ({side:.0f} pixels). "
            "Give a smaller --buffer or a larger --block."
        )
    return options.buffer


def _count_cells(source: Source, shown: Sequence[Sequence[tuple[Cell, Window]]]) -> tuple[list[Cell], np.ndarray]:
    """Return the cells that hold labels, and their `_amounts` over all pictures."""
    numbers = list(range(len(source.pairs)))
    classes = len(source.legend)
    counted = track_map(
        lambda i: window_counts(source.pairs[i].target, [w for _, w in shown[i]], classes), numbers, "Counting classes"
    )
    cells = sorted({cell for here in shown for cell, _ in here})
    place = {cell: i for i, cell in enumerate(cells)}
    index = [place[cell] for here in shown for cell, _ in here]
    pixels, counts = np.zeros(len(cells), np.int64), np.zeros((len(cells), classes), np.int64)
    np.add.at(pixels, index, [w.height * w.width for here in shown for _, w in here])
    np.add.at(counts, index, np.concatenate(counted))
    amounts = _amounts(pixels, counts)
    labelled = np.flatnonzero(amounts[:, 0])
    return [cells[i] for i in labelled], amounts[labelled]


def _areas(
    pair: str,
    sheet: Sheet,
    lattice: Lattice,
    cells: Sequence[Cell],
    part_of: Mapping[Cell, Part],
    buffer: float,
) -> list[Area]:
    """Return a picture's windows in its cells, half the buffer away from cells of other parts."""
    context = sheet.pixels(buffer / 2)
    areas = []
    for cell in cells:
        window = sheet.window(cell, lattice, _foreign(cell, part_of), buffer / 2)
        if not window.empty:
            areas.append(Area(pair, window, part_of[cell], context))
    return areas


def _foreign(cell: Cell, part_of: Mapping[Cell, Part]) -> Sides:
    """Tell at which sides another part lies; cells at the corners count as above or below, for both of the two."""

    def other(rows: int, cols: int) -> bool:
        return part_of.get(Cell(cell.plane, cell.row + rows, cell.col + cols), part_of[cell]) != part_of[cell]

    top, bottom = (any(other(step, cols) for cols in (-1, 0, 1)) for step in (-1, 1))
    return Sides(top, bottom, other(0, -1), other(0, 1))


# --- shares -----------------------------------------------------------------------------------------------------------


def _shares(wanted: Requests, amounts: np.ndarray, fixed: np.ndarray) -> list[float]:
    """Return the share of each part: what is asked for, or what its named groups hold; the rest is for training."""
    sizes = amounts[:, 0] / max(amounts[:, 0].sum(), 1)
    shares = [0.0]
    for i, part in enumerate(PARTS[1:], 1):
        asked = wanted[part]
        shares.append(asked if isinstance(asked, float) and asked else float(sizes[fixed == i].sum()))
    return [max(1 - sum(shares), 0.0), *shares[1:]]


def _check_parts(parts: np.ndarray, amounts: np.ndarray, wanted: Requests, how: str) -> None:
    """Refuse a division with an empty part.

    Raises:
        SourceError: A part that was asked for holds nothing that is labelled.
    """
    for i, part in enumerate(PARTS):
        if (part == "train" or wanted[part]) and not amounts[parts == i, 0].sum():
            names = {"groups": "groups", "files": "pictures"}.get(how, "blocks")
            raise SourceError(
                f"Nothing with labels is left for {part}: there are {len(parts)} {names} to divide. Choose other "
                "shares or groups with --val and --test, or more and smaller blocks with --split blocks --block."
            )
