"""Training tells which ground lies in several parts of its split, keeps that, and goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import synthetic
from sat2map import train
from sat2map.runs import RunFolder

TINY = {"network": "small-unet", "width": 4, "size": 32, "batch": 8, "precision": "fp32", "epochs": 1}


@pytest.fixture(autouse=True)
def nothing_is_learnt(monkeypatch) -> None:
    """Stop where learning would begin: leaks are looked for before."""
    for name in ("draw_network", "_launch", "pack_model"):
        monkeypatch.setattr(f"sat2map.learning.fitting.{name}", lambda *_, **__: None)


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three places; the third shows a part of the first."""
    path = tmp_path_factory.mktemp("leaking")
    ids = synthetic.landscape(0, 300)
    looks = synthetic.seen(ids, 0)
    parts = [(ids, looks), (synthetic.landscape(1, 160), synthetic.seen(synthetic.landscape(1, 160), 1))]
    parts.append((np.rot90(ids[40:240, 60:260]), np.rot90(looks[:, 40:240, 60:260], axes=(1, 2))))
    for i, (mask, image) in enumerate(parts):
        synthetic.save(path / f"place {i}" / "images" / f"{i}.png", np.ascontiguousarray(image))
        synthetic.write_mask(path / f"place {i}" / "masks" / f"{i}.png", np.ascontiguousarray(mask))
    synthetic.write_legend(path / "classes.json")
    return path


def test_ground_in_several_parts_is_told_kept_and_drawn(tmp_path, leaking, caplog):
    run = RunFolder(train(leaking, tmp_path / "run", val=("place 1",), test=("place 2",), **TINY))
    assert "A score on such ground is no test" in caplog.text
    (leak,) = json.loads(run.leaks.read_text())
    assert {leak["first"]["part"], leak["second"]["part"]} == {"train", "test"}
    assert leak["share"] > 0.9
    assert run.leaks.with_suffix(".png").exists()


@pytest.mark.parametrize(("words", "kept"), [({"check_leaks": False}, None), ({"test": ("0",)}, [])])
def test_nothing_is_told_where_nothing_leaks_or_no_one_asked(tmp_path, leaking, caplog, words, kept):
    given = {"val": ("place 1",), "test": ("place 2",), **TINY, **words}
    run = RunFolder(train(leaking, tmp_path / "run", **given))
    assert "no test" not in caplog.text
    found = json.loads(run.leaks.read_text()) if run.leaks.exists() else None
    assert found == kept and not run.leaks.with_suffix(".png").exists()
