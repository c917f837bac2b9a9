from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

import synthetic
from sat2map import load_model, train
from sat2map.errors import BadOption, OutputError, TrainingFailed, UnknownName
from sat2map.learning import tuning
from sat2map.learning.fitting import plan_run
from sat2map.learning.tuning import find_batch, parse_tune
from sat2map.options import TrainOptions
from sat2map.runs import RunFolder, read_call

pytestmark = pytest.mark.usefixtures("without_graph")

TINY = {"network": "small-unet", "width": 4, "size": 32, "batch": 8, "precision": "fp32", "epochs": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synthetic.rgb_folder(tmp_path_factory.mktemp("source"), count=3, size=64)


def table(run):
    return json.loads((run / "tune.json").read_text())


def test_a_grid_gives_a_table_and_keeps_the_best_model(tmp_path, folder):
    run = train(folder, tmp_path / "run", tune=("lr=1e-12,0.02", "width=2,4"), **TINY | {"epochs": 3})
    rows = table(run)
    assert {(row["lr"], row["width"]) for row in rows} == {(lr, w) for lr in (1e-12, 0.02) for w in (2, 4)}
    scores = [row["val_mean_iou"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    best, model = rows[0], load_model(run)
    assert model.architecture.width == best["width"]
    assert model.provenance["val_mean_iou"] == pytest.approx(best["val_mean_iou"])
    trial = run / "trials" / best["trial"] / "model" / "weights.safetensors"
    assert model.weights.read_bytes() == trial.read_bytes()


def test_the_learning_rate_is_searched_by_itself(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(tuning, "RANGE_STEPS", 12)
    run = train(folder, tmp_path / "run", tune=("lr",), **TINY)
    rates = json.loads((run / "trials" / "search-lr" / "range.json").read_text())
    assert len(rates) > 3
    found = load_model(run).provenance["options"]["lr"]
    assert rates[0][0] / 10 <= found <= rates[-1][0]
    assert [row["lr"] for row in table(run)] == [found]


def test_the_batch_is_searched_by_itself(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(tuning, "BATCHES", (2, 4))
    run = train(folder, tmp_path / "run", tune=("batch",), **TINY)
    speeds = json.loads((run / "trials" / "search-batch" / "batches.json").read_text())
    found = load_model(run).provenance["options"]["batch"]
    assert found in {int(batch) for batch in speeds} and [row["batch"] for row in table(run)] == [found]


def test_a_batch_that_is_found_can_be_shared_by_all_devices(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(tuning, "BATCHES", (2, 4))
    plan = plan_run(folder, RunFolder(tmp_path), TrainOptions(**TINY))
    assert find_batch(replace(plan, options=replace(plan.options, devices=3))) in (6, 12)


def test_no_batch_is_larger_than_an_epoch(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(tuning, "_speed", lambda rehearsal: rehearsal.batch)  # the larger the better
    plan = plan_run(folder, RunFolder(tmp_path), TrainOptions(**TINY))
    batch = find_batch(plan)
    assert batch <= len(plan.samples.anchors) < 2 * batch


def test_a_rate_is_searched_once_for_a_grid(tmp_path, folder, monkeypatch):
    monkeypatch.setattr(tuning, "RANGE_STEPS", 12)
    rows = table(train(folder, tmp_path / "run", tune=("width=2,4", "lr"), **TINY | {"width": None}))
    assert {row["width"] for row in rows} == {2, 4} and len({row["lr"] for row in rows}) == 1
    assert rows[0]["lr"] is not None


def test_all_trials_are_judged_on_the_same_ground_which_is_told_of_once(tmp_path, folder, caplog):
    run = train(folder, tmp_path / "run", tune=("seed=1,2,3", "size=16,32"), split="random", **TINY | {"size": 64})
    splits = {(run / "trials" / row["trial"] / "split.json").read_text() for row in table(run)}
    assert len(table(run)) == 6 and splits == {(run / "split.json").read_text()}
    assert caplog.text.count("at random") == 1
    calls = [read_call(RunFolder(run / "trials" / row["trial"]))[1] for row in table(run)]
    assert {(call.seed, call.size) for call in calls} == set(itertools.product((1, 2, 3), (16, 32)))


@pytest.mark.parametrize("kind", [TrainingFailed, BadOption])
def test_a_trial_that_fails_is_a_row_without_figures(tmp_path, folder, monkeypatch, kind):
    learn = tuning.learn

    def fails(plan, source):
        if plan.options.lr == 0.5:
            raise kind("The memory does not hold a batch.")
        learn(plan, source)

    monkeypatch.setattr(tuning, "learn", fails)
    rows = table(train(folder, tmp_path / "run", tune=("lr=0.5,0.01",), **TINY))
    assert [row["lr"] for row in rows] == [0.01, 0.5]
    assert rows[1]["val_mean_iou"] is None
    with pytest.raises(TrainingFailed, match="No trial came to its end"):
        train(folder, tmp_path / "none", tune=("lr=0.5",), **TINY)


def test_words_are_read_by_the_kind_of_their_option():
    words = ("lr=1e-3,0.1", "width=4", "balance=yes,no", "optimizer=sgd", "save-every=2", "batch")
    read = {"lr": (0.001, 0.1), "width": (4,), "balance": (True, False), "optimizer": ("sgd",), "save_every": (2,)}
    assert parse_tune(words) == read | {"batch": ()}


@pytest.mark.parametrize(
    ("word", "kind", "told"),
    [
        ("lrr=1", UnknownName, "Did you mean 'lr'"),
        ("resume=yes", UnknownName, "There is no option to tune 'resume'"),
        ("width", BadOption, "needs values, such as width=1,2"),
        ("lr=fast", BadOption, "'fast' is no value for it. Give a number"),
        ("batch=1.5", BadOption, "Give a whole number"),
        ("balance=perhaps", BadOption, "Give yes or no"),
        ("optimizer=adamx", BadOption, "Give adamw, adam, gan-adam, sgd"),
        ("lr=-1", BadOption, "must be above 0"),
        ("network=small-unet,unett", UnknownName, "Did you mean 'unet'"),
        ("loss=dice,dise", UnknownName, "Did you mean 'dice'"),
        ("size=32,10000000", BadOption, "memory does not hold a batch of 8 patches of 10000000"),
        ("contrast=0,1", BadOption, "from 0 to less than 1"),
    ],
)
def test_mistakes_are_told_before_the_first_trial(tmp_path, folder, word, kind, told):
    with pytest.raises(kind, match=told):
        train(folder, tmp_path / "run", tune=(word,), **TINY | {"width": None})
    assert not (tmp_path / "run").exists()


def test_a_search_neither_goes_on_nor_replaces_a_folder(tmp_path, folder):
    with pytest.raises(BadOption, match="cannot be gone on with"):
        train(folder, tmp_path / "run", tune=("lr",), resume=True, **TINY)
    with pytest.raises(OutputError, match="not empty"):
        train(folder, folder, tune=("lr",), **TINY)
