"""Our defaults beside the published recipe and a plain loop: same source, split, seeds and minutes, in turn.

    python bench/train.py SOURCE --test "Tile 8" --val "Tile 2" --minutes 6 --seeds 0 1 2 --json train.json

Test ground that leaks is scored all the same, as all are alike in that.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from plain_loop import train_plainly

import sat2map
from sat2map.metrics import Scores
from sat2map.runs import environment

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from published_recipe import RECIPE

RECIPES: dict[str, dict] = {"ours": {}, "published": RECIPE, "plain": {}}


def measure(source: str, folder: Path, name: str, words: dict) -> dict:
    if name == "plain":
        return {"name": name, "seed": words["seed"], **scores_told(*train_plainly(source, **words))}
    run = folder / f"{name}-{words['seed']}"
    began = time.perf_counter()
    sat2map.train(source, run, overwrite=True, **words)
    trained = time.perf_counter()
    found = sat2map.evaluate(source, run / "report", model=run, overwrite=True, leaks="accept")
    assert found.scores, "a source of map pictures without a legend has no classes to score"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "name": name,
        "seed": words["seed"],
        **scores_told(rows[-1]["step"], found.scores),
        "seconds_trained": rows[-1]["seconds"],
        "seconds_train": trained - began,
        "seconds_evaluate": time.perf_counter() - trained,
    }


def scores_told(steps: int, scores: Scores) -> dict:
    iou = {c.name: c.iou for c in scores.classes}
    return {"steps": steps, "mean_iou": scores.mean_iou, "accuracy": scores.accuracy, "iou": iou}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--test", action="append", default=[])
    parser.add_argument("--val", action="append", default=[])
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--folder", type=Path, help="keep the runs here")
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    folder = told.folder or Path(tempfile.mkdtemp())
    results = []
    for seed in told.seeds:
        for name in told.recipes:
            parts = {part: tuple(getattr(told, part)) for part in ("test", "val") if getattr(told, part)}
            words = {**RECIPES[name], **parts, "minutes": told.minutes, "seed": seed}
            results.append(measure(told.source, folder, name, words))
            print(json.dumps(results[-1]), flush=True)
            if told.json:
                told.json.write_text(json.dumps({"environment": environment(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
