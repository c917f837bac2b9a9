"""How often intervals of areas hold the truth on maps of real imagery, by reference points and by test ground.

Each picture of the run's test part is mapped, but for its unlabelled ground, so that its true areas are known. Test
ground is that of some of the other pictures.

    python bench/areas.py SOURCE RUN FOLDER
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
from rich.progress import track

import sat2map
from sat2map.areas import Areas, estimate_areas, estimate_areas_from_places
from sat2map.legend import IGNORED, Legend
from sat2map.metrics import confusion
from sat2map.options import ReadOptions
from sat2map.sinks import open_sink
from sat2map.splits import read_split
from sat2map.tiling import grid, whole

PLACE = 512
"""Side in pixels of the places of test ground."""

RARE = 0.01
"""Classes with a smaller share of a picture are counted by themselves."""


def mapped(source: Path, run: Path, folder: Path) -> tuple[Legend, list[tuple[Path, np.ndarray, np.ndarray]]]:
    """Return the model's legend, and for each test picture its map and the true and the mapped ids `(H, W)`."""
    legend = sat2map.load_model(run).output.legend
    opened = sat2map.open_source(source, ReadOptions(ignore=("Unlabeled",)))
    assert opened.legend.names == legend.names
    pairs = {pair.name: pair for pair in opened.pairs}
    found = []
    for number, area in enumerate(read_split(run / "split.json").part("test")):
        pair, made = pairs[area.pair], folder / f"{number}.tif"
        sat2map.predict(source / area.pair, made, model=run, overwrite=True)
        window = whole(pair.image.shape)
        with rasterio.open(made) as file:
            ids = legend.for_maps().ids_from_values(file.read(1))
        truth = pair.target.read(window).pixels[0]
        ids[truth == IGNORED] = IGNORED
        labelled = folder / f"{number}_labelled.tif"
        with open_sink(labelled, pair.image.geobox, legend, overwrite=True) as sink:
            sink.write(window, ids)
        found.append((labelled, truth, ids))
    return legend, found


def held(areas: Areas, legend: Legend, truth: np.ndarray) -> list[bool]:
    """Return whether the interval of each class holds its true area."""
    true = dict(zip(legend.names, np.bincount(truth[truth != IGNORED], minlength=len(legend)), strict=True))
    return [c.area.interval[0] <= true[c.name] <= c.area.interval[1] for c in areas.classes]


def by_points(made: Path, truth: np.ndarray, legend: Legend, count: int, seed: int) -> list[bool]:
    """Draw points, label them with the truth, and compare."""
    file = made.with_suffix(".gpkg")
    points = gpd.read_file(sat2map.sample(made, count, file, seed=seed, overwrite=True))
    rows, cols = (-points.geometry.y).astype(int), points.geometry.x.astype(int)
    points["class"] = [legend.names[i] for i in truth[rows, cols]]
    points.to_file(file)
    return held(sat2map.area(made, reference=file).areas, legend, truth)


def places(truth: np.ndarray, ids: np.ndarray, classes: int) -> list[np.ndarray]:
    """Return the confusion matrix of each block."""
    return [confusion(truth[w.slices], ids[w.slices], classes) for w in grid(whole(truth.shape), PLACE)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    legend, pictures = mapped(options.source, options.run, options.folder)
    size = len(legend)
    shares = [np.bincount(t[t != IGNORED], minlength=size) / (t != IGNORED).sum() for _, t, _ in pictures]
    result: dict[str, object] = {"pictures": len(pictures), "true_shares": np.round(shares, 3).tolist()}
    for count in (100, 300, 1000):
        runs = itertools.product(pictures, range(options.seeds))
        hits = np.array([by_points(made, t, legend, count, s) for (made, t, _), s in track(list(runs))])
        rare = np.repeat(np.array(shares) < RARE, options.seeds, axis=0)
        result[f"points_{count}"] = {
            name: [int(hits[which].sum()), int(which.sum())] for name, which in (("rare", rare), ("others", ~rare))
        }
    counts = [places(t, ids, size) for _, t, ids in pictures]
    for others in (4, len(pictures) - 1):
        tried: dict[str, list[bool]] = {"places": [], "without_own_luck": [], "pixels_eq_10": []}
        off: dict[str, list[float]] = {"as_mapped": [], "corrected": []}
        draws = range(options.seeds if others < len(pictures) - 1 else 1)
        for seed, (k, (_, truth, ids)) in itertools.product(draws, enumerate(pictures)):
            chosen = random.Random(seed).sample([i for i in range(len(pictures)) if i != k], others)
            ground = np.array([matrix for i in chosen for matrix in counts[i]])
            areas = np.bincount(ids[ids != IGNORED], minlength=size).tolist()
            pixels = sum(areas)
            of_places = [estimate_areas_from_places(ground, areas, legend.names, pixels=p) for p in (pixels, None)]
            every = (*of_places, estimate_areas(ground.sum(axis=0).T, areas, legend.names))
            for name, found in zip(tried, every, strict=True):
                tried[name] += held(found, legend, truth)
            off["as_mapped"] += np.abs(np.divide(areas, pixels) - shares[k]).tolist()
            off["corrected"] += [
                abs(c.area.value / pixels - s) for c, s in zip(every[0].classes, shares[k], strict=True)
            ]
        result[f"others_{others}"] = {name: [int(sum(h)), len(h)] for name, h in tried.items()} | {
            f"mean_error_{name}": round(float(np.mean(o)), 4) for name, o in off.items()
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
