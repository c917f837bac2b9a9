import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sat2map.legend import IGNORED
from sat2map.metrics import confusion, row_shares, scores_of, unscored

K = 4
NAMES = ("water", "land", "road", "building")
shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=12)
matrices = hnp.arrays(np.int64, (K, K), elements=st.integers(0, 40))


def id_arrays(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.uint8, shape, elements=st.sampled_from([*range(K), IGNORED]))


pairs = shapes.flatmap(lambda shape: st.tuples(id_arrays(shape), id_arrays(shape)))


def naive_sets(truth: np.ndarray, predicted: np.ndarray, k: int) -> tuple[set[int], set[int]]:
    """The scored pixels that are, and those that are mapped as, class k."""
    couples = enumerate(zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True))
    scored = [(i, t, p) for i, (t, p) in couples if IGNORED not in (t, p)]
    return {i for i, t, _ in scored if t == k}, {i for i, _, p in scored if p == k}


@given(pairs)
def test_scores_are_those_of_sets_of_pixels(pair: tuple[np.ndarray, np.ndarray]) -> None:
    scores = scores_of(confusion(*pair, K), NAMES)
    for k, found in enumerate(scores.classes):
        true, mapped = naive_sets(*pair, k)
        both = len(true & mapped)
        assert found.pixels == len(true)
        if not true | mapped:
            assert (found.precision, found.recall, found.iou, found.f1) == (None,) * 4
            continue
        assert found.iou == pytest.approx(both / len(true | mapped))
        assert found.precision == pytest.approx(both / len(mapped) if mapped else 0)
        assert found.recall == pytest.approx(both / len(true) if true else 0)
        total = found.precision + found.recall
        assert found.f1 == pytest.approx(2 * found.precision * found.recall / total if total else 0)


@given(pairs)
def test_accuracy_and_means(pair: tuple[np.ndarray, np.ndarray]) -> None:
    truth, predicted = pair
    scored = (truth != IGNORED) & (predicted != IGNORED)
    scores = scores_of(confusion(truth, predicted, K), NAMES)
    if not scored.any():
        assert scores.accuracy is scores.mean_iou is scores.mean_f1 is None
        return
    assert scores.accuracy == pytest.approx((truth == predicted)[scored].mean())
    for name in ("iou", "f1", "precision", "recall"):
        values = [v for c in scores.classes if (v := getattr(c, name)) is not None]
        assert getattr(scores, f"mean_{name}") == pytest.approx(np.mean(values))


@given(pairs)
def test_each_labelled_pixel_is_counted_or_told(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert confusion(*pair, K).sum() + unscored(*pair) == (pair[0] != IGNORED).sum()


@given(pairs, st.lists(st.integers(0, 12), max_size=3))
def test_counts_of_pieces_add_up(pair: tuple[np.ndarray, np.ndarray], cuts: list[int]) -> None:
    truth, predicted = pair
    edges = sorted({0, len(truth), *(c for c in cuts if c < len(truth))})
    parts = sum(confusion(truth[a:b], predicted[a:b], K) for a, b in pairwise(edges))
    assert np.array_equal(parts, confusion(truth, predicted, K))


def test_rows_are_truth() -> None:
    matrix = confusion(np.array([0, 0, 1]), np.array([1, 1, 1]), 2)
    assert matrix.tolist() == [[0, 2], [0, 1]]
    assert matrix.dtype == np.int64


def test_a_class_never_mapped_counts_as_zero_and_an_absent_one_not_at_all() -> None:
    scores = scores_of(np.array([[8, 0, 0], [2, 0, 0], [0, 0, 0]]), ("land", "road", "water"))
    land, road, water = scores.classes
    assert (road.precision, road.recall, road.iou, road.f1, road.pixels) == (0, 0, 0, 0, 2)
    assert water.iou is None
    assert scores.mean_precision == pytest.approx(0.4)
    assert scores.mean_iou == pytest.approx(0.4)
    assert scores.mean_recall == 0.5
    assert land.f1 == pytest.approx(16 / 18)


@given(matrices)
def test_iou_and_f1_tell_the_same_order(matrix: np.ndarray) -> None:
    for c in scores_of(matrix, NAMES).classes:
        if c.iou is not None:
            assert c.f1 == pytest.approx(2 * c.iou / (1 + c.iou))


@given(matrices)
def test_json_is_strict_and_has_these_keys(matrix: np.ndarray) -> None:
    data = json.loads(json.dumps(scores_of(matrix, NAMES).to_json(), allow_nan=False))
    totals = ["accuracy", "mean_iou", "mean_f1", "mean_precision", "mean_recall", "classes"]
    totals += ["mean_boundary_f1", "mean_boundary_iou"]
    assert list(data) == totals
    keys = ["name", "precision", "recall", "iou", "f1", "pixels", "boundary_f1", "boundary_iou"]
    keys += ["object_precision", "object_recall", "object_f1"]
    assert [list(c) for c in data["classes"]] == [keys] * K


@settings(deadline=None, max_examples=30)
@given(matrices.filter(np.any))
def test_scores_are_those_of_scikit_learn(matrix: np.ndarray) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    truth, predicted = (a.repeat(matrix.ravel()) for a in np.divmod(np.arange(K * K), K))
    present = sorted({*truth.tolist(), *predicted.tolist()})
    options = {"labels": present, "average": "macro", "zero_division": 0}
    scores = scores_of(matrix, NAMES)
    assert scores.mean_iou == pytest.approx(sklearn.jaccard_score(truth, predicted, **options))
    assert scores.mean_f1 == pytest.approx(sklearn.f1_score(truth, predicted, **options))
    assert scores.mean_precision == pytest.approx(sklearn.precision_score(truth, predicted, **options))
    assert scores.mean_recall == pytest.approx(sklearn.recall_score(truth, predicted, **options))


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        confusion(np.zeros(3, np.uint8), np.zeros(4, np.uint8), 2)
    with pytest.raises(ValueError, match="reach from 0 to 7, but there are 2"):
        confusion(np.array([0, 7]), np.array([0, 1]), 2)
    with pytest.raises(ValueError, match="reach from -1"):
        confusion(np.array([0, 1]), np.array([-1, 1]), 2)
    with pytest.raises(ValueError, match="do not fit 3"):
        scores_of(np.zeros((2, 2), int), ("a", "b", "c"))


@given(matrices)
def test_row_shares(matrix: np.ndarray) -> None:
    shares = row_shares(matrix)
    there = matrix.sum(axis=1) > 0
    assert np.allclose(shares[there].sum(axis=1), 1)
    assert np.isnan(shares[~there]).all()
