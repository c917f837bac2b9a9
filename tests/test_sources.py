import shutil

import h5py
import numpy as np
import pytest
from affine import Affine

import synthetic
from sat2map.errors import BadOption, SourceError
from sat2map.legend import IGNORED, Legend, legend_of
from sat2map.options import ReadOptions
from sat2map.scenes import array_scene, warp
from sat2map.scenes.gdal import open_gdal
from sat2map.sources import LAYOUTS, open_source
from synthetic import LEGEND

TRUTH = [synthetic.landscape(i) for i in range(6)]


def opened(path, **words):
    return open_source(path, ReadOptions(**words))


def kinds(source):
    return {f.kind for f in source.findings}


def ids(source, i=0):
    return source.pairs[i].target.read().pixels[0]


def layouts():
    return {
        "folders": synthetic.rgb_folder,
        "side-by-side": synthetic.side_by_side,
        "hdf5": synthetic.landslide4sense,
        "vectors": synthetic.geotiff_with_vectors,
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_and_gives_pairs_of_one_grid(tmp_path, layout):
    source = opened(layouts()[layout](tmp_path))
    assert source.layout == layout and len(source.pairs) == 6
    assert source.counts.shape == (6, len(source.legend))
    for pair in source.pairs:
        assert pair.image.geobox == pair.target.geobox
        assert pair.image.read().valid.all()
    assert [p.name for p in source.pairs] == sorted(p.name for p in source.pairs)


@pytest.mark.parametrize("masks", ["colours", "palette", "numbers"])
@pytest.mark.parametrize("groups", [0, 3])
def test_masks_of_every_kind_read_alike(tmp_path, masks, groups):
    source = opened(synthetic.rgb_folder(tmp_path, masks=masks, groups=groups))
    assert source.legend == LEGEND and not source.findings
    assert len(source.groups) == max(groups, 1)
    for i, truth in enumerate(TRUTH):
        assert (ids(source, i) == truth).all()
        assert (source.counts[i] == np.bincount(truth.ravel())).all()


def test_numbers_among_masks_of_colours(tmp_path):
    synthetic.rgb_folder(tmp_path, groups=0)
    synthetic.write_mask(tmp_path / "masks" / "part_001.png", TRUTH[1], "numbers")
    source = opened(tmp_path)
    assert "masks-mixed" in kinds(source) and not kinds(source) & {"unknown-colours"}
    assert all((ids(source, i) == TRUTH[i]).all() for i in (0, 1))


def test_grey_pictures_are_numbers_beside_masks_of_numbers(tmp_path):
    for i, truth in enumerate(TRUTH[:2]):
        mask = np.where(truth == 2, 255, 0).astype(np.uint8)[None]
        synthetic.save(tmp_path / "images" / f"{i}.png", synthetic.seen(truth))
        synthetic.save(tmp_path / "masks" / f"{i}.png", np.repeat(mask, 3, axis=0) if i else mask)
    source = opened(tmp_path)
    assert source.legend.names == ("background", "foreground")
    assert [c.value for c in source.legend.classes] == [0, 1]  # 255 is the nodata of maps
    assert all((ids(source, i) == (TRUTH[i] == 2)).all() for i in (0, 1))


def test_masks_of_0_and_255_with_a_legend_of_two(tmp_path):
    synthetic.save(tmp_path / "images" / "a.png", synthetic.seen(TRUTH[0]))
    synthetic.save(tmp_path / "masks" / "a.png", np.where(TRUTH[0] == 2, 255, 0).astype(np.uint8)[None])
    synthetic.write_legend(tmp_path / "classes.json", legend_of(["rest", "building"]))
    source = opened(tmp_path)
    assert source.legend.names == ("rest", "building") and "numbers-in-order" in kinds(source)
    assert (ids(source) == (TRUTH[0] == 2)).all()


def test_unknown_colours_are_ignored_and_reported_with_their_share(tmp_path):
    synthetic.rgb_folder(tmp_path, groups=0)
    mask = synthetic.colour_mask(TRUTH[0])
    mask[:, :10] = 0
    synthetic.save(tmp_path / "masks" / "part_000.png", mask)
    source = opened(tmp_path)
    (finding,) = source.findings
    assert finding.kind == "unknown-colours" and "#000000 1.74%" in finding.text
    assert (ids(source)[:10] == IGNORED).all() and (ids(source)[10:] == TRUTH[0][10:]).all()


def test_a_legend_that_does_not_fit_is_reported_and_classes_discovered(tmp_path):
    synthetic.rgb_folder(tmp_path, legend=False)
    wrong = Legend(tuple(c.__class__(c.name, c.colour[::-1], c.value) for c in LEGEND.classes))
    synthetic.write_legend(tmp_path / "classes.json", wrong)
    source = opened(tmp_path)
    assert {"legend-does-not-fit", "discovered-legend"} <= kinds(source)
    assert {c.colour for c in source.legend.classes} == {c.colour for c in LEGEND.classes}


def test_void_classes_are_ignored_unless_told(tmp_path):
    synthetic.rgb_folder(tmp_path, legend=False)
    classes = [LEGEND.classes[0].__class__("Void", LEGEND.classes[0].colour, 0), *LEGEND.classes[1:]]
    synthetic.write_legend(tmp_path / "classes.json", Legend(tuple(classes)))
    source = opened(tmp_path)
    assert source.legend.names == ("Water", "Building") and "ignored-class" in kinds(source)
    assert (ids(source)[TRUTH[0] == 0] == IGNORED).all()
    assert opened(tmp_path, ignore=()).legend.names == ("Void", "Water", "Building")
    with pytest.raises(SourceError, match="no class that could be learnt"):
        opened(tmp_path, ignore=("void", "water", "building"))


def test_255_is_the_custom_for_unlabelled(tmp_path):
    for i, truth in enumerate(TRUTH[:2]):
        synthetic.save(tmp_path / "images" / f"{i}.png", synthetic.seen(truth))
        synthetic.save(tmp_path / "masks" / f"{i}.png", np.where(truth == 1, 255, truth)[None].astype(np.uint8))
    source = opened(tmp_path)
    assert source.legend.names == ("background", "foreground") and "number-255" in kinds(source)
    assert (ids(source)[TRUTH[0] == 1] == IGNORED).all()


# --- pairing ---------------------------------------------------------------------------------------------------------


def test_what_has_no_other_side_or_cannot_be_used_is_left_out(tmp_path):
    synthetic.rgb_folder(tmp_path, groups=0)
    (tmp_path / "masks" / "part_000.png").unlink()
    (tmp_path / "images" / "part_001.jpg").unlink()
    synthetic.save(tmp_path / "masks" / "part_002.png", synthetic.colour_mask(TRUTH[2][:50]))
    (tmp_path / "images" / "part_003.jpg").write_bytes(b"no image")
    synthetic.save(tmp_path / "images" / "part_004.jpg", synthetic.seen(TRUTH[4], bands=1))
    source = opened(tmp_path)
    assert [p.name for p in source.pairs] in (["images/part_005.jpg"], ["images/part_004.jpg"])
    left_out = {"image-without-mask", "mask-without-image", "sizes-differ", "unreadable", "bands-differ"}
    assert left_out <= kinds(source)
    assert all(f.level == "warning" for f in source.findings if f.kind in left_out)


def test_a_source_of_which_nothing_remains_says_why(tmp_path):
    synthetic.rgb_folder(tmp_path, groups=0, count=1)
    (tmp_path / "masks" / "part_000.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match="1 unreadable file left out"):
        opened(tmp_path)
    with pytest.raises(SourceError, match="There is no"):
        opened(tmp_path / "nothing")
    shutil.rmtree(tmp_path / "masks")
    with pytest.raises(SourceError, match=r"no labels.*--labels"):
        opened(tmp_path)


def test_one_image_with_a_label_raster(tmp_path):
    synthetic.geotiff(tmp_path / "image.tif", TRUTH[0], bands=5, dtype="uint16")
    labels = synthetic.save(tmp_path / "truth.tif", TRUTH[0][None])
    source = opened(tmp_path / "image.tif", labels=str(labels))
    assert len(source.bands) == 5 and (ids(source) == TRUTH[0]).all()
    assert source.pairs[0].target.geobox.crs is not None  # the mask has no place of its own


def test_one_raster_of_labels_for_all_images_needs_no_option(tmp_path):
    for i in range(2):
        synthetic.geotiff(
            tmp_path / "images" / f"{i}.tif", TRUTH[i], transform=synthetic.PLACE * Affine.translation(96 * i, 0)
        )
    both = np.concatenate(TRUTH[:2], axis=1)[None]
    synthetic.save(tmp_path / "labels" / "cover.tif", both, crs=synthetic.UTM, transform=synthetic.PLACE)
    source = opened(tmp_path)
    assert all((ids(source, i) == TRUTH[i]).all() for i in (0, 1))


def test_a_label_raster_in_another_crs_and_resolution(tmp_path):
    for i in range(2):
        place = Affine(0.5, 0, synthetic.CORNER[0] + 48 * i, 0, -0.5, synthetic.CORNER[1])
        synthetic.geotiff(tmp_path / "images" / f"{i}.tif", TRUTH[i], transform=place)
    both = np.kron(np.concatenate(TRUTH[:2], axis=1), np.ones((2, 2), np.uint8))[None]
    place = Affine(0.25, 0, synthetic.CORNER[0], 0, -0.25, synthetic.CORNER[1])
    synthetic.save(tmp_path / "utm.tif", both, crs=synthetic.UTM, transform=place)
    source = opened(tmp_path / "images", labels=str(tmp_path / "utm.tif"))
    assert all((ids(source, i) == TRUTH[i]).all() for i in (0, 1))
    far = Affine(0.25, 0, 0, 0, -0.25, 0)
    synthetic.save(tmp_path / "far.tif", both, crs=synthetic.UTM, transform=far)
    with pytest.raises(SourceError, match="2 images off the ground of the labels"):
        opened(tmp_path / "images", labels=str(tmp_path / "far.tif"))


def test_a_label_raster_in_degrees_is_reprojected(tmp_path):
    image = synthetic.geotiff(tmp_path / "image.tif", TRUTH[0])
    place = open_gdal(image).geobox.to_crs("EPSG:4326", resolution=1e-6)
    degrees = warp(array_scene(TRUTH[0], geobox=open_gdal(image).geobox), place, nearest=True).read()
    labels = synthetic.save(tmp_path / "labels.tif", degrees.pixels, crs="EPSG:4326", transform=place.affine)
    source = opened(image, labels=str(labels))
    assert "crs-differ" in kinds(source) and source.pairs[0].target.geobox == source.pairs[0].image.geobox
    assert (ids(source)[1:-1, 1:-1] == TRUTH[0][1:-1, 1:-1]).mean() > 0.99


def test_labels_that_end_within_an_image_leave_the_rest_unlabelled(tmp_path):
    image = synthetic.geotiff(tmp_path / "image.tif", TRUTH[0])
    place = {"crs": synthetic.UTM, "transform": synthetic.PLACE}
    labels = synthetic.save(tmp_path / "labels.tif", TRUTH[0][None, :40], **place)
    source = opened(image, labels=str(labels))
    assert (ids(source)[:40] == TRUTH[0][:40]).all() and (ids(source)[40:] == IGNORED).all()
    assert source.counts.sum() == 40 * 96


@pytest.mark.parametrize("named", [False, True])
def test_nodata_of_a_mask_is_a_class_only_if_the_legend_names_it(tmp_path, named):
    synthetic.geotiff(tmp_path / "images" / "a.tif", TRUTH[0])
    synthetic.save(tmp_path / "masks" / "a.tif", TRUTH[0][None], nodata=0)
    if named:
        synthetic.write_legend(tmp_path / "classes.json")
    source = opened(tmp_path)
    assert len(source.legend) == (3 if named else 2)
    assert (ids(source)[TRUTH[0] == 0] == (0 if named else IGNORED)).all()


# --- grids -----------------------------------------------------------------------------------------------------------


def test_resizing_takes_labels_by_nearest_neighbour(tmp_path):
    source = opened(synthetic.rgb_folder(tmp_path, groups=0), resize=40)
    assert {p.image.shape for p in source.pairs} == {p.target.shape for p in source.pairs} == {(40, 40)}
    assert set(np.unique(ids(source))) <= {0, 1, 2}


def shapes_by_image(path, names=("a", "b", "c")):
    """Write images side by side on the ground, each with the outlines of its buildings in a file of its own."""
    for i, name in enumerate(names):
        place = synthetic.PLACE * Affine.translation(96 * i, 0)
        synthetic.geotiff(path / "ortho" / f"{name}.tif", TRUTH[i], transform=place)
        (path / "geojson" / "houses").mkdir(parents=True, exist_ok=True)
        shapes = synthetic.polygons(TRUTH[i], place).drop(columns=["class", "class_id"])
        shapes.to_crs("EPSG:4326" if i else synthetic.UTM).to_file(path / "geojson" / "houses" / f"{name}.geojson")
    return path


@pytest.mark.parametrize("named", [True, False])
def test_a_vector_file_for_each_image(tmp_path, named):
    shapes_by_image(tmp_path)
    houses = tmp_path / "geojson" / "houses"
    (houses / "d.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    if not named:  # SpaceNet calls them otherwise than the images
        for i, file in enumerate(sorted(houses.iterdir())):
            file.rename(houses / f"houses_img{i}.geojson")
    else:
        (houses / "d.geojson").unlink()
    source = opened(tmp_path)
    assert source.layout == "vectors" and source.legend.names == ("background", "houses")
    for i in range(3):
        assert (ids(source, i) == (TRUTH[i] == 2)).all()


def test_a_folder_of_vector_files_of_which_each_is_a_class(tmp_path):
    synthetic.geotiff(tmp_path / "ground" / "ortho.tif", TRUTH[0])
    (tmp_path / "layers").mkdir()
    for name, value in (("houses.parquet", 2), ("water.gpkg", 1)):
        shapes = synthetic.polygons(TRUTH[0], synthetic.PLACE, classes=(value,)).assign(type="of all kinds")
        if name.endswith("parquet"):
            shapes.rename_geometry("shape").to_parquet(tmp_path / "layers" / name)
        else:
            shapes.to_file(tmp_path / "layers" / name)
    with pytest.raises(SourceError, match="or a folder in which each file is a class"):
        opened(tmp_path)
    for folder in (tmp_path, tmp_path / "ground"):
        source = opened(folder, labels=str(tmp_path / "layers"))
        assert source.legend.names == ("houses", "water") and "files-as-classes" in kinds(source)
        expected = np.array([IGNORED, 1, 0], np.uint8)[TRUTH[0]]
        assert (ids(source) == expected).all()
    by_column = opened(tmp_path, labels=str(tmp_path / "layers"), column="class")
    assert by_column.legend.names == ("Building", "Water")


def test_images_of_unlike_resolution_come_to_one(tmp_path):
    for i, side in enumerate((0.5, 0.25)):
        place = Affine(side, 0, *synthetic.CORNER[:1], 0, -side, synthetic.CORNER[1])
        synthetic.geotiff(tmp_path / "images" / f"{i}.tif", TRUTH[i], transform=place)
        synthetic.save(tmp_path / "masks" / f"{i}.png", TRUTH[i][None])
    source = opened(tmp_path, resolution=1.0)
    assert [p.image.shape for p in source.pairs] == [(48, 48), (24, 24)]
    assert all(p.image.geobox == p.target.geobox for p in source.pairs)
    assert (ids(source) == TRUTH[0][1::2, 1::2]).all()
    with pytest.raises(SourceError, match="nothing is left"):
        opened(tmp_path, resolution=1000.0)


def test_pictures_without_a_place_have_no_resolution(rgb_folder):
    with pytest.raises(SourceError, match="--resize"):
        opened(rgb_folder, resolution=1.0)
    with pytest.raises(BadOption, match="exclude each other"):
        opened(rgb_folder, resolution=1.0, resize=10)


# --- hdf5 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bands_first", [False, True])
def test_stacks_in_one_hdf5_file(tmp_path, bands_first):
    source = opened(synthetic.hdf5_file(tmp_path / "train.h5", bands_first=bands_first))
    assert source.pairs[4].name == "train.h5[4]" and source.legend.names == ("class 0", "class 1", "class 2")
    assert (ids(source, 4) == synthetic.landscape(4, 64)).all()
    assert len(source.bands) == 4 and source.pairs[0].image.dtype == "float32"


def test_landslide4sense(tmp_path):
    source = opened(synthetic.landslide4sense(tmp_path / "TrainData", count=3))
    assert [p.name for p in source.pairs] == [f"img/image_{i}.h5" for i in (1, 2, 3)]
    assert len(source.bands) == 14 and (ids(source, 1) == (synthetic.landscape(2, 64) == 2)).all()
    (tmp_path / "TrainData" / "mask" / "mask_2.h5").unlink()
    assert "image-without-mask" in kinds(opened(tmp_path / "TrainData"))


@pytest.mark.parametrize(
    ("image", "mask", "count"),
    [
        ((64, 60, 4), (64, 60), 1),
        ((64, 60, 4), (64, 60, 1), 1),
        ((5, 64, 60), (5, 64, 60), 5),
        ((5, 64, 60, 3), (5, 64, 60, 1), 5),
    ],
)
def test_shapes_of_arrays_in_one_file(tmp_path, image, mask, count):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X_train"] = np.random.default_rng(0).random(image)
        file["y_train"] = np.arange(np.prod(mask)).reshape(mask) % 2
    source = opened(tmp_path / "a.h5")
    assert len(source.pairs) == count and source.pairs[0].image.shape == (64, 60)


# --- pictures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
def test_side_by_side_pictures(tmp_path, reverse):
    source = opened(synthetic.side_by_side(tmp_path, reverse=reverse), reverse=reverse)
    assert source.output == "picture" and not len(source.legend)
    truth = synthetic.landscape(2, 64)
    assert (source.pairs[2].target.read().pixels == synthetic.colour_mask(truth)).all()
    assert (source.pairs[2].image.read().pixels == synthetic.seen(truth, 2)).all()


def test_two_folders_of_pictures(tmp_path):
    source = opened(synthetic.two_folders(tmp_path))
    assert source.output == "picture" and source.pairs[0].target.dtype == "uint8"
    assert source.pairs[0].target.read().pixels.shape == (3, 64, 64)


def test_masks_can_be_taken_for_pictures(rgb_folder):
    source = opened(rgb_folder, output="picture")
    assert source.output == "picture"
    assert (source.pairs[0].target.read().pixels == synthetic.colour_mask(TRUTH[0])).all()


def test_a_picture_of_odd_width_is_left_out(tmp_path):
    synthetic.side_by_side(tmp_path, count=2)
    synthetic.save(tmp_path / "odd.png", np.zeros((3, 64, 127), np.uint8))
    source = opened(tmp_path, layout="side-by-side")
    assert "odd-width" in kinds(source) and len(source.pairs) == 2


# --- vectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vectors", ["a.geojson", "a.gpkg", "a.shp", "a.parquet"])
def test_vectors_of_one_class_have_background(tmp_path, vectors):
    source = opened(synthetic.geotiff_with_vectors(tmp_path, vectors=vectors, dtype="uint16", bands=5))
    assert source.legend.names == ("background", "a") and "crs-differ" in kinds(source)
    wrong = sum((ids(source, i) != (TRUTH[i] == 2)).sum() for i in range(6))
    assert wrong <= 6  # corners of pixels, carried to degrees and back


def test_vectors_of_many_classes_leave_the_rest_unlabelled(tmp_path):
    folder = synthetic.geotiff_with_vectors(tmp_path, classes=(1, 2), column=True, crs=synthetic.UTM)
    source = opened(folder)
    assert source.legend.names == ("Building", "Water") and "class-column" in kinds(source)
    assert (ids(source) == np.array([IGNORED, 1, 0])[TRUTH[0]]).all()
    source = opened(folder, rest="background")
    assert source.legend.names == ("background", "Building", "Water")
    assert (ids(source) == np.array([0, 2, 1])[TRUTH[0]]).all()


def test_a_legend_gives_vectors_their_colours(tmp_path):
    synthetic.write_legend(synthetic.geotiff_with_vectors(tmp_path, classes=(1, 2), column=True) / "classes.json")
    assert opened(tmp_path).legend.classes[1].colour == LEGEND.classes[1].colour


def test_vectors_elsewhere_are_an_error(tmp_path):
    synthetic.geotiff_with_vectors(tmp_path, count=2)
    frame = synthetic.polygons(TRUTH[0], Affine(0.5, 0, 0, 0, -0.5, 0))
    synthetic.write_vectors(tmp_path / "labels.geojson", frame)
    with pytest.raises(SourceError, match=r"No shape of .* lies on any image"):
        opened(tmp_path)
    synthetic.write_vectors(tmp_path / "more.geojson", frame)
    with pytest.raises(SourceError, match="several vector files"):
        opened(tmp_path)


def test_vectors_need_images_with_a_place(tmp_path):
    synthetic.geotiff_with_vectors(tmp_path, count=1)
    (tmp_path / "images" / "tile_0.tif").unlink()
    image = synthetic.save(tmp_path / "images" / "tile_0.png", synthetic.seen(TRUTH[0]))
    with pytest.raises(SourceError, match="no image has a place on the ground"):
        opened(tmp_path)
    image = image.rename(image.with_name("placed.png"))
    image.with_suffix(".pgw").write_text(
        f"0.5\n0\n0\n-0.5\n{synthetic.CORNER[0] + 0.25}\n{synthetic.CORNER[1] - 0.25}\n"
    )
    synthetic.write_vectors(tmp_path / "utm.gpkg", synthetic.polygons(TRUTH[0], synthetic.PLACE))
    source = opened(tmp_path, labels=str(tmp_path / "utm.gpkg"), rest="background")
    assert "no-crs" in kinds(source) and (ids(source) == np.where(TRUTH[0] == 2, 1, 0)).all()


def test_shapes_beyond_the_images_are_noted(tmp_path):
    synthetic.geotiff_with_vectors(tmp_path, count=3)
    (tmp_path / "images" / "tile_2.tif").unlink()
    assert "shapes-apart" in kinds(opened(tmp_path))


# --- real imagery ----------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_dubai(real):
    source = opened(real / "dubai-aerial")
    assert len(source.pairs) == 54 and len(source.groups) == 6
    assert source.legend.names == ("Building", "Land", "Road", "Vegetation", "Water")
    texts = {f.kind: f.text for f in source.findings}
    assert "Road #DE597F" in texts["legend-does-not-fit"] and "Humans in the Loop" in texts["known-legend"]
    assert "#000000 0.65%" in texts["unknown-colours"] and "Unlabeled (0.44%" in texts["ignored-class"]
    assert "(18 of 54)" in texts["palette-masks"]
    assert source.counts.sum(axis=0).argmax() == 1
    assert {type(p.target).__name__ for p in source.pairs} == {"MaskLabels"}


@pytest.mark.real
def test_kampala(real):
    source = opened(real / "kampala-buildings")
    assert len(source.pairs) == 105 and source.groups == ("z19", "z20", "z21")
    texts = {f.kind: f.text for f in source.findings}
    assert "EPSG:4326, images in EPSG:3857" in texts["crs-differ"] and texts["invalid-shapes"].startswith("1 of 206")
    assert "reach beyond the images" in texts["shapes-beyond"]
    share = source.counts[:, 1].sum() / source.counts.sum()
    assert 0.2 < share < 0.4


@pytest.mark.real
def test_atlanta(real):
    source = opened(real / "atlanta-buildings")
    assert source.pairs[0].image.dtype == "uint16" and len(source.bands) == 1
    assert 0.03 < source.counts[0, 1] / source.counts.sum() < 0.06


@pytest.mark.real
def test_landsat(real):
    source = opened(real / "landsat7-landcover")
    assert len(source.bands) == 8 and len(source.legend) == 5
    assert 0.005 < source.counts.sum() / (2 * 250 * 250) < 0.02
    (finding,) = [f for f in source.findings if f.kind == "names-and-numbers-disagree"]
    assert len(finding.where) == 2
