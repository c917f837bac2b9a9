"""Learning curves of labelling what `sat2map suggest` names, and of labelling random places.

    python bench/suggest.py dubai-aerial --pool "Tile 1" --pool "Tile 4" --pool "Tile 6" --val "Tile 2" \
        --test "Tile 8" --seeds 0 1 2 --json suggest.json --picture suggest.png
    python bench/suggest.py --json suggest.json --picture suggest.png    # only show what was measured

SOURCE holds folders `NAME/images` and `NAME/masks` of pictures without georeference. Labels of the pool are shown for
the places that were chosen only. All ways of choosing begin with the same random places and the same model of them,
add the same number in each round, and train anew, from scratch, for the same number of steps with the same seed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from shapely import box

import sat2map
from sat2map.files import write_json
from sat2map.mapmodel import load_model
from sat2map.metrics import Scores, confusion, scores_of
from sat2map.options import ReadOptions, RuntimeOptions
from sat2map.predictor import predictors
from sat2map.runs import environment
from sat2map.scenes import image_files, open_scene
from sat2map.sources import open_source
from sat2map.suggesting import suggest
from sat2map.tiling import Window, grid, whole

SIZE = 256
"""Side of a place in pixels."""

STEPS = 40
"""Steps in an epoch: places are repeated to fill it, so that rounds differ neither in steps nor in validations."""

SCORED = 512
"""Side of the windows that are scored: those in the corners of each picture, as far as they do not overlap."""


class Place(NamedTuple):
    """A window of a picture."""

    scene: str
    window: Window


def places_of(folder: Path, size: int, least: float = 0.5) -> list[Place]:
    """Return the places into which `suggest` cuts pictures that are valid everywhere."""
    scenes = [(file, open_scene(file).shape) for file in image_files(str(folder))]
    places = [Place(file, window) for file, shape in scenes for window in grid(whole(shape), size)]
    return [p for p in places if p.window.height * p.window.width >= least * size**2]


def frame_of(places: Sequence[Place]) -> gpd.GeoDataFrame:
    """Return places as `suggest` writes them."""
    boxes = [box(w.col, -w.bottom, w.right, -w.row) for _, w in places]
    return gpd.GeoDataFrame({"scene": [p.scene for p in places]}, geometry=boxes)


def read_places(path: Path) -> list[Place]:
    """Return what `suggest` wrote, the best first."""
    frame = gpd.read_file(path).sort_values("rank")
    bounds = frame.geometry.bounds.round().astype(int).to_numpy().tolist()
    windows = [Window(-top, left, top - bottom, right - left) for left, bottom, right, top in bounds]
    return [Place(scene, window) for scene, window in zip(frame["scene"], windows, strict=True)]


def mask_of(picture: Path) -> Path:
    """Return the mask of a picture."""
    return picture.parents[1] / "masks" / f"{picture.stem}.png"


def cut(places: Sequence[Place], folder: Path, *, copies: int | None = None) -> None:
    """Write images and masks of places into `images` and `masks` of a folder; in turn until there are enough copies."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i in range(len(places) if copies is None else copies):
        scene, window = places[i % len(places)]
        picture = Path(scene).resolve()
        corners = (window.col, window.row, window.right, window.bottom)
        for name, file in (("images", picture), ("masks", mask_of(picture))):
            Image.open(file).convert("RGB").crop(corners).save(folder / name / f"{i:04}.tif")  # not compressed


