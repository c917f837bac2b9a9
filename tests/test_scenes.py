import geopandas as gpd
import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely import Polygon, box

import scene_files
import synthetic
from sat2map.errors import SceneError
from sat2map.labels import mask_labels, read_shapes, vector_labels
from sat2map.legend import IGNORED
from sat2map.scenes import array_scene, clip, crop, image_files, open_scene, resample, select, tolerant, warp
from sat2map.scenes.gdal import GdalScene, open_gdal
from sat2map.scenes.hdf5 import open_hdf5
from sat2map.scenes.mosaic import lay_together, open_mosaic
from sat2map.scenes.views import WarpedScene
from sat2map.tiling import Window, whole

IDS = synthetic.landscape(3, 40)
MIXED = {"Byte": "uint8", "UInt16": "uint16", "Float32": "float32"}


def tif(folder, **profile):
    return open_gdal(synthetic.geotiff(folder / "image.tif", IDS, **profile))


def mosaic(folder):
    tiles = [
        synthetic.geotiff(folder / f"{i}.tif", IDS, transform=Affine(0.5, 0, 500 + 15 * i, 0, -0.5, 900))
        for i in range(3)
    ]
    return open_scene(str(tiles[0].parent))


def hdf5(folder):
    return open_hdf5(synthetic.hdf5_file(folder / "a.h5", size=40), "images")[2]


def slanted(folder):
    ground = tif(folder, bands=1, nodata=0).geobox
    place = GeoBox((37, 45), ground.affine * Affine.rotation(20) * Affine.scale(0.8), ground.crs)
    return warp(open_gdal(folder / "image.tif"), place)


def reprojected_mask(folder):
    place = tif(folder).geobox
    labels = mask_labels(array_scene(IDS, geobox=place), synthetic.LEGEND)
    return warp(labels, place.to_crs("EPSG:4326"), nearest=True)


def clipped(folder):
    scene = tif(folder, bands=2, nodata=40)
    lozenge = np.array([[3, 20], [21, 1], [39.5, 21.2], [18, 37]])
    ground = Polygon([scene.geobox.affine * tuple(corner) for corner in lozenge])
    frame = gpd.GeoDataFrame(geometry=[ground, box(0, 0, 1, 1)], crs=synthetic.UTM).to_crs("EPSG:4326")
    return clip(scene, synthetic.write_vectors(folder / "area.gpkg", frame))


def damaged(folder):
    return tolerant(open_gdal(scene_files.damaged(folder / "image.tif", blocks=[(0, 1), (2, 0)])))


def mixed(folder):
    """A VRT whose bands are of three types."""
    bands = "".join(
        f'<VRTRasterBand dataType="{gdal}" band="{i}"><SimpleSource><SourceFilename relativeToVRT="1">{dtype}.tif'
        f"</SourceFilename><SourceBand>{i}</SourceBand></SimpleSource></VRTRasterBand>"
        for i, (gdal, dtype) in enumerate(MIXED.items(), 1)
    )
    for dtype in MIXED.values():
        synthetic.save(folder / f"{dtype}.tif", synthetic.seen(IDS, dtype=dtype))
    (folder / "mixed.vrt").write_text(f'<VRTDataset rasterXSize="40" rasterYSize="40">{bands}</VRTDataset>')
    return open_scene(folder / "mixed.vrt")


def vectors(folder):
    synthetic.geotiff_with_vectors(folder, count=1, size=40, column=True)
    image = open_gdal(folder / "images" / "tile_0.tif")
    return vector_labels(read_shapes(folder / "labels.geojson"), image.geobox, synthetic.LEGEND, width=2, rest=0)


