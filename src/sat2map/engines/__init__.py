"""Where blocks are computed. An engine yields the finished strips of blocks, in any order between blocks.

A new engine is a module here and a row in `ENGINES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sat2map.engines.local import run_local
from sat2map.jobs import Job
from sat2map.predictor import Strip
from sat2map.tiling import Window

Engine = Callable[[Job, Sequence[Window]], Iterator[Strip]]


def _run_ray(job: Job, blocks: Sequence[Window]) -> Iterator[Strip]:
    from sat2map.engines.ray import run_ray

    return run_ray(job, blocks)


ENGINES: dict[str, Engine] = {"local": run_local, "ray": _run_ray}
"""How the blocks of a job are computed."""
