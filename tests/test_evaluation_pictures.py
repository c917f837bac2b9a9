"""Pictures are measured against their truth and, where their colours have a legend, read by it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

import synthetic
from feature_weights import inception_file, make_small
from models import INPUTS, colour_run, provenance_of
from sat2map import evaluate
from sat2map.colours import nearest_colours
from sat2map.errors import BadOption, ModelError
from sat2map.evaluation.decoding import FAR, Decoded
from sat2map.legend import Legend, MapClass
from sat2map.mapmodel import Architecture, MapModel
from sat2map.options import TrainOptions
from sat2map.outputs import HALF, Picture
from sat2map.runs import RunFolder, begin_run
from sat2map.tiling import Tiling, Window

SIZE = 280
NOISE = 6


pytestmark = pytest.mark.usefixtures("no_net")


def painting_model(folder: Path, legend: Legend, provenance: dict) -> MapModel:
    """Write a model that paints each pixel in the colour in which it is seen."""
    std, mean = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in (INPUTS.std, INPUTS.mean))
    x_NCHW = ops.parameter([-1, 3, -1, -1], np.float32)
    painted_NKHW = ops.subtract(ops.divide(ops.add(ops.multiply(x_NCHW, std), mean), HALF), np.float32(1))
    folder.mkdir(parents=True)
    model = MapModel(INPUTS, Picture(legend), Architecture("custom"), Tiling(64, 16), provenance, folder)
    openvino.save_model(openvino.Model([painted_NKHW], [x_NCHW], "painter"), model.graph, compress_to_fp16=False)
    model.save()
    return model


def painted_run(path: Path, source: Path, legend: Legend = synthetic.LEGEND, **told: float) -> RunFolder:
    """Write the folder of a run that seems to have trained `painting_model`."""
    options = TrainOptions(size=64, epochs=1, output="picture", loss="100*l1", adversarial=1.0)
    run = begin_run(path, str(source), options)
    provenance = provenance_of(source, path, options, **{"val_l1": 7.25, "split": "files"} | told)
    painting_model(run.model, legend, provenance)
    return run


def true_map(i: int) -> np.ndarray:
    return synthetic.colour_mask(synthetic.landscape(i, SIZE))


def seen_map(i: int) -> np.ndarray:
    """Return an image: the map with noise, and a corner in a colour that stands for nothing."""
    noise = np.random.default_rng(i).integers(-NOISE, NOISE + 1, (3, SIZE, SIZE))
    noisy = (true_map(i).astype(int) + noise).clip(0, 255).astype(np.uint8)
    noisy[:, :40, :50] = np.array([40, 250, 40], np.uint8)[:, None, None]
    return noisy


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps")
    for i in range(3):
        image = np.concatenate([seen_map(i), true_map(i)], axis=2)
        synthetic.save(path / f"{i}.png", image)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, source: Path) -> RunFolder:
    path = tmp_path_factory.mktemp("runs") / "run"
    return painted_run(path, source, tile_mismatch=1.25, train_eval_disparity=0.5)


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def named(found: dict) -> dict:
    return {m["name"]: m for m in found["metrics"]}


def test_a_painted_map_is_measured_and_read(tmp_path, source, run):
    made = evaluate(source, tmp_path / "report", model=run.path, split="all")
    found = metrics(tmp_path / "report")
    truth, painted = (np.stack([f(i) for i in range(3)]).astype(float) for f in (true_map, seen_map))
    l1 = np.abs(truth - painted).mean()
    assert named(found)["L1"]["value"] == pytest.approx(l1, rel=1e-3)
    assert named(found)["L1"]["samples"] == 3 * SIZE**2
    mean = truth.mean(axis=(0, 2, 3), keepdims=True)
    assert found["l1_of_mean_colour"] == pytest.approx(np.abs(truth - mean).mean(), rel=1e-3)
    assert [(m.name, m.value) for m in made.metrics] == [(m["name"], m["value"]) for m in found["metrics"]]
    assert named(found)["SSIM"]["samples"] == 3  # one patch of 256 pixels of each
    assert [scene["name"] for scene in found["scenes"]] == ["0.png", "1.png", "2.png"]
    assert found["scenes"][1]["L1"] == pytest.approx(np.abs(truth - painted)[1].mean(), rel=1e-3)
    assert named(found)["FID"]["value"] is None
    assert "could not be downloaded (no route to host)" in named(found)["FID"]["reason"]

    decoded = found["decoded"]
    wrong = sum((synthetic.landscape(i, SIZE)[:40, :50] != nearest_of((40, 250, 40))).sum() for i in range(3))
    assert made.scores.accuracy == decoded["accuracy"] == pytest.approx(1 - wrong / (3 * SIZE**2))
    assert decoded["far"]["share_of_truth"] == 0
    assert decoded["far"]["share_of_prediction"] == pytest.approx(2000 / SIZE**2)
    assert decoded["far"]["most_common_in_prediction"][0]["colour"] == "#28F828"
    files = {f.name for f in (tmp_path / "report").iterdir()}
    beside = {"MODEL_CARD.md", "places.npz"}
    assert files == {"report.html", "metrics.json", "confusion.png", "best.png", "worst.png", *beside}
    html = made.report.read_text()
    for text in (
        "Mismatch of windows",
        "1.2 grey levels",
        "Training and prediction",
        "L1 on validation 7.2",
        "#28F828",
    ):
        assert text in html


def nearest_of(colour: tuple[int, int, int]) -> int:
    distances = [sum((a - b) ** 2 for a, b in zip(c.colour, colour, strict=True)) for c in synthetic.LEGEND.classes]
    return int(np.argmin(distances))


def test_pictures_whose_colours_have_no_legend_have_no_classes_until_one_is_given(tmp_path):
    source = synthetic.two_folders(tmp_path / "shaded", count=2)
    run = painted_run(tmp_path / "run", source, Legend(()))
    made = evaluate(source, tmp_path / "report", model=run.path, split="all")
    found = metrics(tmp_path / "report")
    assert made.scores is None
    assert found["decoded"] is None
    assert named(found)["SSIM"]["reason"] == "No patch of 256 x 256 pixels is known as a whole."
    assert named(found)["L1"]["samples"] == 2 * 64**2
    assert not (tmp_path / "report" / "confusion.png").exists()
    assert "What was taken for what" not in made.report.read_text()
    legend = synthetic.write_legend(tmp_path / "legend.json")
    made = evaluate(source, tmp_path / "other", model=run.path, split="all", legend=str(legend))
    assert [c.name for c in made.scores.classes] == ["Land", "Water", "Building"]
    assert (tmp_path / "other" / "confusion.png").exists()


def test_weights_of_a_file_give_all_measures(tmp_path, source, run, monkeypatch):
    make_small(monkeypatch)
    weights = inception_file(tmp_path / "inception.pth")
    evaluate(source, tmp_path / "report", model=run.path, split="all", feature_weights=(str(weights),))
    found = named(metrics(tmp_path / "report"))
    assert found["FID"]["value"] > 0
    assert "fewer than 2,048" in found["FID"]["reason"]
    assert found["KID"]["reason"] == ""
    assert "not the published weights" in found["KID"]["extractor"]
    html = (tmp_path / "report" / "report.html").read_text()
    assert "<dt>KID</dt>" in html
    assert "<dt>FID</dt>" not in html
    with pytest.raises(BadOption, match="holds no weights"):
        evaluate(source, tmp_path / "other", model=run.path, split="all", feature_weights=(str(run.call),))
    assert not (tmp_path / "other").exists()


def test_a_source_of_the_other_kind_is_refused(tmp_path, source, run, rgb_folder):
    with pytest.raises(ModelError, match=r"model paints pictures, but .* read as classes. Read .* --output picture"):
        evaluate(rgb_folder, tmp_path / "report", model=run.path, split="all", output="classes")
    classes = colour_run(tmp_path / "classes", rgb_folder)
    with pytest.raises(ModelError, match=r"model maps classes, but .* read as map pictures. Read .* --output classes"):
        evaluate(source, tmp_path / "report", model=classes.path, split="all")
    assert not (tmp_path / "report").exists()


# --- reading classes --------------------------------------------------------------------------------------------------

RED, GREY = MapClass("red", (250, 0, 0), 0), MapClass("grey", (100, 100, 100), 1)


def picture(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.array([[*c, 255] for c in colours], np.uint8).T[:, None]


def test_far_and_ignored_truth_is_not_scored_but_a_painted_pixel_always_is():
    void = MapClass("void", (0, 0, 250), 2)
    decoded = Decoded(Legend((RED, GREY), (void,)))
    truth = picture((250, 0, 0), (240, 10, 0), (0, 0, 250), (0, 250, 0), (100, 100, 100), (100, 100, 100))
    painted = picture((200, 20, 9), (90, 100, 90), (250, 0, 0), (250, 0, 0), (0, 250, 0), (0, 0, 250))
    painted[3, 0, 1] = 0  # not painted
    decoded.add("a.png", Window(0, 0, *truth.shape[1:]), truth, painted)
    assert decoded.counts.matrix.tolist() == [[1, 0], [0, 2]]
    assert (decoded.pixels, decoded.far_truth, decoded.far_painted) == (5, 1, 1)
    assert decoded.far_colours == [("#08F808", 0.2)]
    assert [f.kind for f in decoded.findings] == ["far-colours"]


def test_the_nearest_colour_is_the_nearest():
    rng = np.random.default_rng(0)
    rgb, colours = rng.integers(0, 256, (3, 20, 30), np.uint8), rng.integers(0, 256, (7, 3), np.int32)
    nearest, squared = nearest_colours(rgb, colours)
    distances = ((rgb[None].astype(int) - colours[:, :, None, None]) ** 2).sum(axis=1)
    assert np.array_equal(nearest, distances.argmin(axis=0))
    assert np.array_equal(squared, distances.min(axis=0))
    assert 0 < FAR < 442
