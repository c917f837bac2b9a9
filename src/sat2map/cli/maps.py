"""Commands about maps: predict, polygonize, sample, area, change, suggest."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

import sat2map
from sat2map.cli.app import Predicting, Running, command, console, say, show
from sat2map.errors import BadOption
from sat2map.options import PredictOptions, RuntimeOptions


@command
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
        overwrite: Replace files that are there, and begin an unfinished map of another call anew.
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
        console().print_json(data=[one.to_json() for one in made])
        return
    for one in made:
        say(one.summary())
    also = "".join(f", {what} in {path}" for what, path in beside.items() if path)
    say(f"{len(made)} maps in {map}" if many else f"Map in {map}{also}")


@command
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
    say(f"Polygons in {made}")


@command
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
    say(f"Points in {made}. Fill in their column 'class' with what is on the ground. Next:")
    say(f"  sat2map area {shlex.quote(str(map))} --reference {shlex.quote(str(made))}")


@command
def area(
    map: Path,
    /,
    *,
    reference: Path | None = None,
    report: Path | None = None,
    column: str | None = None,
    json: bool = False,
) -> None:
    """Estimate the area of each class of a map, corrected for its errors, with its own error.

    Args:
        map: A class map.
        reference: Labelled points, drawn at random within each class of the map as `sample` does.
        report: In their place, the folder in which `evaluate` scored the map's model on ground like the map's.
        column: Their column that names the class on the ground; found by its name if not given.
        json: Print JSON.
    """
    from sat2map import tables

    found = sat2map.area(map, reference=reference, report=report, column=column)
    if json:
        console().print_json(data=found.to_json())
    else:
        show(tables.areas(found))


@command
def change(
    before: Path,
    after: Path,
    out: Path,
    /,
    *,
    min_area: float | None = None,
    rare: float = 0.0,
    reference: Path | None = None,
    column: str | None = None,
    json: bool = False,
    overwrite: bool = False,
) -> None:
    """Tell what changed between two class maps of the same ground, on any grids.

    Args:
        before: The earlier class map.
        after: The later one.
        out: The folder to make: transitions.tif, changes.gpkg, change.png, change.json.
        min_area: Leave out polygons smaller than this, in square metres (pixels if the maps have no CRS).
        rare: Changes on less than this share of the ground become one class, "other change".
        reference: Points drawn with `sample` from transitions.tif and labelled: areas then come with their errors.
        column: Their column that names what happened; found by its name if not given.
        json: Print JSON.
        overwrite: Replace the files of an earlier change.
    """
    from sat2map.changes.telling import shown

    found = sat2map.change(
        before,
        after,
        out,
        min_area=min_area,
        rare=rare,
        reference=reference,
        column=column,
        overwrite=overwrite,
    )
    if json:
        console().print_json(data=found.to_json())
        return
    show(shown(found))
    say(f"Map, polygons and picture in {out}")


@command
def suggest(
    scene: str,
    places: Path,
    /,
    *,
    model: Path,
    count: Annotated[int, Parameter(alias="-n")] = 50,
    size: int = 256,
    labelled: Path | None = None,
    seed: int = 0,
    json: bool = False,
    overwrite: bool = False,
    options: Running = RuntimeOptions(),
) -> None:
    """Choose the places whose labels would teach a model most: where it is unsure, and each unlike the others.

    Args:
        scene: An image file, a URL, a STAC item, or a folder or pattern of pictures.
        places: The file of polygons to write: .gpkg, .geojson or .fgb; `rank` 1 is to be labelled first.
        model: The run that trained it, or its model folder.
        count: How many places.
        size: Side of a place in pixels.
        labelled: A vector file of ground that has labels: left out, and kept away from.
        seed: Where all random numbers start.
        json: Print JSON.
        overwrite: Replace a file that is there.
    """
    words: dict[str, Any] = {"count": count, "size": size, "labelled": labelled, "seed": seed, **asdict(options)}
    made = sat2map.suggest(scene, places, model=model, overwrite=overwrite, **words)
    if json:
        console().print_json(data=made.to_json())
        return
    say(made.summary())
    say(f"Places in {made.path}")
