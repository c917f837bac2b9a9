from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import sat2map
from sat2map import cli
from sat2map.options import EvaluateOptions, PredictOptions, ReadOptions, RuntimeOptions, TrainOptions

VERBS = [
    "area", "change", "demo", "download", "evaluate", "export", "inspect", "polygonize", "predict", "sample", "suggest",
    "train",
]  # fmt: skip


def test_the_public_names_are_these():
    assert sorted(sat2map.__all__) == sorted(["__version__", *VERBS, "load_model", "open_scene", "open_source"])


def test_every_public_name_can_be_used():
    assert all(callable(getattr(sat2map, name)) for name in sat2map.__all__ if name != "__version__")
    assert callable(sat2map.demo), "a verb that is called like its module would be the module from the second time on"
    with pytest.raises(AttributeError, match="no attribute 'classify'"):
        _ = sat2map.classify


def test_importing_it_imports_nothing_heavy():
    heavy = ["torch", "numpy", "rasterio", "openvino", "geopandas", "matplotlib", "h5py"]
    code = f"import sat2map, sys; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_nobody_is_told_of_its_use():
    code = "import sat2map, openvino.tools.ovc, sys; print([m for m in sys.modules if 'openvino_telemetry.' in m])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def words_of_command(name: str) -> set[str]:
    """Return the words of a command: its own, and the fields of its groups of options."""
    words = set()
    for parameter in inspect.signature(getattr(cli, name)).parameters.values():
        options = type(parameter.default)
        words |= {f.name for f in fields(options)} if options.__module__ == "sat2map.options" else {parameter.name}
    return words


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("inspect", ReadOptions),
        ("train", TrainOptions),
        ("evaluate", EvaluateOptions),
        ("predict", PredictOptions),
        ("polygonize", None),
        ("area", None),
        ("sample", None),
        ("change", None),
        ("suggest", RuntimeOptions),
        ("download", None),
    ],
)
def test_function_and_command_take_the_same_words(name, options):
    own = set(inspect.signature(getattr(sat2map, name)).parameters)
    python = own - {"words"} | ({f.name for f in fields(options)} if options else set())
    command = words_of_command(name) - {"json"}
    renamed = {"map": "map_path", "polygons": "out_path"} if name == "polygonize" else {}
    assert python == {renamed.get(word, word) for word in command}


def test_the_demo_takes_the_words_of_its_command():
    assert words_of_command("demo") == set(inspect.signature(sat2map.demo).parameters) - {"words"}


@pytest.mark.parametrize("words", [["train", "photos", "RUN"], ["demo"], ["networks", "unet"]])
def test_without_torch_training_names_the_missing_part(words: list[str], tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from sat2map.cli import run; sys.exit(run(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "pip install 'sat2map[train]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
