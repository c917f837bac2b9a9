import io
import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rich.console import Console

import synthetic
from sat2map.errors import BadOption, SceneError, SourceError
from sat2map.inspection import CHECKS, inspect
from sat2map.inspection.looking import look_at
from sat2map.scenes import array_scene
from sat2map.scenes.array import ArrayScene

TRUTH = synthetic.landscape(0)


def shown(inspection):
    console = Console(width=200, file=io.StringIO())
    console.print(inspection)
    return console.file.getvalue()


def kinds(inspection):
    return {f.kind: f for f in inspection.findings}


def test_a_clean_folder_is_described_and_trainable(rgb_folder):
    inspection = inspect(rgb_folder)
    assert inspection.trainable and not inspection.findings and inspection.images == 6
    assert inspection.groups == ("place 1", "place 2", "place 3") and inspection.unlabelled == 0
    assert [c.name for c in inspection.classes] == ["Land", "Water", "Building"]
    assert sum(c.share for c in inspection.classes) == pytest.approx(1)
    assert sum(c.pixels for c in inspection.classes) == 6 * 96 * 96
    assert dict(inspection.properties)["size in pixels"] == "96 x 96"
    text = shown(inspection)
    assert "#3C1098" in text and "place 2" in text and "Ready to be trained on" in text


def test_everything_survives_json(rgb_folder):
    data = json.loads(json.dumps(inspect(rgb_folder).to_json(), allow_nan=False))
    assert data["trainable"] and data["classes"][1]["colour"] == "#E2A929" and data["properties"]["type"] == "uint8"


def test_pictures_have_no_classes(picture_folder):
    inspection = inspect(picture_folder)
    assert inspection.output == "picture" and inspection.unlabelled is None and not inspection.classes
    assert inspection.trainable
    assert "pictures" in {f.kind for f in inspection.findings if f.level == "note"}


def test_images_alone_are_described_but_not_trainable(tmp_path):
    synthetic.geotiff(tmp_path / "a.tif", TRUTH, bands=5, dtype="uint16")
    (tmp_path / "b.tif").write_bytes(b"no image")
    inspection = inspect(tmp_path)
    assert not inspection.trainable and inspection.images == 1 and inspection.layout is None
    assert {"no-labels", "unreadable"} <= kinds(inspection).keys()
    assert dict(inspection.properties)["pixel size"] == "0.5 m"
    assert "but no labels" in shown(inspection) and "Not to be trained on" in shown(inspection)
    with pytest.raises(SourceError, match="There is no"):
        inspect(tmp_path / "nothing")


def test_the_gravest_findings_come_first(tmp_path):
    synthetic.rgb_folder(tmp_path, groups=0, legend=False)
    (tmp_path / "masks" / "part_000.png").unlink()
    levels = [f.level for f in inspect(tmp_path).findings]
    assert levels == sorted(levels, key=["error", "warning", "note"].index) and len(levels) >= 2


def test_duplicates_and_images_that_show_nothing(tmp_path):
    synthetic.rgb_folder(tmp_path, groups=0, count=4)
    images = tmp_path / "images"
    (images / "part_001.jpg").write_bytes((images / "part_000.jpg").read_bytes())
    synthetic.save(images / "part_002.jpg", np.full((3, 96, 96), 7, np.uint8), quality=100)
    found = kinds(inspect(tmp_path))
    assert found["duplicates"].where == ("images/part_000.jpg", "images/part_001.jpg")
    assert found["constant-images"].where == ("images/part_002.jpg",)
    assert all(f.level == "warning" for f in found.values())


def test_the_same_ground_and_unlike_images(tmp_path):
    west, north = synthetic.CORNER
    places = {"a": (0.5, west), "b": (0.25, west - 16), "c": (0.5, west + 48)}
    for i, (name, (side, left)) in enumerate(places.items()):
        place = Affine(side, 0, left, 0, -side, north)
        ids, dtype = synthetic.landscape(i), "uint16" if name == "c" else "uint8"
        synthetic.geotiff(tmp_path / "images" / f"{name}.tif", ids, dtype=dtype, transform=place)
        synthetic.save(tmp_path / "masks" / f"{name}.png", ids[None])
    found = kinds(inspect(tmp_path))
    assert found["same-ground"].where == ("images/a.tif", "images/b.tif")
    assert "0.25 to 0.5" in found["resolutions-differ"].text
    assert "uint8 (2 of 3), uint16 (1 of 3)" in found["types-differ"].text


def test_bands_in_files_of_their_own_are_told(tmp_path):
    for band in ("B02", "B03"):
        synthetic.geotiff(tmp_path / "images" / f"{band}.tif", TRUTH, bands=1)
        synthetic.save(tmp_path / "masks" / f"{band}.png", TRUTH[None])
    found = kinds(inspect(tmp_path))["bands-apart"]
    assert found.where == ("images/B02.tif", "images/B03.tif") and "gdalbuildvrt -separate" in found.text
    synthetic.geotiff(tmp_path / "images" / "B03.tif", TRUTH, bands=1, transform=synthetic.PLACE * Affine.scale(2))
    assert "bands-apart" not in kinds(inspect(tmp_path))


