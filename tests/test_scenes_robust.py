"""Scenes from servers and STAC items, areas of interest, damaged files, and files that are refused with advice."""

from __future__ import annotations

import json
import re
import shlex
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import geopandas as gpd
import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.env import get_gdal_config
from rasterio.rpc import RPC
from shapely import LineString, Point, box

import synthetic
from sat2map.errors import SceneError
from sat2map.scenes import array_scene, clip, files_below, open_scene, select, tolerant
from sat2map.scenes.gdal import open_gdal
from sat2map.scenes.handles import BLOCK_CACHE
from sat2map.scenes.hdf5 import open_hdf5
from sat2map.scenes.stac import asset_of, is_item
from sat2map.tiling import Window, grid, whole
from scene_files import BLOCK, damaged, served

IDS = synthetic.landscape(3, 40)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.01")
    with served(tmp_path) as running:
        yield running


# Dtypes, bands and validity


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 2, 5, 14])
def test_any_type_and_number_of_bands(tmp_path, dtype, bands):
    pixels = np.arange(bands * 30).reshape(bands, 5, 6).astype(dtype)
    scene = open_scene(synthetic.save(tmp_path / "a.tif", pixels))
    assert scene.dtype == dtype and len(scene.bands) == bands
    assert (scene.read().pixels == pixels).all() and scene.read().valid.all()


def test_complex_numbers_are_refused(tmp_path):
    path = synthetic.save(tmp_path / "a.tif", np.ones((1, 4, 4), "complex64"))
    with pytest.raises(SceneError, match=r"complex numbers\. Write their amplitude"):
        open_scene(path)


def test_a_mask_of_the_data_set_is_validity(tmp_path):
    path = synthetic.geotiff(tmp_path / "a.tif", IDS)
    with rasterio.open(path, "r+") as file:
        file.write_mask(IDS != 1)
    assert (open_scene(path).read().valid == (IDS != 1)).all()


def test_only_alpha_is_a_band(tmp_path):
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", count=1, width=4, height=3, dtype="uint8") as file:
        file.write(np.full((1, 3, 4), 9, np.uint8))
        file.colorinterp = [rasterio.enums.ColorInterp.alpha]
    assert (open_scene(tmp_path / "a.tif").read().pixels == 9).all()


def test_a_palette_of_sixteen_bits(tmp_path):
    numbers = np.array([[[0, 300], [65535, 1]]], np.uint16)
    path = synthetic.save(tmp_path / "a.tif", numbers, palette={300: (1, 2, 3, 255)}, photometric="palette")
    assert (open_scene(path).read().pixels[:, 0, 1] == [1, 2, 3]).all()


# Places


def test_ground_control_points_are_refused_with_the_command(tmp_path):
    points = [GroundControlPoint(r, c, 500_000 + c, 40_000 - r) for r, c in ((0, 0), (0, 40), (40, 0), (40, 40))]
    with rasterio.open(
        tmp_path / "my image.tif", "w", driver="GTiff", count=1, width=40, height=40, dtype="uint8",
        gcps=points, crs=synthetic.UTM,
    ) as file:  # fmt: skip
        file.write(IDS[None])
    with pytest.raises(SceneError, match="ground control points, so its pixels lie on no grid") as refused:
        open_scene(tmp_path / "my image.tif")
    command = str(refused.value).rpartition(": ")[2]
    words = ["gdalwarp", "-r", "bilinear", "-dstalpha", str(tmp_path / "my image.tif"), "my image-warped.tif"]
    assert shlex.split(command) == words


def test_a_camera_model_is_refused_with_the_command(tmp_path):
    flat = [1.0, *[0.0] * 19]
    rpc = RPC(0, 1, 0, 1, flat, flat, 0, 1, 0, 1, flat, flat, 0, 1)
    path = synthetic.save(tmp_path / "a.tif", IDS[None], rpcs=rpc)
    with pytest.raises(SceneError, match=r"gdalwarp -rpc -t_srs EPSG:4326 -r bilinear -dstalpha \S+a.tif a-warped.tif"):
        open_scene(path)
    assert open_scene(synthetic.geotiff(tmp_path / "b.tif", IDS, rpcs=rpc)).geobox.affine == synthetic.PLACE


@pytest.mark.parametrize("size", [1e-300, np.nan])
def test_pixels_without_a_size_are_refused(tmp_path, size):
    content = synthetic.geotiff(tmp_path / "a.tif", IDS, transform=Affine(0.123, 0, 5, 0, -0.123, 9)).read_bytes()
    (tmp_path / "a.tif").write_bytes(content.replace(struct.pack("<d", 0.123), struct.pack("<d", size)))
    with pytest.raises(SceneError, match="has pixels without a size"):
        open_scene(tmp_path / "a.tif")


