"""Open files of GDAL: its settings, a handle for each thread, and what its mistakes are called.

Everything this package reads through GDAL is opened here, so the settings are written once. GDAL keeps them for each
thread, so they are set around each read, in the thread that reads.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.env import set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.session import DummySession

from sat2map.errors import SceneError

# Pictures without georeference are welcome here. A filter around each `open` would not do: files are opened by threads.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

OPEN_FILES = 64
"""How many files a thread keeps open."""

BLOCK_CACHE = 256 << 20
"""Bytes of decoded blocks GDAL keeps for all files: a row of windows over 70,000 pixels of RGB, so that no block is
decoded twice. rasterio takes bytes here, not megabytes as GDAL's own variable does."""

NETWORK = {
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
    "VSI_CACHE": "TRUE",
    "VSI_CACHE_SIZE": str(16 << 20),
}
"""How GDAL reads over a network, also where a local VRT names files that lie elsewhere."""

FAULTS = (RasterioError, CPLE_BaseError, OSError, ValueError, TypeError, IndexError, MemoryError)
"""What reading a damaged file raises: rasterio lets through what it meets."""

ADVICE = {
    "404": "The server has no such file: check the address",
    "403": "The server does not let you read it: sign the address, or set the credentials of the storage",
    "401": "The server does not let you read it: sign the address, or set the credentials of the storage",
    "resolve host": "There is no such server, or no network: check the address",
}
"""What to do, by what GDAL says of a name on a network."""


def is_remote(path: str) -> bool:
    """Tell whether a name is a URL or one of GDAL's virtual files."""
    return "://" in path or path.startswith("/vsi")


@contextmanager
def reading(path: str, fault: str = "cannot be read", advice: str = "Is the file complete?") -> Iterator[None]:
    """Read a file within, under GDAL's settings for it.

    Raises:
        SceneError: Whatever goes wrong, in one sentence.
    """
    try:
        with _settings(path):
            yield
    except SceneError:
        raise
    except FAULTS as error:
        reason = " ".join(str(error.__cause__ or error).split()).rstrip(".") or type(error).__name__
        if is_remote(path):
            advice = next((f"{text}." for sign, text in ADVICE.items() if sign in reason), advice)
        raise SceneError(f"{path} {fault}: {reason}. {advice}".strip()) from None


def _settings(path: str) -> rasterio.Env:
    """Return GDAL's settings for a file; variables of the user's environment come first.

    A folder is never listed on a network; on disk it is, for world files and masks beside images.
    """
    options = {**NETWORK, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR" if is_remote(path) else "FALSE"}
    unset = {name: value for name, value in options.items() if name not in os.environ}
    return rasterio.Env.from_defaults(session=DummySession(), **unset)


@cache
def _bound_block_cache() -> None:
    if "GDAL_CACHEMAX" not in os.environ:
        set_gdal_config("GDAL_CACHEMAX", BLOCK_CACHE)


Version = tuple[str, int, int, int]
"""A path and what changes when the file is written anew, so that it is read anew."""


def file_version(path: str) -> Version:
    """Return what tells a file from one written later at its place; a name that is no local file never changes."""
    try:
        facts = Path(path).stat()
    except (OSError, ValueError):
        return path, 0, 0, 0
    return path, facts.st_mtime_ns, facts.st_size, facts.st_ino


_threads = threading.local()


def open_file(path: str) -> rasterio.DatasetReader:
    """Return an open file, to be used within `reading`; each thread has its own, as GDAL asks."""
    files: OrderedDict[Version, rasterio.DatasetReader] = _threads.__dict__.setdefault("files", OrderedDict())
    version = file_version(path)
    if version not in files:
        _bound_block_cache()
        files[version] = rasterio.open(path)
        if len(files) > OPEN_FILES:
            files.popitem(last=False)[1].close()
    files.move_to_end(version)
    return files[version]
