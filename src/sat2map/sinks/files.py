"""Destinations: checked before the long computation, and complete or not there at all after it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sat2map.errors import OutputError
from sat2map.files import nearest, sync


def check_destination(path: Path | str, suffixes: Collection[str], *, overwrite: bool = False) -> Path:
    """Make sure that a file can be written to `path`; nothing is made yet, nor is its folder.

    Args:
        path: The file to be written.
        suffixes: The endings that are possible, such as `.tif`.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        OutputError: It is a folder, has another ending, is there already, or its folder cannot be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Name a file in it, such as {path / f'map{next(iter(suffixes))}'}.")
    if path.suffix.lower() not in suffixes:
        ending = repr(path.suffix) if path.suffix else "nothing"
        raise OutputError(f"{path} ends in {ending}. What can be written ends in: {', '.join(suffixes)}.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} is there already. Choose another name, or replace it with --overwrite.")
    try:
        with tempfile.TemporaryFile(dir=nearest(path.parent)):
            pass
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written to: {error.strerror}. Choose another folder.") from None
    return path


def reason(error: BaseException) -> str:
    """Return what GDAL or the system said, in one line without its full stop."""
    return " ".join(str(error.__cause__ or error).split()).rstrip(".")


def part_folder(path: Path) -> Path:
    """Return the hidden folder in which a destination grows; it is there while the destination is not finished."""
    return path.with_name(f".{path.name}.part")


class Part:
    """A hidden folder beside a destination, in which its files grow until they are published together.

    It belongs to one process at a time; a lock of the system says so, which also ends when the process is killed.

    Args:
        path: The destination.
        companions: Names of files that may lie beside an older file of this name and would be wrong beside the new one.

    Raises:
        OutputError: Another process has it.
    """

    def __init__(self, path: Path, companions: Iterable[str] = ()) -> None:
        self._path, self._companions = path, tuple(companions)
        self.folder = part_folder(path)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / "lock", blocking=False, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise OutputError(
                f"{path} is being written by another process. Wait for it, or choose another name."
            ) from None
        self._finished = self.folder / "finished"
        _remove(self._finished)
        self._finished.mkdir()

    def file(self, name: str | None = None) -> Path:
        """Return where to write the destination, or the file that shall be `name` beside it."""
        return self._finished / (name or self._path.name)

    def publish(self) -> None:
        """Move all files to their places, the destination last, so that whoever sees it sees it complete."""
        beside = sorted(f.name for f in self._finished.iterdir() if f.name != self._path.name)
        for name in (*beside, self._path.name):
            sync(self.file(name))
        for name in beside:
            self.file(name).replace(self._path.with_name(name))
        for name in set(self._companions).difference(beside):
            self._path.with_name(name).unlink(missing_ok=True)
        self.file().replace(self._path)
        sync(self._path.parent)

    def clear(self) -> None:
        """Remove what an earlier process left."""
        for item in self.folder.iterdir():
            if item != self._finished and item != Path(self._lock.lock_file):
                _remove(item)

    def suspend(self) -> None:
        """Leave the folder to a later process; files that were to be published are removed."""
        if self._lock.is_locked:
            _remove(self._finished)
            self._lock.release()

    def discard(self) -> None:
        """Remove everything that was not published; the lock goes last, since then the folder may be another's."""
        if not self._lock.is_locked:
            return
        self.clear()
        _remove(self._finished)
        if os.name == "nt":  # no file that is open can be removed there
            self._lock.release()
        _remove(Path(self._lock.lock_file))
        self._lock.release()
        with suppress(OSError):
            self.folder.rmdir()


def _remove(path: Path) -> None:
    """Remove a file or folder as far as the system lets us."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