# Servers


def test_a_server_is_read_by_ranges_and_nothing_else_is_asked_for(tmp_path, server):
    path = synthetic.geotiff(tmp_path / "a.tif", synthetic.landscape(1, 512), tiled=True, blockxsize=64, blockysize=64)
    scene = open_scene(f"{server.url}/a.tif")
    window = Window(200, 100, 50, 60)
    assert (scene.read(window).pixels == open_scene(path).read(window).pixels).all()
    assert set(server.asked) == {"/a.tif"}


@pytest.mark.parametrize("threaded", [False, True])
def test_a_busy_server_is_asked_again_in_every_thread(tmp_path, server, threaded):
    ids = np.random.default_rng(0).integers(0, 3, (1024, 1024)).astype(np.uint8)
    synthetic.geotiff(tmp_path / f"{threaded}.tif", ids, tiled=True)
    server.faults = 2
    name = f"{server.url}/{threaded}.tif"

    def read():
        scene = open_scene(name)
        server.faults = 2
        return scene.read(Window(700, 700, 50, 60))

    raster = ThreadPoolExecutor(1).submit(read).result() if threaded else read()
    assert raster.valid.all() and server.faults == 0


def test_storage_of_s3_is_read(tmp_path, server, monkeypatch):
    words = {"AWS_S3_ENDPOINT": server.url.removeprefix("http://"), "AWS_HTTPS": "NO", "AWS_VIRTUAL_HOSTING": "FALSE"}
    for name, value in {**words, "AWS_NO_SIGN_REQUEST": "YES"}.items():
        monkeypatch.setenv(name, value)
    path = synthetic.geotiff(tmp_path / "bucket" / "a.tif", IDS)
    for name in ("s3://bucket/a.tif", "/vsis3/bucket/a.tif"):
        assert (open_scene(name).read().pixels == open_scene(path).read().pixels).all()


def test_what_is_not_on_the_server_is_told(server):
    with pytest.raises(SceneError, match=r"none.tif cannot be read as an image: .*404.* check the address"):
        open_scene(f"{server.url}/none.tif")


def test_the_cache_of_blocks_is_bounded_in_bytes(tmp_path):
    open_scene(synthetic.save(tmp_path / "a.tif", IDS[None]))
    assert get_gdal_config("GDAL_CACHEMAX") == BLOCK_CACHE
    assert ThreadPoolExecutor(1).submit(get_gdal_config, "GDAL_CACHEMAX").result() == BLOCK_CACHE


# STAC items


def item(**assets):
    roles = {"data": ["data"], "look": ["thumbnail"]}
    listed = {
        n: {"href": h[0], "roles": roles[h[1]]} if isinstance(h, tuple) else {"href": h} for n, h in assets.items()
    }
    return json.dumps({"type": "Feature", "stac_version": "1.0.0", "id": "x", "assets": listed})


@pytest.mark.parametrize(
    ("assets", "asset"),
    [
        ({"B1": "a.tif"}, ""),
        ({"small": ("s.png", "look"), "picture": ("a.tif", "data")}, ""),
        ({"image": "b.tif", "visual": "a.tif", "B1": ("b.tif", "data")}, ""),
        ({"one": "b.tif", "other": "./a.tif"}, "#other"),
    ],
)
def test_the_image_of_an_item(tmp_path, server, assets, asset):
    synthetic.geotiff(tmp_path / "a.tif", IDS)
    (tmp_path / "item.json").write_text(item(**assets))
    for name in (tmp_path / "item.json", f"{server.url}/item.json"):
        assert open_scene(f"{name}{asset}").shape == (40, 40)


@pytest.mark.parametrize(
    ("text", "asset", "message"),
    [
        (item(B1=("b.tif", "data"), B2=("c.tif", "data"), t="t.png"), "", r"several assets \(B1, B2\).*json#B1'"),
        (item(B1="b.tif", B2="c.tif"), "#B3", "no asset 'B3'. It has: B1, B2"),
        ('{"type": "FeatureCollection", "features": []}', "", "is no STAC item with assets"),
        ('{"assets": {"a": 3}}', "", "is no STAC item with assets"),
        ("[" * 100_000, "", "is no STAC item with assets"),
        (item(only="gone.tif"), "", "no file"),
    ],
)
def test_items_without_a_clear_image_are_told(tmp_path, text, asset, message):
    (tmp_path / "item.json").write_text(text)
    with pytest.raises(SceneError, match=message):
        open_scene(f"{tmp_path / 'item.json'}{asset}")


