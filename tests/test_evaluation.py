"""Scores are those of the map that is written, counted pixel by pixel, over the ground that was asked for."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import rasterio

import synthetic
from models import colour_run
from sat2map import evaluate, predict
from sat2map.calibration import Calibration
from sat2map.errors import ModelError, OutputError, SourceError
from sat2map.legend import IGNORED, Legend, MapClass
from sat2map.mapmodel import load_model
from sat2map.metrics import ClassScores
from sat2map.runs import RunFolder
from sat2map.sources import open_source
from sat2map.splits import read_split

LAND, WATER, BUILDING = synthetic.LEGEND.classes


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in which some ground looks like another class, so that scores differ."""
    path = tmp_path_factory.mktemp("noisy")
    for i in range(6):
        ids = synthetic.landscape(i)
        looks = ids.copy()
        looks[: 10 + i] = (looks[: 10 + i] + 1) % 3
        synthetic.save(path / f"place {i // 2}" / "images" / f"{i}.png", synthetic.seen(looks, i))
        synthetic.write_mask(path / f"place {i // 2}" / "masks" / f"{i}.png", ids)
    synthetic.write_legend(path / "classes.json")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, noisy: Path) -> RunFolder:
    return colour_run(tmp_path_factory.mktemp("runs") / "my run", noisy)


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def naive(truth: np.ndarray, mapped: np.ndarray) -> dict:
    """Return scores by their definitions, over pixels that have a label and a class."""
    scored = (truth != IGNORED) & (mapped != IGNORED)
    truth, mapped = truth[scored], mapped[scored]
    rows = []
    for i, name in enumerate(synthetic.LEGEND.names):
        true, said = truth == i, mapped == i
        both = int((true & said).sum())
        precision, recall = both / int(said.sum()), both / int(true.sum())
        iou, f1 = both / int((true | said).sum()), 2 * precision * recall / (precision + recall)
        rows.append({"name": name, "precision": precision, "recall": recall, "iou": iou, "f1": f1})
    means = {f"mean_{key}": np.mean([row[key] for row in rows]) for key in ("iou", "f1", "precision", "recall")}
    return {"accuracy": np.mean(truth == mapped), **means, "classes": rows}


def check(found: dict, expected: dict) -> None:
    for key, value in expected.items():
        if key == "classes":
            for one, other in zip(found[key], value, strict=True):
                assert one.keys() == {f.name for f in fields(ClassScores)}
                assert {k: one[k] for k in other} == pytest.approx(other)
        else:
            assert found[key] == pytest.approx(value)


