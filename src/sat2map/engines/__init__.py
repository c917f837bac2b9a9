"""Where blocks of a job are computed. A new engine is a module here and a row in `ENGINES`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from sat2map.engines.local import LocalEngine
from sat2map.jobs import Job
from sat2map.options import PredictOptions
from sat2map.predictor import Strip
from sat2map.tiling import Window

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Computes blocks; models stay open from one job to the next."""

    def compute(self, job: Job, blocks: Sequence[Window]) -> Iterator[Strip]:
        """Yield the finished strips of blocks: in any order between blocks, from top to bottom in each."""
        ...

    def each(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterable[Result]:
        """Call a function that maps a scene with this engine for each of many; results in the order of the items."""
        ...

    def description(self, job: Job) -> str:
        """Return what computes, in words."""
        ...

    def close(self) -> None:
        """Stop what runs and let go of everything."""
        ...


def _open_ray(options: PredictOptions) -> Engine:
    from sat2map.engines.ray import RayEngine

    return RayEngine(options)


ENGINES: dict[str, Callable[[PredictOptions], Engine]] = {"local": LocalEngine, "ray": _open_ray}
"""How blocks are computed; an engine is closed after use."""