def test_names_of_items(tmp_path, server):
    assert is_item("https://a.org/collections/c/items/S2A_1#visual") and is_item("a.geojson#b") and is_item("A.JSON")
    assert not is_item("https://a.org/items/scene.tif") and not is_item("tile#3.tif") and not is_item("items/a.png")
    (tmp_path / "item.json").write_text(item(a="https://other.org/a.tif"))
    assert asset_of(str(tmp_path / "item.json")) == "https://other.org/a.tif"
    for name in (tmp_path / "none.json", f"{server.url}/none.json", f"{server.url}/there is none.json"):
        with pytest.raises(SceneError, match=r"none.json cannot be read: .* Check the name"):
            open_scene(name)


# Areas of interest


def area(folder, *shapes, crs=synthetic.UTM, name="area.gpkg"):
    return synthetic.write_vectors(folder / name, gpd.GeoDataFrame(geometry=list(shapes), crs=crs))


def ground(left, top, right, bottom):
    """Return a rectangle by pixels of the first image."""
    (x0, y0), (x1, y1) = synthetic.PLACE * (left, top), synthetic.PLACE * (right, bottom)
    return box(x0, y1, x1, y0)


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp", "a.parquet", "a.fgb"])
def test_only_centres_under_polygons_are_valid(tmp_path, name):
    scene = open_scene(synthetic.geotiff(tmp_path / "a.tif", IDS, nodata=None))
    crs = "EPSG:4326" if name == "a.geojson" else synthetic.UTM
    shapes = gpd.GeoSeries([ground(3.4, 5.6, 20.4, 9.6), ground(30, 30, 50, 50)], crs=synthetic.UTM).to_crs(crs)
    read = clip(scene, area(tmp_path, *shapes, crs=crs, name=name)).read()
    inside = np.zeros(IDS.shape, bool)
    inside[6:10, 3:20] = inside[30:, 30:] = True
    assert (read.valid == inside).all()
    assert (read.pixels[:, inside] == scene.read().pixels[:, inside]).all() and not read.pixels[:, ~inside].any()


def test_neighbours_leave_no_gap_and_their_edges_add_nothing(tmp_path):
    scene = open_scene(synthetic.geotiff(tmp_path / "a.tif", synthetic.landscape(0, 600)))
    halves = [ground(9, 9, 30.5, 40), ground(30.5, 9, 60, 40)]
    for shapes, pixels in (([ground(0, 0, 512, 512)], 512 * 512), (halves, 51 * 31)):
        assert clip(scene, area(tmp_path, *shapes, name=f"{pixels}.gpkg")).read().valid.sum() == pixels


def test_what_lies_outside_is_not_read(tmp_path):
    path = damaged(tmp_path / "a.tif", [(0, 0)])
    scene = clip(open_scene(path), area(tmp_path, ground(130, 130, 150, 150)))
    assert not scene.read(Window(0, 0, 100, 100)).valid.any()
    assert scene.read(Window(128, 128, 32, 32)).valid.sum() == 400


def test_edges_bend_between_two_crs(tmp_path):
    place = Affine(100, 0, 300_000, 0, -100, 6_600_000)
    scene = array_scene(np.ones((1, 400, 400), np.uint8), geobox=open_scene(
        synthetic.geotiff(tmp_path / "a.tif", synthetic.landscape(0, 400), transform=place)).geobox)  # fmt: skip
    middle = scene.geobox.extent.to_crs("EPSG:4326").boundingbox
    north = (middle.bottom + middle.top) / 2
    half = box(middle.left - 2, north, middle.right + 2, middle.top + 1)
    valid = clip(scene, area(tmp_path, half, crs="EPSG:4326")).read().valid
    rows, cols = (axis.ravel() + 0.5 for axis in np.indices((400, 400)))
    xs, ys = place * (cols, rows)
    degrees = gpd.GeoSeries(gpd.points_from_xy(xs, ys), crs=synthetic.UTM).to_crs("EPSG:4326").y.to_numpy()
    assert (valid.ravel() == (degrees > north)).mean() > 0.9995