class Bench:
    """What all ways of choosing share: the pool, validation and test, and how a network is trained."""

    def __init__(self, told: argparse.Namespace, folder: Path) -> None:
        self.told, self.folder = told, folder
        source = Path(told.source)
        self.legend = folder / "legend.json"
        write_json(self.legend, open_source(source, ReadOptions()).legend.to_json())
        for name in told.pool:
            (folder / "pool" / name).mkdir(parents=True)
            (folder / "pool" / name / "images").symlink_to((source / name / "images").resolve())
        self.pool = places_of(folder / "pool", SIZE)
        cut(places_of(source / told.val / "images", SIZE)[:: told.sparse], folder / "val")
        cut(self._corners(source / told.test / "images"), folder / "test")

    def _corners(self, folder: Path) -> list[Place]:
        found = places_of(folder, SCORED, least=1)
        rows = {p.scene: max(q.window.row for q in found if q.scene == p.scene) for p in found}
        cols = {p.scene: max(q.window.col for q in found if q.scene == p.scene) for p in found}
        return [p for p in found if p.window.row in (0, rows[p.scene]) and p.window.col in (0, cols[p.scene])]

    def learn(self, places: Sequence[Place], run: Path, seed: int) -> dict:
        """Train on places and return what the test says."""
        source = run.with_suffix(".source")
        cut(places, source / "train", copies=STEPS * self.told.batch)
        (source / "val").symlink_to(self.folder / "val")
        began = time.perf_counter()
        words = {
            "network": self.told.network,
            "encoder": self.told.encoder,
            "scale": self.told.scale,
            "batch": self.told.batch,
            "size": SIZE,
            "epochs": -(-self.told.steps // STEPS),
            "sample_every": 1000,
            "seed": seed,
            "legend": str(self.legend),
            "split": "groups",
            "val": ("val",),
            "test": ("0",),
            "check_leaks": False,
        }
        sat2map.train(source, run, **words)
        trained = time.perf_counter()
        scores = self._scored(run)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        return {
            "places": len(places),
            "steps": rows[-1]["step"],
            "mean_iou": scores.mean_iou,
            "accuracy": scores.accuracy,
            "iou": {c.name: c.iou for c in scores.classes},
            "seconds_train": round(trained - began, 1),
            "seconds_score": round(time.perf_counter() - trained, 1),
        }

    def _scored(self, run: Path) -> Scores:
        """Return the scores of one confusion matrix over all windows of the test."""
        model = load_model(run)
        classes = len(model.output.legend)
        predictor, matrix = predictors(model, RuntimeOptions()), np.zeros((classes, classes), np.int64)
        source = open_source(self.folder / "test", ReadOptions(legend=str(self.legend)))
        assert source.legend.names == model.output.legend.names
        for pair in source.pairs:
            truth = pair.target.read().pixels[0]
            matrix += confusion(truth, predictor(pair.image).block(pair.image, whole(truth.shape)).pixels, classes)
        return scores_of(matrix, model.output.legend.names)


def by_suggestion(
    bench: Bench, run: Path, labelled: Sequence[Place], count: int, _: np.random.Generator
) -> list[Place]:
    """Return what `suggest` names."""
    return _suggested(bench, run, labelled, count)


def by_uncertainty(
    bench: Bench, run: Path, labelled: Sequence[Place], count: int, _: np.random.Generator
) -> list[Place]:
    """Return the most uncertain places, however alike."""
    _suggested(bench, run, labelled, len(bench.pool))
    frame = gpd.read_file(run / "places.gpkg")
    ranked = frame.sort_values(["uncertainty", "rank"], ascending=[False, True])["rank"].tolist()
    every = read_places(run / "places.gpkg")
    return [every[rank - 1] for rank in ranked[:count]]


def by_chance(bench: Bench, _: Path, labelled: Sequence[Place], count: int, rng: np.random.Generator) -> list[Place]:
    """Return random places."""
    free = [place for place in bench.pool if place not in set(labelled)]
    return [free[i] for i in rng.choice(len(free), count, replace=False)]


def _suggested(bench: Bench, run: Path, labelled: Sequence[Place], count: int) -> list[Place]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # nor have the pictures one
        frame_of(labelled).to_file(run / "labelled.gpkg")
    suggest(
        bench.folder / "pool",
        run / "places.gpkg",
        model=run,
        count=count,
        size=SIZE,
        labelled=run / "labelled.gpkg",
        overwrite=True,  # the first model is asked by several ways
    )
    return read_places(run / "places.gpkg")


Way = Callable[[Bench, Path, Sequence[Place], int, np.random.Generator], list[Place]]

WAYS: dict[str, Way] = {"suggest": by_suggestion, "random": by_chance, "uncertainty": by_uncertainty}
"""How the next places are chosen."""


def repeat(bench: Bench, seed: int, keep: Callable[[dict], None]) -> None:
    """Go through all rounds with one seed; all ways share the first model."""
    told, rng = bench.told, np.random.default_rng(seed)
    start = [bench.pool[i] for i in rng.choice(len(bench.pool), told.each, replace=False)]
    first = bench.folder / f"{seed}-start"
    measured = bench.learn(start, first, seed)
    for name in told.ways:
        keep({"way": name, "seed": seed, "round": 0, **measured})
    state = dict.fromkeys(told.ways, (first, start))
    chances = {name: np.random.default_rng([seed, i]) for i, name in enumerate(WAYS)}
    for number in range(1, told.rounds + 1):
        for name in told.ways:
            run, labelled = state[name]
            began = time.perf_counter()
            new = WAYS[name](bench, run, labelled, told.each, chances[name])
            seconds = round(time.perf_counter() - began, 1)
            state[name] = bench.folder / f"{seed}-{name}-{number}", [*labelled, *new]
            measured = bench.learn(state[name][1], state[name][0], seed)
            keep({"way": name, "seed": seed, "round": number, **measured, "seconds_choose": seconds})


def tell(results: Sequence[dict], measure: str = "mean_iou") -> None:
    """Print the mean over seeds (with the least and the largest) by number of places, as a table in Markdown."""
    numbers = sorted({row["places"] for row in results})
    print(f"| {measure} |", " | ".join(map(str, numbers)), "|\n|---|" + "--:|" * len(numbers))
    for name in WAYS:
        cells = [[r[measure] for r in results if (r["way"], r["places"]) == (name, n)] for n in numbers]
        if any(cells):
            told = [f"{np.mean(c):.3f} ({min(c):.3f} to {max(c):.3f})" if c else "" for c in cells]
            print(f"| {name} |", " | ".join(told), "|")


def draw(results: Sequence[dict], path: Path) -> None:
    """Draw the curve of each seed, and the mean of those ways and numbers of places that all seeds reached."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for colour, name in zip(("#0072B2", "#E69F00", "#009E73"), WAYS, strict=True):
        rows = [row for row in results if row["way"] == name]
        seeds = sorted({row["seed"] for row in rows})
        curves = {s: {row["places"]: row["mean_iou"] for row in rows if row["seed"] == s} for s in seeds}
        for curve in curves.values():
            axes.plot(list(curve), list(curve.values()), color=colour, lw=0.8, alpha=0.5)
        common = [n for n in curves[seeds[0]] if all(n in c for c in curves.values())] if seeds else []
        if common:
            mean = [np.mean([curve[n] for curve in curves.values()]) for n in common]
            axes.plot(common, mean, color=colour, lw=2.5, marker="o", label=f"{name} (mean of {len(seeds)})")
    axes.set(xlabel="Labelled places", ylabel="Mean IoU on the test")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?")
    parser.add_argument("--pool", action="append", default=[], help="a folder of the source to choose from")
    parser.add_argument("--val")
    parser.add_argument("--test")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=8, help="places at the start, and more in each round")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--network", default="unet")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--scale", type=float, default=2)
    parser.add_argument("--sparse", type=int, default=6, help="each so many places of --val are validated on")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["suggest", "random"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folder", type=Path, help="keep the runs here")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    told = parser.parse_args()
    call = {name: value for name, value in vars(told).items() if not isinstance(value, Path)}
    results: list[dict] = []

    def keep(row: dict) -> None:
        results.append(row)
        print(json.dumps(row), flush=True)
        write_json(told.json, {"environment": environment(), "call": call, "results": results})

    if told.source:
        folder = told.folder or Path(tempfile.mkdtemp())
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        bench = Bench(told, folder.resolve())
        print(f"{len(bench.pool)} places to choose from", flush=True)
        for seed in told.seeds:
            repeat(bench, seed, keep)
    else:
        results = json.loads(told.json.read_text())["results"]
    for measure in ("mean_iou", "accuracy"):
        tell(results, measure)
    if told.picture:
        draw(results, told.picture)


if __name__ == "__main__":
    main()
