"""The folder of a training run: what was called, in which environment, on which split, and what came of it."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sat2map.errors import BadOption, OutputError
from sat2map.files import nearest, record, write_json
from sat2map.options import TrainOptions, Words

REPORTED_PACKAGES = (
    "lightning-fabric", "numpy", "openvino", "rasterio", "segmentation-models-pytorch", "timm", "torch", "torchvision"
)  # fmt: skip

FREE_ON_RESUME = (
    "epochs",
    "minutes",
    "device",
    "devices",
    "workers",
    "patience",
    "save_every",
    "sample_every",
    "resume",
    "overwrite",
)
"""Words that may differ when a run goes on."""


@dataclass(frozen=True)
class RunFolder:
    """Where everything of a run lies."""

    path: Path

    @property
    def call(self) -> Path:
        """The exact call, as JSON."""
        return self.path / "call.json"

    @property
    def split(self) -> Path:
        """Which ground was learnt from, validated on and kept for the test."""
        return self.path / "split.json"

    @property
    def leaks(self) -> Path:
        """Which ground lies in several parts, as far as it was looked for; drawn in a PNG of the same name."""
        return self.path / "leaks.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        """The picture of `metrics`."""
        return self.path / "curves.png"

    @property
    def model(self) -> Path:
        """The folder of the finished model."""
        return self.path / "model"

    @property
    def last(self) -> Path:
        """The checkpoint from which training goes on."""
        return self.checkpoint("last")

    @property
    def best(self) -> Path:
        """The weights that did best on validation."""
        return self.checkpoint("best")

    def checkpoint(self, name: str) -> Path:
        """Return the file of a checkpoint."""
        return self.path / "checkpoints" / f"{name}.pt"

    def samples(self, epoch: int) -> Path:
        """Return the picture of an epoch's predictions."""
        return self.path / "samples" / f"epoch_{epoch:04d}.png"

    def log(self, row: Mapping[str, Any]) -> None:
        """Add an epoch to the metrics."""
        with self.metrics.open("a") as lines:
            lines.write(json.dumps(row, allow_nan=False) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """Return the metrics of all epochs so far."""
        if not self.metrics.exists():
            return []
        lines = self.metrics.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]  # a kill may have torn the last one

    def rewind(self, epochs: int) -> None:
        """Forget the metrics after so many epochs: they were logged, but their checkpoint was not finished."""
        rows = [json.dumps(row) + "\n" for row in self.rows() if row["epoch"] <= epochs]
        self.metrics.write_text("".join(rows))


def check_new_run(path: Path, *, overwrite: bool) -> None:
    """Make sure, before anything is read or removed, that a run can be written to a folder.

    Raises:
        OutputError: There is something already and it shall not be overwritten, or the folder cannot be written.
    """
    there = nearest(path)
    if not there.is_dir():
        raise OutputError(f"{there} is a file. Name a folder for the run.")
    if not os.access(there, os.W_OK):
        raise OutputError(f"The run cannot be written to {path}: no permission to write. Name another folder.")
    if path.exists() and any(path.iterdir()):
        if not overwrite:
            raise OutputError(
                f"{path} is not empty. Go on with --resume, start anew with --overwrite, or name another."
            )
        if not RunFolder(path).call.exists():
            raise OutputError(f"{path} holds files that are no run, so it is not overwritten. Name another folder.")


def begin_run(path: Path, source: str, options: TrainOptions, *, own: Sequence[str] = ()) -> RunFolder:
    """Make the folder of a new run and write down the call and the environment.

    Args:
        path: The folder.
        source: Imagery with labels.
        options: How to learn.
        own: What was passed as an object in place of an option: `network`, `loss`.

    Raises:
        OutputError: There is something already and it shall not be overwritten, or the folder cannot be written.
    """
    run = RunFolder(path)
    check_new_run(path, overwrite=options.overwrite)
    call = {"verb": "train", "source": str(source), "options": asdict(as_stored(options)), "own": list(own)}
    try:
        path.mkdir(parents=True, exist_ok=True)
        _clear(run)
        write_json(run.call, call)
        write_json(path / "environment.json", environment())
    except OSError as error:
        raise OutputError(f"The run cannot be written to {path}: {error.strerror}.") from None
    return run


