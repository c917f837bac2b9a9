"""A small town that does not exist, seen from the air: imagery with a perfect map, for trials without any data.

What is seen and what is true come from one model of the ground: colours, heights in metres, and classes. Sunlight,
roof slopes and cast shadows follow from the heights. One pixel is half a metre. The same seed gives the same town.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from sat2map.fabricate.canvas import FABRICATED_CLASSES, PIXEL, blank
from sat2map.fabricate.country import draw_fields, draw_river, plant_woods
from sat2map.fabricate.photograph import photograph
from sat2map.fabricate.plan import make_plan
from sat2map.fabricate.town import draw_main_roads, draw_streets, draw_town_ground, park_cars, plant_gardens, settle

__all__ = ["FABRICATED_CLASSES", "fabricate_scene", "write_scene"]

CRS, CORNER = "EPSG:32633", (412_000.0, 5_340_000.0)
"""Where `write_scene` puts the town: somewhere in the Danube valley."""


def fabricate_scene(size: int = 1536, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make up an aerial image of a small town by a river, and its true map.

    Args:
        size: Side in pixels of half a metre.
        seed: Which town.

    Returns:
        The image `(3, size, size)` uint8 (red, green, blue), and the class ids `(size, size)` uint8 of
        `FABRICATED_CLASSES`.
    """
    canvas = blank(size, seed)
    plan = make_plan(canvas)
    margins = draw_fields(canvas)
    draw_town_ground(canvas, plan)
    draw_river(canvas, plan)
    plant_woods(canvas, plan, margins)
    draw_streets(canvas, plan)
    draw_main_roads(canvas, plan)
    settle(canvas, plan)
    plant_gardens(canvas, plan)
    park_cars(canvas, plan)
    return photograph(canvas), canvas.labels


def write_scene(folder: Path | str, size: int = 1536, seed: int = 0) -> Path:
    """Write a fabricated scene as `images/scene.tif`, `masks/scene.tif` and `classes.json` for training.

    Returns:
        The folder.
    """
    folder = Path(folder)
    image, labels = fabricate_scene(size, seed)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    place = {
        "driver": "GTiff", "height": size, "width": size, "dtype": "uint8", "crs": CRS, "compress": "DEFLATE",
        "transform": Affine(PIXEL, 0, CORNER[0], 0, -PIXEL, CORNER[1]), "tiled": True,
    }  # fmt: skip
    with rasterio.open(folder / "images" / "scene.tif", "w", count=3, photometric="RGB", **place) as file:
        file.write(image)
    with rasterio.open(folder / "masks" / "scene.tif", "w", count=1, **place) as file:
        file.write_colormap(1, {c.value: (*c.colour, 255) for c in FABRICATED_CLASSES.classes})
        file.write(FABRICATED_CLASSES.values(labels), 1)
    (folder / "classes.json").write_text(json.dumps(FABRICATED_CLASSES.to_json(), indent=2) + "\n", encoding="utf-8")
    return folder
