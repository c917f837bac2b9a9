"""The scripts in `examples/` run as they stand, on fabricated imagery."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import synthetic

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(script: str, *words: object) -> str:
    command = [sys.executable, str(EXAMPLES / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_published_recipe(tmp_path: Path, rgb_folder: Path) -> None:
    said = run("published_recipe.py", rgb_folder, tmp_path / "run", "--epochs", 1)
    options = json.loads((tmp_path / "run" / "call.json").read_text())["options"]
    assert str(tmp_path / "run") in said
    assert (options["optimizer"], options["batch"], options["rotate"]) == ("adam", 16, 45.0)
    assert (tmp_path / "run" / "model" / "graph.xml").exists()


def test_the_landslide_grid(tmp_path: Path) -> None:
    folder = synthetic.landslide4sense(tmp_path / "slides")
    said = run("landslides.py", folder, tmp_path / "run", "--epochs", 1, "--widths", "4,8", "--rates", "1e-3")
    assert len(json.loads((tmp_path / "run" / "tune.json").read_text())) == 2
    assert "precision" in said
    assert "f1" in said
