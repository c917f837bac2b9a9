import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sat2map.errors import BadOption, UnknownName
from sat2map.learning.losses import LOSSES, WeightedLoss, dice, focal, jaccard, lovasz, parse_loss, tversky
from sat2map.legend import IGNORED

OVERLAPS = {"dice": dice, "jaccard": jaccard, "tversky": tversky, "lovasz": lovasz}

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def example(seed: int = 0, classes: int = 3, ignored: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random scores `(2, classes, 8, 9)` and labels with every class, a share of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    scores_NKHW = torch.randn(2, classes, 8, 9, generator=generator)
    labels_NHW = torch.arange(2 * 8 * 9).reshape(2, 8, 9) % classes
    labels_NHW[torch.rand(2, 8, 9, generator=generator) < ignored] = IGNORED
    return scores_NKHW, labels_NHW.to(torch.uint8)


def scores_for(labels_NHW: torch.Tensor, classes: int, height: float) -> torch.Tensor:
    """Return scores that say what the labels say, the louder the larger `height`."""
    known_NHW = labels_NHW.long().where(labels_NHW != IGNORED, 0)
    return height * F.one_hot(known_NHW, classes).permute(0, 3, 1, 2).float()


def gradient(loss, scores_NKHW: torch.Tensor, labels_NHW: torch.Tensor) -> torch.Tensor:
    scores_NKHW = scores_NKHW.clone().requires_grad_()
    loss(scores_NKHW, labels_NHW).backward()
    return scores_NKHW.grad


def test_names_are_known_without_torch() -> None:
    code = "import sys, sat2map.learning.losses as l; print(*l.LOSSES); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(LOSSES)


@every_loss
def test_the_perfect_map_is_the_best_and_errors_cost(loss) -> None:
    _, labels_NHW = example()
    costs = [float(loss(scores_for(labels_NHW, 3, height), labels_NHW)) for height in (30, 3, 0.5, 0, -3)]
    assert costs[0] == pytest.approx(0, abs=1e-4)
    assert costs == sorted(costs)
    assert costs[-1] > costs[0] + 0.3


@every_loss
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_one_more_wrong_pixel_costs_more(loss, seed: int) -> None:
    _, labels_NHW = example(seed)
    good = scores_for(labels_NHW, 3, 4)
    worse = good.clone()
    n, row, col = (labels_NHW != IGNORED).nonzero()[seed % 50]
    worse[n, :, row, col] = good[n, :, row, col].roll(1)
    assert loss(worse, labels_NHW) > loss(good, labels_NHW)


@every_loss
@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_a_step_against_the_gradient_helps(loss, seed: int) -> None:
    scores_NKHW, labels_NHW = example(seed)
    better = scores_NKHW - gradient(loss, scores_NKHW, labels_NHW)
    assert loss(better, labels_NHW) < loss(scores_NKHW, labels_NHW)


@every_loss
def test_ignored_pixels_change_nothing_and_learn_nothing(loss) -> None:
    scores_NKHW, labels_NHW = example()
    ignored_NKHW = (labels_NHW == IGNORED).unsqueeze(1).expand_as(scores_NKHW)
    other = torch.where(ignored_NKHW, 1e4 * scores_NKHW.flip(1), scores_NKHW)
    assert loss(other, labels_NHW).equal(loss(scores_NKHW, labels_NHW))
    assert not gradient(loss, scores_NKHW, labels_NHW)[ignored_NKHW].any()


@every_loss
def test_a_batch_without_labels_costs_nothing(loss) -> None:
    scores_NKHW, labels_NHW = example(ignored=1.1)
    assert loss(scores_NKHW, labels_NHW) == 0
    assert not gradient(loss, scores_NKHW, labels_NHW).any()


@every_loss
@pytest.mark.parametrize("height", [1e4, -1e4])
def test_extreme_scores_have_finite_gradients(loss, height: float) -> None:
    _, labels_NHW = example()
    scores_NKHW = scores_for(labels_NHW, 3, height)
    assert loss(scores_NKHW, labels_NHW).isfinite()
    assert gradient(loss, scores_NKHW, labels_NHW).isfinite().all()


@every_loss
def test_classes_that_are_nowhere_do_not_matter(loss) -> None:
    scores_NKHW, labels_NHW = example()
    silent = torch.full_like(scores_NKHW[:, :1], -1e4)
    padded = torch.cat([scores_NKHW, silent], 1)
    torch.testing.assert_close(loss(padded, labels_NHW), loss(scores_NKHW, labels_NHW))


@every_loss
def test_uint8_and_int64_labels_are_the_same(loss) -> None:
    scores_NKHW, labels_NHW = example()
    assert loss(scores_NKHW, labels_NHW).equal(loss(scores_NKHW, labels_NHW.long()))


@every_loss
def test_float32_is_kept_under_autocast(loss) -> None:
    scores_NKHW, labels_NHW = example()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss(scores_NKHW, labels_NHW)
        half = loss(scores_NKHW.bfloat16(), labels_NHW)
    assert half.dtype == torch.float32
    torch.testing.assert_close(mixed, loss(scores_NKHW, labels_NHW), rtol=0, atol=1e-6)


@every_loss
def test_class_weights(loss) -> None:
    scores_NKHW, labels_NHW = example()
    scores_NKHW[:, 0] += 3 * (labels_NHW == 0)  # class 0 is easy
    plain, equal, easy, hard = (
        loss(scores_NKHW, labels_NHW, weight=None if w is None else torch.tensor(w))
        for w in (None, [2.0, 2.0, 2.0], [8.0, 1.0, 1.0], [0.0, 1.0, 1.0])
    )
    torch.testing.assert_close(equal, plain)
    assert easy < plain < hard


def test_cross_entropy_is_that_of_torch() -> None:
    scores_NKHW, labels_NHW = example()
    weight = torch.tensor([1.0, 2.0, 0.5])
    expected = F.cross_entropy(scores_NKHW, labels_NHW.long(), weight, ignore_index=IGNORED)
    torch.testing.assert_close(LOSSES["cross_entropy"](scores_NKHW, labels_NHW, weight=weight), expected)


def test_focal_of_one_pixel() -> None:
    scores_NKHW = torch.tensor([0.9, 0.1]).log().reshape(1, 2, 1, 1)
    cost = focal(scores_NKHW, torch.zeros(1, 1, 1, dtype=torch.uint8))
    assert float(cost) == pytest.approx(-(0.1**2) * math.log(0.9), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "first", "second"),
    # Class 0: 2 hits, 1 missed. Class 1: 1 hit, 1 too many.
    [
        ("dice", 4 / 5, 2 / 3),
        ("jaccard", 2 / 3, 1 / 2),
        ("tversky", 2 / (2 + 0.7), 1 / (1 + 0.3)),
        ("lovasz", 2 / 3, 1 / 2),  # of a hard map it is the Jaccard loss
    ],
)
def test_overlap_of_a_hard_map(name: str, first: float, second: float) -> None:
    labels_NHW = torch.tensor([[[0, 0, 0, 1, IGNORED]]], dtype=torch.uint8)
    scores_NKHW = scores_for(torch.tensor([[[0, 0, 1, 1, 0]]]), 2, 100)
    assert float(OVERLAPS[name](scores_NKHW, labels_NHW)) == pytest.approx(1 - (first + second) / 2, abs=1e-5)


