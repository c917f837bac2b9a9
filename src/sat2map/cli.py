"""The command line: parse, call the verb of the same name, print. Nothing else in the package prints.

Heavy modules are imported by the commands that need them, so that `sat2map --help` answers at once.
"""

from __future__ import annotations

import logging
import shlex
import sys
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter, UnusedCliTokensError

import sat2map
from sat2map.errors import BadOption, Sat2mapError
from sat2map.options import (
    CriticOptions,
    EvaluateOptions,
    LearnOptions,
    PredictOptions,
    ReadOptions,
    SplitOptions,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


log = logging.getLogger(__name__)

app = App(
    name="sat2map",
    help="Turn satellite and aerial imagery into maps.",
    version=sat2map.__version__,
    default_parameter=Parameter(negative_iterable=()),
    suppress_keyboard_interrupt=False,  # `run` tells how to go on
)


def _flat(group: str) -> Parameter:
    """Show the fields of an options class as options of the command, under one heading."""
    return Parameter(name="*", group=group)


Reading = Annotated[ReadOptions, _flat("Reading")]
Splitting = Annotated[SplitOptions, _flat("Split")]
Learning = Annotated[LearnOptions, _flat("Learning")]
Judging = Annotated[CriticOptions, _flat("Critic")]
Predicting = Annotated[PredictOptions, _flat("Prediction")]
Evaluating = Annotated[EvaluateOptions, _flat("Evaluation")]


@app.command
def inspect(source: str, /, *, json: bool = False, read: Reading = ReadOptions()) -> int:
    """Tell what a folder or file of imagery and labels holds, and what is wrong with it.

    Exit code 0 if it can be trained on, 2 if not.

    Args:
        source: A folder, or an image or HDF5 file.
        json: Print JSON.
    """
    from sat2map.inspection import inspect as look

    found = look(source, **asdict(read))
    if json:
        _console().print_json(data=found.to_json())
    else:
        _console().print(found)
    return 0 if found.trainable else 2


@app.command
def train(
    source: str,
    run: Path,
    /,
    *,
    read: Reading = ReadOptions(),
    split: Splitting = SplitOptions(),
    learn: Learning = LearnOptions(),
    critic: Judging = CriticOptions(),
) -> None:
    """Train a network on imagery with labels.

    Args:
        source: A folder, or an image or HDF5 file.
        run: The folder to make: model, metrics, curves, samples, checkpoints.
    """
    from sat2map import tables
    from sat2map.runs import RunFolder
    from sat2map.splits import read_split

    folder = RunFolder(sat2map.train(source, run, **asdict(read), **asdict(split), **asdict(learn), **asdict(critic)))
    if learn.tune:
        _show(tables.trials(folder.path))
    last = folder.rows()[-1]
    epochs, minutes = "1 epoch" if last["epoch"] == 1 else f"{last['epoch']} epochs", last["seconds"] / 60
    _say(f"Trained {epochs} in {minutes:.1f} minutes; curves in {folder.curves}")
    _say(f"Model in {folder.model}. Next:")
    part = "" if read_split(folder.split).part("test") else " --split val"
    _say(f"  sat2map evaluate {shlex.quote(source)} REPORT --model {shlex.quote(str(run))}{part}")
    _say(f"  sat2map predict SCENE MAP.tif --model {shlex.quote(str(run))}")


@app.command
def evaluate(
    source: str,
    report: Path,
    /,
    *,
    model: Path,
    overwrite: bool = False,
    options: Evaluating = EvaluateOptions(),
) -> None:
    """Score a model on labelled ground it has not seen, and write a report.

    Args:
        source: A folder, or an image or HDF5 file.
        report: The folder for metrics.json, pictures and report.html.
        model: The run that trained it, or its model folder.
        overwrite: Replace a report that is there.
    """
    from sat2map import tables
    from sat2map.evaluation import evaluate as score

    made = score(source, report, model=model, overwrite=overwrite, **asdict(options))
    for finding in made.findings:
        if finding.level != "note":
            log.warning(finding.text)
    _show(tables.measures(made.metrics, made.scores))
    _say(f"Report in {made.report}")


@app.command
def predict(
    scene: str,
    map: Path,
    /,
    *,
    model: Path,
    polygons: Path | None = None,
    picture: Path | None = None,
    scores: Path | None = None,
    confidence: Path | None = None,
    json: bool = False,
    overwrite: bool = False,
    options: Predicting = PredictOptions(),
) -> None:
    """Turn a scene into a map, or each of many scenes into its own.

    Interrupted at any moment, the same command goes on where it was and makes the same map.

    Args:
        scene: An image file, a URL, a STAC item, or a folder or pattern of tiles.
        map: The map to write: .tif or .png. A folder: each file of SCENE, a folder or a pattern, gets a map there.
        model: The run that trained it, or its model folder.
        polygons: Also write the map's polygons: .gpkg, .fgb, .geojson, .shp or .parquet.
        picture: Also draw the map beside its image: .png.
        scores: Also write the probabilities of all classes: .tif.
        confidence: Also write the largest of them; polygons then tell its mean: .tif.
        json: Print JSON.
        overwrite: Replace files that are there, and begin an unfinished map anew.
    """
    from sat2map.prediction import predict as turn
    from sat2map.prediction import predict_all

    words: dict[str, Any] = {"model": model, "overwrite": overwrite, **asdict(options)}
    beside: dict[str, Any] = {"polygons": polygons, "picture": picture, "scores": scores, "confidence": confidence}
    many = map.is_dir() or (not map.suffix and any(sign in scene for sign in "*?["))
    if many and any(beside.values()):
        raise BadOption(
            "--polygons, --picture, --scores and --confidence go with one map. Name a MAP that ends in .tif or .png."
        )
    made = predict_all(scene, map, **words) if many else [turn(scene, map, **beside, **words)]
    if json:
        _console().print_json(data=[one.to_json() for one in made])
        return
    for one in made:
        _say(one.summary())
    also = "".join(f", {what} in {path}" for what, path in beside.items() if path)
    _say(f"{len(made)} maps in {map}" if many else f"Map in {map}{also}")


@app.command
def export(run: Path, /) -> int:
    """Add a graph in int8 to a trained model, for `predict --precision int8` on a processor.

    Exit code 1 if it draws another map than float32 does: then it is not kept.

    Args:
        run: The run; its imagery has to be where it was.
    """
    made = sat2map.export(run)
    verdict = f"kept in {made.model}" if made.kept else "less than 99.5%, so it is not kept"
    _say(f"int8 gives {made.agreement:.2%} of the validation pixels the class of float32: {verdict}")
    return 0 if made.kept else 1


@app.command
def polygonize(
    map: Path,
    polygons: Path,
    /,
    *,
    classes: tuple[str, ...] = (),
    min_area: float | None = None,
    simplify: float | None = None,
    square: tuple[str, ...] = (),
    confidence: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Turn a class map into polygons.

    Args:
        map: A class map.
        polygons: The file to write: .gpkg, .fgb, .geojson, .shp or .parquet.
        classes: Names of the classes to keep; all if none is given.
        min_area: Leave out polygons smaller than this, in square metres (pixels if the map has no CRS).
        simplify: Smooth the steps of the pixels by about this length, in map units.
        square: Names of classes, such as buildings, whose outlines become right-angled.
        confidence: A raster of confidences, whose mean over each polygon becomes a column.
        overwrite: Replace a file that is there.
    """
    from sat2map.polygons import polygonize as trace

    made = trace(
        map,
        polygons,
        classes=classes,
        min_area=min_area,
        simplify=simplify,
        square=square,
        confidence=confidence,
        overwrite=overwrite,
    )
    _say(f"Polygons in {made}")


@app.command
def sample(map: Path, count: int, points: Path, /, *, seed: int = 0, overwrite: bool = False) -> None:
    """Draw random points within each class of a map, to be labelled: the reference for `area`.

    Args:
        map: A class map.
        count: How many points.
        points: The file to write: .gpkg, .geojson or .fgb. Fill in its column `class`, in QGIS for example.
        seed: Where all random numbers start.
        overwrite: Replace a file that is there.
    """
    made = sat2map.sample(map, count, points, seed=seed, overwrite=overwrite)
    _say(f"Points in {made}. Fill in their column 'class' with what is on the ground. Next:")
    _say(f"  sat2map area {shlex.quote(str(map))} --reference {shlex.quote(str(made))}")


@app.command
def area(map: Path, /, *, reference: Path, column: str | None = None, json: bool = False) -> None:
    """Estimate the area of each class of a map, corrected for its errors, with its own error.

    Args:
        map: A class map.
        reference: Labelled points, drawn at random within each class of the map as `sample` does.
        column: Their column that names the class on the ground; found by its name if not given.
        json: Print JSON.
    """
    from sat2map import tables

    found = sat2map.area(map, reference=reference, column=column)
    if json:
        _console().print_json(data=found.to_json())
    else:
        _show(tables.areas(found))


@app.command
def download(name: str | None = None, dest: Path | None = None, /, *, overwrite: bool = False) -> None:
    """Fetch a public archive of imagery and labels, check it and unpack it; or list those there are.

    Interrupted at any moment, the same command goes on where it was.

    Args:
        name: An archive of the list.
        dest: The folder to make.
        overwrite: Replace an archive that was unpacked there.
    """
    from sat2map import tables

    if name is None:
        _show(tables.archives())
        return
    if dest is None:
        raise BadOption(f"There is no folder to unpack to. Name one: sat2map download {name} DEST")
    _say(f"Unpacked to {sat2map.download(name, dest, overwrite=overwrite)}")


@app.command
def demo(
    folder: Path = Path("demo"),
    /,
    *,
    source: str | None = None,
    minutes: float = 1.0,
    seed: int = 0,
) -> None:
    """Go through the whole flow: a fabricated scene, or your own data, to a model, a map and a report.

    Args:
        folder: Where everything goes; an earlier demo there is replaced.
        source: Imagery with labels to take in place of the fabricated scene.
        minutes: How long to train.
        seed: Where all random numbers start.
    """
    from sat2map import tables

    made = sat2map.demo(folder, source=source, minutes=minutes, seed=seed)
    _show(tables.measures(made.metrics, made.scores))
    for what, path in (("Map", made.map), ("Polygons", made.polygons), ("Picture", made.picture)):
        if path:
            _say(f"{what:9} {path.resolve()}")
    _say(f"Report    {made.report.resolve()}")


@app.command
def networks(
    name: str | None = None,
    /,
    *,
    bands: int = 3,
    encoder: str = "resnet34",
    size: int = 256,
    picture: Path | None = None,
) -> None:
    """List the networks and critics there are, or show the layers of one.

    Args:
        name: A network of the list.
        bands: Number of bands.
        encoder: Its encoder.
        size: Side of the image in pixels for which shapes are shown.
        picture: Also draw it: .png.
    """
    from sat2map import tables
    from sat2map.networks import build_any, draw_network, network_summary

    if size < 1:
        raise BadOption(f"--size is {size}; it must be above 0.")
    if name is None and picture is not None:
        raise BadOption("--picture draws one network. Name it: sat2map networks NAME --picture FILE.png.")
    if name is not None:
        network, given = build_any(name, bands=bands, channels=3, encoder=encoder)
        print(network_summary(network, given, size))
        if picture is not None:
            draw_network(network, given, size, picture, title=name)
            _say(f"Picture in {picture}")
        return
    _show(tables.networks())


_GOING_ON = {
    "train": " Go on with the same command and --resume.",
    "predict": " Go on with the same command.",
    "download": " Go on with the same command.",
}


def main() -> None:
    """Run the command line: exit code 0, 2 for a user's mistake, 1 for a failure, 130 when interrupted."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run one command and return its exit code."""
    _listen()
    try:
        code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _refuse(f"{_wrong_words(error)} See: {' '.join(['sat2map', *(error.command_chain or ())])} --help", 2)
    except Sat2mapError as error:
        return _refuse(str(error), error.exit_code)
    except KeyboardInterrupt:
        print(f"Stopped.{_GOING_ON.get(words[0], '')}", file=sys.stderr)
        return 130
    return code if isinstance(code, int) else 0


def _listen() -> None:
    """Show what this package logs on standard error, and nothing of what libraries warn of or log."""
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(_UNHEARD)
    ours = logging.getLogger("sat2map")
    ours.addHandler(_TOLD)
    ours.setLevel(logging.INFO)


def _refuse(text: str, code: int) -> int:
    print(f"Error: {text}", file=sys.stderr)
    return code


def _wrong_words(error: CycloptsError) -> str:
    """Return what is wrong with the words of a command, in a sentence."""
    if isinstance(error, UnusedCliTokensError):
        words = ", ".join(map(repr, error.unused_tokens or ()))
        return f"{words} cannot be placed. An option with several values is repeated: --bands red --bands green."
    if isinstance(error, MissingArgumentError):
        return str(error).partition(" parameter ")[2].replace("requires an argument", "is missing")
    return str(error)


class _Told(logging.StreamHandler[Any]):
    """Writes to standard error as it is at the time: a progress bar puts itself between."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        mark = "Warning: " if record.levelno >= logging.WARNING else ""
        return mark + super().format(record)


_TOLD, _UNHEARD = _Told(), logging.NullHandler()


def _console() -> Console:
    from rich.console import Console

    return Console()


def _say(text: str) -> None:
    print(text)


def _show(parts: Iterable[Table | str]) -> None:
    for part in parts:
        print(part) if isinstance(part, str) else _console().print(part)


if __name__ == "__main__":
    main()
