"""Whatever ends a process, the same command goes on, and the file is the same to the last byte.

`SAT2MAP_KILLS=30` kills more often than a quick test does.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import synthetic
from models import colour_model

KILLS = int(os.environ.get("SAT2MAP_KILLS", "6"))

LIMITED = "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0})); "
"""Makes files longer than this as impossible as a full disk does."""


class Command:
    """`sat2map predict` in a process of its own, over and over."""

    def __init__(self, folder: Path) -> None:
        ids = np.tile(synthetic.landscape(1, 100), (6, 6))
        scene = synthetic.geotiff(folder / "scene.tif", ids)
        self.map, self.part = folder / "out" / "map.tif", folder / "out" / ".map.tif.part"
        model = colour_model(folder / "model").folder
        self.words = ["predict", str(scene), str(self.map), "--model", str(model), "--block", "100"]
        began = time.monotonic()
        assert self.start().communicate() == (None, "")
        self.seconds, self.whole = time.monotonic() - began, self.map.read_bytes()
        self.map.unlink()

    def start(self, *, longest: int | None = None) -> subprocess.Popen[str]:
        """Start it, with files of no more than `longest` bytes."""
        run = ["-m", "sat2map.cli"]
        if longest is not None:
            run = ["-c", LIMITED.format(longest) + "runpy.run_module('sat2map.cli', run_name='__main__')"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        # a shell that runs these tests in the background would have it ignore Ctrl-C
        heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen([sys.executable, *run, *self.words], preexec_fn=heed, **pipes)

    def done(self) -> set[tuple[int, ...]]:
        """Return the windows that are noted as finished."""
        journal = self.part / "done.jsonl"
        lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
        return {tuple(json.loads(line)) for line in lines if line.endswith(b"\n")}


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(tmp_path_factory.mktemp("survival"))


def test_it_goes_on_after_kill_9_at_any_moment(command):
    chance = random.Random(0)
    before, halfway, kills = set(), 0, 0
    while kills < KILLS:
        process = command.start()
        try:
            process.wait(chance.uniform(0.3, 1) * command.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        _, told = process.communicate()
        assert (process.returncode, told) in ((0, ""), (-signal.SIGKILL, ""))
        if command.map.exists():  # then it is complete
            assert command.map.read_bytes() == command.whole
            command.map.unlink()
            before = set()
            continue
        assert before <= command.done(), "what was done is never lost"
        before = command.done()
        halfway += bool(before)
    assert halfway > 0, "no kill came in the midst of the work"
    finish(command)


def test_it_goes_on_after_an_interruption_and_a_full_disk(command):
    for _ in range(5):  # on a busy machine the command may have come to its end before the signal
        process = command.start()
        while process.poll() is None and len(command.done()) < 3:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
        if process.returncode:
            break
        command.map.unlink()
    assert (process.returncode, told) == (130, "Stopped. Go on with the same command.\n")
    assert not command.map.exists()
    process = command.start(longest=200_000)  # less than the map has pixels
    _, told = process.communicate()
    assert process.returncode == 2
    assert "map.tif cannot be written: " in told and "File too large. Is there room on the disk?" in told
    assert not command.map.exists() and len(command.done()) > 3
    finish(command)


def finish(command: Command) -> None:
    """Let the command come to its end; its map is as if nothing had happened."""
    process = command.start()
    _, told = process.communicate()
    assert (process.returncode, told) == (0, "")
    assert command.map.read_bytes() == command.whole
    assert not command.part.exists()
    command.map.unlink()
