"""Patches are the same whoever reads them, and show nothing of the ground of other parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import PLAIN
from sat2map.errors import SourceError
from sat2map.learning.augment import NO_AUGMENTATION, Augmentation
from sat2map.learning.samples import Samples, find_anchors
from sat2map.legend import IGNORED, legend_of
from sat2map.outputs import Classes
from sat2map.scenes import array_scene
from sat2map.sources import Pair
from sat2map.splits import Area
from sat2map.tiling import Window, grid, whole

SIZE = 16
OUTPUT = Classes(legend_of(["a", "b", "c"]))
STRONG = Augmentation(rotate=180, shift=0.3, zoom=0.5)


def pair(pixels: np.ndarray, ids: np.ndarray, name: str = "a", valid: np.ndarray | None = None) -> Pair:
    """Return an image and its labels, unlabelled outside as the labels of a source are."""

    class Labels(type(array_scene(ids))):
        fill = IGNORED

    target = array_scene(ids)
    return Pair(name, "", array_scene(pixels, valid), Labels(**vars(target)))


def numbered(height: int = 70, width: int = 50) -> Pair:
    """Return a pair whose pixels all differ and whose labels follow from them."""
    pixels = np.arange(1, height * width + 1, dtype=np.uint16).reshape(height, width)
    return pair(pixels, (pixels % 3).astype(np.uint8))


def samples(*pairs: Pair, areas: list[Area] | None = None, augmentation=NO_AUGMENTATION, **words: object) -> Samples:
    by_name = {p.name: p for p in pairs}
    areas = areas or [Area(p.name, whole(p.image.shape), "train") for p in pairs]
    anchors = find_anchors(by_name, areas, OUTPUT, size=SIZE)
    return Samples(by_name, anchors, PLAIN, OUTPUT, SIZE, augmentation, **words)


def epoch(made: Samples, number: int = 0, batch: int = 4, **words: int) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*made.batches(number, batch, **words), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_patches_are_the_same_whatever_reads_them():
    made = samples(numbered(), augmentation=STRONG, seed=3)
    first = epoch(made)
    for threads in (2, 5):
        for one, other in zip(first, epoch(made, threads=threads), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("batch", [1, 3, 7, 40])
def test_patches_do_not_depend_on_the_batch(batch):
    made = samples(numbered(), augmentation=STRONG)
    anchors = len(made.anchors)
    images, labels = epoch(made, batch=batch)
    every = epoch(made, batch=1)
    steps = -(-anchors // batch)
    assert len(images) == steps * batch
    numbers = np.arange(steps * batch) % anchors
    np.testing.assert_array_equal(images, every[0][numbers])
    np.testing.assert_array_equal(labels, every[1][numbers])


def test_epochs_and_seeds_differ():
    made = samples(numbered())
    one = epoch(made)[0]
    assert not np.array_equal(one, epoch(made, 1)[0])
    assert not np.array_equal(one, epoch(replace(made, seed=1))[0])


def test_processes_share_a_batch():
    made = samples(numbered(), augmentation=STRONG)
    together = list(made.batches(0, 6))
    parts = [list(made.batches(0, 6, part=part, parts=3)) for part in range(3)]
    assert {len(part) for part in parts} == {len(together)}
    for step, (images, labels) in enumerate(together):
        for part in range(3):
            np.testing.assert_array_equal(parts[part][step][0], images[part::3])
            np.testing.assert_array_equal(parts[part][step][1], labels[part::3])


def test_a_patch_is_a_piece_of_the_image_with_its_labels():
    ground = numbered()
    pixels = ground.image.read().pixels[0]
    images, labels = epoch(samples(ground))
    for image_HW, ids_HW in zip(images[:, 0], labels, strict=True):
        row, col = (int(v[0]) for v in np.nonzero(pixels == image_HW[0, 0]))
        np.testing.assert_array_equal(image_HW, pixels[row : row + SIZE, col : col + SIZE])
        np.testing.assert_array_equal(ids_HW, image_HW.astype(int) % 3)


def test_turned_patches_keep_their_labels():
    images, labels = epoch(samples(numbered(), augmentation=Augmentation(brightness=0, contrast=0)))
    np.testing.assert_array_equal(labels, images[:, 0].astype(int) % 3)
    assert (np.diff(images[:, 0], axis=2) < 0).any()


def test_the_grid_shows_each_cell_once():
    ground = numbered(2 * SIZE, 3 * SIZE)
    images, _ = epoch(samples(ground, crops=False), batch=6)
    pixels = ground.image.read().pixels[0]
    cells = {int(pixels[cell.row, cell.col]) for cell in grid(whole(pixels.shape), SIZE)}
    assert {int(image[0, 0, 0]) for image in images} == cells
    np.testing.assert_array_equal(np.sort(images, axis=None), np.arange(1, pixels.size + 1))


def test_random_patches_do_not_lie_on_the_grid():
    made = samples(numbered(4 * SIZE, 4 * SIZE))
    corners = {int(image[0, 0, 0]) for number in range(3) for image in epoch(made, number)[0]}
    assert len(corners) > 30


places = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(5, 60), st.integers(5, 60))


@settings(max_examples=25)
@given(places, st.integers(0, 12), st.booleans(), st.sampled_from([NO_AUGMENTATION, STRONG]))
def test_other_ground_is_never_seen(place, context, crops, augmentation):
    """Ground of its own is 100 and class 0, what may be looked at 50, all else 250 and class 1."""
    shape = (80, 90)
    area = Window(*place).intersect(whole(shape))
    around = area.pad(context).intersect(whole(shape))
    pixels = np.full(shape, 250, np.uint8)
    pixels[around.slices] = 50
    pixels[area.slices] = 100
    ids = np.ones(shape, np.uint8)
    ids[area.slices] = 0
    augmentation = replace(augmentation, brightness=0, contrast=0)
    areas = [Area("a", area, "train", context)]
    made = samples(pair(pixels, ids), areas=areas, augmentation=augmentation, crops=crops)
    images, labels = epoch(made)
    assert images.max() < 101
    assert set(np.unique(labels)) <= {0, IGNORED}
    if not augmentation.zoom:
        assert set(np.unique(images)) <= {0, 50, 100}
        np.testing.assert_array_equal(labels == 0, images[:, 0] == 100)


def test_pixels_without_data_have_no_label():
    valid = np.zeros((40, 40), bool)
    valid[:, 10:] = True
    images, labels = epoch(samples(pair(np.full((40, 40), 9, np.uint8), np.zeros((40, 40), np.uint8), valid=valid)))
    np.testing.assert_array_equal(labels == IGNORED, images[:, 0] == 0)
    assert (labels == IGNORED).any()


@settings(max_examples=40)
@given(st.integers(0, 69), st.integers(0, 49), st.integers(0, 99))
def test_sparse_labels_are_in_every_patch(row, col, seed):
    ids = np.full((70, 50), IGNORED, np.uint8)
    ids[row, col] = 2
    made = samples(pair(np.ones((70, 50), np.uint8), ids), seed=seed)
    assert len(made.anchors) == 1
    for number in range(3):
        assert (epoch(made, number, batch=1)[1] == 2).sum() == 1


def test_warped_patches_are_cut_again_until_they_hold_labels():
    ids = np.full((70, 50), IGNORED, np.uint8)
    ids[33:36, 20:23] = 2
    made = samples(pair(np.ones((70, 50), np.uint8), ids), augmentation=replace(STRONG, shift=0.5, warp=1))
    first = replace(made, crops=False)  # one try for each patch
    share, share_first = (np.mean([(epoch(m, n, batch=1)[1] == 2).any() for n in range(100)]) for m in (made, first))
    assert share_first < 0.9
    assert share > 0.95


def test_cells_count_their_labels():
    ids = np.full((SIZE, 3 * SIZE), IGNORED, np.uint8)
    ids[0, :3] = 1
    ids[0, -2:] = 2
    anchors = samples(pair(np.ones_like(ids), ids)).anchors
    assert [a.cell.col for a in anchors] == [0, 2 * SIZE]
    assert [a.counts.tolist() for a in anchors] == [[0, 3, 0], [0, 0, 2]]


def test_ground_without_labels_is_refused():
    with pytest.raises(SourceError, match=r"holds no labels. Look at the labels with"):
        samples(pair(np.ones((20, 20), np.uint8), np.full((20, 20), IGNORED, np.uint8)))


def test_balance_draws_rare_classes_more_often():
    ids = np.zeros((SIZE, 20 * SIZE), np.uint8)
    ids[:, :SIZE] = 1
    even = samples(pair(np.ones_like(ids), ids))
    balanced = replace(even, balance=True)
    assert sorted(even.order(5)) == list(range(20))
    rare = np.mean([(balanced.order(number) == 0).mean() for number in range(50)])
    # 1 cell of weight 1 against 19 of weight 1 / sqrt(19)
    assert rare == pytest.approx(1 / (1 + 19**0.5), abs=0.04)
    np.testing.assert_array_equal(balanced.order(3), replace(balanced).order(3))


def test_a_reader_that_stops_early_leaves_nothing_running():
    made = samples(numbered())
    batches = made.batches(0, 2, threads=2)
    next(batches)
    batches.close()
    assert len(epoch(made, batch=2, threads=2)[0]) == len(made.anchors) + len(made.anchors) % 2


def test_an_image_that_cannot_be_read_is_told_at_once():
    class Broken(type(numbered().image)):
        def _read(self, window, bands):
            raise SourceError("damaged")

    ground = numbered()
    with pytest.raises(SourceError, match="damaged"):
        epoch(samples(replace(ground, image=Broken(**vars(ground.image)))), threads=2)
