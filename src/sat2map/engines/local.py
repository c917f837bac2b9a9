"""This process: block after block; threads and the network's own threads use the processors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sat2map.jobs import Job
from sat2map.options import PredictOptions
from sat2map.predictor import Predictor, Strip, predictors
from sat2map.scenes import Scene
from sat2map.tiling import Window

Item = TypeVar("Item")
Result = TypeVar("Result")


class LocalEngine:
    """Computes blocks one after the other, in one thread; see `Engine`."""

    def __init__(self, options: PredictOptions | None = None) -> None:
        self._kind: tuple[Any, ...] = ()
        self._open: Callable[[Scene], Predictor]

    def compute(self, job: Job, blocks: Sequence[Window]) -> Iterator[Strip]:
        """Yield the strips of blocks, block after block."""
        predictor = self._predictor(job)
        for block in blocks:
            yield from job.strips(block, predictor)

    def each(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterable[Result]:
        """Call a function for each of many scenes, one after the other."""
        return map(function, items)

    def description(self, job: Job) -> str:
        """Return what runs the network, in words."""
        return self._predictor(job).runtime.description

    def close(self) -> None:
        """Nothing is held."""

    def _predictor(self, job: Job) -> Predictor:
        """Return the job's model at work; opening it takes seconds."""
        kind = job.model.id, job.options, job.keep
        if kind != self._kind:
            self._kind, self._open = (
                kind,
                predictors(job.model, job.options, keep=job.keep, abstain=job.options.abstain),
            )
        return self._open(job.scene)
