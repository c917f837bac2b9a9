"""Which files of a folder are images and masks, and which belong together, told by their names."""

import pytest

import synthetic
from sat2map.options import ReadOptions
from sat2map.pictures import curves
from sat2map.scenes import open_scene
from sat2map.scenes.gdal import open_gdal
from sat2map.sinks import open_sink
from sat2map.sources import open_source
from sat2map.tiling import whole
from synthetic import LEGEND

TRUTH = [synthetic.landscape(i) for i in range(6)]


def opened(path, **words):
    return open_source(path, ReadOptions(**words))


def kinds(source):
    return {f.kind for f in source.findings}


def ids(source, i=0):
    return source.pairs[i].target.read().pixels[0]


@pytest.mark.parametrize(
    ("image", "mask", "group"),
    [
        ("images/a.jpg", "masks/a.png", ""),
        ("city/images/a.jpg", "city/labels/a.tif", "city"),
        ("images/city/a.jpg", "gt/city/a.png", "city"),
        ("train/123_sat.jpg", "train/123_mask.png", "train"),
        ("trainA/a.png", "trainB/a.png", "train"),
        ("val_images/a.png", "val_labels/a.png", "val"),
        ("image_7.png", "masks/mask_7.png", ""),
        ("original/a.jpg", "masks/a.png", "original"),
        ("a.jpg", "a.png", ""),
        ("Train/Rural/images_png/1.png", "Train/Rural/masks_png/1.png", "Train/Rural"),
        ("train/7.png", "train_labels/7_L.png", "train"),
        ("aachen_images/1.tif", "aachen_labels/1.tif", "aachen"),
        ("2_Ortho_RGB/top_2_10_RGB.tif", "5_Labels_all/top_2_10_label.tif", "2_RGB"),
        ("top/area1.tif", "gts_for_participants/area1.tif", "top"),
        ("dataset/original_images/001.jpg", "dataset/label_images_semantic/001.png", "dataset/original"),
        ("original_images/001.jpg", "RGB_color_image_masks/001.png", "original"),
        ("JPEGImages/a.jpg", "SegmentationClass/a.png", ""),
        ("img_dir/train/a.jpg", "ann_dir/train/a.png", "train"),
        ("X_train/a.jpg", "y_train/a.png", "train"),
        ("patches/a.tif", "ground_truth/a.tif", "patches"),
        ("place 1/image.png", "place 1/mask.png", "place 1"),
        ("satellite/a.png", "osm/a.png", ""),
        ("input/a.png", "output/a.png", ""),
        ("A/images/a.png", "A/masks/a.png", "A"),
        ("images/b/a.png", "masks/b/a.png", "b"),
        ("AerialImageDataset/train/images/a.tif", "AerialImageDataset/train/gt/a.tif", "AerialImageDataset/train"),
    ],
)
def test_images_find_their_masks(tmp_path, image, mask, group):
    synthetic.save(tmp_path / image, synthetic.seen(TRUTH[0]))
    synthetic.save(tmp_path / mask, TRUTH[0][None])
    source = opened(tmp_path)
    assert [(p.name, p.group) for p in source.pairs] == [(image, group)]
    assert (ids(source) == TRUTH[0]).all()


def test_what_was_made_beside_the_images_is_no_imagery(tmp_path):
    synthetic.geotiff_with_vectors(tmp_path, count=2)
    curves([{"epoch": 1, "train_loss": 1.0}], tmp_path / "RUN" / "curves.png")
    for name in ("map.tif", "map.png"):
        with open_sink(tmp_path / name, open_gdal(tmp_path / "images" / "tile_0.tif").geobox, LEGEND) as sink:
            sink.write(whole(TRUTH[0].shape), TRUTH[0])
    source = opened(tmp_path)
    assert [p.name for p in source.pairs] == ["images/tile_0.tif", "images/tile_1.tif"]
    (told,) = [f for f in source.findings if f.kind == "made-here"]
    assert told.where == ("RUN/curves.png", "map.png", "map.tif") and "3 maps and drawings" in told.text
    assert open_scene(tmp_path).shape == (96, 192)


