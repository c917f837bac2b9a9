"""The scripts in `examples/` run as they stand, on fabricated imagery."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

import synthetic
from sat2map import load_model
from sat2map.fidelity import Metric
from sat2map.networks.critics import PatchCritic

EXAMPLES = Path(__file__).parents[1] / "examples"

Script = Callable[..., str]
"""Runs a script with words, and returns what it printed."""


@pytest.fixture
def run_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_net: None, without_pictures: None
) -> Script:
    """Run a script in this process: nothing can be downloaded, the critic is small, and trainings are not drawn."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr("sat2map.learning.plan.PatchCritic", partial(PatchCritic, width=8))

    def run_script(script: str, *words: object) -> str:
        monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
        runpy.run_path(str(EXAMPLES / script), run_name="__main__")
        return capsys.readouterr().out

    return run_script


def options_of(folder: Path) -> dict:
    return json.loads((folder / "call.json").read_text())["options"]


def test_the_published_recipe(tmp_path: Path, rgb_folder: Path, run_here: Script) -> None:
    said = run_here("published_recipe.py", rgb_folder, tmp_path / "run", "--epochs", 1)
    options = options_of(tmp_path / "run")
    assert str(tmp_path / "run") in said
    assert (options["optimizer"], options["batch"], options["rotate"]) == ("adam", 16, 45.0)
    assert (tmp_path / "run" / "model" / "graph.xml").exists()


def test_the_landslide_grid(tmp_path: Path, run_here: Script) -> None:
    folder = synthetic.landslide4sense(tmp_path / "slides")
    said = run_here("landslides.py", folder, tmp_path / "run", "--epochs", 1, "--widths", "4,8", "--rates", "1e-3")
    assert len(json.loads((tmp_path / "run" / "tune.json").read_text())) == 2
    assert "precision" in said
    assert "f1" in said


def maps(path: Path, size: int) -> Path:
    """Write side-by-side pictures, two to learn from and two to validate on; there is no folder for a test."""
    for part in ("train", "val"):
        synthetic.side_by_side(path / part, count=2, size=size)
    return path


def test_pix2pix_on_maps(tmp_path: Path, run_here: Script) -> None:
    words = ("--width", 2, "--size", 32, "--resize", 36, "--epochs", 2)
    said = run_here("pix2pix_maps.py", maps(tmp_path / "maps", 64), tmp_path / "run", *words)
    assert str(tmp_path / "run") in said
    options = options_of(tmp_path / "run")
    assert (options["resize"], options["size"], options["epochs"], options["width"]) == (36, 32, 2, 2)
    assert (options["loss"], options["adversarial"], options["patches"]) == ("100*l1", 1.0, "picture")
    model = load_model(tmp_path / "run")
    assert (model.architecture.network, model.output.kind) == ("pix2pix", "picture")
    kept = {f.name for f in (tmp_path / "run" / "checkpoints").glob("epoch_*.pt")}
    assert kept == {"epoch_0002.pt"}


def test_pix2pix_is_the_published_one_if_nothing_else_is_said() -> None:
    recipe = runpy.run_path(str(EXAMPLES / "pix2pix_maps.py"))["RECIPE"]
    published = {"resize": 286, "size": 256, "batch": 1, "epochs": 10, "save_every": 2, "lr": 2e-4, "loss": "100*l1"}
    published |= {"optimizer": "gan-adam", "schedule": "linear", "average": False, "criterion": "bce"}
    published |= {"patches": "picture", "flip": True, "rotate90": False, "zoom": 0, "brightness": 0, "contrast": 0}
    assert published.items() <= recipe.items()


def test_seven_levels_are_measured(tmp_path: Path, run_here: Script) -> None:
    words = ("--width", 2, "--size", 32, "--resize", 256, "--epochs", 1, "--split", "val")
    said = run_here("pix2pix_seven_levels.py", maps(tmp_path / "maps", 256), tmp_path / "run", *words).splitlines()
    assert load_model(tmp_path / "run").architecture.network == "pix2pix-7"
    told = dict(text.split(": ", 1) for text in said)
    assert list(told) == ["SSIM", "FID", "KID", "Inception Score", "Inception Score, truth"]
    assert told["SSIM"].endswith("(2 patches).")
    assert 0 < abs(float(told["SSIM"].split()[0])) < 1
    assert told["FID"].startswith("absent (2 patches). ")
    assert "no route to host" in told["FID"]
    scores = json.loads((tmp_path / "run_report" / "metrics.json").read_text())
    assert scores["part"] == "val"