SCENES = {
    "array": lambda folder: array_scene(synthetic.seen(IDS)),
    "tif": lambda folder: tif(folder, bands=5, dtype="uint16"),
    "nodata": lambda folder: tif(folder, bands=2, dtype="int16", nodata=601),
    "jpeg": lambda folder: open_gdal(synthetic.save(folder / "a.jpg", synthetic.seen(IDS))),
    "palette": lambda folder: open_gdal(synthetic.write_mask(folder / "a.png", IDS, "palette")),
    "hdf5": hdf5,
    "mosaic": mosaic,
    "crop": lambda folder: crop(tif(folder), Window(5, 7, 20, 30)),
    "select": lambda folder: select(tif(folder), (2, 0, 0)),
    "finer": lambda folder: resample(tif(folder), (90, 70)),
    "coarser": lambda folder: resample(tif(folder, nodata=40), (13, 17)),
    "slanted": slanted,
    "reprojected": lambda folder: warp(tif(folder), tif(folder).geobox.to_crs("EPSG:4326")),
    "mask": lambda folder: mask_labels(array_scene(synthetic.colour_mask(IDS)), synthetic.LEGEND),
    "mask, finer": lambda folder: resample(mask_labels(array_scene(IDS), synthetic.LEGEND), (77, 55), nearest=True),
    "mask, reprojected": reprojected_mask,
    "vectors": vectors,
    "south-up": lambda folder: tif(folder, transform=Affine(0.5, 0, 500, 0, 0.5, 900), dtype="float32"),
    "clipped": clipped,
    "clipped, finer": lambda folder: resample(crop(clipped(folder), Window(2, 3, 35, 30)), (61, 47)),
    "mixed types": mixed,
    "tolerant": damaged,
    "tolerant picture": lambda folder: tolerant(open_gdal(synthetic.save(folder / "a.png", synthetic.seen(IDS)))),
    "tolerant crop": lambda folder: tolerant(crop(tif(folder), Window(1, 2, 30, 30))),
}


@pytest.fixture(scope="module", params=SCENES)
def scene(request, tmp_path_factory):
    return SCENES[request.param](tmp_path_factory.mktemp("scene"))


@given(row=st.integers(-20, 100), col=st.integers(-20, 100), height=st.integers(1, 60), width=st.integers(1, 60))
def test_a_window_is_a_part_of_the_whole(scene, row, col, height, width):
    window = Window(row, col, height, width)
    every, part = scene.read(), scene.read(window)
    inside = window.intersect(whole(scene.shape))
    rows, cols = inside.within(window).slices
    off = np.abs(part.pixels[:, rows, cols].astype(float) - every.pixels[:, inside.slices[0], inside.slices[1]])
    moved = isinstance(scene, WarpedScene) and scene.geobox.crs != scene.scene.geobox.crs
    assert off.max(initial=0) <= (1 if moved else 0)  # between CRSs GDAL rounds differently in each window
    assert (part.valid[rows, cols] == every.valid[inside.slices]).all()
    outside = np.ones(window.shape, bool)
    outside[rows, cols] = False
    assert not part.valid[outside].any()
    assert (part.pixels[:, outside] == scene.fill).all()


def test_bands_are_read_in_the_order_asked_for(scene):
    last = len(scene.bands) - 1
    window = Window(3, 2, 8, 9)
    read = scene.read(window)
    assert (scene.read(window, [last, 0]).pixels == read.pixels[[last, 0]]).all()
    assert read.pixels.dtype == scene.dtype and read.pixels.flags.c_contiguous


def test_what_is_read_is_the_callers_own(scene):
    first, again = scene.read(), scene.read()
    first.pixels[:], first.valid[:] = 77, False
    assert (scene.read().pixels == again.pixels).all() and (scene.read().valid == again.valid).all()


def test_bands_of_several_types_are_read_as_the_type_of_all(tmp_path):
    read = mixed(tmp_path).read()
    assert read.pixels.dtype == "float32" and read.valid.all()
    for i, dtype in enumerate(MIXED.values()):
        assert (read.pixels[i] == synthetic.seen(IDS, dtype=dtype)[i]).all()


def test_a_tolerant_picture_is_not_copied_for_each_window(tmp_path, monkeypatch):
    picture = tolerant(open_gdal(synthetic.save(tmp_path / "a.png", synthetic.seen(IDS))))
    asked, window, read = [], Window(3, 0, 5, 40), GdalScene.read
    monkeypatch.setattr(GdalScene, "read", lambda scene, w, bands: asked.append(w) or read(scene, w, bands))
    assert (picture.read(window).pixels == synthetic.seen(IDS)[:, 3:8]).all() and asked == [window]


def test_a_tolerant_scene_keeps_no_more_than_its_window(tmp_path):
    assert damaged(tmp_path).read(Window(130, 130, 5, 5)).valid.base is None


def test_labels_outside_are_no_class(tmp_path):
    for labels in (SCENES["mask"](tmp_path), SCENES["vectors"](tmp_path)):
        assert (labels.read(Window(-4, -4, 3, 3)).pixels == IGNORED).all()
        assert (crop(labels, Window(0, 0, 5, 5)).read(Window(6, 0, 2, 2)).pixels == IGNORED).all()


