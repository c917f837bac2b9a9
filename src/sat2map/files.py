"""Files that are there completely or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sat2map.errors import OutputError

Record = TypeVar("Record")


def sync(path: Path) -> None:
    """Wait until a file's content, or on POSIX the names in a folder, would survive a power cut."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; the file takes its final name when the block ends, and is removed if it fails.

    The part file keeps the suffix, by which many libraries choose a format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write data as strict JSON: a NaN is an error."""
    with whole_file(path) as part:
        part.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n")


def record(kind: type[Record], data: Mapping[str, Any]) -> Record:
    """Make a dataclass from its fields as JSON gives them back: lists become tuples."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in data.items()})


def check_folder(path: Path | str, what: str, *, marks: Sequence[str], overwrite: bool) -> Path:
    """Refuse a folder that cannot be made, or that holds such a thing already.

    Args:
        path: The folder.
        what: What will be in it, for the message: a report.
        marks: Names of the files one of which such a folder has.
        overwrite: Whether what is there may be replaced.

    Raises:
        OutputError: It is refused.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file. Name a folder for {what}.")
    if any((path / mark).exists() for mark in marks) and not overwrite:
        raise OutputError(f"{path} holds {what} already. Name another folder, or replace it with --overwrite.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be written to: {error.strerror}. Choose another folder.") from None
    return path


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a hidden folder to write to; its files move into the folder `path` when the block ends, and only then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield part
        path.mkdir(exist_ok=True)
        for item in part.iterdir():
            item.replace(path / item.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Give an empty folder for temporary files, which goes when the block ends; what a killed process left goes now."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