@pytest.mark.parametrize("name", OVERLAPS)
def test_only_classes_in_the_labels_are_averaged(name: str) -> None:
    labels_NHW = torch.zeros(1, 1, 4, dtype=torch.uint8)
    scores_NKHW = scores_for(torch.tensor([[[0, 0, 0, 1]]]), 3, 100)
    expected = {"dice": 1 - 6 / 7, "jaccard": 1 / 4, "tversky": 1 - 3 / 3.7, "lovasz": 1 / 4}
    assert float(OVERLAPS[name](scores_NKHW, labels_NHW)) == pytest.approx(expected[name], abs=1e-5)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("dice", ((1.0, "dice"),)),
        ("dice + 0.5*focal", ((1.0, "dice"), (0.5, "focal"))),
        ("  .5 * dice+2*lovasz + cross_entropy ", ((0.5, "dice"), (2.0, "lovasz"), (1.0, "cross_entropy"))),
        ("1e-3*dice + 1e+2*jaccard", ((1e-3, "dice"), (100.0, "jaccard"))),
    ],
)
def test_parse_loss(text: str, terms: tuple[tuple[float, str], ...]) -> None:
    assert parse_loss(text).terms == terms


@given(st.lists(st.tuples(st.floats(1e-30, 1e30), st.sampled_from(sorted(LOSSES))), min_size=1, max_size=4))
def test_a_loss_reads_what_it_writes(terms: list[tuple[float, str]]) -> None:
    loss = WeightedLoss(tuple(terms))
    assert parse_loss(str(loss)) == loss


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "+",
        "dice +",
        "+ dice",
        "dice ++ focal",
        "dice focal",
        "dice - focal",
        "-1*dice",
        "0.5",
        "0*dice",
        "2dice",
    ],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match="above 0"):
        parse_loss(text)


def test_unknown_losses_are_refused_with_close_names() -> None:
    with pytest.raises(UnknownName, match=r"'dcie'.*'dice'"):
        parse_loss("0.5*focal + dcie")


def test_a_sum_is_the_sum() -> None:
    scores_NKHW, labels_NHW = example()
    weight = torch.tensor([1.0, 2.0, 3.0])
    total = parse_loss("dice + 0.5*focal", weight)(scores_NKHW, labels_NHW)
    expected = dice(scores_NKHW, labels_NHW, weight=weight) + 0.5 * focal(scores_NKHW, labels_NHW, weight=weight)
    torch.testing.assert_close(total, expected)
