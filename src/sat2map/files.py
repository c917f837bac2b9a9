"""Files that are there completely or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sat2map.errors import OutputError, UserError

Record = TypeVar("Record")

VERSION_TAG = "SAT2MAP_VERSION"
"""The tag of all rasters and drawings that this package writes; it stands near the beginning of the file."""

_HEAD = 1 << 16


def sync(path: Path) -> None:
    """Wait until a file's content, or on POSIX the names in a folder, would survive a power cut."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def nearest(path: Path) -> Path:
    """Return a path if it is there, else the first folder above it that is."""
    return next(p for p in (path, *path.absolute().parents) if os.access(p, os.F_OK))


def imagery(files: Sequence[Path]) -> list[Path]:
    """Return image files without the maps and drawings that this package wrote beside them; all, if all are such."""
    return [f for f in files if not _is_ours(f)] or list(files)


def _is_ours(path: Path) -> bool:
    if path.suffix.lower() not in (".png", ".tif", ".tiff"):
        return False
    with suppress(OSError), path.open("rb") as file:
        return VERSION_TAG.encode() in file.read(_HEAD)
    return False


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


def check_folder(path: Path | str, what: str, *, files: Sequence[str], overwrite: bool) -> Path:
    """Refuse a folder that cannot be made, or in which something would be replaced.

    Args:
        path: The folder.
        what: What will be in it, for the message: a report.
        files: Names of what will be written or removed in it.
        overwrite: Whether these may be there.

    Raises:
        OutputError: It is refused.
    """
    path = Path(path)
    there = nearest(path)
    if not there.is_dir():
        raise OutputError(f"{there} is a file. Name a folder for {what}.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written to: no permission to write. Choose another folder.")
    held = [name for name in files if (path / name).exists()]
    if held and not overwrite:
        raise OutputError(
            f"{path} holds {held[0]} already, which {what} would replace. Name another folder, or replace it "
            "with --overwrite."
        )
    return path


@contextmanager
def whole_folder(path: Path, *, stale: Sequence[str] = ()) -> Iterator[Path]:
    """Give a hidden folder to write to; its files move into the folder `path` when the block ends, and only then.

    The hidden folder lies in `path`, which may be on another disk than its parent, or in one that is not ours.

    Args:
        path: The folder. If the block fails, it is as it was, or not there.
        stale: Files that `path` may hold from before; those that were not written anew go, last of all.

    Raises:
        OutputError: It cannot be written to.
    """
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part.", dir=path, ignore_cleanup_errors=True) as part:
            yield Path(part)
            written = list(Path(part).iterdir())
            for file in written:
                file.replace(path / file.name)
            for name in set(stale) - {file.name for file in written}:
                (path / name).unlink(missing_ok=True)
    except UserError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written to: {error}. Choose another folder.") from error
    finally:
        if made:
            with suppress(OSError):  # it is kept unless it is empty
                path.rmdir()


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """Give an empty folder for temporary files, which goes when the block ends; what a killed process left goes now."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
