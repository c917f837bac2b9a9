"""Which place goes to which part: the best of many divisions by shares, class balance and presence of each class.

Pure arithmetic on counts; knows nothing of pictures or ground.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

FREE = -1
"""Stands for a place whose part is to be chosen."""

TRIALS = 300
"""How many random divisions are tried."""

ENUMERATED = 3**8
"""Where there are no more ways to divide the places than this, all of them are tried."""

SHARE_WEIGHT = 10.0
"""How much a part's size counts against the balance of its classes, whose shares cannot all be met."""

EMPTY_WEIGHT = 1e6


def assign(amounts: np.ndarray, shares: Sequence[float], fixed: np.ndarray, seed: int) -> np.ndarray:
    """Choose a part for each place.

    Args:
        amounts: What is divided, `(places, 1 + classes)`: the size of each place, then how much of each class it holds.
        shares: The wanted share of each part; what no part wants goes to part 0.
        fixed: The part of each place, `(places,)`, or `FREE`.
        seed: Where the random numbers start.

    Returns:
        Parts, `(places,)` int64. A part is empty only if there are fewer places than parts.
    """
    free = np.flatnonzero(fixed == FREE)
    choices = [0] + [p for p in range(1, len(shares)) if shares[p] > 0 and not (fixed == p).any()]
    sizes = amounts[free, 0] / max(amounts[:, 0].sum(), 1)
    if len(choices) ** min(len(free), 20) <= ENUMERATED:
        drawn = np.array(list(itertools.product(choices, repeat=len(free))), np.int8)
    else:
        drawn = _draw(sizes, {p: shares[p] for p in choices[1:]}, seed)
    parts = np.tile(fixed.astype(np.int8), (len(drawn), 1))
    parts[:, free] = drawn
    best: np.ndarray = parts[_scores(parts, amounts, shares).argmin()].astype(np.int64)
    return best


def _draw(sizes: np.ndarray, shares: dict[int, float], seed: int) -> np.ndarray:
    """Return random divisions, `(TRIALS, places)`: in random order, places fill one part after the other, then part 0.

    Each part gets one place at least, and then those whose middle lies before its share is full.
    """
    order = np.random.default_rng(seed).random((TRIALS, len(sizes)), np.float32).argsort(axis=1)
    ordered = sizes[order]
    middles = ordered.cumsum(axis=1) - ordered / 2
    ranks = np.arange(len(sizes))
    parts = np.zeros(order.shape, np.int8)
    used, goal = np.zeros((TRIALS, 1), np.int64), 0.0
    for part, share in shares.items():
        goal += share
        end = np.maximum((middles < goal).sum(axis=1, keepdims=True), used + 1)
        parts[(ranks >= used) & (ranks < end)] = part
        used = end
    drawn = np.empty_like(parts)
    np.put_along_axis(drawn, order, parts, axis=1)
    return drawn


def _scores(parts: np.ndarray, amounts: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Return how far divisions `(trials, places)` are from the wanted one, `(trials,)`; the least is the best.

    The sum of the distances of the parts' sizes from their shares, the mean over classes of the same, the number of
    classes that a part lacks though there are places enough, and a prohibitive price of parts without anything.
    """
    asked = [p for p, share in enumerate(shares) if share > 0]
    total = amounts.sum(axis=0)
    relative = (amounts[:, total > 0] / total[total > 0]).astype(np.float32)
    common = (amounts[:, total > 0] > 0).sum(axis=0) >= len(asked)
    scores = np.zeros(len(parts))
    for p in asked:
        held = (parts == p).astype(np.float32) @ relative
        distance = np.abs(held - shares[p])
        scores += SHARE_WEIGHT * distance[:, 0] + EMPTY_WEIGHT * (held[:, 0] == 0)
        if held.shape[1] > 1:
            scores += distance[:, 1:].mean(axis=1) + ((held == 0) & common)[:, 1:].sum(axis=1)
    return scores
