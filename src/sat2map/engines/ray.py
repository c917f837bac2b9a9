"""A Ray cluster: each worker opens a model once, and computes the blocks of scenes that it is given.

Strips travel back to the driver, which alone writes: a map has one writer, whoever dies, and workers need only read.
A block whose worker died is given to another worker.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sat2map.engines.cluster import Workers, fetch
from sat2map.engines.local import LocalEngine
from sat2map.errors import BadOption, WorkerLost
from sat2map.jobs import Job
from sat2map.options import PredictOptions
from sat2map.predictor import Strip
from sat2map.progress import track
from sat2map.scenes.handles import is_remote
from sat2map.tiling import Window

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 3
"""How often a block is computed again because its worker died, before the job fails."""

SCENES = 8
"""How many scenes a worker keeps open."""


class Worker:
    """Computes blocks of jobs, in a process of its own."""

    def __init__(self) -> None:
        self._engine = LocalEngine()
        self._opened = lru_cache(SCENES)(lambda job: job)

    def compute(self, job: Job, block: Window) -> tuple[str, list[Strip]]:
        """Return what computed, in words, and the strips of a block."""
        job = self._opened(job)
        strips = list(self._engine.compute(job, [block]))
        return self._engine.description(job), strips


class RayEngine:
    """Computes blocks on the workers of a cluster, one block at a time on each; see `Engine`.

    Several threads may compute a job each. They share the workers, first come, first served, so that the blocks of
    one scene fill the pauses of another.

    Args:
        options: Address and number of workers; Ray is started, or the cluster joined, with the first block.
    """

    def __init__(self, options: PredictOptions) -> None:
        self._options, self._lock = options, threading.Lock()
        self._workers: Workers | None = None
        self._ways: set[str] = set()

    def compute(self, job: Job, blocks: Sequence[Window]) -> Iterator[Strip]:
        """Yield the strips of blocks as they come; up to two blocks for each worker are under way or wait to be taken.

        Raises:
            WorkerLost: Workers died again and again.
            BadOption: Workers compute in unlike ways.
        """
        job, rest = _anywhere(job), deque((block, RETRIES) for block in blocks)
        running: dict[Future[Any], tuple[Window, int]] = {}
        try:
            while rest or running:
                while rest and len(running) < 2 * self._open().count:
                    block, retries = rest.popleft()
                    running[self._open().submit("compute", job, block)] = block, retries
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    block, retries = running.pop(future)
                    try:
                        strips = self._fetched(future)
                    except WorkerLost:
                        if not retries:
                            raise
                        rest.appendleft((block, retries - 1))
                    else:
                        yield from strips
        finally:
            for future in running:
                future.cancel()

    def each(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Call a function for each of many scenes, several at a time: while some are finished, others are computed."""
        if not items:
            return []
        with ThreadPoolExecutor(2 * self._open().count) as threads:
            futures = [threads.submit(function, item) for item in items]
            try:
                for future in track(as_completed(futures), "Scenes", len(futures)):
                    future.result()
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                self.close()
                raise
        return [future.result() for future in futures]

    def description(self, job: Job) -> str:
        """Return what ran the network, in words."""
        return ", ".join([*self._ways, "Ray"])

    def close(self) -> None:
        """Stop the workers, and Ray if it was started here."""
        if self._workers is not None:
            self._workers.close()

    def _open(self) -> Workers:
        with self._lock:
            if self._workers is None:
                self._workers = Workers(Worker, self._options.address, self._options.workers)
            return self._workers

    def _fetched(self, future: Future[Any]) -> list[Strip]:
        """Return the strips of a block that was computed."""
        way, where = future.result()
        self._ways.add(way)
        if len(self._ways) > 1:
            ways = "; ".join(sorted(self._ways))
            raise BadOption(f"Workers compute in unlike ways: {ways}. Choose one by --runtime and --precision.")
        strips: list[Strip] = fetch(where)
        return strips


def _anywhere(job: Job) -> Job:
    """Return the job with paths that hold in whatever folder a worker runs."""
    aoi = job.options.aoi and _absolute(job.options.aoi)
    options = replace(job.options, aoi=aoi)
    return replace(job, path=_absolute(job.path), model_path=_absolute(job.model_path), options=options)


def _absolute(path: str) -> str:
    """Return a path from the root; a URL stays as it is."""
    return path if is_remote(path) else str(Path(path).absolute())
