"""Evaluation on other imagery than that of the training, of several models, and into a folder that was used before."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

import synthetic
from models import colour_run
from sat2map import evaluate
from sat2map.errors import OutputError
from sat2map.evaluation.comparing import unique
from sat2map.evaluation.counting import ClassCounts
from sat2map.evaluation.sizing import ground_areas
from sat2map.evaluation.tallies import ClassTally, PictureTally
from sat2map.fidelity import PixelErrors
from sat2map.mapmodel import load_model
from sat2map.outputs import Picture
from sat2map.runs import RunFolder
from sat2map.scenes.array import array_scene
from sat2map.sources import Pair, Source
from sat2map.splits import read_split
from sat2map.tiling import Window
from test_evaluation_pictures import painted_run

SIDE = 320


def write(path: Path, **grounds: np.ndarray) -> tuple[Path, Path]:
    """Write images, and their masks in a folder that has to be named; return both folders."""
    for i, (name, ids) in enumerate(grounds.items()):
        synthetic.save(path / "pictures" / f"{name}.png", synthetic.seen(ids, i))
        synthetic.write_mask(path / "truth" / f"{name}.png", ids)
    for folder in ("pictures", "truth"):
        synthetic.write_legend(path / folder / "classes.json")
    return path / "pictures", path / "truth"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on images whose labels were named."""
    path = tmp_path_factory.mktemp("trained")
    source, labels = write(path, **{f"a{i}": synthetic.landscape(i, SIDE) for i in range(3)})
    return colour_run(path / "run", source, labels=str(labels), split="files")


@pytest.fixture
def elsewhere(tmp_path: Path, trained: RunFolder) -> tuple[Path, Path]:
    """Other images with labels elsewhere; one is a part of an image of the training."""
    learnt = int(read_split(trained.split).part("train")[0].pair[1])  # the name is a letter and a number
    ids, crop = synthetic.landscape(learnt, SIDE), np.s_[..., 37:257, 20:240]
    source, labels = write(tmp_path / "elsewhere", b0=ids[crop], b1=synthetic.landscape(8, 220))
    synthetic.save(source / "b0.png", synthetic.seen(ids, learnt)[crop])
    return source, labels


def test_other_imagery_with_named_labels_is_scored_and_compared_with_that_of_the_training(tmp_path, trained, elsewhere):
    source, labels = elsewhere
    made = evaluate(source, tmp_path / "report", model=trained.path, split="all", labels=str(labels))
    assert made.scores.accuracy > 0.9
    (leak,) = json.loads((tmp_path / "report" / "metrics.json").read_text())["leaks"]
    assert (leak["first"]["part"], leak["second"]["name"]) == ("learnt", "b0.png")
    assert {f.kind for f in made.findings if f.level != "note"} == {"seen-ground", "leak"}


