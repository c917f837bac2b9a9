"""`Sink`: something blocks can be written to in any order; nothing is visible at the path before `close`."""

from __future__ import annotations

import importlib.metadata
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from sat2map.errors import OutputError
from sat2map.files import VERSION_TAG, scratch
from sat2map.sinks.content import Content
from sat2map.sinks.files import Part, reason
from sat2map.sinks.journal import Journal
from sat2map.sinks.raw import RawFile, gaps
from sat2map.sinks.regrid import regrid
from sat2map.sinks.style import is_ours
from sat2map.sinks.vrt import write_vrt
from sat2map.tiling import Window, whole

# Maps of pictures without georeference are welcome. A filter around each `open` would not do: sinks serve threads.
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)

COMPANIONS = (".aux.xml", ".ovr", ".msk")
"""What GDAL may have put beside an older map, after its whole name."""


@dataclass(frozen=True)
class Numbers:
    """A finished map's numbers, to be put into a file of some kind.

    Args:
        raw: The flat file that holds them.
        content: What they mean.
        geobox: Their place.
        tags: What else to note in the file.
        folder: Room for temporary files: `raw`'s folder or one in it.
    """

    raw: RawFile
    content: Content
    geobox: GeoBox
    tags: Mapping[str, str]
    folder: Path

    @cached_property
    def counts(self) -> np.ndarray:
        """How many pixels hold each number in the band that is counted, `(256,)` int64."""
        return self.raw.counts(self.content.counted)

    def vrt(self, overviews: tuple[Path, ...] = ()) -> Path:
        """Return a VRT of all this."""
        path = self.raw.path.with_suffix(".vrt")
        return write_vrt(path, self.raw, self.content, geobox=self.geobox, tags=self.tags, overviews=overviews)


class Format(NamedTuple):
    """A kind of map file.

    Args:
        write: Writes it to a path, and what belongs beside it.
        most_bytes: How many pixels it can have, times bands; None if there is no limit.
    """

    write: Callable[[Numbers, Path], None]
    most_bytes: int | None = None