def _clear(run: RunFolder) -> None:
    """Remove what is in a run folder, but for its call, by which it is known to be one.

    The folder itself stays: it may be a mount point or a link, or lie where nothing can be made or removed.
    """
    for item in run.path.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        elif item != run.call:
            item.unlink()


def as_stored(options: TrainOptions) -> TrainOptions:
    """Return options as a run gives them back: lists as tuples, paths as texts, numbers of NumPy as plain ones.

    Raises:
        BadOption: A number is NaN or infinite.
    """
    text = json.dumps(asdict(options), default=lambda v: v.tolist() if hasattr(v, "tolist") else str(v))
    stored: dict[str, Any] = json.loads(text)
    for name, value in stored.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise BadOption(f"--{name.replace('_', '-')} is {value}; it must be a number.")
    return record(TrainOptions, stored)


def resume_run(
    path: Path, source: str, options: TrainOptions, *, own: Sequence[str] = ()
) -> tuple[RunFolder, TrainOptions]:
    """Open an interrupted run; its own options hold, but for those that change nothing of what was done so far.

    Args:
        path: Its folder.
        source: Imagery with labels.
        options: How to go on.
        own: What was passed as an object in place of an option: `network`, `loss`.

    Raises:
        OutputError: There is no run, or its call is damaged.
        BadOption: Options or objects were given that the run was not started with, or its objects were not.
    """
    run, options = RunFolder(path), as_stored(options)
    if not run.call.exists():
        raise OutputError(f"There is no run in {path} to go on with. Start one by leaving out --resume.")
    begun_on, begun = read_call(run)
    if Path(begun_on).resolve() != Path(source).resolve():
        raise BadOption(f"The run in {path} was trained on {begun_on}, not on {source}.")
    _check_own(run, own)
    changed = {}
    for name, value in options.given().items():
        before = getattr(begun, name)
        if value == before:
            continue
        if name not in FREE_ON_RESUME:
            word = name.replace("_", "-")
            raise BadOption(
                f"--{word} {value} differs from the run's {'own choice' if before is None else before}; "
                "what has begun with one goes on with it."
            )
        changed[name] = value
    return run, TrainOptions(**{**asdict(begun), **changed, "resume": True})


def _check_own(run: RunFolder, own: Sequence[str]) -> None:
    """Make sure that a run goes on with objects where it began with them, and only there.

    Raises:
        BadOption: It does not.
    """
    before = json.loads(run.call.read_text()).get("own")
    if before is None:  # a run of an earlier version does not tell
        return
    for name in ("network", "loss"):
        if name in before and name not in own:
            raise BadOption(
                f"The run in {run.path} began with a {name} of your own. Pass it to sat2map.train again, "
                "with resume=True, or start anew."
            )
        if name in own and name not in before:
            raise BadOption(f"The run in {run.path} began without a {name} of your own, so it cannot go on with one.")


def read_call(run: RunFolder) -> tuple[str, TrainOptions]:
    """Return source and options of a run.

    Raises:
        OutputError: They are damaged.
    """
    try:
        call = json.loads(run.call.read_text())
        return call["source"], record(TrainOptions, call["options"])
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(
            f"{run.call} is damaged, or of another version of sat2map ({error!r}). Start anew with --overwrite."
        ) from None


def environment() -> dict[str, Any]:
    """Return what a run depends on besides its call: versions, processor, time."""
    versions = {}
    for name in REPORTED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "sat2map": importlib.metadata.version("sat2map"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "versions": versions,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def command(verb: str, arguments: Sequence[object], options: Words) -> str:
    """Return the command line of a call: only words that differ from their defaults."""
    words = [verb, *(shlex.quote(str(a)) for a in arguments)]
    for field, value in options.given().items():
        name = field.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{name}")
        else:
            values = (value or ("",)) if isinstance(value, tuple) else (value,)  # an empty word stands for none
            words += [f"--{name} {shlex.quote(str(v))}" for v in values]
    return " ".join(["sat2map", *words])
