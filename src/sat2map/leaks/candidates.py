"""Which grounds may show the same, by their local features alone: near descriptors that agree on rotation and scale.

Descriptors are compared as RootSIFT (Arandjelović & Zisserman 2012) in their principal components, found by randomised
k-d trees (Muja & Lowe 2009, FLANN). Each match of two features proposes a rotation and a scale; proposals vote in broad
bins (Lowe 2004), so that few true matches stand out from many chance ones.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from sat2map.leaks.looking import Features
from sat2map.progress import track

COMPONENTS = 24
NEIGHBOURS, TREES, CHECKS = 6, 4, 48
"""Nearest neighbours of a feature that vote, trees of the index, and leaves that are looked into."""

FEW_PARTS = 8
"""Up to so many parts, each is an index of its own; of more, all ground is one index."""

VOTES = 3
"""Least votes of a pair."""

MOST = 12
"""How many pairs of a ground are registered at most, those with the most votes."""

FAR = 0.6
"""Distance of descriptors from which on they are not alike; two unit vectors are at most 2 ** 0.5 apart here."""

TURNS = 12
"""Bins of rotation; bins of scale are octaves."""

OCTAVES = 8
"""Scales beyond 2 to this power, either way, share a bin."""

_SAMPLE = 50_000


class Candidate(NamedTuple):
    """A pair of grounds, by their places in a list, that may show the same; the first perhaps as in a mirror."""

    first: int
    second: int
    mirrored: bool


def root_sift(descriptors: np.ndarray) -> np.ndarray:
    """Return descriptors whose Euclidean distance is that of Hellinger, `(N, 128)` float32."""
    values = descriptors.astype(np.float32)
    roots: np.ndarray = np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1))
    return roots


def candidates(found: Sequence[Features], parts: Sequence[str], planes: Sequence[str]) -> list[Candidate]:
    """Return pairs of different part and plane that may show the same ground, in the order of the list."""
    votes: Counter[Candidate] = Counter()
    those = [i for i, features in enumerate(found) if len(features)]
    if not those:
        return []
    basis = _basis(found)
    for indexed, asking in _rounds(those, parts):
        search = _Search(found, indexed, basis)
        for i in track(asking, "Comparing ground", len(asking)):
            for mirrored in (False, True):
                for j, count in search.votes(found[i].mirrored if mirrored else found[i]):
                    if parts[i] != parts[j] and planes[i] != planes[j]:
                        pair = Candidate(min(i, j), max(i, j), mirrored)
                        votes[pair] = max(votes[pair], count)
    return _most_voted(votes)


def _most_voted(votes: Mapping[Candidate, int]) -> list[Candidate]:
    """Return the pairs that are among the `MOST` of either of their grounds."""
    taken: Counter[int] = Counter()
    chosen = []
    for pair in sorted(votes, key=lambda p: (-votes[p], p)):
        if min(taken[pair.first], taken[pair.second]) < MOST:
            taken.update((pair.first, pair.second))
            chosen.append(pair)
    return sorted(chosen)


def _rounds(those: Sequence[int], parts: Sequence[str]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield which grounds to index and which to look up there, so that each pair of parts meets.

    Of few parts, the larger are indexed and the smaller looked up: no ground is then hidden by that of its own part.
    """
    sizes = Counter(parts[i] for i in those)
    if len(sizes) > FEW_PARTS:
        yield list(those), list(those)
        return
    ranked = [part for part, _ in sizes.most_common()]
    for k, part in enumerate(ranked[:-1]):
        yield [i for i in those if parts[i] == part], [i for i in those if parts[i] in ranked[k + 1 :]]


def _basis(found: Sequence[Features]) -> np.ndarray:
    """Return the principal components `(128, COMPONENTS)` of all descriptors, of an even sample where they are many."""
    total = sum(len(features) for features in found)
    step = max(total // _SAMPLE, 1)
    sample = root_sift(np.concatenate([features.descriptors[::step] for features in found]))
    _, vectors = np.linalg.eigh(sample.T @ sample - len(sample) * np.outer(sample.mean(axis=0), sample.mean(axis=0)))
    return np.ascontiguousarray(vectors[:, ::-1][:, :COMPONENTS], np.float32)


class _Search:
    """An index of the features of some grounds."""

    def __init__(self, found: Sequence[Features], indexed: Sequence[int], basis: np.ndarray):
        self._basis = basis
        self._owner = np.repeat(indexed, [len(found[i]) for i in indexed])
        self._angles = np.concatenate([found[i].angles for i in indexed])
        self._sizes = np.concatenate([found[i].sizes for i in indexed])
        self._known = np.concatenate([root_sift(found[i].descriptors) @ basis for i in indexed])
        cv2.setRNGSeed(0)  # the trees are drawn from it
        self._index = cv2.flann.Index(self._known, {"algorithm": 1, "trees": TREES})

    def votes(self, features: Features) -> list[tuple[int, int]]:
        """Return grounds with how many features agree on a rotation and a scale, where they are `VOTES` or more."""
        near, squares = self._index.knnSearch(
            root_sift(features.descriptors) @ self._basis, min(NEIGHBOURS, len(self._known)), params={"checks": CHECKS}
        )
        asked, rank = np.nonzero(squares < FAR**2)
        hit = near[asked, rank]
        turn = (self._angles[hit] - features.angles[asked]) / (2 * np.pi) * TURNS
        octave = np.log2(self._sizes[hit] / features.sizes[asked])
        most: Counter[int] = Counter()
        for i, j in itertools.product((0, 0.5), repeat=2):  # what lies at the edge of one bin is amid another
            turns, octaves = (np.floor(values).astype(int) for values in (turn + i, octave + j))
            bins = self._owner[hit], turns % TURNS, octaves.clip(-OCTAVES, OCTAVES - 1) + OCTAVES, asked
            shape = int(self._owner.max()) + 1, TURNS, 2 * OCTAVES, len(features)
            votes = np.unique(np.ravel_multi_index(bins, shape))
            agreeing, counts = np.unique(votes // len(features), return_counts=True)
            for owner, count in zip((agreeing // (TURNS * 2 * OCTAVES)).tolist(), counts.tolist(), strict=True):
                most[owner] = max(most[owner], count)
        return [(owner, count) for owner, count in most.items() if count >= VOTES]
