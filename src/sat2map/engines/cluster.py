"""Worker processes on a Ray cluster: started as they are needed, given work when free, replaced when they die."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Any

from sat2map.errors import BadOption, MissingExtra, Sat2mapError, WorkerLost

try:
    import ray as _ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise MissingExtra("The engine ray", "ray") from error

ray: Any = _ray  # only partly typed

log = logging.getLogger(__name__)

PATIENCE = 60
"""Seconds after which it is told that a worker is waited for."""


class Workers:
    """Actors of one class, each of which does one thing at a time; any thread may give them work.

    Args:
        made: Makes the object that works, in the worker's process.
        address: The cluster to join; the one that `RAY_ADDRESS` names, or one started here, if None.
        count: How many workers at most; one on each machine, or for each GPU, if None.

    Raises:
        BadOption: There is no such cluster.
    """

    def __init__(self, made: type, address: str | None, count: int | None) -> None:
        self._made, self._started = made, not ray.is_initialized()
        if self._started:
            _join(address)
        self.count = count or _default_count()
        self._hired: list[Any] = []
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self._lock, self._open = threading.Lock(), True
        self._threads = ThreadPoolExecutor(self.count)

    def submit(self, method: str, *args: Any) -> Future[Any]:
        """Call a method, which returns a note and a result, on the next worker that is free.

        Returns:
            What waits for the note, and for where in the cluster the result is; `fetch` brings it here.
        """
        return self._threads.submit(self._call, method, args)

    def close(self) -> None:
        """Stop all work; leave Ray as it was found."""
        with self._lock:
            still, self._open = self._open, False
        if not still:
            return
        for worker in list(self._hired):
            ray.kill(worker)
        for _ in range(self.count):
            self._idle.put(None)
        self._threads.shutdown()
        if self._started:
            ray.shutdown()

    def _call(self, method: str, args: Sequence[Any]) -> tuple[Any, Any]:
        worker = self._take()
        try:
            note, result = getattr(worker, method).options(num_returns=2).remote(*args)
            got = fetch(note), result
        except WorkerLost:
            self._dismiss(worker)
            raise
        except BaseException:  # the work failed, the worker is well
            self._idle.put(worker)
            raise
        self._idle.put(worker)
        return got

    def _take(self) -> Any:
        """Return a worker that is free; if there is none, one more is started, and what comes first is taken."""
        with self._lock:
            if self._open and self._idle.empty() and len(self._hired) < self.count:
                self._hire()
        while self._open:
            try:
                worker = self._idle.get(timeout=PATIENCE)
            except Empty:
                log.info("Waiting for a worker: it is still starting, or the cluster has no room for one yet.")
            else:
                if worker is not None:
                    return worker
        raise WorkerLost("Computing was stopped. What is done is kept: go on with the same command.")

    def _hire(self) -> None:
        """Start a worker, which is free as soon as the cluster has made room for it."""
        worker = ray.remote(self._made).options(**share(_nodes(), self.count)).remote()
        self._hired.append(worker)
        worker.__ray_ready__.remote().future().add_done_callback(lambda _: self._idle.put(worker))

    def _dismiss(self, worker: Any) -> None:
        """Make room for another worker in place of one that died."""
        with self._lock:
            self._hired.remove(worker)
        ray.kill(worker)


def fetch(where: Any) -> Any:
    """Bring a result here.

    Raises:
        WorkerLost: The worker died, or its machine did.
        Sat2mapError: The work failed with it.
        RayTaskError: It failed with another error.
    """
    try:
        return ray.get(where)
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, Sat2mapError) else error from None
    except RayError as error:
        raise WorkerLost(
            f"A worker was lost ({type(error).__name__}). What is done is kept: go on with the same command, with "
            "fewer --workers if the memory was too small."
        ) from error


def share(nodes: Sequence[dict[str, float]], count: int) -> dict[str, float]:
    """Return what each of `count` workers takes of the machines, so that none stretches over two of them."""
    cpus = [int(node["CPU"]) for node in nodes]
    whole = (n for n in range(max(cpus), 0, -1) if sum(c // n for c in cpus) >= count)
    among = -(-count // sum(cpus))  # workers on one processor, where there are more of them
    gpus = sum(node.get("GPU", 0) for node in nodes)
    return {"num_cpus": next(whole, 1 / among), "num_gpus": min(gpus // count, 1)}


def _nodes() -> list[dict[str, float]]:
    """Return what the machines have to offer."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


def _default_count() -> int:
    nodes = _nodes()
    return int(sum(node.get("GPU", 0) for node in nodes)) or len(nodes) or 1


def _join(address: str | None) -> None:
    """Join a cluster, or start one on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what is computed here is nobody else's business
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        named = f"The Ray cluster {address!r} cannot be joined" if address else "Ray does not start"
        raise BadOption(f"{named}: {str(error).strip().splitlines()[0].rstrip('.')}. See docs/scaling.md.") from None
