import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sat2map.errors import BadOption
from sat2map.learning.augment import NO_AUGMENTATION, Augmentation, augment
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
)
seeds = st.integers(0, 2**32 - 1)


def patch(augmentation: Augmentation, size: int, bands: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return random normalised pixels without a zero, and random labels, with the margin that is needed."""
    rng = np.random.default_rng(7)
    side = size + 2 * augmentation.margin(size)
    image_CHW = rng.normal(size=(bands, side, side)).astype(np.float32)
    return image_CHW, rng.choice(np.array([0, 3, 200], np.uint8), (side, side))


def changed(augmentation: Augmentation, seed: int, size: int, image_CHW: np.ndarray, labels_HW: np.ndarray):
    return augment(image_CHW, labels_HW, augmentation, np.random.default_rng(seed), size=size)


def test_the_options_are_read_without_torch() -> None:
    code = "import sys, sat2map.learning.augment; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_happens_when_all_is_off() -> None:
    image_CHW, labels_HW = patch(NO_AUGMENTATION, 9)
    image, labels = changed(NO_AUGMENTATION, 0, 9, image_CHW, labels_HW)
    np.testing.assert_array_equal(image, image_CHW)
    np.testing.assert_array_equal(labels, labels_HW)


@given(augmentation=geometries, seed=seeds, size=st.integers(1, 40))
def test_the_margin_suffices(augmentation: Augmentation, seed: int, size: int) -> None:
    side = size + 2 * augmentation.margin(size)
    ones = np.ones((2, side, side), np.float32)
    image, labels = changed(augmentation, seed, size, ones, np.zeros((side, side), np.uint8))
    assert image.shape == (2, size, size)
    assert image.dtype == np.float32
    assert labels.dtype == np.uint8
    np.testing.assert_allclose(image, 1, atol=1e-5)
    np.testing.assert_array_equal(labels, np.zeros((size, size)))


def test_the_margin_is_no_larger_than_it_must_be() -> None:
    assert Augmentation().margin(256) == 0
    assert Augmentation(shift=0.1).margin(100) == 11
    assert Augmentation(zoom=0.2).margin(101) == 11
    assert Augmentation(rotate=180).margin(101) == Augmentation(rotate=45).margin(101) == 22


@given(augmentation=geometries, seed=seeds, size=st.integers(1, 24))
def test_labels_are_never_mixed(augmentation: Augmentation, seed: int, size: int) -> None:
    _, labels = changed(augmentation, seed, size, *patch(augmentation, size))
    assert set(np.unique(labels)) <= {0, 3, 200}


@given(augmentation=geometries, seed=seeds)
def test_image_and_labels_move_together(augmentation: Augmentation, seed: int) -> None:
    size = 16
    side = size + 2 * augmentation.margin(size)
    rows, cols = np.mgrid[:side, :side]
    image, labels = changed(
        augmentation,
        seed,
        size,
        np.stack([rows, cols]).astype(np.float32),
        (rows // 3 * 16 + cols // 3).astype(np.uint8),
    )
    row, col = np.rint(image).astype(int)
    sure = np.abs(image - np.rint(image)).max(axis=0) < 0.49  # not halfway between two pixels
    expected = (row // 3 * 16 + col // 3).astype(np.uint8)
    np.testing.assert_array_equal(labels[sure], expected[sure])


@given(seed=seeds)
def test_free_geometry_keeps_its_promises(seed: int) -> None:
    size, augmentation = 33, dataclasses.replace(FREE, rotate=20, shift=0.1, zoom=0.5)
    side = size + 2 * augmentation.margin(size)
    place = np.mgrid[:side, :side].astype(np.float32) - (side - 1) / 2
    (row, col), _ = changed(augmentation, seed, size, place, np.zeros((side, side), np.uint8))
    middle = size // 2
    assert max(abs(row[middle, middle]), abs(col[middle, middle])) <= 0.1 * size + 1e-3
    along = complex(col[middle, -1] - col[middle, 0], row[middle, -1] - row[middle, 0]) / (size - 1)
    assert 1 / 1.5 - 1e-3 <= abs(along) <= 1.5 + 1e-3
    assert abs(np.degrees(np.angle(along))) <= 20 + 1e-2


def test_free_geometry_reaches_both_ends_of_its_range() -> None:
    zoom = dataclasses.replace(NO_AUGMENTATION, zoom=1.0)
    side = 33 + 2 * zoom.margin(33)
    place = np.mgrid[:side, :side].astype(np.float32)
    steps = [np.diff(changed(zoom, seed, 33, place, place[0].astype(np.uint8))[0][1]).mean() for seed in range(200)]
    assert min(steps) < 0.55
    assert max(steps) > 1.9
    assert np.exp(np.mean(np.log(steps))) == pytest.approx(1, abs=0.1)


@given(seed=seeds)
def test_outside_of_the_scene_is_ignored(seed: int) -> None:
    image_CHW, labels_HW = patch(FREE, 16)
    half = len(labels_HW) // 2
    labels_HW[:half], image_CHW[:, :half] = IGNORED, 0
    image, labels = changed(FREE, seed, 16, image_CHW, labels_HW)
    empty = (image == 0).all(axis=0)
    assert empty.any()
    assert (labels[empty] == IGNORED).all()


def test_turns_and_mirrors_are_the_eight_of_the_square() -> None:
    image_CHW, labels_HW = patch(MOVES, 5)
    seen = {changed(MOVES, seed, 5, image_CHW, labels_HW)[0].tobytes() for seed in range(200)}
    turned = [np.rot90(image_CHW, k, (1, 2)) for k in range(4)]
    assert seen == {t.tobytes() for turn in turned for t in (turn, np.flip(turn, 2))}


@pytest.mark.parametrize(
    ("flip", "rotate90", "count"), [(True, False, 4), (False, True, 4), (True, True, 8), (False, False, 1)]
)
def test_only_the_moves_that_are_asked_for(flip: bool, rotate90: bool, count: int) -> None:
    moves = dataclasses.replace(NO_AUGMENTATION, flip=flip, rotate90=rotate90)
    image_CHW, labels_HW = patch(moves, 5, bands=1)
    results = [changed(moves, seed, 5, image_CHW, labels_HW) for seed in range(100)]
    assert len({image.tobytes() for image, _ in results}) == count
    assert all(sorted(image.ravel()) == sorted(image_CHW.ravel()) for image, _ in results)
    assert all(array.flags.c_contiguous for result in results for array in result)


@pytest.mark.parametrize("bands", [1, 3, 14])
def test_each_band_is_lit_by_itself(bands: int) -> None:
    image_CHW, labels_HW = patch(LIGHT, 12, bands)
    before = image_CHW.copy()
    image, labels = changed(LIGHT, 1, 12, image_CHW, labels_HW)
    fits = [np.polyfit(a.ravel(), b.ravel(), 1, full=True) for a, b in zip(image_CHW, image, strict=True)]
    gains, lifts = np.array([fit[0] for fit in fits]).T
    assert max(float(fit[1][0]) for fit in fits) < 1e-8  # a straight line through all pixels
    assert (np.abs(gains - 1) <= 0.5).all()
    assert (np.abs(lifts) <= 0.3).all()
    assert len(set(gains)) == len(set(lifts)) == bands
    np.testing.assert_array_equal(labels, labels_HW)
    np.testing.assert_array_equal(image_CHW, before)


def test_pixels_without_data_stay_without() -> None:
    image_CHW, labels_HW = patch(LIGHT, 6)
    image_CHW[:, 2, 3] = 0
    image_CHW[0, 4, 4] = 0  # the mean of one band is a value like others
    image, _ = changed(LIGHT, 1, 6, image_CHW, labels_HW)
    assert not image[:, 2, 3].any()
    assert image[0, 4, 4] != 0


@pytest.mark.parametrize("bands", [1, 3, 14])
def test_the_same_seed_gives_the_same_patch(bands: int) -> None:
    everything = dataclasses.replace(FREE, rotate90=True, flip=True, brightness=0.2, contrast=0.2)
    data = patch(everything, 20, bands)
    (image, labels), (again, labels_again), (other, _) = (changed(everything, seed, 20, *data) for seed in (5, 5, 6))
    assert image.shape == (bands, 20, 20)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(labels, labels_again)
    assert (image != other).any()


def test_a_patch_without_its_margin_is_refused() -> None:
    image_CHW, labels_HW = patch(NO_AUGMENTATION, 32)
    with pytest.raises(BadOption, match=f"Read {32 + 2 * FREE.margin(32)} by"):
        changed(FREE, 0, 32, image_CHW, labels_HW)


@pytest.mark.parametrize("wrong", [{"rotate": 181}, {"shift": -0.1}, {"zoom": -1}, {"brightness": -1}, {"contrast": 1}])
def test_impossible_ranges_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadOption, match=f"--{next(iter(wrong))} is"):
        Augmentation(**wrong)