def maps_and_masks(source: Path, run: RunFolder, part: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of a part, and what the written maps say there."""
    pairs = {pair.name: pair for pair in open_source(source).pairs}
    truths, maps = [], []
    for area in read_split(run.split).part(part):
        pair = pairs[area.pair]
        made = predict(source / pair.name, folder / "map.tif", model=run.path, overwrite=True)
        with rasterio.open(made.map) as file:
            maps.append(file.read(1)[area.window.slices].ravel())
        truths.append(pair.target.read(area.window).pixels[0].ravel())
    return np.concatenate(truths), np.concatenate(maps)


@pytest.mark.parametrize("part", ["test", "val", "train", "all"])
def test_scores_are_those_of_the_written_maps(tmp_path, noisy, run, part):
    made = evaluate(noisy, tmp_path / "report", model=run.path, split=part, batch=3)
    found = metrics(tmp_path / "report")
    truth, mapped = maps_and_masks(noisy, run, part, tmp_path)
    check(found, naive(truth, mapped))
    assert 0.3 < found["mean_iou"] < 0.99
    assert [c["pixels"] for c in found["classes"]] == np.bincount(truth, minlength=3).tolist()
    assert (found["part"], found["split"], found["unscored_pixels"]) == (part, "groups", 0)
    assert sum(map(sum, found["confusion"]["rows_are_truth"])) == truth.size
    assert made.scores.to_json()["accuracy"] == found["accuracy"]


def test_parts_are_different_ground_and_make_up_the_whole(tmp_path, noisy, run):
    scenes = {}
    for part in ("train", "val", "test", "all"):
        evaluate(noisy, tmp_path / part, model=run.path, split=part)
        scenes[part] = [scene["name"] for scene in metrics(tmp_path / part)["scenes"]]
    assert sorted(scenes["train"] + scenes["val"] + scenes["test"]) == scenes["all"]
    assert len(set(scenes["all"])) == 6


def numbered(path: Path, legend: Legend, *, blank: int | None = None, extra: bool = False) -> Path:
    """Write pictures with masks of numbers: a corner of each is `blank`, and looks like no class, if asked for."""
    for i in range(3):
        ids = synthetic.landscape(i)
        if blank is not None:
            ids[:20, :30] = blank
        looks = np.minimum(ids, 3)
        synthetic.save(path / "images" / f"{i}.png", synthetic.seen(looks, i))
        synthetic.write_mask(path / "masks" / f"{i}.png", ids + (10 if extra else 0), "numbers")
    synthetic.write_legend(path / "classes.json", legend)
    return path


def test_classes_are_matched_by_name(tmp_path, run):
    """The legend has another order and other capitals; by place all would be wrong."""
    mixed = Legend(
        (MapClass("BUILDING", (9, 9, 9), 2), MapClass("land", (8, 8, 8), 0), MapClass("water", (7, 7, 7), 1))
    )
    source = numbered(tmp_path / "other", mixed)
    made = evaluate(source, tmp_path / "report", model=run.path, split="all")
    assert open_source(source).legend.names == ("BUILDING", "land", "water")
    assert made.scores.accuracy == 1
    assert [c.name for c in made.scores.classes] == ["Land", "Water", "Building"]
    assert "seen-ground" in {f.kind for f in made.findings}


def test_a_class_that_the_model_does_not_know_is_not_scored(tmp_path, run):
    more = Legend((LAND, WATER, BUILDING, MapClass("Road", (1, 2, 3), 3)))
    source = numbered(tmp_path / "other", more, blank=3)
    made = evaluate(source, tmp_path / "report", model=run.path, split="all")
    assert made.scores.accuracy == 1
    assert sum(c.pixels for c in made.scores.classes) == 3 * (96 * 96 - 600)
    told = next(f.text for f in made.findings if f.kind == "unknown-classes")
    assert told == "The model does not know Road; pixels with these labels are not scored."
    assert told in (tmp_path / "report" / "report.html").read_text()


def test_unlabelled_pixels_never_count(tmp_path, run):
    more = Legend((LAND, WATER, BUILDING, MapClass("Unlabelled", (155, 155, 155), 3)))
    source = numbered(tmp_path / "other", more, blank=3)
    made = evaluate(source, tmp_path / "report", model=run.path, split="all")
    assert sum(c.pixels for c in made.scores.classes) == 3 * (96 * 96 - 600)
    assert made.scores.accuracy == 1
    assert "unknown-classes" not in {f.kind for f in made.findings}


def test_labels_without_image_data_are_counted_apart(tmp_path, run):
    ids = synthetic.landscape(0)
    alpha = np.full((1, 96, 96), 255, np.uint8)
    alpha[:, :10] = 0
    synthetic.save(tmp_path / "other" / "images" / "a.png", np.concatenate([synthetic.seen(ids), alpha]))
    synthetic.write_mask(tmp_path / "other" / "masks" / "a.png", ids)
    synthetic.write_legend(tmp_path / "other" / "classes.json")
    made = evaluate(tmp_path / "other", tmp_path / "report", model=run.path, split="all")
    assert metrics(tmp_path / "report")["unscored_pixels"] == 960
    assert (made.scores.accuracy, sum(c.pixels for c in made.scores.classes)) == (1, 96 * 96 - 960)


def test_other_classes_are_refused(tmp_path, run):
    other = Legend((MapClass("Pine", LAND.colour, 0), MapClass("Oak", WATER.colour, 1), MapClass("Elm", (4, 4, 4), 2)))
    source = numbered(tmp_path / "other", other)
    with pytest.raises(ModelError, match="knows the classes Land, Water, Building, but the labels hold Pine, Oak, Elm"):
        evaluate(source, tmp_path / "report", model=run.path, split="all")
    assert not (tmp_path / "report").exists()


def test_another_source_has_no_test_part(tmp_path, run):
    source = numbered(tmp_path / "other", synthetic.LEGEND)
    with pytest.raises(SourceError, match="For other imagery than that of the training use --split all"):
        evaluate(source, tmp_path / "report", model=run.path)
    assert not (tmp_path / "report").exists()


def test_a_model_of_an_older_version_lacks_newer_words(tmp_path, noisy):
    run = colour_run(tmp_path / "run", noisy)
    model = load_model(run.path)
    older = {name: value for name, value in model.provenance["options"].items() if name not in ("output", "leaks")}
    replace(model, provenance={**model.provenance, "options": older}).save()
    assert evaluate(noisy, tmp_path / "report", model=run.path).scores.accuracy > 0.5


def test_a_model_away_from_its_run_has_no_split(tmp_path, noisy, run):
    copied = tmp_path / "copied"
    copied.mkdir()
    for file in run.model.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match=r"not in its run's folder, so its split is not known. Use --split all"):
        evaluate(noisy, tmp_path / "report", model=copied)
    assert evaluate(noisy, tmp_path / "report", model=copied, split="all").report.exists()


def test_a_part_that_was_left_out_is_told(tmp_path, noisy):
    run = colour_run(tmp_path / "run", noisy, test=("0",))
    with pytest.raises(SourceError, match=r"trained without a part 'test'. Use --split val, train or all"):
        evaluate(noisy, tmp_path / "report", model=run.path)


def test_a_random_split_is_no_test_unless_that_is_accepted(tmp_path, noisy):
    run = colour_run(tmp_path / "run", noisy, split="random")
    with pytest.raises(SourceError, match=r"This is no test: The split was random.*with --leaks accept"):
        evaluate(noisy, tmp_path / "report", model=run.path)
    assert not (tmp_path / "report").exists()
    made = evaluate(noisy, tmp_path / "report", model=run.path, leaks="accept")
    assert "random-split" in {f.kind for f in made.findings}
    assert metrics(tmp_path / "report")["split"] == "random"


def test_of_pictures_of_one_size_the_report_shows_the_one_with_most_in_it(tmp_path, noisy):
    chips = shutil.copytree(noisy, tmp_path / "chips")
    for i, ids in enumerate((np.zeros((96, 96), np.uint8), synthetic.landscape(9), np.ones((96, 96), np.uint8))):
        synthetic.save(chips / "place 3" / "images" / f"{i + 6}.png", synthetic.seen(ids, i))
        synthetic.write_mask(chips / "place 3" / "masks" / f"{i + 6}.png", ids)
    run = colour_run(tmp_path / "run", chips, val=("place 1",), test=("place 3",))
    made = evaluate(chips, tmp_path / "report", model=run.path)
    assert "place 3/images/7.png, rows 0 to 96" in Page(made.report.read_text()).text


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test of twelve places, in which some ground looks like another class."""
    path = tmp_path_factory.mktemp("wide")
    for i, shape in enumerate([(64, 64), (64, 64), (1536, 2048)]):
        ids = np.random.default_rng(i).integers(0, 3, (shape[0] // 16, shape[1] // 16)).astype(np.uint8)
        ids = ids.repeat(16, 0).repeat(16, 1)
        looks = ids.copy()
        for n, part in enumerate(np.hsplit(looks, max(shape[1] // 512, 1))):
            part[: 40 * n] = (part[: 40 * n] + 1) % 3
        synthetic.save(path / f"place {i}" / "images" / f"{i}.png", synthetic.seen(looks, i))
        synthetic.write_mask(path / f"place {i}" / "masks" / f"{i}.png", ids)
    synthetic.write_legend(path / "classes.json")
    return path


def wide_run(path: Path, source: Path, **words) -> RunFolder:
    return colour_run(path, source, val=("place 1",), test=("place 2",), unit=32, **words)


def test_scores_come_with_intervals_and_the_counts_behind_them(tmp_path, wide):
    made = evaluate(wide, tmp_path / "report", model=wide_run(tmp_path / "run", wide).path, window=256)
    found = metrics(tmp_path / "report")
    assert found["places"]["count"] == 12
    (scene,) = found["scenes"]
    assert scene["pixels"] == 1536 * 2048
    assert scene["object_f1/Building"] == made.scores.figures()["object_f1/Building"]
    for name in ("accuracy", "mean_iou", "iou/Land", "boundary_iou/Water", "object_f1/Building", "mean_boundary_f1"):
        low, high = found["intervals"][name]
        point = made.scores.figures()[name]
        assert low < point < high, name
        assert made.intervals[name] == (low, high)
    with np.load(tmp_path / "report" / "places.npz", allow_pickle=False) as places:
        assert places["counts"].shape == (12, 3, 3)
        assert places["counts"].sum(axis=0).tolist() == found["confusion"]["rows_are_truth"]
        assert places["classes"].tolist() == list(synthetic.LEGEND.names)
        assert {tuple(w[2:]) for w in places["windows"].tolist()} == {(512, 512)}
    text = Page(made.report.read_text()).text
    assert "12 places of up to 512 x 512" in text


def test_few_places_have_no_intervals_and_that_is_said(tmp_path, noisy, run):
    made = evaluate(noisy, tmp_path / "report", model=run.path)
    assert made.intervals == {}
    assert "too few to say how sure the scores are" in Page(made.report.read_text()).text


def test_a_model_card_tells_the_same(tmp_path, noisy, run):
    made = evaluate(noisy, tmp_path / "report", model=run.path)
    card = (tmp_path / "report" / "MODEL_CARD.md").read_text()
    assert f"{made.scores.mean_iou:.3f}" in card
    for words in ("red, green, blue", "uint8", f"--model {shlex.quote(str(run.model))}", *synthetic.LEGEND.names):
        assert words in card


def test_a_report_tells_what_maps_as_well_as_it_was_scored(tmp_path, noisy, run):
    made = evaluate(noisy, tmp_path / "report", model=run.path, tta="flips", bands=("red", "green", "blue"))
    assert metrics(tmp_path / "report")["mapped_with"] == {"bands": ["red", "green", "blue"], "tta": "flips"}
    card = (tmp_path / "report" / "MODEL_CARD.md").read_text()
    assert f"--model {shlex.quote(str(run.model))} --tta flips --bands red --bands green --bands blue" in card
    assert "tta='flips', bands=('red', 'green', 'blue'))" in card
    for told in (card, Page(made.report.read_text()).text):
        assert "seen in 4 positions" in told
    plain = evaluate(noisy, tmp_path / "plain", model=run.path)
    assert metrics(tmp_path / "plain")["mapped_with"] == {}
    assert "positions" not in Page(plain.report.read_text()).text


def test_models_are_compared_on_the_same_places(tmp_path, wide):
    """One of the models never sees water, where the other is right: the difference is sure."""
    good = wide_run(tmp_path / "good", wide)
    blind = wide_run(tmp_path / "blind", wide, never=(1,))
    models = [good.path, blind.path, good.path]
    made = evaluate(wide, tmp_path / "report", model=models, window=256)
    with pytest.raises(OutputError, match=r"holds comparison\.json already"):
        evaluate(wide, tmp_path / "report", model=models, window=256)
    assert [rival.name for rival in made.rivals] == ["good-1", "blind", "good-3"]
    first, worse, same = made.rivals
    alone = evaluate(wide, tmp_path / "alone", model=blind.path, window=256)
    assert worse.scores["Mean IoU"] == alone.scores.mean_iou
    assert worse.intervals["Mean IoU"] == alone.intervals["mean_iou"]
    value, low, high = worse.difference["Mean IoU"]
    assert value == pytest.approx(worse.scores["Mean IoU"] - first.scores["Mean IoU"])
    assert low < value < high < 0
    assert same.difference["Accuracy"] == (0, 0, 0) and first.difference == {}
    written = {path.relative_to(tmp_path / "report").as_posix() for path in (tmp_path / "report").rglob("*.html")}
    assert written == {"comparison.html", "good-1/report.html", "blind/report.html", "good-3/report.html"}
    assert json.loads((tmp_path / "report" / "comparison.json").read_text())["models"][1]["name"] == "blind"
    assert made.report == tmp_path / "report" / "comparison.html"
    assert f"--model {good.path} --model {blind.path}" in Page(made.report.read_text()).text


def test_models_are_all_checked_before_one_is_scored_and_share_the_search_for_leaks(tmp_path, wide, monkeypatch):
    searched, scored = [], []
    monkeypatch.setattr("sat2map.evaluation.leaking.find_leaks", lambda grounds: searched.append(grounds) or ())
    monkeypatch.setattr("sat2map.evaluation.evaluating._count", lambda *_: scored.append(1))
    one, two = (wide_run(tmp_path / name, wide) for name in ("one", "two"))
    random = wide_run(tmp_path / "random", wide)
    model = load_model(random.path)
    replace(model, provenance={**model.provenance, "split": "random"}).save()
    with pytest.raises(SourceError, match="This is no test: The split was random"):
        evaluate(wide, tmp_path / "report", model=[one.path, two.path, random.path], window=256)
    assert len(searched) == 1 and not scored


def test_models_of_other_tests_are_not_compared(tmp_path, wide):
    one = wide_run(tmp_path / "one", wide)
    other = colour_run(tmp_path / "other", wide, val=("place 2",), test=("place 1",), unit=32)
    with pytest.raises(ModelError, match=r"one and other were not scored on the same ground"):
        evaluate(wide, tmp_path / "report", model=[one.path, other.path], window=256)
    assert not (tmp_path / "report").exists()


def test_probabilities_are_judged_before_and_after_calibration(tmp_path, wide):
    """The colour model is always sure, and wrong on a part: a temperature makes it as sure as it is right."""
    run = wide_run(tmp_path / "run", wide)
    model = load_model(run.path)
    replace(model, calibration=Calibration.of_temperature(3, 3)).save()
    made = evaluate(wide, tmp_path / "report", model=run.path, window=256)
    told = metrics(tmp_path / "report")["probabilities"]
    assert told["raw"]["accuracy"] == told["calibrated"]["accuracy"] == pytest.approx(made.scores.accuracy)
    assert told["calibrated"]["mean_confidence"] < told["raw"]["mean_confidence"]
    assert {"reliability.png", "coverage.png"} <= {f.name for f in (tmp_path / "report").iterdir()}
    text = Page(made.report.read_text()).text
    assert f"{told['raw']['ece']:.3f}, calibrated {told['calibrated']['ece']:.3f}" in text


def test_loaded_models_are_scored_as_their_paths_are(tmp_path, noisy, run):
    for report, model in (("path", run.path), ("loaded", load_model(run.path)), ("listed", [load_model(run.path)])):
        evaluate(noisy, tmp_path / report, model=model)
    by_path, *loaded = (metrics(tmp_path / report)["classes"] for report in ("path", "loaded", "listed"))
    assert loaded == [by_path, by_path]


@pytest.mark.parametrize("name", ["metrics.json", "best.png", "leaks.png"])
def test_a_report_replaces_nothing_unasked(tmp_path, noisy, run, name):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / name).write_text("{}")
    with pytest.raises(OutputError, match=rf"holds {name} already, which a report would replace. Name another folder"):
        evaluate(noisy, tmp_path / "report", model=run.path)
    assert (tmp_path / "report" / name).read_text() == "{}"
    evaluate(noisy, tmp_path / "report", model=run.path, overwrite=True)
    assert metrics(tmp_path / "report")["accuracy"] > 0


def test_the_folder_is_checked_first(tmp_path):
    (tmp_path / "file").write_text("dear")
    with pytest.raises(OutputError, match=r"is a file. Name a folder"):
        evaluate("no source", tmp_path / "file", model="no model", overwrite=True)
    with pytest.raises(OutputError, match=r"is a file. Name a folder"):
        evaluate("no source", tmp_path / "file" / "report", model="no model")


class Page(HTMLParser):
    """The addresses and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_stands_alone(tmp_path, noisy, run):
    made = evaluate(noisy, tmp_path / "my report", model=run.path, split="val")
    html = made.report.read_text()
    page = Page(html)
    assert len([a for a in page.addresses if a.startswith("data:image/")]) >= 2
    assert all(a.startswith(("data:", "#")) for a in page.addresses)
    assert "url(http" not in html
    assert "@import" not in html
    assert {f.name for f in made.report.parent.iterdir()} >= {"report.html", "metrics.json", "confusion.png"}


def test_a_report_says_how_to_repeat_it(tmp_path, noisy, run):
    made = evaluate(noisy, tmp_path / "my report", model=run.path, split="val")
    text = Page(made.report.read_text()).text
    expected = ["sat2map", "evaluate", str(noisy), str(tmp_path / "my report"), "--model", str(run.path)]
    assert f"{shlex.join(expected)} --split val" in text
    assert shlex.join(["sat2map", "train", str(noisy), str(run.path), "--size", "32", "--epochs", "1"]) in text
