"""Public archives of imagery and labels: fetched, checked, and unpacked where they can touch nothing else.

A download is kept in a hidden folder beside its destination until it is complete and right, and is gone on with there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout

from sat2map.errors import OutputError, Sat2mapError, UnknownName
from sat2map.files import scratch, write_json
from sat2map.progress import bar

log = logging.getLogger(__name__)

TIMEOUT = 30.0
"""After how many seconds without an answer the connection is given up."""

PAUSES = (1.0, 3.0, 10.0)
"""How many seconds to wait before each further try."""

PASSING = (408, 416, 425, 429, 500, 502, 503, 504)
"""Answers of a server that may be other ones a moment later; after 416 all is asked for again."""

CHUNK = 1 << 18
"""Bytes read at once."""

NOTE = "download.json"
"""The file in an unpacked archive that says what it is."""


@dataclass(frozen=True)
class Archive:
    """A tar archive that anybody may fetch.

    Args:
        url: Where it is.
        size: Its bytes.
        sha256: Its checksum.
        about: What it holds, in a sentence.
        licence: What is known of the terms of use, in a sentence.
    """

    url: str
    size: int
    sha256: str
    about: str
    licence: str


ARCHIVES: dict[str, Archive] = {
    # The authors publish no checksum. This one is pinned by several independent public repositories.
    "maps": Archive(
        url="http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/maps.tar.gz",
        size=250_242_400,
        sha256="7519044b2725f55bc80e5a3db5d6f64f767a7b76421098c364c432ec82faf275",
        about="The maps of pix2pix: about 2,200 aerial photographs of New York (left), each with its map (right).",
        licence="The authors name none. The pictures are from Google Maps, whose terms of use apply.",
    ),
}
"""What can be downloaded by name."""


class DownloadFailed(Sat2mapError, OSError):
    """An archive cannot be fetched, or is not the one that is known."""


class _Interrupted(Exception):
    """Something that may go better at the next try."""


def download(name: str, dest: Path | str, *, overwrite: bool = False) -> Path:
    """Fetch an archive, check it and unpack it; an interrupted download is gone on with by the same call.

    Args:
        name: A row of `ARCHIVES`.
        dest: The folder to make; a single folder at the top of the archive becomes it.
        overwrite: Replace an archive that was unpacked there.

    Returns:
        The folder.

    Raises:
        UnknownName: There is no archive of this name.
        OutputError: The folder cannot be written, or holds something else.
        DownloadFailed: The archive cannot be fetched, or has another size or checksum than the known one.
    """
    if name not in ARCHIVES:
        raise UnknownName("archive", name, ARCHIVES)
    archive, folder = ARCHIVES[name], Path(dest).resolve()
    _check_folder(folder, overwrite)
    with _told(folder), _room(folder) as part:
        _fetch(archive, part)
        _check_sum(archive, part)
        log.info("Unpacking to %s. Terms of use: %s", folder, archive.licence)
        with scratch(part.with_name("unpacked")) as space:
            unpacked = _unpack(part, space / "new")
            write_json(unpacked / NOTE, {"name": name, **asdict(archive)})
            if folder.exists():
                folder.rename(space / "old")
            unpacked.rename(folder)
        part.unlink()
    return folder


def _check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse, before anything is fetched, a destination that cannot be written or holds something else.

    Raises:
        OutputError: It does.
    """
    there = next(p for p in (folder, *folder.parents) if p.exists())
    if not there.is_dir():
        raise OutputError(f"{there} is a file. Name a folder for the archive.")
    if not os.access(there, os.W_OK):
        raise OutputError(f"The archive cannot be written to {folder}: no permission to write. Name another folder.")
    if there != folder:
        return
    if Path.cwd().is_relative_to(folder):
        raise OutputError(f"{folder} is where you are, so it cannot be replaced. Name a new folder.")
    if not any(folder.iterdir()):
        return
    if not (folder / NOTE).exists():
        raise OutputError(f"{folder} holds other files, which are never overwritten. Name a new folder.")
    if not overwrite:
        raise OutputError(f"{folder} holds an archive already. Name another folder, or replace it with --overwrite.")


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Tell what the system says against writing as `OutputError`."""
    try:
        yield
    except Sat2mapError:
        raise
    except OSError as error:
        raise OutputError(
            f"The archive cannot be written to {folder}: {error.strerror or error}. "
            "Make room there, or name another folder."
        ) from None


@contextmanager
def _room(folder: Path) -> Iterator[Path]:
    """Give the file to download to, in a folder of its own that is held alone; it stays while the file is there."""
    room = folder.with_name(f".{folder.name}.download")
    room.mkdir(parents=True, exist_ok=True)
    part, lock = room / "archive.part", FileLock(room / "lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(f"{folder} is being downloaded by another process. Wait for it, or name another.") from None
    try:
        yield part
    finally:
        lock.release()
        if not part.exists():
            shutil.rmtree(room, ignore_errors=True)


# --- fetching ---------------------------------------------------------------------------------------------------------


def _fetch(archive: Archive, part: Path) -> None:
    """Bring the part file to its full size, with a few tries."""
    for pause in (*PAUSES, None):
        try:
            _go_on(archive, part)
            return
        except _Interrupted as fault:
            if pause is None:
                raise DownloadFailed(
                    f"{archive.url} cannot be fetched: {fault}. Look after the network; the same command goes on."
                ) from None
            log.warning("The download was interrupted: %s. Trying again in %g seconds.", fault, pause)
            time.sleep(pause)


def _go_on(archive: Archive, part: Path) -> None:
    """Ask for what the part file lacks, or for all if the server's file is no more the one it was begun with."""
    origin = _origin(archive, part)
    held = 0 if origin is None else part.stat().st_size
    if held == archive.size:
        return
    headers = {"User-Agent": "sat2map"}
    if 0 < held < archive.size:
        headers["Range"] = f"bytes={held}-"
        if origin:
            headers["If-Range"] = origin
    with _answer(archive, headers, part) as response:
        _check_size(archive, response)
        if response.status == 206:
            _check_rest(response, held, origin, part)
        with part.open("ab" if response.status == 206 else "wb") as file:
            if response.status != 206:  # noted once the old content is gone, so that it never stands for it
                write_json(_note(part), {"sha256": archive.sha256, "validator": _validator(response)})
            _copy(archive, response, file)


