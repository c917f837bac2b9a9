"""What an unfinished map is of, and which of its windows are safely on disk: what a killed process leaves behind."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sat2map.files import sync, whole_file, write_json
from sat2map.tiling import Window

SHOWN = 60
"""Longest fact that is quoted in a sentence."""


class Journal:
    """`job.json` with the facts a map depends on, and `done.jsonl` with a line for each finished window.

    Args:
        folder: Where they lie.
        facts: What the map depends on, as JSON can hold it.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self._job, self._done = folder / "job.json", folder / "done.jsonl"
        self.facts: dict[str, Any] = json.loads(json.dumps(facts))

    def done(self) -> set[Window]:
        """Return the windows that were finished, by whatever job; none if there is no job."""
        if not self._job.is_file() or not self._done.is_file():
            return set()
        windows = set()
        for line in self._done.read_bytes().splitlines():
            try:
                windows.add(Window(*json.loads(line)))
            except (ValueError, TypeError):  # the process ended within this line
                break
        return windows

    def changes(self) -> list[str]:
        """Return in words what is unlike the job that was begun."""
        try:
            begun = json.loads(self._job.read_bytes())
        except ValueError:
            return ["its job.json is damaged"]
        return list(_changes(begun, self.facts))

    def begin(self, done: set[Window]) -> None:
        """Write down the job and what is finished of it."""
        with whole_file(self._done) as part:
            part.write_text("".join(map(_line, sorted(done))), encoding="ascii")
            sync(part)
        write_json(self._job, self.facts)
        sync(self._job)
        sync(self._job.parent)

    def add(self, window: Window) -> None:
        """Note a window whose pixels are safely on disk."""
        with self._done.open("ab") as file:
            file.write(_line(window).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())


def _line(window: Window) -> str:
    return json.dumps(window) + "\n"


def _changes(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before | now:
            yield from _changes(before.get(key), now.get(key), f"{name} {key}".lstrip())
    elif before != now:
        said = f"{name} was {_word(before)} and is {_word(now)}"
        yield said if len(said) <= 2 * SHOWN else f"{name} is not the same"


def _word(fact: Any) -> str:
    return "not given" if fact is None else json.dumps(fact, ensure_ascii=False)