@pytest.mark.parametrize("gone", ["pictures", "truth"])
def test_where_the_training_imagery_is_gone_it_is_said_that_leaks_are_not_known(tmp_path, elsewhere, gone):
    path = tmp_path / "first"
    own, masks = write(path, **{f"a{i}": synthetic.landscape(i) for i in range(3)})
    run = colour_run(path / "run", own, labels=str(masks), split="files")
    shutil.rmtree(path / gone)
    source, labels = elsewhere
    made = evaluate(source, tmp_path / "report", model=run.path, split="all", labels=str(labels))
    (finding,) = (f for f in made.findings if f.kind == "leaks-not-known")
    assert finding.level == "note" and "cannot be read: There " in finding.text
    assert made.scores.accuracy > 0.9


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture in each of three places, large enough that patches are shown."""
    return synthetic.rgb_folder(tmp_path_factory.mktemp("source"), count=3, size=160)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, source: Path) -> list[Path]:
    """Two runs; of the second it is known that it has seen its test."""
    path = tmp_path_factory.mktemp("runs")
    good, other = (colour_run(path / name, source) for name in ("good", "other"))
    model = load_model(other.path)
    replace(model, provenance={**model.provenance, "split": "random"}).save()
    return [good.path, other.path]


def files(folder: Path) -> set[str]:
    return {f.name for f in folder.iterdir() if f.is_file()}


def test_what_is_wrong_with_one_of_several_models_is_told_of_it(tmp_path, source, runs):
    made = evaluate(source, tmp_path / "report", model=runs, leaks="accept")
    (told,) = (f.text for f in made.findings if f.kind == "random-split")
    assert told.startswith("other: The split was random")
    assert any(told == note for note in json.loads((tmp_path / "report" / "comparison.json").read_text())["notes"])
    assert "other: The split was random" in made.report.read_text()


def test_what_is_true_of_several_models_is_told_once(tmp_path, source, runs):
    made = evaluate(source, tmp_path / "report", model=runs, split="train", leaks="accept")
    told = [f.text for f in made.findings if f.kind == "seen-ground"]
    assert len(told) == 1 and told[0].startswith("good: Scored on the part")


def test_the_report_of_a_model_is_not_replaced_unasked_by_a_comparison(tmp_path, source, runs, monkeypatch):
    evaluate(source, tmp_path / "other", model=runs[0])
    before = (tmp_path / "other" / "metrics.json").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("sat2map.evaluation.evaluating._score", lambda *_: pytest.fail("scored before it was checked"))
        with pytest.raises(OutputError, match=r"other holds metrics.json already.*--overwrite"):
            evaluate(source, tmp_path, model=runs, leaks="accept")
    assert (tmp_path / "other" / "metrics.json").read_bytes() == before
    evaluate(source, tmp_path, model=runs, leaks="accept", overwrite=True)
    assert (tmp_path / "other" / "metrics.json").read_bytes() != before


def test_a_report_holds_nothing_of_another_kind_from_before(tmp_path, source, runs):
    evaluate(source, tmp_path / "report", model=runs[0])
    (tmp_path / "report" / "notes.txt").write_text("mine")
    alone = files(tmp_path / "report")
    evaluate(source, tmp_path / "report", model=runs, leaks="accept", overwrite=True)
    assert files(tmp_path / "report") == {"comparison.html", "comparison.json", "notes.txt"}
    evaluate(source, tmp_path / "report", model=runs[0], overwrite=True)
    assert files(tmp_path / "report") == alone >= {"metrics.json", "report.html", "places.npz", "MODEL_CARD.md"}


def test_an_older_report_stays_whole_if_the_new_one_fails(tmp_path, source, runs, monkeypatch):
    evaluate(source, tmp_path / "report", model=runs[0])
    before = {f.name: f.read_bytes() for f in (tmp_path / "report").iterdir()}

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sat2map.evaluation.evaluating.write_model_card", fail)
    with pytest.raises(KeyboardInterrupt):
        evaluate(source, tmp_path / "report", model=runs[0], overwrite=True)
    assert {f.name: f.read_bytes() for f in (tmp_path / "report").iterdir()} == before


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "b", "a"], ["a-1", "b", "a-3"]),
        (["run", "run", "run-2"], ["run-1", "run-2-2", "run-2-3"]),
    ],
)
def test_no_two_models_share_a_name(names, expected):
    assert unique(names) == expected


def counted(count: int, pictures: int = 3) -> ClassTally:
    """Return a tally of so many places, spread over pictures, in which one pixel in eight is wrong."""
    tally = ClassTally(synthetic.LEGEND, np.arange(256, dtype=np.uint8), None)
    truth = np.arange(64).reshape(8, 8) % 3
    mapped = np.where(np.arange(8) == 0, (truth + 1) % 3, truth)
    for i in range(count):
        tally.counts.add(f"{i % pictures}.png", Window(0, 8 * i, 8, 8), truth, mapped)
    return tally


class Asked(dict):
    """A dict that counts how often it is gone through."""

    times = 0

    def __iter__(self):
        self.times += 1
        return super().__iter__()

    def values(self):
        self.times += 1
        return super().values()

    def items(self):
        self.times += 1
        return super().items()


@pytest.mark.parametrize("what", ["pixels", "by_picture"])
def test_pictures_are_told_apart_in_one_pass_over_the_places(what):
    counts = counted(12).counts
    counts._places = asked = Asked(counts._places)
    found = getattr(counts, what)
    assert asked.times == 1 and list(found) == ["0.png", "1.png", "2.png"]
    assert counts.pixels == {f"{i}.png": 4 * 64 for i in range(3)}
    assert counts.by_picture["0.png"].accuracy == pytest.approx(7 / 8)


def asks(kind: type, what: str, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often a property is asked for."""
    times: Counter[str] = Counter()
    plain: Callable = getattr(kind, what).fget
    monkeypatch.setattr(kind, what, property(lambda self: times.update([what]) or plain(self)))
    return times