class Sink:
    """A map that is being written; used with `with`: published at its end.

    The file is the same to the last byte in whatever order, by how many threads, and after how many interruptions its
    blocks were written. Pixels never written are nodata. On an exception an older file at the path stays. With a `job`
    what is done stays too, and a sink of the same job goes on with it.

    Attributes:
        counts: Once it is finished, how many pixels of a class map have each class `(classes + 1,)`, the last have
            none; how many of a picture are drawn and how many are clear `(2,)`.

    Args:
        path: The destination.
        geobox: The map's place.
        content: What its pixels mean.
        kind: The kind of file.
        tags: What else to note in the file.
        job: What the pixels depend on, by names that a user knows; None if nothing shall be left of an interrupted map.
        overwrite: Whether what is done of another job is thrown away.
        grid: The place of the finished map, if not `geobox`.

    Raises:
        OutputError: The disk is full or gone, another process writes this map, or another job has begun it.
    """

    def __init__(
        self,
        path: Path,
        geobox: GeoBox,
        content: Content,
        kind: Format,
        *,
        tags: Mapping[str, str],
        job: Mapping[str, Any] | None,
        overwrite: bool,
        grid: GeoBox | None,
    ) -> None:
        self.path, self.geobox, self.content = path, geobox, content
        height, width = geobox.shape
        self.shape = int(height), int(width)
        version = importlib.metadata.version("sat2map")
        self.tags = {VERSION_TAG: version, **tags, **content.tags}
        self._kind, self._grid = kind, geobox if grid is None else grid
        self._lock, self._open = threading.Lock(), True
        self._done: set[Window] = set()
        self._notes: dict[str, set[Window]] = {}
        self.counts = np.zeros(0, np.int64)
        with told(path):
            self._part = Part(path, _companions(path))
        self._raw = RawFile(self._part.folder / "values.raw", len(content.bands), self.shape)
        facts = {**(job or {}), "version": version, **content.facts, **_place(geobox)}
        self._journal = None if job is None else Journal(self._part.folder, facts)
        try:
            with told(path):
                self._begin(overwrite)
        except BaseException:
            self._let_go(keep=self._journal is not None and bool(self._journal.done()))
            raise

    @property
    def done(self) -> Set[Window]:
        """The windows that were written, also those by a process that was interrupted."""
        return self._done

    @property
    def notes(self) -> Mapping[str, Set[Window]]:
        """What was noted of windows, also by a process that was interrupted."""
        return self._notes

    def note(self, what: str, windows: Iterable[Window]) -> None:
        """Keep something in mind of windows that are about to be written, as long as what is done is kept.

        Raises:
            OutputError: The disk is full or gone.
        """
        with self._lock, told(self.path):
            new = set(windows) - self._notes.setdefault(what, set())
            if new and self._journal is not None:
                self._journal.note(what, sorted(new))
            self._notes[what] |= new

    def write(self, window: Window, block: np.ndarray) -> None:
        """Write a block, uint8; from now on it survives whatever happens, if the sink has a job.

        Args:
            window: Where.
            block: Class ids `(height, width)`, or scores `(bands, height, width)` from 0 to 254, `IGNORED` where there
                is no data; or red, green, blue and alpha `(4, height, width)`, 0 where there is no data.

        Raises:
            OutputError: The disk is full or gone.
        """
        values = self.content.encode(block)
        fits = values.shape == (self._raw.bands, *window.shape) and window.intersect(whole(self.shape)) == window
        if not fits or values.dtype != np.uint8:
            raise ValueError(f"A block of {block.dtype} {block.shape} does not fit {window} of a map of {self.shape}.")
        with self._lock, told(self.path):
            self._raw.write(window, values)
            if self._journal is not None:
                self._raw.sync()
                self._journal.add(window)
            self._done.add(window)

    def finish(self) -> Path:
        """Write the whole file where nobody looks for it, and return where; until `discard` what is done is kept.

        Raises:
            OutputError: The disk is full or gone.
        """
        with told(self.path):
            self._finish()
        return self._part.file()

    def publish(self) -> None:
        """Move the finished file, and what belongs beside it, to its place; until `discard` what is done is kept.

        Raises:
            OutputError: The disk is full or gone; an older file at the path is as it was.
        """
        with told(self.path):
            self._part.publish()

    def close(self) -> None:
        """Finish the file, publish it at its path and let go of all else; a second call does nothing.

        Raises:
            OutputError: The disk is full or gone; an older file at the path is as it was.
        """
        if not self._open:
            return
        try:
            self.finish()
            self.publish()
        except BaseException:
            self.suspend()
            raise
        self.discard()

    def suspend(self) -> None:
        """Stop here: what is done waits for a sink of the same job; without a job everything is removed."""
        if self._open:
            self._let_go(keep=self._journal is not None and bool(self._done))

    def discard(self) -> None:
        """Remove what was written; an older file at the path stays."""
        if self._open:
            self._let_go(keep=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.suspend()

    def _begin(self, overwrite: bool) -> None:
        """Go on with what is done of this job, or start anew."""
        done = self._journal.done() if self._journal is not None else set()
        changes = self._journal.changes() if self._journal is not None and done else []
        if changes and not overwrite:
            raise OutputError(
                f"{self.path} was begun by another call and is not finished: {'; '.join(changes)}. "
                "Go on with the same call as before, or start anew with --overwrite."
            )
        if changes or not done or not self._raw.complete:
            done = set()
            self._part.clear()
            self._raw.create()
        if self._journal is not None:
            self._journal.begin(done)
            self._notes = self._journal.notes()
        self._done = done

    def _finish(self) -> None:
        """Leave the finished file, and what belongs beside it, in the part folder."""
        for window in gaps(self._done, self.shape):
            self._raw.fill(window, self.content.nothing)
        with scratch(self._part.folder / "finishing") as folder:
            numbers = Numbers(self._raw, self.content, self.geobox, self.tags, folder)
            if self._grid != self.geobox:
                made = folder / "regridded.raw"
                raw = regrid(numbers.vrt(), self.geobox, self._grid, made, self.content.nothing)
                numbers = replace(numbers, raw=raw, geobox=self._grid)
            self._kind.write(numbers, self._part.file())
            style = self.path.with_suffix(".qml")
            if style.exists() and not is_ours(style):  # the user's, perhaps of another file that is called so
                self._part.file(style.name).unlink(missing_ok=True)
            self.counts = self.content.counts(numbers.counts)

    def _let_go(self, *, keep: bool) -> None:
        """Close everything; leave what is done, or nothing."""
        self._open = False
        self._raw.close()
        if keep:
            self._part.suspend()
        else:
            self._part.discard()


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Say in a sentence what the system or GDAL has against writing to `path`.

    Raises:
        OutputError: Whatever it is.
    """
    try:
        yield
    except OutputError:
        raise
    except (RasterioError, OSError) as error:
        raise OutputError(f"{path} cannot be written: {reason(error)}. Is there room on the disk?") from error


def _companions(path: Path) -> tuple[str, ...]:
    """Return names of what may lie beside an older map; what files of other endings share only if it is that map's."""
    shared = {".qml": is_ours(path.with_suffix(".qml")), ".pgw": path.suffix.lower() == ".png"}
    ends = [end for end, its_own in shared.items() if its_own and path.exists()]
    return *(path.name + end for end in COMPANIONS), *(path.with_suffix(end).name for end in ends)


def _place(geobox: GeoBox) -> dict[str, Any]:
    """Return a place as facts."""
    height, width = geobox.shape
    crs = None if geobox.crs is None else str(geobox.crs)
    return {"size": f"{width} x {height} pixels", "place": list(geobox.affine[:6]), "CRS": crs}