def test_images_without_a_place_that_show_the_same_are_told_and_drawn(tmp_path):
    """One is a shifted crop of another; a third has nothing to do with them."""
    ids = synthetic.landscape(0, 300)
    looks = synthetic.seen(ids, 0)
    for name, part in (("a", np.s_[..., :240, :240]), ("b", np.s_[..., 37:277, 20:260])):
        synthetic.save(tmp_path / "source" / "images" / f"{name}.png", looks[part])
        synthetic.write_mask(tmp_path / "source" / "masks" / f"{name}.png", ids[part])
    synthetic.save(tmp_path / "source" / "images" / "c.png", synthetic.seen(synthetic.landscape(5, 240), 5))
    synthetic.write_mask(tmp_path / "source" / "masks" / "c.png", synthetic.landscape(5, 240))
    synthetic.write_legend(tmp_path / "source" / "classes.json")
    found = kinds(inspect(tmp_path / "source", leaks=tmp_path / "pairs.png"))
    assert found["same-content"].where == ("images/a.png", "images/b.png")
    assert "split by groups" in found["same-content"].text
    assert (tmp_path / "pairs.png").stat().st_size > 10_000


def test_images_of_which_little_looks_alike_are_told_but_not_called_the_same(tmp_path):
    found = kinds(inspect(synthetic.twin_towns(tmp_path / "towns"), leaks=tmp_path / "pairs.png"))
    assert "same-content" not in found
    assert found["look-alike"].where == ("place 0/images/0.png", "place 2/images/2.png")
    assert found["look-alike"].level == "warning" and "--leaks FILE.png" in found["look-alike"].text
    assert (tmp_path / "pairs.png").exists()


def test_nothing_is_drawn_where_nothing_is_shared(tmp_path, rgb_folder):
    assert "same-content" not in kinds(inspect(rgb_folder, leaks=tmp_path / "pairs.png"))
    assert not (tmp_path / "pairs.png").exists()


def test_neighbours_do_not_show_the_same_ground(vector_folder):
    assert "same-ground" not in kinds(inspect(vector_folder))


def test_rare_absent_and_lone_classes(tmp_path):
    ids = np.zeros((96, 96), np.uint8)
    ids[0, :3] = 1
    synthetic.save(tmp_path / "images" / "a.png", synthetic.seen(ids))
    synthetic.write_mask(tmp_path / "masks" / "a.png", ids)
    synthetic.write_legend(tmp_path / "classes.json")
    found = kinds(inspect(tmp_path))
    assert "Water 0.033%" in found["rare-class"].text and "Building" in found["class-never-occurs"].text
    synthetic.write_mask(tmp_path / "masks" / "a.png", 0 * ids)
    inspection = inspect(tmp_path)
    assert kinds(inspection)["one-class"].level == "error" and not inspection.trainable


def test_sparse_labels_are_noted(tmp_path):
    ids = np.full((96, 96), 255, np.uint8)
    ids[:4, :9], ids[4:9, :9] = 0, 1
    for name in "ab":
        synthetic.save(tmp_path / "images" / f"{name}.png", synthetic.seen(TRUTH, ord(name)))
        synthetic.save(tmp_path / "masks" / f"{name}.png", (ids if name == "a" else ids * 0 + 255)[None])
    synthetic.write_legend(tmp_path / "classes.json", replace(synthetic.LEGEND, classes=synthetic.LEGEND.classes[:2]))
    found = kinds(inspect(tmp_path, legend=None))
    assert found["sparse-labels"].level == "note" and "0.44%" in found["sparse-labels"].text
    assert found["no-labelled-pixel"].where == ("images/b.png",)


class Broken(ArrayScene):
    def _read(self, window, bands):
        raise SceneError("a.tif cannot be read: gone.")


def test_damaged_images_are_errors():
    scene = array_scene(TRUTH)
    broken = Broken(**{field.name: getattr(scene, field.name) for field in fields(scene)})
    subject = look_at(["a", "b"], [broken, scene], None)
    (finding,) = CHECKS["unreadable"](subject)
    assert finding.level == "error" and finding.where == ("a",) and "gone" in finding.text
    assert not CHECKS["empty"](subject)
    assert look_at(["a"], [broken], None).looks[0].fault


def test_images_without_valid_pixels_are_reported():
    subject = look_at(["a"], [array_scene(TRUTH, np.zeros(TRUTH.shape, bool))], None)
    (finding,) = CHECKS["empty"](subject)
    assert finding.kind == "empty-images"
    assert not [f for name, check in CHECKS.items() if name != "empty" for f in check(subject)]


@pytest.mark.real
def test_kampala_shows_one_ground_three_times(real):
    inspection = inspect(real / "kampala-buildings")
    found = kinds(inspection)
    assert len(found["same-ground"].where) == 105 and "0.0746 to 0.299" in found["resolutions-differ"].text
    assert inspection.trainable and {"crs-differ", "invalid-shapes", "shapes-beyond"} <= found.keys()


@pytest.mark.real
def test_landsat_is_sparse(real):
    found = kinds(inspect(real / "landsat7-landcover"))
    assert {"sparse-labels", "same-ground", "names-and-numbers-disagree"} <= found.keys()


@pytest.mark.real
def test_samples_have_no_labels(real):
    inspection = inspect(real / "georeferenced-samples")
    assert not inspection.trainable and inspection.images == 3
    assert "RGB.byte.tif = RGBA.byte.tif" in kinds(inspection)["duplicates"].text


def test_bands_that_are_not_there_are_told(rgb_folder: Path) -> None:
    with pytest.raises(BadOption, match="no band '7'"):
        inspect(rgb_folder, bands=("7",))
