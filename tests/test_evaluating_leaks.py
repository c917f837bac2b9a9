"""Ground that a model has learnt from, or may have, is no test, or one with a warning."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import synthetic
from models import colour_run
from sat2map import evaluate
from sat2map.errors import SourceError


def leaks_of(report: Path) -> list[dict]:
    return json.loads((report / "metrics.json").read_text())["leaks"]


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three places; a picture of the last one is a shifted crop of one of the first."""
    path = tmp_path_factory.mktemp("leaking")
    grounds = [(synthetic.landscape(i, 320), synthetic.seen(synthetic.landscape(i, 320), i)) for i in range(2)]
    crop = np.s_[..., 37:257, 20:240]
    for i, (ids, looks) in enumerate([*grounds, (grounds[0][0][crop], grounds[0][1][crop])]):
        synthetic.save(path / f"place {i}" / "images" / f"{i}.png", looks)
        synthetic.write_mask(path / f"place {i}" / "masks" / f"{i}.png", ids)
    synthetic.write_legend(path / "classes.json")
    return path


def test_ground_that_was_learnt_from_is_no_test(tmp_path, leaking):
    run = colour_run(tmp_path / "run", leaking, val=("place 1",), test=("place 2",))
    with pytest.raises(SourceError, match=r"This is no test: .*with --leaks accept"):
        evaluate(leaking, tmp_path / "report", model=run.path)
    assert not (tmp_path / "report").exists()
    made = evaluate(leaking, tmp_path / "report", model=run.path, leaks="accept")
    assert "leak" in {f.kind for f in made.findings}
    (leak,) = leaks_of(tmp_path / "report")
    assert (leak["first"]["part"], leak["second"]["part"], leak["how"]) == ("learnt", "scored", "content")
    assert (tmp_path / "report" / "leaks.png").exists()
    assert "no test, for it was seen in training" in made.report.read_text()


def test_ground_that_may_have_been_built_to_one_plan_is_a_test_with_a_warning(tmp_path):
    towns = synthetic.twin_towns(tmp_path / "towns")
    run = colour_run(tmp_path / "run", towns, val=("place 1",), test=("place 2",))
    made = evaluate(towns, tmp_path / "report", model=run.path)
    (finding,) = (f for f in made.findings if f.level != "note")
    assert (finding.level, finding.kind) == ("warning", "look-alike")
    (leak,) = leaks_of(tmp_path / "report")
    assert leak["textured"] > 10_000 and not leak["sure"]
    assert (tmp_path / "report" / "leaks.png").exists()
    text = made.report.read_text()
    assert "ground kept for the test" in text and "Ground that looks like that of the training" in text


def test_what_training_found_clean_is_not_looked_at_again(tmp_path, leaking):
    run = colour_run(tmp_path / "run", leaking, val=("place 1",), test=("place 2",))
    run.leaks.write_text("[]")
    assert evaluate(leaking, tmp_path / "report", model=run.path).findings == ()
