"""A run folder begins, goes on and is replaced only as its user means it, and says how to repeat itself."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from sat2map.cli import app
from sat2map.errors import BadOption, OutputError
from sat2map.options import TrainOptions
from sat2map.runs import RunFolder, begin_run, command, environment, resume_run

OPTIONS = TrainOptions(
    bands=("red", "3"),
    val=("north", "far east"),
    loss="dice + 0.5*focal",
    width=8,
    minutes=1.5,
    flip=False,
    balance=True,
)


def parsed(line: str) -> tuple[list[str], dict[str, object]]:
    """Return what the command line understands: positional arguments, and all words by name."""
    program, *words = shlex.split(line)
    assert program == "sat2map"
    _, bound, _ = app.parse_args(words, exit_on_error=False)
    given = bound.arguments
    options = [asdict(value) for value in given.values() if hasattr(value, "__dataclass_fields__")]
    return [str(value) for value in bound.args], {name: value for part in options for name, value in part.items()}


def test_the_call_and_the_environment_are_written_down(tmp_path):
    run = begin_run(tmp_path / "runs" / "first", "city", OPTIONS)
    call = json.loads(run.call.read_text())
    assert (call["verb"], call["source"]) == ("train", "city")
    assert TrainOptions(**call["options"]).loss == OPTIONS.loss
    told = json.loads((run.path / "environment.json").read_text())
    assert told.keys() == environment().keys()
    assert told["versions"]["numpy"].split(".")[0].isdigit()


def test_a_run_goes_on_with_its_own_options(tmp_path):
    begin_run(tmp_path / "run", "city", OPTIONS)
    run, options = resume_run(tmp_path / "run", "city", TrainOptions(resume=True))
    assert run == RunFolder(tmp_path / "run")
    assert options == replace(OPTIONS, resume=True)


def test_a_run_may_go_on_for_longer(tmp_path):
    begin_run(tmp_path / "run", "city", OPTIONS)
    more = TrainOptions(resume=True, minutes=9, workers=3, loss=OPTIONS.loss)
    assert resume_run(tmp_path / "run", "city", more)[1] == replace(OPTIONS, resume=True, minutes=9, workers=3)


def test_a_run_does_not_go_on_with_other_options(tmp_path):
    begin_run(tmp_path / "run", "city", OPTIONS)
    with pytest.raises(BadOption, match=r"--width 16 differs from the run's 8; what has begun"):
        resume_run(tmp_path / "run", "city", TrainOptions(resume=True, width=16))


def test_a_run_does_not_go_on_with_another_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begin_run(tmp_path / "run", "city", OPTIONS)
    resume_run(tmp_path / "run", str(tmp_path / "city"), TrainOptions(resume=True))
    with pytest.raises(BadOption, match="was trained on city, not on village"):
        resume_run(tmp_path / "run", "village", TrainOptions(resume=True))


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (("loss",), (), "began with a loss of your own. Pass it"),
        (("network", "loss"), ("loss",), "began with a network of your own. Pass it"),
        ((), ("network",), "began without a network of your own"),
    ],
)
def test_a_run_goes_on_with_the_objects_it_began_with(tmp_path, before, now, told):
    begin_run(tmp_path / "run", "city", OPTIONS, own=before)
    resume_run(tmp_path / "run", "city", TrainOptions(resume=True), own=before)
    with pytest.raises(BadOption, match=told):
        resume_run(tmp_path / "run", "city", TrainOptions(resume=True), own=now)


def test_a_run_without_a_word_about_objects_goes_on(tmp_path):
    run = begin_run(tmp_path / "run", "city", OPTIONS)
    call = json.loads(run.call.read_text())
    del call["own"]
    run.call.write_text(json.dumps(call))
    for own in ((), ("loss",)):
        assert resume_run(tmp_path / "run", "city", TrainOptions(resume=True), own=own)[0] == run


def test_there_has_to_be_a_run_to_go_on_with(tmp_path):
    with pytest.raises(OutputError, match=r"no run in .* leaving out --resume"):
        resume_run(tmp_path / "run", "city", TrainOptions(resume=True))


@pytest.mark.parametrize("text", ["{", '{"source": "city"}', '{"source": "city", "options": {"colour": 1}}', "[]"])
def test_a_damaged_call_is_told(tmp_path, text):
    run = begin_run(tmp_path / "run", "city", OPTIONS)
    run.call.write_text(text)
    with pytest.raises(OutputError, match=r"call.json is damaged"):
        resume_run(run.path, "city", TrainOptions(resume=True))


def test_a_run_is_not_replaced_unasked(tmp_path):
    run = begin_run(tmp_path / "run", "city", OPTIONS)
    with pytest.raises(OutputError, match=r"is not empty. Go on with --resume, start anew with --overwrite"):
        begin_run(run.path, "village", OPTIONS)
    assert json.loads(run.call.read_text())["source"] == "city"


def test_a_run_is_replaced_completely(tmp_path):
    run = begin_run(tmp_path / "run", "city", OPTIONS)
    run.log({"epoch": 1})
    begin_run(run.path, "village", TrainOptions(overwrite=True))
    assert json.loads(run.call.read_text())["source"] == "village"
    assert run.rows() == []


def test_what_is_no_run_is_never_replaced(tmp_path):
    (tmp_path / "photo.jpg").write_text("dear")
    with pytest.raises(OutputError, match="files that are no run"):
        begin_run(tmp_path, "city", TrainOptions(overwrite=True))
    with pytest.raises(OutputError, match="is a file"):
        begin_run(tmp_path / "photo.jpg", "city", TrainOptions(overwrite=True))
    with pytest.raises(OutputError, match=r"photo.jpg is a file"):
        begin_run(tmp_path / "photo.jpg" / "run", "city", OPTIONS)
    assert (tmp_path / "photo.jpg").read_text() == "dear"


def test_an_empty_folder_is_taken(tmp_path):
    assert begin_run(tmp_path, "city", OPTIONS).call.exists()


def test_metrics_are_lines_that_can_be_taken_back(tmp_path):
    run = RunFolder(tmp_path)
    assert run.rows() == []
    for epoch in (1, 2, 3):
        run.log({"epoch": epoch, "train_loss": 1 / epoch})
    run.rewind(2)
    run.log({"epoch": 3, "train_loss": None})
    assert [(row["epoch"], row["train_loss"]) for row in run.rows()] == [(1, 1.0), (2, 0.5), (3, None)]
    with pytest.raises(ValueError, match="JSON compliant"):
        run.log({"train_loss": float("nan")})


@pytest.mark.parametrize(
    "options",
    [
        TrainOptions(),
        OPTIONS,
        TrainOptions(labels="my labels; 'old' $HOME.geojson", legend='a "b".csv', rotate90=False, save_every=2),
        TrainOptions(lr=3e-4, tune=("lr=1e-3,1e-4", "batch=4,8"), rotate=12.5, class_weights="balanced", resize=512),
    ],
)
def test_a_command_line_says_the_call_again(options):
    line = command("train", ("my city", Path("runs/first (1)")), options)
    arguments, words = parsed(line)
    assert arguments[:2] == ["my city", "runs/first (1)"]
    assert TrainOptions(**words) == options


def test_a_command_line_says_what_differs_only():
    assert command("train", ("city", "run"), TrainOptions(epochs=3)) == "sat2map train city run --epochs 3"
    assert "--no-flip" in command("train", ("city", "run"), OPTIONS)


def test_no_class_ignored_is_said_too():
    words = parsed(command("train", ("city", "run"), TrainOptions(ignore=())))[1]
    assert not any(words["ignore"])


def test_a_torn_last_line_of_metrics_is_not_read(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.log({"epoch": 1, "loss": 0.5})
    with run.metrics.open("a") as lines:
        lines.write('{"epoch": 2, "lo')
    assert run.rows() == [{"epoch": 1, "loss": 0.5}]


def test_a_run_in_a_link_or_in_this_folder_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin_run(tmp_path / "run", "city", OPTIONS)
    (run.path / "samples").mkdir()
    (tmp_path / "link").symlink_to(run.path, target_is_directory=True)
    begin_run(tmp_path / "link", "village", TrainOptions(overwrite=True))
    assert json.loads(run.call.read_text())["source"] == "village" and not (run.path / "samples").exists()
    assert (tmp_path / "link").is_symlink()
    monkeypatch.chdir(run.path)
    begin_run(Path(), "hamlet", TrainOptions(overwrite=True))
    assert json.loads(run.call.read_text())["source"] == "hamlet"


def test_a_run_that_cannot_be_removed_is_still_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin_run(tmp_path / "run", "city", OPTIONS)
    run.model.mkdir()
    monkeypatch.setattr("shutil.rmtree", mock.Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(OutputError, match=r"cannot be written to .*: Permission denied"):
        begin_run(run.path, "village", TrainOptions(overwrite=True))
    assert json.loads(run.call.read_text())["source"] == "city"


def test_options_from_python_are_stored_and_known_again(tmp_path: Path) -> None:
    given = TrainOptions(labels=Path("roofs.gpkg"), bands=["red", "nir"], width=np.int64(8), lr=np.float32(0.5))
    begin_run(tmp_path / "run", "city", given)
    plain = TrainOptions(labels="roofs.gpkg", bands=("red", "nir"), width=8, lr=0.5)
    assert resume_run(tmp_path / "run", "city", replace(given, resume=True))[1] == replace(plain, resume=True)


def test_what_cannot_be_stored_leaves_an_older_run_as_it_was(tmp_path: Path) -> None:
    run = begin_run(tmp_path / "run", "city", OPTIONS)
    with pytest.raises(BadOption, match="--weight-decay is nan; it must be a number"):
        begin_run(run.path, "village", TrainOptions(overwrite=True, weight_decay=float("nan")))
    assert json.loads(run.call.read_text())["source"] == "city" and (run.path / "environment.json").exists()
