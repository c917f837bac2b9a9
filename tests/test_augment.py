import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sat2map.errors import BadOption
from sat2map.learning.augment import NO_AUGMENTATION, Augmentation, Change
from sat2map.legend import IGNORED

FREE = dataclasses.replace(NO_AUGMENTATION, rotate=30, shift=0.2, zoom=0.3)
MOVES = dataclasses.replace(NO_AUGMENTATION, rotate90=True, flip=True)
LIGHT = dataclasses.replace(NO_AUGMENTATION, brightness=0.3, contrast=0.5)

geometries = st.builds(
    Augmentation,
    rotate=st.floats(0, 180),
    rotate90=st.booleans(),
    flip=st.booleans(),
    shift=st.floats(0, 0.5),
    zoom=st.floats(0, 1),
    brightness=st.just(0),
    contrast=st.just(0),
    warp=st.floats(0, 1),
)
seeds = st.integers(0, 2**32 - 1)


def drawn(augmentation: Augmentation, seed: int, bands: int = 3) -> Change:
    return augmentation.draw(np.random.default_rng(seed), bands)


def patch(change: Change, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random normalised pixels without a zero, and random labels, with the margin that is needed."""
    rng = np.random.default_rng(7)
    side = size + 2 * change.margin(size)
    image_CHW = rng.normal(size=(len(change.gains), side, side)).astype(np.float32)
    return image_CHW, rng.choice(np.array([0, 3, 200], np.uint8), (side, side))


def test_the_options_are_read_without_torch() -> None:
    code = "import sys, sat2map.learning.augment; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_happens_when_all_is_off() -> None:
    change = drawn(NO_AUGMENTATION, 0)
    image_CHW, labels_HW = patch(change, 9)
    image, labels = change.apply(image_CHW, labels_HW, size=9)
    np.testing.assert_array_equal(image, image_CHW)
    np.testing.assert_array_equal(labels, labels_HW)


@given(augmentation=geometries, seed=seeds, size=st.integers(1, 40))
def test_the_margin_suffices(augmentation: Augmentation, seed: int, size: int) -> None:
    change = drawn(augmentation, seed, bands=2)
    side = size + 2 * change.margin(size)
    ones = np.ones((2, side, side), np.float32)
    image, labels = change.apply(ones, np.zeros((side, side), np.uint8), size=size)
    assert image.shape == (2, size, size)
    assert image.dtype == np.float32
    assert labels.dtype == np.uint8
    np.testing.assert_allclose(image, 1, atol=1e-5)
    np.testing.assert_array_equal(labels, np.zeros((size, size)))


def test_the_margin_is_no_larger_than_it_must_be() -> None:
    still = drawn(NO_AUGMENTATION, 0)
    assert still.margin(256) == 0
    assert dataclasses.replace(still, shift=(0.0, -0.1)).margin(100) == 11
    assert dataclasses.replace(still, scale=1 / 1.2).margin(101) == 11
    assert dataclasses.replace(still, scale=1.2).margin(101) == 0
    assert dataclasses.replace(still, angle=-np.pi / 4).margin(101) == 22


@given(augmentation=geometries, seed=seeds, size=st.integers(1, 24))
def test_labels_are_never_mixed(augmentation: Augmentation, seed: int, size: int) -> None:
    change = drawn(augmentation, seed)
    _, labels = change.apply(*patch(change, size), size=size)
    assert set(np.unique(labels)) <= {0, 3, 200}


@given(augmentation=geometries, seed=seeds)
def test_image_and_labels_move_together(augmentation: Augmentation, seed: int) -> None:
    size, change = 16, drawn(augmentation, seed, bands=2)
    side = size + 2 * change.margin(size)
    rows, cols = np.mgrid[:side, :side]
    numbers = (rows // 3 * 16 + cols // 3).astype(np.uint8)
    image, labels = change.apply(np.stack([rows, cols]).astype(np.float32), numbers, size=size)
    row, col = np.rint(image).astype(int)
    sure = np.abs(image - np.rint(image)).max(axis=0) < 0.49  # not halfway between two pixels
    expected = (row // 3 * 16 + col // 3).astype(np.uint8)
    np.testing.assert_array_equal(labels[sure], expected[sure])


@given(seed=seeds)
def test_free_geometry_keeps_its_promises(seed: int) -> None:
    size, change = 33, drawn(dataclasses.replace(FREE, rotate=20, shift=0.1, zoom=0.5), seed, bands=2)
    side = size + 2 * change.margin(size)
    place = np.mgrid[:side, :side].astype(np.float32) - (side - 1) / 2
    (row, col), _ = change.apply(place, np.zeros((side, side), np.uint8), size=size)
    middle = size // 2
    assert max(abs(row[middle, middle]), abs(col[middle, middle])) <= 0.1 * size + 1e-3
    along = complex(col[middle, -1] - col[middle, 0], row[middle, -1] - row[middle, 0]) / (size - 1)
    assert 1 / 1.5 - 1e-3 <= abs(along) <= 1.5 + 1e-3
    assert abs(np.degrees(np.angle(along))) <= 20 + 1e-2
    assert along == pytest.approx(np.exp(1j * change.angle) / change.scale, abs=1e-3)


def test_free_geometry_reaches_both_ends_of_its_range() -> None:
    changes = [drawn(dataclasses.replace(NO_AUGMENTATION, zoom=1.0, rotate=30, warp=1), seed) for seed in range(400)]
    scales = [change.scale for change in changes]
    angles = [change.angle for change in changes]
    assert min(scales) < 0.55
    assert max(scales) > 1.9
    assert np.exp(np.mean(np.log(scales))) == pytest.approx(1, abs=0.1)
    assert np.degrees([min(angles), max(angles)]) == pytest.approx([-30, 30], abs=2)


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_as_many_patches_are_warped_as_is_asked_for(share: float) -> None:
    changes = [drawn(dataclasses.replace(FREE, warp=share), seed) for seed in range(400)]
    assert np.mean([change.warps for change in changes]) == pytest.approx(share, abs=0.08)


def test_what_is_not_warped_keeps_its_pixels() -> None:
    changes = [drawn(dataclasses.replace(FREE, flip=True, brightness=0.2), seed) for seed in range(50)]
    untouched = [change for change in changes if not change.warps]
    image_CHW, labels_HW = patch(untouched[0], 8)
    unlit = dataclasses.replace(untouched[0], turns=0, mirror=False, gains=(1.0,) * 3, lifts=(0.0,) * 3)
    np.testing.assert_array_equal(unlit.apply(image_CHW, labels_HW, size=8)[0], image_CHW)
    assert {change.mirror for change in untouched} == {True, False}
    assert any(any(change.lifts) for change in untouched)


@given(seed=seeds)
def test_outside_of_the_scene_is_ignored(seed: int) -> None:
    change = drawn(FREE, seed)
    image_CHW, labels_HW = patch(change, 16)
    half = len(labels_HW) // 2
    labels_HW[:half], image_CHW[:, :half] = IGNORED, 0
    image, labels = change.apply(image_CHW, labels_HW, size=16)
    empty = (image == 0).all(axis=0)
    assert empty.any()
    assert (labels[empty] == IGNORED).all()


def test_turns_and_mirrors_are_the_eight_of_the_square() -> None:
    changes = [drawn(MOVES, seed) for seed in range(200)]
    image_CHW, labels_HW = patch(changes[0], 5)
    seen = {change.apply(image_CHW, labels_HW, size=5)[0].tobytes() for change in changes}
    turned = [np.rot90(image_CHW, k, (1, 2)) for k in range(4)]
    assert seen == {t.tobytes() for turn in turned for t in (turn, np.flip(turn, 2))}


@pytest.mark.parametrize(
    ("flip", "rotate90", "count"), [(True, False, 4), (False, True, 4), (True, True, 8), (False, False, 1)]
)
def test_only_the_moves_that_are_asked_for(flip: bool, rotate90: bool, count: int) -> None:
    moves = dataclasses.replace(NO_AUGMENTATION, flip=flip, rotate90=rotate90)
    changes = [drawn(moves, seed, bands=1) for seed in range(100)]
    image_CHW, labels_HW = patch(changes[0], 5)
    results = [change.apply(image_CHW, labels_HW, size=5) for change in changes]
    assert len({image.tobytes() for image, _ in results}) == count
    assert all(sorted(image.ravel()) == sorted(image_CHW.ravel()) for image, _ in results)
    assert all(array.flags.c_contiguous for result in results for array in result)


@pytest.mark.parametrize("bands", [1, 3, 14])
def test_each_band_is_lit_by_itself(bands: int) -> None:
    change = drawn(LIGHT, 1, bands)
    image_CHW, labels_HW = patch(change, 12)
    before = image_CHW.copy()
    image, labels = change.apply(image_CHW, labels_HW, size=12)
    fits = [np.polyfit(a.ravel(), b.ravel(), 1, full=True) for a, b in zip(image_CHW, image, strict=True)]
    gains, lifts = np.array([fit[0] for fit in fits]).T
    assert max(float(fit[1][0]) for fit in fits) < 1e-8  # a straight line through all pixels
    assert (np.abs(gains - 1) <= 0.5).all()
    assert (np.abs(lifts) <= 0.3).all()
    assert len(set(gains)) == len(set(lifts)) == bands
    np.testing.assert_array_equal(labels, labels_HW)
    np.testing.assert_array_equal(image_CHW, before)


def test_pixels_without_data_stay_without() -> None:
    change = drawn(LIGHT, 1)
    image_CHW, labels_HW = patch(change, 6)
    image_CHW[:, 2, 3] = 0
    image_CHW[0, 4, 4] = 0  # the mean of one band is a value like others
    image, _ = change.apply(image_CHW, labels_HW, size=6)
    assert not image[:, 2, 3].any()
    assert image[0, 4, 4] != 0


@pytest.mark.parametrize("bands", [1, 3, 14])
def test_the_same_seed_gives_the_same_change(bands: int) -> None:
    everything = dataclasses.replace(FREE, rotate90=True, flip=True, brightness=0.2, contrast=0.2)
    change, again, other = (drawn(everything, seed, bands) for seed in (5, 5, 6))
    assert change == again
    assert change != other


def test_a_patch_without_its_margin_is_refused() -> None:
    still = drawn(NO_AUGMENTATION, 0)
    smaller = dataclasses.replace(still, scale=0.8)
    with pytest.raises(BadOption, match=f"Read {32 + 2 * smaller.margin(32)} by"):
        smaller.apply(*patch(still, 32), size=32)


@pytest.mark.parametrize(
    "wrong", [{"rotate": 181}, {"shift": -0.1}, {"zoom": -1}, {"brightness": -1}, {"contrast": 1}, {"warp": 2}]
)
def test_impossible_ranges_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadOption, match=f"--{next(iter(wrong))} is"):
        Augmentation(**wrong)
