"""What a block costs more through Ray than in one process: the same blocks, computed by both, without writing a map.

python bench/engines.py SCENE MODEL --block 1024 --workers 1 2 --json engines.json
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import closing
from pathlib import Path

from sat2map.engines import ENGINES
from sat2map.jobs import Job
from sat2map.options import PredictOptions
from sat2map.runs import environment


def measure(scene: str, model: str, words: dict, repeats: int) -> dict:
    job = Job(scene, model, PredictOptions(**words))
    blocks = job.blocks()
    with closing(ENGINES[job.options.engine](job.options)) as engine:
        began = time.perf_counter()
        list(engine.compute(job, blocks[: job.options.workers or 1]))
        opened = time.perf_counter() - began
        seconds = []
        for _ in range(repeats):
            began = time.perf_counter()
            taken = sum(strip.pixels.nbytes for strip in engine.compute(job, blocks))
            seconds.append(time.perf_counter() - began)
    return {
        "engine": job.options.engine,
        "workers": job.options.workers,
        "blocks": len(blocks),
        "bytes_per_block": taken / len(blocks),
        "seconds_to_open": round(opened, 3),
        "seconds_per_block": [round(s / len(blocks), 5) for s in seconds],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene")
    parser.add_argument("model")
    parser.add_argument("--block", type=int, default=1024)
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    ways = [{"engine": "local"}, *({"engine": "ray", "workers": count} for count in told.workers)]
    results = [measure(told.scene, told.model, {**way, "block": told.block}, told.repeats) for way in ways]
    local = min(results[0]["seconds_per_block"])
    for result in results:
        result["overhead_per_block"] = round(min(result["seconds_per_block"]) - local, 5)
        print(json.dumps(result))
    if told.json:
        told.json.write_text(json.dumps({"environment": environment(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