def _note(part: Path) -> Path:
    return part.with_name("origin.json")


def _origin(archive: Archive, part: Path) -> str | None:
    """Return the validator of what the part file was begun with, maybe empty; None if it is of no use."""
    try:
        note = json.loads(_note(part).read_text("utf-8"))
        same = note["sha256"] == archive.sha256 and part.exists()
        return str(note["validator"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _validator(response: HTTPResponse) -> str:
    """Return what tells this version of the file from others (RFC 9110, section 13.1.5), empty if nothing does."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


@contextmanager
def _answer(archive: Archive, headers: dict[str, str], part: Path) -> Iterator[HTTPResponse]:
    """Open the URL.

    Raises:
        _Interrupted: It cannot be reached now.
        DownloadFailed: The server refuses it.
    """
    try:
        response = urlopen(Request(archive.url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        error.close()
        if error.code not in PASSING:
            raise DownloadFailed(
                f"{archive.url} cannot be fetched: the server answers {error.code} {error.reason}. "
                "Try later; if it stays so, the archive has moved, and a newer version of sat2map may know where to."
            ) from None
        if error.code == 416:
            part.unlink(missing_ok=True)
        raise _Interrupted(f"the server answers {error.code} {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise _Interrupted(str(error.reason if isinstance(error, URLError) else error)) from None
    with response:
        yield response


def _check_size(archive: Archive, response: HTTPResponse) -> None:
    """Refuse an answer before it is read where its size, if it is told, is another than that of the archive.

    Raises:
        DownloadFailed: It is.
    """
    told = response.headers.get("Content-Length", "")
    if response.status == 206:
        told = response.headers.get("Content-Range", "").rpartition("/")[2]
    if told.isdecimal() and int(told) != archive.size:
        raise DownloadFailed(
            f"{archive.url} holds {int(told):,} bytes, not {archive.size:,}: it is not the archive that is known. "
            "A newer version of sat2map may know it."
        )


def _check_rest(response: HTTPResponse, held: int, origin: str | None, part: Path) -> None:
    """Make sure that an answer goes on where the part file ends.

    Raises:
        _Interrupted: It does not; the part file was removed.
    """
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {held}-")
    if not begins or _validator(response) not in ("", origin):
        part.unlink()
        raise _Interrupted("the file on the server has changed")


def _copy(archive: Archive, response: HTTPResponse, file: IO[bytes]) -> None:
    """Append the answer to the file.

    Raises:
        _Interrupted: It ends too early.
    """
    with bar() as progress:
        task = progress.add_task("Downloading (MB)", total=archive.size / 1e6)
        progress.advance(task, file.tell() / 1e6)
        for chunk in _chunks(response, archive.size - file.tell()):
            file.write(chunk)
            progress.advance(task, len(chunk) / 1e6)
    if file.tell() < archive.size:
        raise _Interrupted(f"the connection ended after {file.tell():,} of {archive.size:,} bytes")


def _chunks(response: HTTPResponse, most: int) -> Iterator[bytes]:
    """Yield the answer, but no more than so many bytes of it."""
    while most > 0:
        try:
            chunk = response.read(min(CHUNK, most))
        except (OSError, HTTPException) as error:
            raise _Interrupted(str(error)) from None
        if not chunk:
            return
        most -= len(chunk)
        yield chunk


def _check_sum(archive: Archive, part: Path) -> None:
    """Remove what is not the archive that is known.

    Raises:
        DownloadFailed: It is not.
    """
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        part.unlink()
        raise DownloadFailed(
            f"What was fetched from {archive.url} has the SHA-256 {found}, not {archive.sha256}; it was removed. Try "
            "again; if it stays so, the archive on the server is another one, or somebody changes it on the way."
        )


# --- unpacking --------------------------------------------------------------------------------------------------------


def _unpack(part: Path, space: Path) -> Path:
    """Unpack into a folder, and return that, or the single folder in it.

    Raises:
        DownloadFailed: It is no tar archive, or holds more than files and folders inside of it; it was removed.
    """
    try:
        with tarfile.open(part) as tar:
            tar.extractall(space, filter=_plain)
    except (tarfile.TarError, EOFError) as error:
        part.unlink()
        raise DownloadFailed(f"The archive cannot be unpacked: {error}. Nothing of it was kept.") from None
    tops = list(space.iterdir())
    return tops[0] if len(tops) == 1 and tops[0].is_dir() else space


def _plain(member: tarfile.TarInfo, space: str) -> tarfile.TarInfo | None:
    """Let files and folders pass whose names stay inside; nothing else belongs into an archive of pictures."""
    name = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()) or name.is_absolute() or ".." in name.parts:
        raise tarfile.TarError(f"it holds {member.name!r}, which is no plain file or folder inside of it")
    return tarfile.data_filter(member, space)
