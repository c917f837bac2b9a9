"""Maps that were interrupted: killed, refused, out of disk; what is done stays and the file is the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox

from map_kinds import CLASSES, LEGEND, PICTURE, PLACE, SCORES, SHAPE, Kind, contents, fabricated_ids, files
from sat2map.errors import OutputError
from sat2map.legend import Legend, MapClass
from sat2map.sinks import SINKS, Sink
from sat2map.sinks.raw import RawFile
from sat2map.tiling import Window, grid, whole

JOB = {"model": "unet-1", "scene": "berlin.tif", "window": 512}
WINDOWS = list(grid(whole(SHAPE), 120))


def open_it(path: Path, job: dict[str, Any] | None = JOB, *, kind: Kind = CLASSES, **words: Any) -> Sink:
    return kind.open(path, words.pop("place", PLACE), job=job, **words)


def go_on(path: Path, stop: int | None = None, *, kind: Kind = CLASSES, **words: Any) -> Sink:
    """Write what is missing; fail before window number `stop`."""
    pixels = kind.block(fabricated_ids())
    with open_it(path, kind=kind, **words) as sink:
        for i, window in enumerate(w for w in WINDOWS if w not in sink.done):
            if i == stop:
                raise KeyboardInterrupt
            sink.write(window, pixels[..., *window.slices])
    return sink


def interrupt(path: Path, stop: int = 7, **words: Any) -> Path:
    """Interrupt a map; return the folder of what is done."""
    with pytest.raises(KeyboardInterrupt):
        go_on(path, stop, **words)
    return path.with_name(f".{path.name}.part")


@pytest.fixture(scope="session")
def whole_map(tmp_path_factory):
    """Return the contents of a folder with the map that was made without interruption."""

    @cache
    def made(suffix: str, kind: Kind = CLASSES) -> dict[str, bytes]:
        folder = tmp_path_factory.mktemp("whole")
        go_on(folder / f"map{suffix}", job=None, kind=kind)
        return contents(folder)

    return made


@files
def test_the_same_job_goes_on(tmp_path, kind, suffix, whole_map):
    path = tmp_path / f"map{suffix}"
    interrupt(path, 7, kind=kind)
    assert not path.exists()
    interrupt(path, 5, kind=kind)
    with pytest.raises(KeyError), open_it(path, kind=kind) as sink:
        assert sink.done == set(WINDOWS[:12])
        raise KeyError
    go_on(path, kind=kind)
    assert contents(tmp_path) == whole_map(suffix, kind)


def test_what_was_noted_is_kept_with_what_is_done(tmp_path):
    path, pixels = tmp_path / "map.tif", CLASSES.block(fabricated_ids())
    for i, window in enumerate(WINDOWS[:3]):
        with pytest.raises(KeyError), open_it(path) as sink:
            assert sink.notes == ({"odd": set(WINDOWS[: i + 1])} if i else {})
            sink.note("odd", WINDOWS[: i + 2])
            sink.write(window, pixels[..., *window.slices])
            with sink.path.with_name(".map.tif.part").joinpath("notes.jsonl").open("ab") as notes:
                notes.write(b'["odd", [1, 2')  # killed here
            raise KeyError
    with open_it(path, JOB | {"model": "unet-2"}, overwrite=True) as sink:
        assert sink.notes == {}


@files
def test_an_interruption_keeps_the_older_map_and_what_is_done(tmp_path, kind, suffix, whole_map):
    path = tmp_path / f"map{suffix}"
    open_it(path, None, kind=kind).close()
    before = contents(tmp_path)
    part = interrupt(path, kind=kind)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()} == before
    assert part.is_dir()
    go_on(path, kind=kind)
    assert contents(tmp_path) == whole_map(suffix, kind)


@files
def test_nothing_stays_where_nothing_is_done_or_no_job_is_given(tmp_path, kind, suffix):
    interrupt(tmp_path / f"map{suffix}", 0, kind=kind)
    interrupt(tmp_path / f"map{suffix}", 3, kind=kind, job=None)
    assert not contents(tmp_path)


def test_a_sink_without_job_begins_anew(tmp_path):
    interrupt(tmp_path / "map.tif")
    with pytest.raises(KeyError), open_it(tmp_path / "map.tif", None) as sink:
        assert not sink.done
        raise KeyError
    assert not contents(tmp_path)


CHANGES = {
    r'model was "unet-1" and is "unet-2"\.': {"job": JOB | {"model": "unet-2"}},
    r"window was 512 and is 256; overlap was not given and is 64\.": {"job": JOB | {"window": 256, "overlap": 64}},
    r'scene was "berlin.tif" and is not given\.': {"job": {"model": "unet-1", "window": 512}},
    'size was "530 x 700 pixels" and is "10 x 700 pixels"': {"place": PLACE[:, :10]},
    r"place was .*412000\.25.* and is .*411999\.75": {"place": PLACE.pad(1)[: SHAPE[0], : SHAPE[1]]},
    'CRS was "EPSG:32633" and is "EPSG:32634"': {"place": GeoBox(SHAPE, PLACE.affine, "EPSG:32634")},
    "legend classes is not the same": {"legend": Legend((*LEGEND.classes, MapClass("Wood", (0, 99, 0), 5)))},
}


@pytest.mark.parametrize("text", CHANGES)
def test_another_job_is_refused_with_what_differs(tmp_path, text):
    words = CHANGES[text]
    path = tmp_path / "map.tif"
    part = interrupt(path)
    before = contents(part)
    with pytest.raises(OutputError, match=rf"map\.tif was begun by another call.*{text}.*same call.*--overwrite"):
        open_it(path, **words)
    assert contents(part) == before
    with pytest.raises(KeyError), open_it(path, **words, overwrite=True) as sink:
        assert not sink.done
        raise KeyError
    assert not contents(tmp_path)


def test_overwriting_goes_on_with_the_same_job(tmp_path, whole_map):
    interrupt(tmp_path / "map.tif", overwrite=True)
    with pytest.raises(KeyError), open_it(tmp_path / "map.tif", overwrite=True) as sink:
        assert len(sink.done) == 7
        raise KeyError
    go_on(tmp_path / "map.tif", overwrite=True)
    assert contents(tmp_path) == whole_map(".tif")


@files
def test_two_cannot_write_one_map_at_once(tmp_path, kind, suffix, whole_map):
    path = tmp_path / f"map{suffix}"
    pixels = kind.block(fabricated_ids())
    with open_it(path, kind=kind) as sink:
        for job in (JOB, None):
            with pytest.raises(OutputError, match=r"map.* is being written by another process\. Wait"):
                open_it(path, job, kind=kind)
        for window in WINDOWS:
            sink.write(window, pixels[..., *window.slices])
    assert contents(tmp_path) == whole_map(suffix, kind)


@pytest.mark.parametrize("end", [b"[450, 15", b"\0\0\0", b"[450, 150, 150, 15\n[0, 0", b"[1, 2]\n", b"7\n"])
def test_a_torn_line_does_no_harm(tmp_path, end, whole_map):
    path = tmp_path / "map.tif"
    with (interrupt(path) / "done.jsonl").open("ab") as journal:
        journal.write(end)
    interrupt(path, 2)
    with pytest.raises(KeyError), open_it(path) as sink:
        assert sink.done == set(WINDOWS[:9])
        raise KeyError
    go_on(path)
    assert contents(tmp_path) == whole_map(".tif")


@pytest.mark.parametrize("name", ["values.raw", "job.json", "done.jsonl"])
def test_without_one_of_its_files_a_map_begins_anew(tmp_path, name, whole_map):
    (interrupt(tmp_path / "map.tif") / name).unlink()
    with pytest.raises(KeyError), open_it(tmp_path / "map.tif") as sink:
        assert not sink.done
        raise KeyError
    go_on(tmp_path / "map.tif")
    assert contents(tmp_path) == whole_map(".tif")


def test_a_damaged_job_is_refused(tmp_path):
    (interrupt(tmp_path / "map.tif") / "job.json").write_text("{")
    with pytest.raises(OutputError, match=r"job\.json is damaged.*--overwrite"):
        open_it(tmp_path / "map.tif")


@files
def test_half_written_windows_do_not_show(tmp_path, kind, suffix):
    path = tmp_path / f"map{suffix}"
    part = interrupt(path, kind=kind)
    numbers = kind.numbers(fabricated_ids())
    raw = np.memmap(part / "values.raw", np.uint8, "r+", shape=numbers.shape)
    raw[:, *WINDOWS[-1].slices] = 77
    raw.flush()
    open_it(path, kind=kind).close()
    expected = np.full_like(numbers, kind.nothing)
    for window in WINDOWS[:7]:
        expected[:, *window.slices] = numbers[:, *window.slices]
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), expected)


def test_a_journal_never_runs_ahead_of_the_pixels(tmp_path, monkeypatch):
    path, events = tmp_path / "map.tif", []
    put, sync = RawFile.write, RawFile.sync
    monkeypatch.setattr(RawFile, "write", lambda self, *block: (events.append("pixels"), put(self, *block)))
    monkeypatch.setattr(RawFile, "sync", lambda self: (events.append("safe"), sync(self)))
    with open_it(path) as sink:
        for i, window in enumerate(WINDOWS):
            journal = path.with_name(".map.tif.part") / "done.jsonl"
            assert [Window(*json.loads(line)) for line in journal.read_text().splitlines()] == WINDOWS[:i]
            sink.write(window, fabricated_ids()[window.slices])
            assert events == ["pixels", "safe"] * (i + 1)


@files
def test_a_full_disk_keeps_what_is_done(tmp_path, kind, suffix, monkeypatch, whole_map):
    path = tmp_path / f"map{suffix}"
    with monkeypatch.context() as patch:
        put = RawFile.write

        def full(raw: RawFile, window: Window, values: np.ndarray) -> None:
            if window == WINDOWS[9]:
                raise OSError(28, "No space left on device")
            put(raw, window, values)

        patch.setattr(RawFile, "write", full)
        with pytest.raises(OutputError, match=r"map.* cannot be written: .*No space left.*room on the disk"):
            go_on(path, kind=kind)
    with monkeypatch.context() as patch:
        row = SINKS[suffix]

        def half(numbers: Any, to: Path) -> None:
            to.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        patch.setitem(SINKS, suffix, row._replace(write=half))
        with pytest.raises(OutputError, match="No space left"):
            go_on(path, kind=kind)
    assert not path.exists()
    assert {f.name for f in path.with_name(f".{path.name}.part").iterdir()} >= {"values.raw", "job.json", "done.jsonl"}
    with pytest.raises(KeyError), open_it(path, kind=kind) as sink:
        assert sink.done == set(WINDOWS)
        raise KeyError
    go_on(path, kind=kind)
    assert contents(tmp_path) == whole_map(suffix, kind)


@files
def test_interrupted_while_files_take_their_names(tmp_path, kind, suffix, monkeypatch, whole_map):
    path = tmp_path / f"map{suffix}"
    expected = whole_map(suffix, kind)
    replace, left = Path.replace, 0

    def stop(file: Path, target: Path) -> Path:
        nonlocal left
        if file.parent.name == "finished":
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return replace(file, target)

    for moved in range(len(expected)):
        left = moved
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", stop)
            with pytest.raises(KeyboardInterrupt):
                go_on(path, kind=kind)
        assert not path.exists()
    go_on(path, kind=kind)
    assert contents(tmp_path) == expected


def test_a_map_of_other_bands_is_refused(tmp_path):
    interrupt(tmp_path / "map.tif", kind=SCORES)
    with pytest.raises(OutputError, match=r'bands was \["a", "B.*"\] and is \["a", "c"\]'):
        open_it(tmp_path / "map.tif", kind=SCORES, names=("a", "c"))
    with pytest.raises(OutputError, match=r'bands was .* and is \["red", "green", "blue", "alpha"\]'):
        open_it(tmp_path / "map.tif", kind=PICTURE)
    with pytest.raises(OutputError, match=r"bands was .* and is not given; legend "):
        open_it(tmp_path / "map.tif")


KILLS = 10
"""Of each kind of content and of file."""

# Libraries are loaded once: each attempt is a fork of a process that has not used them.
ATTEMPTS = """
import os, random, signal, sys, time
from pathlib import Path
import test_resume_sink as t
from map_kinds import KINDS