def test_a_measure_of_few_samples_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    line = runpy.run_path(str(EXAMPLES / "pix2pix_seven_levels.py"))["line"]
    few = Metric("FID", 866.0, 12, "patches", "lower", reason="Unreliable: of few samples it is far too large.")
    assert line(few) == "FID: 866.000 (12 patches). Unreliable: of few samples it is far too large."


def tiles(path: Path, count: int = 8, size: int = 64) -> Path:
    """Write GeoTIFF tiles side by side on the ground, and a class map of each."""
    for i in range(count):
        ids = synthetic.landscape(i, size)
        place = {"crs": synthetic.UTM, "transform": synthetic.PLACE @ Affine.translation(i * size, 0)}
        synthetic.geotiff(path / "images" / f"{i}.tif", ids, **place)
        synthetic.save(path / "masks" / f"{i}.tif", ids[None], **place)
    synthetic.write_legend(path / "classes.json")
    return path


def test_a_conditional_gan_maps_a_scene(tmp_path: Path, run_here: Script) -> None:
    scene = synthetic.geotiff(tmp_path / "scene.tif", synthetic.landscape(99, 80))
    words = ("--network", "small-unet", "--width", 4, "--size", 32, "--epochs", 1)
    said = run_here(
        "conditional_gan.py", tiles(tmp_path / "tiles"), tmp_path / "run", scene, tmp_path / "m.tif", *words
    )
    assert "6,400 pixels, 0 without data" in said
    options = options_of(tmp_path / "run")
    assert (options["loss"], options["adversarial"], options["patches"]) == ("100*cross_entropy", 1.0, "grid")
    assert "PatchCritic" in (tmp_path / "run" / "critic.txt").read_text()
    with rasterio.open(tmp_path / "m.tif") as drawn, rasterio.open(scene) as image:
        assert (drawn.crs, drawn.transform, drawn.shape) == (image.crs, image.transform, image.shape)
        assert np.isin(drawn.read(), [c.value for c in synthetic.LEGEND.classes]).all()


def landsat(path: Path, seed: int) -> Path:
    """Write a scene of three bands, whose last one says where clouds are."""
    ids = synthetic.landscape(0, 160)
    clouds = np.zeros_like(ids)
    clouds[:40, :60] = 4
    pixels = np.concatenate([synthetic.seen(ids, seed).astype(np.int16) * 9, clouds[None].astype(np.int16)])
    profile = {"driver": "GTiff", "dtype": "int16", "count": 4, "width": 160, "height": 160}
    with rasterio.open(path, "w", **profile, crs=synthetic.UTM, transform=Affine(30, 0, 5e5, 0, -30, 4e6)) as file:
        file.write(pixels)
    return path


def test_landsat_change(tmp_path: Path, run_here: Script) -> None:
    dates = [landsat(tmp_path / f"{name}.tif", seed) for seed, name in enumerate(("before", "after"))]
    place = Affine(30, 0, 5e5, 0, -30, 4e6)
    shapes = synthetic.polygons(synthetic.landscape(0, 160), place, classes=(0, 1, 2))
    synthetic.write_vectors(tmp_path / "labels.gpkg", shapes)
    said = run_here("landsat_change.py", *dates, tmp_path / "labels.gpkg", tmp_path / "out", "--minutes", 0.02)
    assert [line.split(":")[0] for line in said.splitlines() if "changed" in line] == [
        "change", "change_again", "noise_before", "noise_after",
    ]  # fmt: skip
    with rasterio.open(tmp_path / "out" / "change" / "transitions.tif") as file:
        made = file.read(1)
    assert (made[:40, :60] == 255).all() and (made[40:] != 255).all(), "clouds are not compared"