def test_pixels_are_counted_once_for_all_pictures(monkeypatch):
    asked = asks(ClassTally, "scenes", monkeypatch)
    scenes = counted(12, pictures=6).to_json()["scenes"]
    assert [scene["pixels"] for scene in scenes] == [2 * 64] * 6 and asked["scenes"] == 1
    asked = asks(PictureTally, "scenes", monkeypatch)
    painted = PictureTally(Picture(synthetic.LEGEND), None)
    painted._painted._places = {(f"{i}.png", Window(0, 0, 8, 8)): PixelErrors() for i in range(6)}
    monkeypatch.setattr(PictureTally, "metrics", ())
    assert len(painted.to_json()["scenes"]) == 6 and asked["scenes"] == 1


@pytest.mark.usefixtures("no_net")
def test_painted_maps_whose_truth_means_no_class_have_a_report_all_the_same(tmp_path):
    for i in range(3):
        truth = np.full((3, 96, 96), 255, np.uint8) * np.array([0, 1, 0], np.uint8)[:, None, None]
        picture = np.concatenate([synthetic.seen(synthetic.landscape(i), i), truth], axis=2)
        synthetic.save(tmp_path / "maps" / f"{i}.png", picture)
    run = painted_run(tmp_path / "run", tmp_path / "maps")
    made = evaluate(tmp_path / "maps", tmp_path / "report", model=run.path, split="all")
    assert "far-colours" in {f.kind for f in made.findings}
    assert "places.npz" not in files(tmp_path / "report") and made.metrics[0].value > 0


def on(crs: str | None, x: float, y: float, side: float = 10.0) -> Source:
    images = [array_scene(np.zeros((1, 8, 96)), None, GeoBox((8, 96), Affine(side, 0, x, 0, -side, y), crs))] * 3
    pairs = tuple(Pair(f"{i}.png", "", image, image) for i, image in enumerate(images))
    return Source("here", "folders", "classes", pairs, synthetic.LEGEND, np.zeros((3, 3)))


@pytest.mark.parametrize(
    ("place", "unit"),
    [
        (on("EPSG:32636", 500_000, 40_000), "ha"),
        (on("EPSG:3395", 0, 8_362_699), "pixels"),  # Mercator at 60 degrees north: areas are four times too large
        (on("EPSG:3857", 0, 8_399_738), "pixels"),
        (on("EPSG:4326", 33, 1, 1e-4), "pixels"),
        (on(None, 0, 0), "pixels"),
    ],
)
def test_areas_are_in_hectares_only_where_the_map_keeps_them(place, unit):
    areas, found = ground_areas(counted(12), place)
    assert found == unit
    assert sum(c.mapped for c in areas.classes) == pytest.approx(12 * 64 * (0.01 if unit == "ha" else 1))


def test_pixels_of_two_sizes_are_not_put_together():
    fine, coarse = on("EPSG:32636", 500_000, 40_000), on("EPSG:32636", 500_000, 40_000, side=20)
    mixed = replace(fine, pairs=(*fine.pairs[:2], coarse.pairs[2]))
    assert ground_areas(counted(12), mixed)[1] == "pixels"


def test_counts_of_no_place_are_nothing():
    counts = ClassCounts(synthetic.LEGEND)
    assert counts.pixels == {} and counts.by_picture == {} and counts.draws() == []
    assert not counts.matrix.any() and counts.scores.accuracy is None