def attempt(path, chance):
    pixels = kind.block(t.fabricated_ids())
    with t.open_it(path, kind=kind) as sink:
        left = [w for w in t.WINDOWS if w not in sink.done]
        chance.shuffle(left)
        for window in left:
            sink.write(window, pixels[..., *window.slices])

def run(path, chance, patience):
    child = os.fork()
    if not child:
        try:
            attempt(path, chance)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if patience is not None:
        time.sleep(patience)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status == 0

folder, path, chance = Path(sys.argv[1]), Path(sys.argv[2]), random.Random(int(sys.argv[3]))
kind = KINDS[sys.argv[5]]
began = time.monotonic()
assert run(folder / path.name, chance, None)
usual = time.monotonic() - began
whole = {f.name: f.read_bytes() for f in folder.iterdir()}
kills = 0
while kills < int(sys.argv[4]):
    path.unlink(missing_ok=True)
    while not run(path, chance, usual * chance.random() ** 3):
        kills += 1
        assert not path.exists() or path.read_bytes() == whole[path.name]
        if path.exists():
            break
    assert run(path, chance, None)
    assert {f.name: f.read_bytes() for f in path.parent.iterdir()} == whole
print(kills)
"""


@pytest.mark.parametrize(
    ("name", "suffix"), [("classes", ".tif"), ("classes", ".png"), ("picture", ".tif"), ("picture", ".png")]
)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_at_random_moments_the_file_is_the_same(tmp_path, name, suffix):
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    seed = str(random.randrange(1000))
    words = [str(tmp_path / "whole"), str(tmp_path / "killed" / f"map{suffix}"), seed, str(KILLS), name]
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPTS, *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    assert int(done.stdout) >= KILLS
