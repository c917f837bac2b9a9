"""Destinations: checked before the long computation, and complete or not there at all after it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

from sat2map.errors import OutputError


def check_destination(path: Path | str, suffixes: Collection[str], *, overwrite: bool = False) -> Path:
    """Make sure that a file can be written to `path`; its folder is made if it is missing.

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
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OutputError(f"{path.parent} cannot be written to: {error.strerror}. Choose another folder.") from None
    return path


def reason(error: BaseException) -> str:
    """Return what GDAL or the system said, in one line without its full stop."""
    return " ".join(str(error.__cause__ or error).split()).rstrip(".")


class Part:
    """A hidden folder beside a destination, in which its files grow until they are published together.

    Args:
        path: The destination.
        companions: Names of files that may lie beside an older file of this name and would be wrong beside the new one.
    """

    def __init__(self, path: Path, companions: Iterable[str] = ()) -> None:
        self._path, self._companions = path, tuple(companions)
        self._folder = path.with_name(f".{path.name}.part")
        self.discard()  # of a run that was killed
        self._folder.mkdir()

    def file(self, name: str | None = None) -> Path:
        """Return where to write the destination, or the file that shall be `name` beside it."""
        return self._folder / (name or self._path.name)

    def publish(self) -> None:
        """Move all files to their places, the destination last, so that whoever sees it sees it complete."""
        beside = sorted(f.name for f in self._folder.iterdir() if f.name != self._path.name)
        for name in beside:
            self.file(name).replace(self._path.with_name(name))
        for name in set(self._companions).difference(beside):
            self._path.with_name(name).unlink(missing_ok=True)
        self.file().replace(self._path)
        self._folder.rmdir()

    def discard(self) -> None:
        """Remove everything that was not published."""
        shutil.rmtree(self._folder, ignore_errors=True)
