from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import synthetic
from sat2map import train
from sat2map.cli import main, run

TINY = "--network small-unet --width 4 --size 32 --batch 8 --precision fp32"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder as a user has it: imagery, a run, a map, and all that can be wrong with them."""
    world = tmp_path_factory.mktemp("world")
    synthetic.rgb_folder(world / "rgb", count=3, size=64)
    synthetic.side_by_side(world / "pictures", count=3)
    synthetic.geotiff(world / "scene.tif", synthetic.landscape(1, 64))
    synthetic.geotiff(world / "two bands.tif", synthetic.landscape(1, 64), bands=2)
    synthetic.geotiff(world / "alone/images/a.tif", synthetic.landscape(1, 64))
    far = synthetic.polygons(synthetic.landscape(1, 64), synthetic.Affine(0.5, 0, 9e5, 0, -0.5, 9e5))
    shutil.copytree(world / "alone", world / "far")
    synthetic.write_vectors(world / "far" / "labels.geojson", far)
    (world / "cut.tif").write_bytes((world / "scene.tif").read_bytes()[:2000])
    for name in ("words.tif", "notes.txt", "legend.json"):
        (world / name).write_text("some words")
    (world / "empty").mkdir()
    assert call(world, f"train rgb run {TINY} --epochs 1") == 0
    assert call(world, "predict scene.tif map.tif --model run") == 0
    shutil.copytree(world / "run", world / "unfinished", ignore=shutil.ignore_patterns("model"))
    shutil.copytree(world / "run", world / "damaged")
    (world / "damaged" / "model" / "model.json").write_text('{"format"')
    return world


def call(folder: Path, words: str) -> int:
    """Run a command in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return run(shlex.split(words))
    finally:
        os.chdir(before)


def files(folder: Path) -> dict[str, int]:
    return {str(f): f.stat().st_mtime_ns for f in sorted(folder.rglob("*")) if f.is_file()} | {
        str(f): 0 for f in folder.rglob("*") if f.is_dir()
    }


# --- happy paths -----------------------------------------------------------------------------------------------------


HEAVY = ["torch", "numpy", "rasterio", "openvino", "geopandas", "matplotlib", "h5py", "pyarrow"]


