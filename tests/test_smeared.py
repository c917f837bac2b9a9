"""Masks after JPEG or resizing: what they meant is found, and what is in doubt stays unlabelled."""

import io
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import synthetic
from sat2map.legend import IGNORED, KNOWN_LEGENDS, Legend, MapClass, pack_colour
from sat2map.options import ReadOptions
from sat2map.sources import open_source
from sat2map.sources.masks import are_pictures
from sat2map.sources.smeared import REACH, meant_by
from sat2map.tiling import Window
from synthetic import LEGEND

TRUTH = [synthetic.landscape(i, 192) for i in range(4)]

DUBAI = KNOWN_LEGENDS["Humans in the Loop, aerial imagery of Dubai"]


def jpeg(pixels, quality):
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "JPEG", quality=quality)
    return np.asarray(Image.open(stored))


def halved(pixels, how=Image.Resampling.BILINEAR):
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).resize((width // 2, height // 2), how))


def held(picture):
    """Return the histogram of a mask `(H, W, 3)` or `(H, W)`."""
    colours = picture @ np.array([1 << 16, 1 << 8, 1]) if picture.ndim == 3 else picture
    return Counter(colours.ravel().tolist())


def folder(path, masks, suffix=".jpg", name="masks", **options):
    """Write images and such masks `(H, W, 3)` or `(H, W)`."""
    for i, mask in enumerate(masks):
        synthetic.save(path / "images" / f"{i}.png", synthetic.seen(TRUTH[i]))
        (path / name).mkdir(exist_ok=True)
        Image.fromarray(mask).save(path / name / f"{i}{suffix}", **options)
    return path


def opened(path, **words):
    source = open_source(path, ReadOptions(**words))
    return source, {f.kind: f for f in source.findings}, [p.target.read().pixels[0] for p in source.pairs]


def nearly(ids, truth, least):
    """Tell whether next to none of the labels is wrong, and most of the pixels have one."""
    known = ids != IGNORED
    return (ids[known] != truth[known]).mean() < 0.005 and known.mean() > least


@pytest.mark.parametrize("quality", [95, 75, 40])
@pytest.mark.parametrize("legend", [LEGEND, None])
def test_masks_of_colours_as_jpeg_are_read_as_those_they_were_made_of(tmp_path, quality, legend):
    folder(tmp_path, [LEGEND.colourise(ids) for ids in TRUTH], quality=quality)
    if legend:
        synthetic.write_legend(tmp_path / "classes.json", legend)
    source, findings, read = opened(tmp_path)
    assert source.output == "classes" and len(source.legend) == 3
    assert not legend or source.legend == legend
    assert "lie between two and count as unlabelled" in findings["smeared-masks"].text
    order = np.array([0, 1, 2] if legend else [1, 2, 0], np.uint8)  # classes that are discovered are sorted by colour
    assert all(nearly(ids, order[truth], 0.85) for ids, truth in zip(read, TRUTH, strict=True))


def test_the_colours_of_a_known_legend_are_found_in_jpeg(tmp_path):
    truth = np.kron(np.arange(16).reshape(4, 4) % 5, np.ones((48, 48), int)).astype(np.uint8)
    source, findings, (read,) = opened(folder(tmp_path, [DUBAI.colourise(truth)], quality=60))
    assert source.legend.names == ("Building", "Land", "Road", "Vegetation", "Water") and "known-legend" in findings
    assert nearly(read, truth, 0.85)


@pytest.mark.parametrize("quality", [100, 90, 50])
def test_grey_masks_of_two_values_as_jpeg_are_halved_in_the_middle(tmp_path, quality):
    masks = [np.where(ids == 2, 255, 0).astype(np.uint8) for ids in TRUTH]
    source, _, read = opened(folder(tmp_path, masks, quality=quality))
    assert source.legend.names == ("background", "foreground")
    for ids, truth in zip(read, TRUTH, strict=True):
        assert (ids == (truth == 2)).mean() > 0.995


def test_a_legend_of_two_numbers_reads_black_and_white_as_jpeg(tmp_path):
    masks = [np.where(ids == 2, 255, 0).astype(np.uint8) for ids in TRUTH]
    (tmp_path / "classes.json").write_text(json.dumps({"0": "rest", "1": "house"}))
    source, findings, _ = opened(folder(tmp_path, masks, quality=80))
    assert source.legend.names == ("rest", "house") and {"smeared-masks", "numbers-in-order"} <= set(findings)


def test_masks_of_numbers_as_jpeg_are_not_guessed(tmp_path):
    _, findings, _ = opened(folder(tmp_path, [ids.astype(np.uint8) for ids in TRUTH], quality=95))
    assert "smeared-masks" not in findings


def test_resized_masks_leave_only_edges_unlabelled(tmp_path):
    masks = [np.asarray(Image.fromarray(halved(LEGEND.colourise(ids))).resize(ids.shape)) for ids in TRUTH]
    synthetic.write_legend(tmp_path / "classes.json")
    source, findings, read = opened(folder(tmp_path, masks, suffix=".png"))
    assert source.legend == LEGEND and "smeared-masks" in findings
    assert all(nearly(ids, truth, 0.85) for ids, truth in zip(read, TRUTH, strict=True))


def test_exact_masks_are_read_as_they_are(tmp_path):
    masks = [LEGEND.colourise(ids) for ids in TRUTH]
    masks[0][:4, :4] = LEGEND.classes[0].colour[0], LEGEND.classes[0].colour[1], LEGEND.classes[0].colour[2] - 9
    synthetic.write_legend(tmp_path / "classes.json")
    _, findings, read = opened(folder(tmp_path, masks, suffix=".png"))
    assert "smeared-masks" not in findings and (read[0][:4, :4] == IGNORED).all()


def test_a_window_of_a_smeared_mask_is_that_part_of_the_whole(tmp_path):
    source, _, read = opened(folder(tmp_path, [LEGEND.colourise(ids) for ids in TRUTH], quality=75))
    part = source.pairs[0].target.read(Window(17, 30, 64, 50))
    assert (part.pixels[0] == read[0][17:81, 30:80]).all()
    assert (part.valid == (part.pixels[0] != IGNORED)).all()


@pytest.mark.parametrize(("name", "output"), [("masks", "classes"), ("B", "picture")])
def test_many_common_colours_are_classes_where_the_folder_says_masks(tmp_path, name, output):
    ids = np.kron(np.random.default_rng(0).integers(0, 3, (16, 16)), np.ones((12, 12), int)).astype(np.uint8)
    mask = jpeg(LEGEND.colourise(ids), 90)
    assert are_pictures(held(mask))
    assert opened(folder(tmp_path, [mask], name=name, suffix=".png"))[0].output == output


def test_a_photograph_means_no_classes():
    rng = np.random.default_rng(1)
    photo = halved(rng.integers(0, 256, (256, 256, 3)).astype(np.uint8), Image.Resampling.BICUBIC)
    assert meant_by(held(photo), None) == ()
    assert meant_by(held(photo[..., 0]), None, 1) == () and meant_by(Counter(), None) == ()


def test_instances_are_no_shades_of_a_few_classes():
    instances = np.kron(np.arange(225).reshape(15, 15), np.ones((12, 12))).astype(np.uint8)
    assert meant_by(held(instances), None, 1) == ()


def test_colours_that_a_legend_does_not_know_stay_apart_from_those_it_knows():
    legend = Legend(LEGEND.classes[:2])
    smeared = held(jpeg(LEGEND.colourise(TRUTH[0]), 80))
    meant = meant_by(smeared, legend)
    assert {pack_colour(c.colour) for c in legend.classes} < set(meant) and len(meant) == 3


def test_a_class_that_a_legend_names_may_be_rare_but_takes_no_edges():
    ids = np.concatenate(TRUTH)
    legend = Legend((*LEGEND.classes, MapClass("Car", (74, 24, 73), 3)))  # near to what edges of buildings look like
    absent = meant_by(held(jpeg(legend.colourise(ids), 40)), legend)
    ids[4:12, 8:16] = 3
    present = meant_by(held(jpeg(legend.colourise(ids), 95)), legend)
    assert len(absent) == 3 and set(present) - set(absent) == {pack_colour((74, 24, 73))}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=3, max_size=5, unique=True).filter(
        lambda colours: all(
            np.linalg.norm(np.subtract(a, b)) > 2 * REACH for i, a in enumerate(colours) for b in colours[:i]
        )
    ),
    st.integers(50, 95),
)
def test_any_colours_far_apart_are_found_near_to_what_they_were(colours, quality):
    ids = np.kron(np.random.default_rng(2).integers(0, len(colours), (6, 6)), np.ones((40, 40), int))
    meant = meant_by(held(jpeg(np.array(colours, np.uint8)[ids], quality)), None)
    present = {colours[i] for i in np.unique(ids)}
    found = np.array([[v >> 16, v >> 8 & 255, v & 255] for v in meant]).reshape(-1, 3)
    for colour in present:
        assert (np.linalg.norm(found - colour, axis=1) < 24).any()


@pytest.mark.real
def test_the_masks_of_dubai_as_jpeg(real, tmp_path):
    exact = open_source(real / "dubai-aerial" / "Tile 1", ReadOptions())
    for pair in exact.pairs[:3]:
        stem = pair.name.split("/")[-1].removesuffix(".jpg")
        synthetic.save(tmp_path / "images" / f"{stem}.png", pair.image.read().pixels)
        colours = Image.open(real / "dubai-aerial" / "Tile 1" / "masks" / f"{stem}.png").convert("RGB")
        (tmp_path / "masks").mkdir(exist_ok=True)
        colours.save(tmp_path / "masks" / f"{stem}.jpg", quality=75)
    source, _, read = opened(tmp_path)
    assert source.legend.names == exact.legend.names
    for ids, pair in zip(read, exact.pairs[:3], strict=True):
        assert nearly(ids, pair.target.read().pixels[0], 0.9)
