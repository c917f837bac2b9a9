"""A Ray cluster: each worker opens scene and model once, and computes the blocks it is given.

Strips travel back to the driver, which alone writes: one byte a pixel is little beside the computation, and workers
need no storage in common. A worker that dies is started anew and its block computed again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from sat2map.errors import MissingExtra, Sat2mapError, WorkerLost
from sat2map.jobs import Job
from sat2map.predictor import Strip
from sat2map.tiling import Window

try:
    import ray as _ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util import ActorPool as _ActorPool
except ImportError as error:
    raise MissingExtra("The engine ray", "ray") from error

ray: Any = _ray  # only partly typed
ActorPool: Any = _ActorPool

RETRIES = 3
"""How often a worker is started anew, and a block computed again, before the job fails."""


class Worker:
    """Computes blocks of a job."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def compute(self, block: Window) -> list[Strip]:
        """Return the strips of a block."""
        return list(self.job.strips(Window(*block)))


def run_ray(job: Job, blocks: Sequence[Window]) -> Iterator[Strip]:
    """Compute blocks on the workers of a cluster, one block at a time on each.

    Raises:
        WorkerLost: Workers died again and again.
    """
    if not ray.is_initialized():
        ray.init(
            address=job.options.address, log_to_driver=False, logging_level=logging.WARNING, include_dashboard=False
        )
    count = min(job.options.workers or len(ray.nodes()), max(len(blocks), 1))
    pool = ActorPool([_worker(job, count) for _ in range(count)])
    try:
        for strips in pool.map_unordered(lambda worker, block: worker.compute.remote(block), blocks):
            yield from strips
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, Sat2mapError) else error from None
    except RayError as error:
        raise WorkerLost(
            f"Workers were lost {RETRIES} times ({type(error).__name__}). What is done is kept: go on with the same "
            "command, with fewer --workers if the memory was too small."
        ) from error


def _worker(job: Job, count: int) -> Any:
    """Start one of `count` workers, which share the processors."""
    cpus = max(int(ray.cluster_resources().get("CPU", 1)) // count, 1)
    made = ray.remote(Worker).options(num_cpus=cpus, max_restarts=RETRIES, max_task_retries=RETRIES)
    return made.remote(job)
