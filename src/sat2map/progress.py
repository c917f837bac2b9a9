"""Progress bars on standard error: shown on a terminal only, gone when done."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")
Result = TypeVar("Result")


def bar() -> Progress:
    """Return a progress bar to be used with `with`; silent where standard error is no terminal."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal)


def track(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    """Yield items while a bar shows how many of `total` are done."""
    with bar() as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            yield item
            progress.advance(task)


def track_map(function: Callable[[Item], Result], items: Sequence[Item], what: str) -> list[Result]:
    """Return `function(item)` of all items in order, computed by as many threads as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(track(threads.map(function, items), what, len(items)))


def track_pixels(items: Iterable[Item], what: str, total: int, pixels: Callable[[Item], int]) -> Iterator[Item]:
    """Yield parts of an image while a bar shows how many of `total` pixels are done, how fast, and the time left."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeElapsedColumn()
    alone = threading.current_thread() is threading.main_thread()  # bars of several scenes at once would mix
    silent = not (console.is_terminal and alone)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=silent) as progress:
        task = progress.add_task(what, total=total, rate="")
        for item in items:
            yield item
            progress.advance(task, pixels(item))
            progress.update(task, rate=f"{(progress.tasks[0].speed or 0) / 1e6:.2f} Mpx/s")