def test_alpha_is_validity_and_no_band(tmp_path):
    alpha = np.where(IDS == 1, 0, 255).astype(np.uint8)[None]
    pixels = np.concatenate([synthetic.seen(IDS), alpha])
    scene = open_gdal(synthetic.save(tmp_path / "a.png", pixels))
    assert scene.bands == ("red", "green", "blue")
    assert (scene.read().valid == (IDS != 1)).all()


def test_nan_is_not_valid(tmp_path):
    pixels = synthetic.seen(IDS, dtype="float32")
    pixels[1, 4, 5] = np.nan
    scene = open_gdal(synthetic.save(tmp_path / "a.tif", pixels))
    assert not scene.read().valid[4, 5] and scene.read().valid.sum() == IDS.size - 1


def test_a_palette_can_be_read_as_numbers_too(tmp_path):
    path = synthetic.write_mask(tmp_path / "a.png", IDS, "palette")
    assert (open_gdal(path).read().pixels == synthetic.colour_mask(IDS)).all()
    assert (open_gdal(path, colours=False).read().pixels[0] == IDS).all()


def test_a_world_file_gives_a_place(tmp_path):
    path = synthetic.save(tmp_path / "a.jpg", synthetic.seen(IDS))
    path.with_suffix(".jgw").write_text("0.5\n0\n0\n-0.5\n100.25\n199.75\n")
    assert open_gdal(path).geobox.affine == Affine(0.5, 0, 100, 0, -0.5, 200)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_file_that_was_cut_off_is_an_error(tmp_path, suffix):
    path = synthetic.save(tmp_path / f"a{suffix}", synthetic.seen(synthetic.landscape(0, 200)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SceneError, match="cannot be read"):
        open_gdal(path).read()


def test_a_file_written_anew_is_read_anew(tmp_path):
    path = synthetic.save(tmp_path / "a.png", np.zeros((1, 4, 4), np.uint8))
    assert not open_gdal(path).read().pixels.any()
    synthetic.save(path, np.ones((1, 4, 4), np.uint8))
    assert open_gdal(path).read().pixels.all()


@pytest.mark.parametrize("bands_first", [False, True])
def test_hdf5_stacks_of_either_order(tmp_path, bands_first):
    path = synthetic.hdf5_file(tmp_path / "a.h5", size=40, bands_first=bands_first)
    scenes = open_hdf5(path, "images")
    assert len(scenes) == 6 and scenes[0].shape == (40, 40) and len(scenes[0].bands) == 4
    assert (scenes[1].read().pixels == synthetic.seen(synthetic.landscape(1, 40), 1, 4, "float32")).all()
    with pytest.raises(SceneError, match="It has: images, masks"):
        open_hdf5(path, "pictures")
    with pytest.raises(SceneError, match=r"holds several arrays \(images, masks\)"):
        open_scene(path)


def test_one_hdf5_image_is_a_scene(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["img"] = np.moveaxis(synthetic.seen(IDS, bands=14), 0, -1)
    assert open_scene(tmp_path / "a.h5").read().pixels.shape == (14, 40, 40)


def test_a_mosaic_has_no_seams(tmp_path):
    scene = mosaic(tmp_path)
    assert scene.shape == (40, 100)
    read = scene.read()
    assert read.valid.all() and (read.pixels[:, :, :40] == synthetic.seen(IDS)).all()


def test_a_mosaic_tells_how_many_tiles_lie_on_each_other(tmp_path):
    tiles = [synthetic.geotiff(tmp_path / name, IDS) for name in ("a.tif", "b.tif")]
    shifted = synthetic.geotiff(tmp_path / "c.tif", IDS, transform=synthetic.PLACE * Affine.translation(20, 0))
    width = IDS.shape[1]
    assert open_mosaic([open_gdal(tile) for tile in tiles]).layers == 2
    overlapping = open_mosaic([open_gdal(tile) for tile in (tiles[0], shifted)])
    assert overlapping.layers == pytest.approx(2 * width / (width + 20))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"crs": "EPSG:32637"}, "other CRS"),
        ({"bands": 1}, "other bands"),
        ({"transform": Affine(0.5, 0, 500_000.2, 0, -0.5, 40_000)}, "does not lie on the pixel grid"),
        ({"crs": None, "transform": Affine.identity()}, "has no place on the ground"),
        ({"crs": None}, r"other CRS \(None\)"),
    ],
)
def test_tiles_that_do_not_fit_together(tmp_path, other, message):
    tiles = [synthetic.geotiff(tmp_path / "a.tif", IDS), synthetic.geotiff(tmp_path / "b.tif", IDS, **other)]
    with pytest.raises(SceneError, match=message):
        open_mosaic([open_gdal(t) for t in tiles])