@pytest.mark.parametrize(
    ("shapes", "crs", "message"),
    [
        ([Point(500_001, 39_999), LineString([(500_000, 39_999), (500_009, 39_990)])], synthetic.UTM, "no polygons"),
        ([ground(300, 300, 400, 400)], synthetic.UTM, r"miss .*a.tif. Is one of them .* degrees north"),
        ([box(10, 20, 11, 21)], "EPSG:4326", "miss "),
    ],
)
def test_areas_that_cannot_be_used_are_told(tmp_path, shapes, crs, message):
    scene = open_scene(synthetic.geotiff(tmp_path / "a.tif", IDS))
    with pytest.raises(SceneError, match=message):
        clip(scene, area(tmp_path, *shapes, crs=crs))


def test_an_area_needs_a_place_and_a_file(tmp_path):
    shapes = area(tmp_path, ground(0, 0, 9, 9))
    with pytest.raises(SceneError, match="array has no CRS"):
        clip(array_scene(IDS), shapes)
    scene = open_scene(synthetic.geotiff(tmp_path / "a.tif", IDS))
    (tmp_path / "torn.gpkg").write_bytes(shapes.read_bytes()[:500])
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    for name, message in (("none.gpkg", "cannot be read"), ("torn.gpkg", "cannot be read"), ("table.csv", "a table")):
        with pytest.raises(SceneError, match=message):
            clip(scene, tmp_path / name)


# Damage


def test_damaged_blocks_are_left_out_and_listed(tmp_path):
    path = damaged(tmp_path / "a.tif", [(0, 1), (2, 0)])
    scene = tolerant(open_scene(path))
    with pytest.raises(SceneError, match="cannot be read"):
        open_scene(path).read()
    with ThreadPoolExecutor(4) as pool:
        windows = list(grid(whole(scene.shape), 37))
        for window, read in zip(windows, pool.map(scene.read, windows), strict=True):
            rows, cols = np.indices(window.shape) + np.array([window.row, window.col])[:, None, None]
            lost = ((rows < BLOCK) & (cols // BLOCK == 1)) | ((rows >= 2 * BLOCK) & (cols < BLOCK))
            assert (read.valid == ~lost).all() and not read.pixels[:, lost].any()
    assert tuple(scene.failed) == (Window(0, 64, 64, 64), Window(128, 0, 32, 64))
    assert all("a.tif cannot be read" in reason for reason in scene.failed.values())


def test_a_scene_without_damage_stays_as_it_is(tmp_path):
    path = synthetic.geotiff(tmp_path / "a.tif", synthetic.landscape(0, 1100), nodata=30, blockysize=3)
    scene = tolerant(open_scene(path))
    assert (scene.read().pixels == open_scene(path).read().pixels).all() and not scene.failed
    assert scene.cell == (66, 512)


def test_a_view_of_a_damaged_scene_and_a_damaged_picture(tmp_path):
    scene = tolerant(select(open_scene(damaged(tmp_path / "a.tif", [(0, 1)], size=600)), [1]))
    assert scene.read().valid.sum() == 600 * 600 - 512 * 512 and tuple(scene.failed) == (Window(0, 0, 512, 512),)
    path = synthetic.save(tmp_path / "a.png", synthetic.seen(IDS))
    picture = tolerant(open_scene(path))
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)
    assert not picture.read(Window(3, 3, 5, 5)).valid.any() and tuple(picture.failed) == (whole(picture.shape),)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"GIF89a", b"\x89HDF\r\n\x1a\n", b"no image at all"])
@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.h5", "a.json", "a.vrt"])
def test_files_that_are_no_images_are_told(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SceneError, match=r"cannot be read|no STAC item"):
        open_scene(tmp_path / name)


def test_names_that_are_no_files_are_told(tmp_path):
    for name in ("", "a\0b.tif", "x" * 5000, str(tmp_path / "[")):
        with pytest.raises(SceneError):
            open_scene(name)


def test_a_picture_that_says_it_runs_python_runs_none(tmp_path):
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(*a, **k): open({str(tmp_path / 'ran')!r}, 'w')"
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1" '
        'subClass="VRTDerivedRasterBand"><PixelFunctionLanguage>Python</PixelFunctionLanguage>'
        f"<PixelFunctionType>f</PixelFunctionType><PixelFunctionCode><![CDATA[{code}]]></PixelFunctionCode>"
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(SceneError):
        open_scene(tmp_path / "a.vrt").read()
    assert not (tmp_path / "ran").exists()


# Files that claim more than there is


