"""What an unfinished map is of, and which of its windows are safely on disk: what a killed process leaves behind."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sat2map.files import sync, whole_file, write_json
from sat2map.sinks.files import part_folder
from sat2map.tiling import Window

SHOWN = 60
"""Longest fact that is quoted in a sentence."""


class Journal:
    """`job.json` with the facts a map depends on, `done.jsonl` with a line for each finished window, `notes.jsonl`.

    Args:
        folder: Where they lie.
        facts: What the map depends on, as JSON can hold it.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self._job, self._done, self._notes = (folder / f for f in ("job.json", "done.jsonl", "notes.jsonl"))
        self.facts: dict[str, Any] = json.loads(json.dumps(facts))

    def done(self) -> set[Window]:
        """Return the windows that were finished, by whatever job; none if there is no job."""
        if not self._job.is_file() or not self._done.is_file():
            return set()
        return {Window(*line) for line in _lines(self._done, 4)}

    def notes(self) -> dict[str, set[Window]]:
        """Return the windows that were noted, by what was noted of them."""
        found: dict[str, set[Window]] = {}
        for what, window in _lines(self._notes, 2):
            found.setdefault(what, set()).add(Window(*window))
        return found

    def changes(self) -> list[str]:
        """Return in words what is unlike the job that was begun."""
        begun = self.begun()
        return ["its job.json is damaged"] if begun is None else list(_changes(begun, self.facts))

    def begun(self) -> dict[str, Any] | None:
        """Return the facts of the job that was begun; None if they are damaged."""
        try:
            facts = json.loads(self._job.read_bytes())
        except ValueError:
            return None
        return facts if isinstance(facts, dict) else None

    def begin(self, done: set[Window]) -> None:
        """Write down the job and what is finished of it; lines within which a process ended go."""
        noted = [(what, window) for what, windows in self.notes().items() for window in sorted(windows)]
        for path, lines in ((self._done, sorted(done)), (self._notes, noted)):
            with whole_file(path) as part:
                part.write_text("".join(map(_line, lines)), encoding="ascii")
                sync(part)
        write_json(self._job, self.facts)
        sync(self._job)
        sync(self._job.parent)

    def add(self, window: Window) -> None:
        """Note a window whose pixels are safely on disk."""
        _append(self._done, _line(window))

    def note(self, what: str, windows: Iterable[Window]) -> None:
        """Note something of windows, which counts from the moment that they are done."""
        _append(self._notes, "".join(_line((what, window)) for window in windows))


def begun_job(path: Path) -> dict[str, Any]:
    """Return the facts of the job that has done a part of a map which is not finished; none if there is no such."""
    journal = Journal(part_folder(path), {})
    return (journal.begun() if journal.done() else None) or {}


def _append(path: Path, text: str) -> None:
    """Write at the end of a file; it is on disk when this returns."""
    with path.open("ab") as file:
        file.write(text.encode("ascii"))
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path, length: int) -> Iterator[Any]:
    """Yield the lists of `length` in the lines of a file, up to the line within which a process ended."""
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            held = json.loads(line)
        except ValueError:
            return
        if not isinstance(held, list) or len(held) != length:
            return
        yield held


def _line(words: Sequence[Any]) -> str:
    return json.dumps(words) + "\n"


def _changes(before: Any, now: Any, name: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before | now:
            yield from _changes(before.get(key), now.get(key), f"{name} {key}".lstrip())
    elif before != now:
        said = f"{name} was {_word(before)} and is {_word(now)}"
        yield said if len(said) <= 2 * SHOWN else f"{name} is not the same"


def _word(fact: Any) -> str:
    return "not given" if fact is None else json.dumps(fact, ensure_ascii=False)