@pytest.mark.parametrize(
    ("words", "heavy"), [(["--help"], [*HEAVY, "markdown_it"]), (["train", "--help"], HEAVY), (["--version"], HEAVY)]
)
def test_help_imports_nothing_heavy(words, heavy):
    code = (
        f"import sys; from sat2map.cli import run; code = run({words}); "
        f"print([name for name in {heavy} if name in sys.modules], code)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[] 0"
    assert told.stderr == ""


def test_training_tells_what_to_do_next(world, tmp_path, capsys):
    (tmp_path / "my data").mkdir()
    shutil.copytree(world / "rgb", tmp_path / "my data", dirs_exist_ok=True)
    assert call(tmp_path, f"train 'my data' run {TINY} --epochs 1") == 0
    told = capsys.readouterr()
    assert "Trained 1 epoch in" in told.out
    assert "sat2map evaluate 'my data' REPORT --model run" in told.out
    assert "Epoch 1: loss" in told.err


def test_a_grid_is_shown_as_a_table(world, tmp_path, capsys, without_graph):
    assert call(world, f"train rgb '{tmp_path / 'run'}' {TINY} --epochs 1 --tune optimizer=sgd,adam") == 0
    told = capsys.readouterr().out
    assert "optimizer" in told
    assert "sgd" in told
    assert "adam" in told


def test_inspecting_gives_a_table_or_json(world, capsys):
    assert call(world, "inspect rgb") == 0
    assert "Ready to be trained on" in capsys.readouterr().out
    assert call(world, "inspect rgb --json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["trainable"] is True
    assert [c["name"] for c in told["classes"]] == list(synthetic.LEGEND.names)


def test_inspecting_what_cannot_be_trained_on_is_no_success(world, capsys):
    assert call(world, "inspect alone --json") == 2
    assert json.loads(capsys.readouterr().out)["trainable"] is False


def test_evaluating_prints_scores_and_warns_of_seen_ground(world, tmp_path, capsys):
    assert call(world, f"evaluate rgb '{tmp_path / 'report'}' --model run --split train") == 0
    told = capsys.readouterr()
    assert "Building" in told.out
    assert "report.html" in told.out
    assert "Warning: Scored on the part 'train'" in told.err


def test_predicting_names_every_file_it_wrote(world, tmp_path, capsys):
    words = f"predict scene.tif '{tmp_path}/m.tif' --model run --polygons '{tmp_path}/p.gpkg'"
    assert call(world, f"{words} --picture '{tmp_path}/p.png'") == 0
    told = capsys.readouterr()
    assert f"Map in {tmp_path}/m.tif, polygons in {tmp_path}/p.gpkg, picture in {tmp_path}/p.png" in told.out
    assert "Warning" not in told.err


def test_polygonizing(world, tmp_path, capsys):
    assert call(world, f"polygonize map.tif '{tmp_path}/p.geojson' --classes land --classes Water --min-area 2") == 0
    assert capsys.readouterr() == (f"Polygons in {tmp_path}/p.geojson\n", "")


def test_the_demo_names_what_it_made(world, tmp_path, capsys, monkeypatch, without_pictures):
    tiny = partial(train, network="small-unet", width=4, size=32)
    monkeypatch.setattr("sat2map.demonstration.train", tiny)
    assert call(world, f"demo '{tmp_path}' --source rgb --minutes 0.001") == 0
    told = capsys.readouterr().out
    assert all(f"{tmp_path}/{name}" in told for name in ("map.png", "polygons.gpkg", "report/report.html"))


def test_networks_are_listed_and_shown(world, capsys):
    assert call(world, "networks") == 0
    assert "small-unet" in capsys.readouterr().out
    assert call(world, "networks small-unet --size 32") == 0
    assert "Conv2d" in capsys.readouterr().out


def test_messages_of_libraries_are_not_shown(world, capsys):
    assert call(world, "inspect rgb --json") == 0
    logging.getLogger("pyogrio").warning("Created 5 records")
    logging.getLogger("sat2map.somewhere").info("a note")
    logging.getLogger("sat2map.somewhere").warning("a fault")
    assert capsys.readouterr().err == "a note\nWarning: a fault\n"


@pytest.mark.parametrize(("words", "told"), [("train a b", "and --resume"), ("inspect a", "Stopped.\n")])
def test_an_interruption_is_told_in_a_sentence(world, monkeypatch, capsys, words, told):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sat2map.training.train", interrupted)
    monkeypatch.setattr("sat2map.inspection.inspect", interrupted)
    assert call(world, words) == 130
    assert told in capsys.readouterr().err


def test_the_process_ends_with_the_code_of_the_command(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sat2map", "inspect", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2


# --- mistakes --------------------------------------------------------------------------------------------------------

MISTAKES = {
    "inspect": {
        "inspect": "SOURCE is missing. See: sat2map inspect --help",
        "inspect nowhere": "There is no nowhere",
        "inspect empty": "There is no image in",
        "inspect notes.txt": "There is no image in",
        "inspect words.tif": "no labels",
        "inspect rgb --layuot folders": "Did you mean --layout",
        "inspect rgb --layout folderz": 'Choose from: "auto", "folders"',
        "inspect rgb --resolution -1": "--resolution is -1.0; it must be above 0",
        "inspect rgb --resize 64 --resolution 1": "exclude each other",
        "inspect rgb --line-width wide": 'unable to convert "wide" into float',
        "inspect rgb extra": "'extra' cannot be placed",
        "inpsect rgb": 'Unknown command "inpsect". Did you mean "inspect"',
    },
    "train": {
        "train rgb": "RUN is missing",
        "train nowhere new": "There is no nowhere",
        "train empty new": "There is no image in",
        "train alone new": "no labels",
        "train far new": "No shape of",
        "train rgb new --network unett": "Did you mean 'unet'",
        "train rgb new --encoder resnet43": "Did you mean 'resnet34'",
        "train rgb new --loss dise": "Did you mean 'dice'",
        "train rgb new --loss 'dice +'": "cannot be read at its end",
        "train rgb new --optimizer adamx": 'Choose from: "adamw", "adam", "gan-adam", "sgd"',
        "train rgb new --optimiser adam": "Did you mean --optimizer",
        "train rgb new --lr -1": "--lr is -1.0; it must be above 0",
        "train rgb new --lr inf": "--lr is inf",
        "train rgb new --seed -1": "--seed is -1; it must be 0 or more",
        "train rgb new --minutes 0": "--minutes is 0.0; it must be above 0",
        "train rgb new --size 0": "--size is 0; it must be above 0",
        "train rgb new --size 7": "--size is 7; a patch must have 16 pixels a side or more",
        "train rgb new --bands 7": "There is no band '7'. The images have: 1 (red)",
        "train rgb new --width 4": "takes its widths from its encoder",
        "train rgb new --encoder-weights nowhere.pt": "nor a file",
        "train rgb new --test 'plase 1'": "Did you mean 'place 1'",
        "train rgb new --val 0.5 --test 0.5": "leave nothing to train on",
        "train rgb new --val 0": "--val is 0; a share must be above 0",
        "train rgb new --test 'place 1' 'place 2'": "An option with several values is repeated",
        "train rgb new --legend legend.json": "is not a legend",
        "train rgb new --resolution 1": "has no georeference",
        "train rgb new --tune lrr": "Did you mean 'lr'",
        "train rgb new --tune width": "needs values, such as width=1,2",
        "train rgb new --resume": "There is no run in new to go on with",
        "train rgb run --resume --lr 0.5": "--lr 0.5 differs from the run's own choice",
        "train alone run --resume": "was trained on rgb",
        "train rgb run": "run is not empty. Go on with --resume",
        "train rgb rgb --overwrite": "holds files that are no run",
        "train rgb notes.txt": "notes.txt is a file",
        "train rgb notes.txt/new": "notes.txt is a file",
        "train rgb new --device mps": "There is no device 'mps' here",
        "train rgb new --batch 3 --devices 2": "cannot be shared by 2 devices",
    },
    "evaluate": {
        "evaluate rgb new": "--model is missing",
        "evaluate rgb new --model nowhere": "There is no model in nowhere: no such folder",
        "evaluate rgb new --model rgb": "no model.json",
        "evaluate rgb new --model unfinished": "the run is not finished. Go on with",
        "evaluate rgb new --model damaged": "model.json is damaged",
        "evaluate nowhere new --model run": "There is no nowhere",
        "evaluate alone new --model run --split all": "no labels",
        "evaluate pictures new --model run --split all": "--output classes",
        "evaluate rgb notes.txt --model run": "notes.txt is a file",
        "evaluate rgb new --model run --split tset": 'Did you mean "test"',
        "evaluate rgb new --model run --overlap 500": "cannot overlap by 500",
        "evaluate rgb new --model run --resize 32": "larger pictures",
        "evaluate rgb new --model run --batch 0": "--batch is 0; it must be above 0",
    },
    "predict": {
        "predict scene.tif new.tif": "--model is missing",
        "predict nowhere.tif new.tif --model run": "There is no file nowhere.tif",
        "predict empty new.tif --model run": "no image in the folder empty",
        "predict words.tif new.tif --model run": "cannot be read as an image",
        "predict cut.tif new.tif --model run": "cut.tif cannot be read",
        "predict 'two bands.tif' new.tif --model run": "reads 3 bands (red, green, blue), but two bands.tif has 2",
        "predict scene.tif map.tif --model run": "map.tif is there already",
        "predict scene.tif new.jpg --model run": "new.jpg ends in '.jpg'. What can be written ends in: .tif",
        "predict scene.tif new --model run": "new ends in nothing. What can be written ends in: .tif",
        "predict scene.tif rgb --model run --picture new.png": "go with one map. Name a MAP that ends in .tif",
        "predict scene.tif notes.txt/new.tif --model run": "notes.txt cannot be written to",
        "predict scene.tif new.tif --model unfinished": "the run is not finished",
        "predict scene.tif new.tif --model damaged": "model.json is damaged",
        "predict scene.tif new.tif --model run --polygons new.kml": "new.kml ends in '.kml'",
        "predict scene.tif new.tif --model run --window 0": "--window is 0; it must be above 0",
        "predict scene.tif new.tif --model run --overlap 90": "cannot overlap by 90",
        "predict scene.tif new.tif --model run --runtime onnx": 'Choose from: "auto", "openvino", "torch"',
    },
    "polygonize": {
        "polygonize map.tif": "POLYGONS is missing",
        "polygonize nowhere.tif new.gpkg": "No such file",
        "polygonize notes.txt new.gpkg": "cannot be read as a class map",
        "polygonize scene.tif new.gpkg": "scene.tif has 3 bands, but a class map has one band",
        "polygonize rgb new.gpkg": "cannot be read as a class map",
        "polygonize map.tif new.kml": "new.kml ends in '.kml'",
        "polygonize map.tif new": "new ends in nothing",
        "polygonize map.tif rgb": "rgb is a folder",
        "polygonize map.tif notes.txt/new.gpkg": "notes.txt cannot be written to",
        "polygonize map.tif new.gpkg --classes Watr": "Did you mean 'Water'",
        "polygonize map.tif new.gpkg --min-area -1": "--min-area is -1.0; it must be above 0",
        "polygonize map.tif new.gpkg --simplify 0": "--simplify is 0.0; it must be above 0",
        "polygonize map.tif new.gpkg --clases Water": "Did you mean --classes",
    },
    "demo": {
        "demo notes.txt": "notes.txt is a file",
        "demo notes.txt/new": "notes.txt is a file",
        "demo new --source nowhere": "There is no nowhere",
        "demo new --source empty": "There is no image in",
        "demo new --source alone": "no labels",
        "demo new --minutes 0": "--minutes is 0.0; it must be above 0",
        "demo new --minutes soon": 'unable to convert "soon" into float',
        "demo new --seed -1": "--seed is -1; it must be 0 or more",
        "demo new --sorce rgb": "Did you mean --source",
        "demo new extra": "'extra' cannot be placed",
    },
}
"""What users get wrong, and a part of the sentence that tells them."""


@pytest.mark.parametrize(("words", "told"), [item for table in MISTAKES.values() for item in table.items()])
def test_a_mistake_is_told_in_a_sentence_and_leaves_nothing_behind(world, capsys, words, told):
    before = files(world)
    assert call(world, words) == 2
    said = capsys.readouterr()
    errors = said.err if said.err else " ".join(said.out.split())  # `inspect` tells in its report
    assert told in errors
    assert "Traceback" not in errors
    assert files(world) == before
    if said.err:
        *notes, last = said.err.splitlines()
        assert last.startswith("Error: ") and not any(line.startswith("Error") for line in notes)
