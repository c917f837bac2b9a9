"""This process: block after block; threads and the network's own threads use the processors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sat2map.jobs import Job
from sat2map.predictor import Strip
from sat2map.tiling import Window


def run_local(job: Job, blocks: Sequence[Window]) -> Iterator[Strip]:
    """Compute blocks one after the other."""
    for block in blocks:
        yield from job.strips(block)
