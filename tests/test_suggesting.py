"""Places to label next: unsure, unlike each other, and where they are said to be."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

import models
import synthetic
from sat2map.errors import BadOption, ModelError, OutputError, SceneError, SourceError
from sat2map.mapmodel import load_model
from sat2map.suggesting import Places, choose, suggest

SIZE = 32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.colour_model(tmp_path_factory.mktemp("model")).folder


UNSURE = {(1, 1): [0, 2], (3, 4): [1, 2]}
"""Places in whose pixels a model may see either of two classes."""


def blurred(rows: int = 4, cols: int = 5, unsure: dict[tuple[int, int], list[int]] = UNSURE) -> np.ndarray:
    """Return an image of places of three classes by turns, but for some whose colour lies between two classes."""
    classes = np.arange(rows * cols).reshape(rows, cols) % 3
    colours = synthetic.SEEN[classes]
    for place, between in unsure.items():
        colours[place] = synthetic.SEEN[between].mean(axis=0)
    return np.kron(np.moveaxis(colours, -1, 0), np.ones((SIZE, SIZE))).astype(np.uint8)


def written(path: Path, pixels: np.ndarray, **profile: object) -> Path:
    return synthetic.save(path, pixels, **profile)


def placed(path: Path, pixels: np.ndarray, **profile: object) -> Path:
    return synthetic.save(path, pixels, transform=synthetic.PLACE, crs=synthetic.UTM, **profile)


def keep(frame: gpd.GeoDataFrame, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        frame.to_file(path)
    return path


def suggested(scene: Path | str, path: Path, model: Path, **words: object) -> gpd.GeoDataFrame:
    suggest(scene, path, model=model, size=words.pop("size", SIZE), **words)
    return gpd.read_file(path)


def sites(frame: gpd.GeoDataFrame, size: int = SIZE) -> list[tuple[int, int]]:
    """Return row and column in the lattice of places of a picture without georeference."""
    bounds = frame.geometry.bounds
    return [(int(-y // size), int(x // size)) for x, y in zip(bounds["minx"], bounds["maxy"], strict=True)]


def test_unsure_places_come_first_and_are_told(tmp_path, model):
    frame = suggested(written(tmp_path / "a.png", blurred()), tmp_path / "places.gpkg", model, count=4)
    assert set(sites(frame)[:2]) == {(1, 1), (3, 4)}
    assert list(frame["rank"]) == [1, 2, 3, 4]
    assert list(frame.columns) == ["rank", "scene", "uncertainty", "likeliest", "geometry"]
    assert frame["uncertainty"][:2].min() > frame["uncertainty"][2:].max()
    assert (frame["likeliest"][:2].str.count("%") >= 2).all()
    assert (frame["likeliest"][2:].str.count("%") == 1).all()


def test_a_loaded_model_suggests_what_its_path_does(tmp_path, model):
    image = written(tmp_path / "a.png", blurred())
    by_path = suggested(image, tmp_path / "path.gpkg", model, count=4)
    assert suggested(image, tmp_path / "loaded.gpkg", load_model(model), count=4).equals(by_path)


def test_uncertainty_is_the_entropy_of_the_probabilities(tmp_path, model):
    """The mean of two colours is as near to either: two classes of three equally likely, but for what is left."""
    pixels = blurred(1, 1, {(0, 0): [0, 2]})
    frame = suggested(written(tmp_path / "a.png", pixels), tmp_path / "places.gpkg", model)
    colours = (synthetic.SEEN[:3] - models.INPUTS.mean) / models.INPUTS.std
    x = (pixels[:, 0, 0] - models.INPUTS.mean) / models.INPUTS.std
    scores = colours @ x - (colours**2).sum(axis=1) / 2
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    assert frame["uncertainty"][0] == pytest.approx(-(chances * np.log(chances)).sum() / np.log(3), abs=0.01)


def test_places_lie_where_the_scene_does(tmp_path, model):
    scene = placed(tmp_path / "a.tif", blurred())
    frame = suggested(scene, tmp_path / "places.gpkg", model, count=1)
    assert frame.crs == synthetic.UTM
    x, y = synthetic.PLACE * (SIZE, SIZE)
    x4, y4 = synthetic.PLACE * (4 * SIZE, 3 * SIZE)
    first, last = box(x, y - SIZE / 2, x + SIZE / 2, y), box(x4, y4 - SIZE / 2, x4 + SIZE / 2, y4)
    assert frame.geometry[0].equals(first) or frame.geometry[0].equals(last)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
def test_each_kind_of_file_holds_the_same(tmp_path, model, suffix):
    scene = placed(tmp_path / "a.tif", blurred())
    frames = [suggested(scene, tmp_path / name, model, count=3) for name in ("one.gpkg", f"two{suffix}")]
    first, second = (frame.sort_values("rank").reset_index(drop=True) for frame in frames)
    assert second.crs == first.crs
    assert second.geometry.to_crs(first.crs).geom_equals_exact(first.geometry, 1e-3).all()
    assert second["likeliest"].tolist() == first["likeliest"].tolist()


def test_tiles_with_a_place_are_one_scene(tmp_path, model):
    whole = blurred()
    one = suggested(placed(tmp_path / "one.tif", whole), tmp_path / "one.gpkg", model, count=6)
    half = 80  # no place's edge
    tiles = tmp_path / "tiles"
    placed(tiles / "left.tif", whole[:, :, :half])
    shifted = synthetic.PLACE * rasterio.Affine.translation(half, 0)
    synthetic.save(tiles / "right.tif", whole[:, :, half:], transform=shifted, crs=synthetic.UTM)
    several = suggested(tiles, tmp_path / "tiles.gpkg", model, count=6)
    assert several.geometry.geom_equals(one.geometry).all()
    assert set(several["scene"]) == {str(tiles)}


def test_pictures_without_a_place_are_scenes_each(tmp_path, model):
    written(tmp_path / "photos" / "a.png", blurred(2, 2, {}))
    written(tmp_path / "photos" / "deeper" / "b.png", blurred(2, 3, {(1, 2): [0, 2]}))
    frame = suggested(tmp_path / "photos", tmp_path / "places.gpkg", model)
    assert frame.crs is None and len(frame) == 10
    assert frame["scene"][0] == str(tmp_path / "photos" / "deeper" / "b.png") and sites(frame)[0] == (1, 2)
    assert frame["scene"].nunique() == 2
    alone = suggested(tmp_path / "photos" / "deeper", tmp_path / "alone.gpkg", model)
    assert set(alone["scene"]) == {str(tmp_path / "photos" / "deeper" / "b.png")}
    pattern = suggested(str(tmp_path / "photos" / "**" / "*.png"), tmp_path / "pattern.gpkg", model)
    assert pattern.drop(columns="geometry").equals(frame.drop(columns="geometry"))


def test_places_do_not_overlap_nor_hold_little_data(tmp_path, model):
    pixels = blurred(3, 3, {})[:, :, : 2 * SIZE + SIZE // 2 - 1]  # the last column is narrower than half
    pixels[:, :SIZE, : SIZE * 3 // 4] = 0
    frame = suggested(placed(tmp_path / "a.tif", pixels, nodata=0), tmp_path / "places.gpkg", model)
    assert len(frame) == 3 * 2 - 1
    tree = shapely.STRtree(frame.geometry)
    assert all(i == j or shapely.area(shapely.intersection(frame.geometry[i], frame.geometry[j])) == 0
               for i, j in tree.query(frame.geometry, "intersects").T)  # fmt: skip


def test_a_picture_smaller_than_a_place_is_one(tmp_path, model):
    frame = suggested(written(tmp_path / "a.png", blurred(1, 2, {})), tmp_path / "places.gpkg", model, size=256)
    assert frame.geometry[0].equals(box(0, -SIZE, 2 * SIZE, 0))


def test_a_resampled_picture_keeps_its_own_coordinates(tmp_path):
    halved = models.colour_model(tmp_path / "model", inputs=replace(models.INPUTS, resize=2 * SIZE))
    written(tmp_path / "a.png", blurred(4, 4, {}))
    frame = suggested(tmp_path / "a.png", tmp_path / "places.gpkg", halved.folder)
    assert sorted(frame.geometry.bounds["minx"].unique()) == [0, 2 * SIZE]
    assert frame.total_bounds.tolist() == [0, -4 * SIZE, 4 * SIZE, 0]


def test_more_than_there_are_are_all(tmp_path, model):
    scene = written(tmp_path / "a.png", blurred())
    made = suggest(scene, tmp_path / "places.gpkg", model=model, count=50, size=SIZE)
    assert (made.number, made.of, made.asked, made.labelled) == (20, 20, 50, 0)
    assert made.summary().startswith("20 places of 20: mean uncertainty ")
    assert made.summary().endswith("There are no more, though 50 were asked for.")
    assert json.loads(json.dumps(made.to_json()))["path"] == str(tmp_path / "places.gpkg")
    few = suggest(scene, tmp_path / "few.gpkg", model=model, count=2, size=SIZE)
    assert few.uncertainty > few.usual and "asked for" not in few.summary()


def test_the_same_call_makes_the_same_places_and_a_seed_decides_between_equals(tmp_path, model):
    scene = written(tmp_path / "a.png", np.full((3, 4 * SIZE, 4 * SIZE), 90, np.uint8))
    made = [sites(suggested(scene, tmp_path / f"{i}.gpkg", model, count=4, seed=s)) for i, s in enumerate((0, 0, 1))]
    assert made[0] == made[1] != made[2]


def test_the_memory_and_windows_do_not_matter(tmp_path, model, monkeypatch):
    scene = written(tmp_path / "a.png", blurred())
    one = suggested(scene, tmp_path / "one.gpkg", model)
    monkeypatch.setattr("sat2map.jobs.Job.blocks", lambda job: list(job.tiling.blocks(job.scene.shape, 48, 48)))
    several = suggested(scene, tmp_path / "several.gpkg", model)
    assert several.equals(one)


def test_labelled_places_are_left_out_and_kept_away_from(tmp_path, model):
    scene = written(tmp_path / "a.png", blurred())
    every = suggested(scene, tmp_path / "every.gpkg", model)
    keep(every.head(1), tmp_path / "labelled.gpkg")
    made = suggest(scene, tmp_path / "rest.gpkg", model=model, size=SIZE, count=20, labelled=tmp_path / "labelled.gpkg")
    rest = gpd.read_file(tmp_path / "rest.gpkg")
    assert (made.labelled, made.of, len(rest)) == (1, 19, 19)
    assert sites(rest) == sites(every)[1:]  # as if the first had just been chosen
    assert made.summary().startswith("19 places of 19, 1 more are labelled already: ")


def test_labels_may_be_small_shapes_in_another_crs(tmp_path, model):
    scene = placed(tmp_path / "a.tif", blurred())
    x, y = synthetic.PLACE * (1.5 * SIZE, 1.5 * SIZE)
    labels = gpd.GeoDataFrame({"class": ["Land"]}, geometry=[box(x - 1, y - 1, x + 1, y + 1)], crs=synthetic.UTM)
    keep(labels.to_crs("EPSG:4326"), tmp_path / "labels.geojson")
    frame = suggested(scene, tmp_path / "places.gpkg", model, labelled=tmp_path / "labels.geojson")
    assert len(frame) == 19 and not frame.geometry.contains(shapely.Point(x, y)).any()


def test_labels_of_one_picture_are_not_those_of_another(tmp_path, model):
    for name in "ab":
        written(tmp_path / "photos" / f"{name}.png", blurred(2, 2, {}))
    every = suggested(tmp_path / "photos", tmp_path / "every.gpkg", model)
    keep(every.head(3), tmp_path / "labelled.gpkg")
    rest = suggested(tmp_path / "photos", tmp_path / "rest.gpkg", model, labelled=tmp_path / "labelled.gpkg")
    kept = {*zip(every["scene"][3:], sites(every)[3:], strict=True)}
    assert {*zip(rest["scene"], sites(rest), strict=True)} == kept and len(kept) == 5
    keep(every.head(3).drop(columns="scene"), tmp_path / "nameless.gpkg")
    with pytest.raises(SourceError, match="no column 'scene'"):
        suggested(tmp_path / "photos", tmp_path / "again.gpkg", model, labelled=tmp_path / "nameless.gpkg")


def test_labels_elsewhere_are_wondered_at(tmp_path, model, caplog):
    scene = placed(tmp_path / "a.tif", blurred())
    keep(gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs=synthetic.UTM), tmp_path / "far.gpkg")
    assert len(suggested(scene, tmp_path / "places.gpkg", model, labelled=tmp_path / "far.gpkg")) == 20
    assert "Is it of this scene?" in caplog.text


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ({"count": 0}, BadOption, "--count is 0"),
        ({"size": 8}, BadOption, "--size is 8; it must be 16 or more"),
        ({"path": "places.shp"}, OutputError, "ends in '.shp'"),
        ({"path": "old.gpkg"}, OutputError, "is there already"),
        ({"scene": "none.tif"}, SceneError, "There is no file"),
        ({"scene": "empty.tif"}, SceneError, "No place of 32 pixels"),
        ({"scene": "grey.png"}, ModelError, "reads 3 bands"),
        ({"model": "nothing"}, ModelError, "There is no model"),
        ({"labelled": "all.gpkg"}, SourceError, "All 4 places"),
        ({"labelled": "grey.txt"}, SourceError, "cannot be read as vectors"),
        ({"window": -1}, BadOption, "--window is -1"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, model, words, error, said):
    pixels = blurred(2, 2, {})
    written(tmp_path / "a.png", pixels)
    written(tmp_path / "grey.png", pixels[:1])
    written(tmp_path / "empty.tif", np.zeros_like(pixels), nodata=0)
    keep(gpd.GeoDataFrame(geometry=[box(0, -99, 99, 0)]), tmp_path / "all.gpkg")
    (tmp_path / "old.gpkg").touch()
    words = {key: tmp_path / value if isinstance(value, str) else value for key, value in words.items()}
    path, scene = words.pop("path", tmp_path / "new.gpkg"), words.pop("scene", tmp_path / "a.png")
    words = {"model": model, "size": SIZE, **words}
    before = set(tmp_path.iterdir())
    with pytest.raises(error, match=said):
        suggest(scene, path, **words)
    assert set(tmp_path.iterdir()) == before


def test_a_model_of_pictures_is_refused(tmp_path, model):
    drawn = tmp_path / "model"
    drawn.mkdir()
    facts = json.loads((model / "model.json").read_text())
    (drawn / "model.json").write_text(json.dumps({**facts, "output": {"kind": "picture", "legend": {}}}))
    written(tmp_path / "a.png", blurred())
    with pytest.raises(BadOption, match="draws a map picture"):
        suggest(tmp_path / "a.png", tmp_path / "places.gpkg", model=drawn)


def table(uncertainty: list[float], looks: list[float], apart: int = 2) -> Places:
    """Return places in a row, so far apart, with one number for their look."""
    n = len(looks)
    sites = np.column_stack([np.zeros(n, int), np.zeros(n, int), np.arange(n) * apart])
    shapes = np.full(n, shapely.Point())
    return Places(sites, shapes, shapes, np.array(uncertainty), np.ones((n, 2)) / 2, np.array(looks, float)[:, None])


def test_the_unlike_is_chosen_before_the_more_of_the_same():
    places = table([0.9, 0.89, 0.88, 0.5, 0.01], [0, 0.1, 0.2, 10, 20])
    assert choose(places, 3).tolist() == [0, 3, 2]  # the last one is the farthest, but the model is sure there


def test_neighbours_wait():
    looks = [0, 5, 10, 1, 3]
    assert choose(table([1.0] * 5, looks), 5).tolist()[1:] != choose(table([1.0] * 5, looks, apart=1), 5).tolist()[1:]
    order = choose(table([0.9, 0.8, 0.1, 0.1, 0.1], [0, 10, 4, 5, 6], apart=1), 3).tolist()
    assert order[0] == 0 and abs(order[1] - order[0]) > 1 and 1 not in order


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(-5, 5)), min_size=1, max_size=12),
    st.integers(1, 15),
    st.integers(0, 5),
    st.data(),
)
def test_as_many_as_there_are_are_chosen_once(pairs, count, seed, data):
    places = table(*(list(column) for column in zip(*pairs, strict=True)), apart=1)
    taken = data.draw(st.lists(st.sampled_from(range(len(pairs))), unique=True))
    order = choose(places, count, taken=taken, seed=seed).tolist()
    assert len(set(order)) == len(order) == min(count, len(pairs) - len(taken))
    assert not set(order) & set(taken)
    assert order == choose(places, len(pairs), taken=taken, seed=seed).tolist()[: len(order)]


@pytest.mark.real
def test_of_a_slanted_scene_only_its_footprint_is_suggested(tmp_path, model, real):
    scene = real / "georeferenced-samples" / "RGB.byte.tif"
    frame = suggested(scene, tmp_path / "places.gpkg", model, size=64, count=1000)
    with rasterio.open(scene) as file:
        assert frame.crs == file.crs
        masks = [file.dataset_mask(window=file.window(*place.bounds)) for place in frame.geometry]
        assert len(frame) < 0.8 * (file.height // 64) * (file.width // 64)
    assert min((mask > 0).mean() for mask in masks) > 0.45  # edges of windows are rounded