@pytest.fixture
def frugal():
    """Fail if more than 100 MB are taken at once."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.parametrize("layout", [{"interleave": "pixel"}, {"interleave": "band"}])
def test_a_huge_scene_is_read_by_windows(tmp_path, frugal, layout):
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "sparse_ok": True, "bigtiff": True, "tiled": True}
    blocks = {"blockxsize": 4096, "blockysize": 4096}
    with rasterio.open(tmp_path / "a.tif", "w", width=1_000_000, height=1_000_000, **profile, **blocks, **layout):
        pass
    scene = open_scene(tmp_path / "a.tif")
    assert scene.shape == (1_000_000, 1_000_000)
    assert scene.read(Window(999_900, 17, 50, 60)).pixels.shape == (3, 50, 60)


@pytest.mark.parametrize("layout", [{"tiled": True, "blockxsize": 16, "blockysize": 16}, {"blockysize": 1}, {}])
@pytest.mark.parametrize("compress", ["none", "deflate"])
def test_a_claim_of_a_million_pixels_a_side_takes_no_memory(tmp_path, frugal, layout, compress):
    path = synthetic.save(tmp_path / "a.tif", synthetic.seen(IDS), compress=compress, **layout)
    content = bytearray(path.read_bytes())
    for tag in (256, 257):  # width and height, as numbers of 16 or 32 bits
        place = re.search(struct.pack("<H", tag) + b"[\3\4]\0\1\0\0\0", content).start()
        content[place : place + 12] = struct.pack("<HHII", tag, 4, 1, 1_000_000)
    path.write_bytes(content)
    try:  # GDAL refuses it, or takes what is missing for blocks never written
        assert not open_scene(path).read(Window(500_000, 500_000, 50, 60)).pixels.any()
    except SceneError as error:
        assert "cannot be read" in str(error)


def test_a_huge_picture_is_not_decoded_at_once(tmp_path, frugal, monkeypatch):
    path = synthetic.save(tmp_path / "a.png", synthetic.seen(IDS))
    expected = open_scene(path).read().pixels
    monkeypatch.setattr("sat2map.scenes.gdal.KEPT_BYTES", 1000)
    scene = open_scene(path)
    assert not scene.decoded_at_once
    assert (scene.read(Window(20, 3, 7, 8)).pixels == expected[:, 20:27, 3:11]).all()
    assert (scene.read(Window(2, 3, 7, 8)).pixels == expected[:, 2:9, 3:11]).all()


def test_huge_arrays_of_hdf5(tmp_path, frugal):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("image", (1_000_000, 1_000_000, 3), "u1", chunks=(64, 64, 3))
        file.create_dataset("stack", (10**12, 8, 8, 3), "u1", chunks=(1, 8, 8, 3))
        file.create_dataset("bands", (10**7, 10**8, 10**9), "u1", chunks=(8, 8, 8))
        file.create_dataset("none", (0, 8, 3), "u1", chunks=(8, 8, 3), maxshape=(None, 8, 3))
    assert open_hdf5(tmp_path / "a.h5", "image")[0].read(Window(10**6 - 9, 5, 5, 6)).pixels.shape == (3, 5, 6)
    for key in ("stack", "bands", "none"):
        with pytest.raises(SceneError, match="none or too many"):
            open_hdf5(tmp_path / "a.h5", key)


# Folders


def test_folders_are_searched_also_behind_links(tmp_path):
    folder, elsewhere = tmp_path / "tiles", tmp_path / "elsewhere"
    for i, where in enumerate((folder, elsewhere, folder / "west", folder / ".hidden")):
        synthetic.geotiff(where / f"{i}.tif", IDS, transform=Affine(0.5, 0, 500 + 20 * i, 0, -0.5, 900))
    (folder / "linked").symlink_to(elsewhere, target_is_directory=True)
    (folder / "again").symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "round").symlink_to(folder, target_is_directory=True)
    (folder / "broken.tif").symlink_to(tmp_path / "nowhere.tif")
    assert sorted(f.name for f in files_below(folder)) == ["0.tif", "1.tif", "2.tif"]
    assert open_scene(folder).shape == (40, 120)


def test_handles_are_of_their_thread(tmp_path):
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16}
    scene = open_gdal(synthetic.geotiff(tmp_path / "a.tif", synthetic.landscape(0, 300), **tiles))
    expected = scene.read().pixels
    places = np.random.default_rng(0).integers(0, 250, (160, 2)).tolist()
    with ThreadPoolExecutor(4) as pool:
        reads = list(pool.map(lambda place: scene.read(Window(*place, 50, 50)).pixels, places))
    for (row, col), pixels in zip(places, reads, strict=True):
        assert (pixels == expected[:, row : row + 50, col : col + 50]).all()