def test_maps_may_be_labels_and_the_only_images(tmp_path):
    image = synthetic.geotiff(tmp_path / "images" / "a.tif", TRUTH[0])
    (tmp_path / "masks").mkdir()
    with open_sink(tmp_path / "masks" / "a.tif", open_gdal(image).geobox, LEGEND) as sink:
        sink.write(whole(TRUTH[0].shape), TRUTH[0])
    source = opened(tmp_path)
    assert len(source.pairs) == 1 and source.legend.names == tuple(sorted(c.hex for c in LEGEND.classes))
    assert open_scene(tmp_path / "masks").shape == TRUTH[0].shape


def test_what_cvat_exports_is_read_by_its_classes(tmp_path):
    for i in range(2):
        synthetic.save(tmp_path / "JPEGImages" / f"{i}.jpg", synthetic.seen(TRUTH[i]))
        synthetic.save(tmp_path / "SegmentationClass" / f"{i}.png", synthetic.colour_mask(TRUTH[i]))
        synthetic.save(tmp_path / "SegmentationObject" / f"{i}.png", synthetic.seen(TRUTH[i]))
    lines = [f"{c.name}:{','.join(map(str, c.colour))}::" for c in LEGEND.classes]
    (tmp_path / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *lines]))
    source = opened(tmp_path)
    assert source.legend == LEGEND and not source.findings and source.groups == ("",)
    assert (ids(source) == TRUTH[0]).all()


def test_what_roboflow_exports_is_read_by_its_parts(tmp_path):
    for part in ("train", "valid"):
        for i in range(2):
            synthetic.save(tmp_path / part / f"{i}_jpg.rf.1f{i}.jpg", synthetic.seen(TRUTH[i]))
            synthetic.save(tmp_path / part / f"{i}_jpg.rf.1f{i}_mask.png", TRUTH[i][None])
        (tmp_path / part / "_classes.csv").write_text("Pixel Value, Class\n0, Land\n1, Water\n2, Building\n")
    source = opened(tmp_path)
    assert source.legend.names == LEGEND.names and source.groups == ("train", "valid")
    assert (ids(source, 3) == TRUTH[1]).all()


def test_names_that_say_too_little_pair_nothing(tmp_path):
    pairs = {"images/a.png": "image", "images/a_1.png": "image", "masks/a_x.png": "mask", "masks/a_y.png": "mask"}
    for path, what in pairs.items():
        synthetic.save(tmp_path / path, synthetic.seen(TRUTH[0]) if what == "image" else TRUTH[0][None])
    synthetic.save(tmp_path / "masks" / "a_1_L.png", TRUTH[1][None])
    source = opened(tmp_path)
    assert [p.name for p in source.pairs] == ["images/a_1.png"]  # two masks begin like the other image
    assert {"image-without-mask", "mask-without-image"} <= kinds(source)


def test_places_in_folders_of_images_stay_groups(tmp_path):
    for city in ("aachen", "austin"):
        synthetic.save(tmp_path / f"{city}_images" / "1.png", synthetic.seen(TRUTH[0]))
        synthetic.save(tmp_path / f"{city}_labels" / "1.png", TRUTH[0][None])
    assert opened(tmp_path).groups == ("aachen", "austin")


def test_folders_that_are_all_called_masks_say_nothing(tmp_path):
    for name in ("images_and_masks", "labels"):
        for i in range(2):
            synthetic.save(tmp_path / name / name / f"{i}.jpg", synthetic.seen(TRUTH[i]))
            synthetic.save(tmp_path / name / name / f"{i}.png", TRUTH[i][None])
        assert [p.name for p in opened(tmp_path / name).pairs] == [f"{name}/0.jpg", f"{name}/1.jpg"]