def test_tiles_with_world_files_lie_side_by_side(tmp_path):
    width = IDS.shape[1]
    for name, col in (("a", 0), ("b", width)):
        synthetic.save(tmp_path / f"{name}.jpg", synthetic.seen(IDS))
        place = synthetic.PLACE * Affine.translation(col + 0.5, 0.5)  # of the centre of the first pixel
        world = (place.a, place.d, place.b, place.e, place.c, place.f)
        (tmp_path / f"{name}.jgw").write_text("\n".join(map(str, world)))
    scene = open_scene(tmp_path)
    assert scene.shape == (IDS.shape[0], 2 * width) and scene.geobox.crs is None
    assert scene.geobox.affine.almost_equals(synthetic.PLACE)
    synthetic.save(tmp_path / "c.jpg", synthetic.seen(IDS))
    with pytest.raises(SceneError, match=r"c.jpg has no place on the ground"):
        open_scene(tmp_path)


def test_scenes_that_share_a_grid_are_laid_together_and_others_stay_alone(tmp_path):
    far = synthetic.PLACE * Affine.translation(100, 40)
    places = {"a": synthetic.PLACE, "b": far, "fine": synthetic.PLACE * Affine.scale(0.5), "none": Affine.identity()}
    crs = {name: None if name == "none" else synthetic.UTM for name in places}
    tiles = [
        open_gdal(synthetic.geotiff(tmp_path / f"{n}.tif", IDS, transform=t, crs=crs[n])) for n, t in places.items()
    ]
    (first, one), (second, other), *alone = lay_together(tiles)
    assert first is second and first.shape == (IDS.shape[0] + 40, IDS.shape[1] + 100)
    assert one == whole(IDS.shape) and (other.row, other.col) == (40, 100)
    np.testing.assert_array_equal(second.read(other).pixels, tiles[1].read().pixels)
    assert alone == [(tile, whole(IDS.shape)) for tile in tiles[2:]]


def test_scenes_of_one_ground_at_two_times_are_not_laid_together(tmp_path):
    tiles = [open_gdal(synthetic.geotiff(tmp_path / name, IDS)) for name in ("1999.tif", "2002.tif")]
    assert [scene for scene, _ in lay_together(tiles)] == tiles


def test_paths_folders_and_patterns(tmp_path):
    paths = [str(synthetic.save(tmp_path / f"{n}.png", np.ones((1, 4, 4), np.uint8))) for n in "ba"]
    assert image_files(str(tmp_path)) == image_files(str(tmp_path / "*.png")) == sorted(paths)
    for name, what in (("none.tif", "no file"), ("empty", "no image in the folder")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(SceneError, match=what):
            open_scene(tmp_path / name)
    (tmp_path / "text.tif").write_text("no image")
    with pytest.raises(SceneError, match="cannot be read as an image"):
        open_scene(tmp_path / "text.tif")


def test_resampling_keeps_the_mean_and_skips_nodata(tmp_path):
    pixels = np.full((1, 40, 40), 100, np.uint8)
    pixels[:, :, 20:] = 200
    pixels[:, 10:20] = 0
    scene = open_gdal(synthetic.save(tmp_path / "a.tif", pixels, nodata=0))
    small = resample(scene, (4, 4)).read()
    assert (small.valid == [[True], [False], [True], [True]]).all()
    assert (small.pixels[0, 0] == [100, 100, 200, 200]).all()
    ids = resample(array_scene(IDS), (13, 17), nearest=True).read().pixels
    assert set(np.unique(ids)) <= {0, 1, 2}


@pytest.mark.real
def test_real_nodata_alpha_and_collar(real):
    folder = real / "georeferenced-samples"
    collar, alpha = (open_gdal(folder / n).read() for n in ("RGB.byte.tif", "RGBA.byte.tif"))
    assert collar.pixels.shape == alpha.pixels.shape == (3, 718, 791)
    assert 0.5 < collar.valid.mean() < 0.8 and 0.5 < alpha.valid.mean() < 0.8
    with rasterio.open(folder / "RGBA.byte.tif") as file:
        assert (alpha.valid == (file.read(4) > 0)).all()
