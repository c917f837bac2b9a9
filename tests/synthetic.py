"""Fabricated imagery with known answers, a function for each way of storing it.

A landscape is a map of ids drawn at random: 0 land everywhere, 1 water in discs, 2 buildings in rectangles. An image
shows each class in a colour of its own with some noise, so that a small network learns it within seconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import geopandas as gpd
import h5py
import numpy as np
import rasterio
from affine import Affine
from rasterio.features import shapes as trace
from shapely.geometry import shape

from sat2map.fabricate import fabricate_scene
from sat2map.legend import Legend, MapClass

LEGEND = Legend(
    (MapClass("Land", (132, 41, 246), 0), MapClass("Water", (226, 169, 41), 1), MapClass("Building", (60, 16, 152), 2))
)
"""The classes of all fabricated landscapes; the colours are those of their masks."""

SEEN = np.array([[110, 150, 70], [30, 60, 120], [190, 170, 160], [120, 40, 40]], np.float64)
"""How the classes look in the images: red, green, blue; the last row is for whatever a test adds."""

UTM = "EPSG:32636"
CORNER = (500_000.0, 40_000.0)
"""Where the first georeferenced image has its upper left corner, in metres of `UTM`."""

PLACE = Affine(0.5, 0, CORNER[0], 0, -0.5, CORNER[1])
"""The affine of the first georeferenced image: pixels of half a metre."""


def landscape(seed: int, size: int = 96) -> np.ndarray:
    """Return ids `(size, size)` uint8 with all three classes in them."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size]
    ids = np.zeros((size, size), np.uint8)
    for _ in range(2):
        row, col = rng.integers(size // 5, size - size // 5, 2)
        ids[(rows - row) ** 2 + (cols - col) ** 2 < (size // 6) ** 2] = 1
    for _ in range(4):
        row, col = rng.integers(0, size - size // 6, 2)
        ids[row : row + size // 6, col : col + size // 6] = 2
    return ids


def seen(ids: np.ndarray, seed: int = 0, bands: int = 3, dtype: str = "uint8") -> np.ndarray:
    """Return the image `(bands, H, W)` of a landscape; uint16 fills 0 to 4095, floats 0 to 1."""
    rng = np.random.default_rng(seed)
    colours = SEEN[:, np.arange(bands) % 3][ids] * (1 - 0.1 * (np.arange(bands) // 3))
    pixels = np.moveaxis(colours + rng.normal(0, 8, colours.shape), -1, 0).clip(1, 254)
    scale = {"uint8": 1, "uint16": 4095 / 255, "int16": 20, "float32": 1 / 255}[dtype]
    return (pixels * scale).astype(dtype)


def furnished(pixels: np.ndarray, seed: int, contrast: float = 8) -> np.ndarray:
    """Return a picture `(bands, H, W)` uint8 with blots of its own, as each house of one plan has its own garden."""
    blots = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=pixels.shape[1:]), (0, 0), 2)
    return (pixels + contrast * blots / blots.std()).clip(0, 255).astype(np.uint8)


def twin_towns(path: Path) -> Path:
    """Write three towns as folders; the third is small and built to the plan of a part of the first."""
    plan = fabricate_scene(256, seed=1)
    apart = fabricate_scene(160, seed=2)
    small = tuple(part[..., :140, :140] for part in plan)
    for i, (looks, ids) in enumerate((plan, apart, small)):
        save(path / f"place {i}" / "images" / f"{i}.png", furnished(looks, i))
        write_mask(path / f"place {i}" / "masks" / f"{i}.png", np.minimum(ids, 2))
    write_legend(path / "classes.json")
    return path


def save(path: Path, pixels: np.ndarray, **profile: object) -> Path:
    """Write `(bands, H, W)` by the driver of the suffix; `palette` (id to colour) makes a palette image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    palette = profile.pop("palette", None)
    driver = {".png": "PNG", ".jpg": "JPEG", ".tif": "GTiff"}[path.suffix]
    count, height, width = pixels.shape
    shape_of = {"driver": driver, "count": count, "height": height, "width": width, "dtype": str(pixels.dtype)}
    with rasterio.open(path, "w", **shape_of, **profile) as file:
        if palette is not None:
            file.write_colormap(1, palette)
        file.write(pixels)
    path.with_name(path.name + ".aux.xml").unlink(missing_ok=True)
    return path


def colour_mask(ids: np.ndarray, legend: Legend = LEGEND) -> np.ndarray:
    """Return a mask `(3, H, W)` in the legend's colours."""
    return np.moveaxis(legend.colourise(ids), -1, 0)


def rgb_folder(
    path: Path, *, count: int = 6, groups: int = 3, size: int = 96, masks: str = "colours", legend: bool = True
) -> Path:
    """Write `place N/images/*.jpg` and `place N/masks/*.png`.

    Args:
        path: The folder.
        count: How many images.
        groups: Over how many places they are spread; 0 leaves out these folders.
        size: Side in pixels.
        masks: `colours`, `palette` (the same colours through a palette) or `numbers`.
        legend: Whether `classes.json` is written.
    """
    for i in range(count):
        ids = landscape(i, size)
        place = path / f"place {i * groups // count + 1}" if groups else path
        save(place / "images" / f"part_{i:03}.jpg", seen(ids, i), quality=95)
        write_mask(place / "masks" / f"part_{i:03}.png", ids, masks)
    if legend:
        write_legend(path / "classes.json")
    return path


def write_mask(path: Path, ids: np.ndarray, how: str = "colours") -> Path:
    """Write a mask in one of the ways of `rgb_folder`."""
    if how == "colours":
        return save(path, colour_mask(ids))
    colours = {i: (*c.colour, 255) for i, c in enumerate(LEGEND.classes)}
    return save(path, ids[None], **({"palette": colours} if how == "palette" else {}))


def write_legend(path: Path, legend: Legend = LEGEND) -> Path:
    """Write a legend the way other tools do: a list of classes with names and colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"classes": [{"title": c.name, "color": c.hex, "id": c.value} for c in legend.classes]}))
    return path


def hdf5_file(path: Path, *, count: int = 6, size: int = 64, bands: int = 4, bands_first: bool = False) -> Path:
    """Write one file with the stacks `images` (NHWC, or NCHW) and `masks` (NHW)."""
    every = [landscape(i, size) for i in range(count)]
    images = np.stack([seen(ids, i, bands, "float32") for i, ids in enumerate(every)])
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["images"] = images if bands_first else np.moveaxis(images, 1, -1)
        file["masks"] = np.stack(every)
    return path


def landslide4sense(path: Path, *, count: int = 6, size: int = 64) -> Path:
    """Write the layout of Landslide4Sense: `img/image_N.h5` (H, W, 14) and `mask/mask_N.h5` (H, W) of 0 and 1."""
    for folder in ("img", "mask"):
        (path / folder).mkdir(parents=True, exist_ok=True)
    for i in range(1, count + 1):
        ids = landscape(i, size)
        with h5py.File(path / "img" / f"image_{i}.h5", "w") as file:
            file["img"] = np.moveaxis(seen(ids, i, 14, "float32").astype(np.float64), 0, -1)
        with h5py.File(path / "mask" / f"mask_{i}.h5", "w") as file:
            file["mask"] = (ids == 2).astype(np.uint8)
    return path


def geotiff(path: Path, ids: np.ndarray, *, bands: int = 3, dtype: str = "uint8", **profile: object) -> Path:
    """Write the image of a landscape with a place: by default at `CORNER` with pixels of half a metre."""
    place = {"crs": UTM, "transform": PLACE}
    return save(path, seen(ids, 0, bands, dtype), **{**place, **profile})


def polygons(ids: np.ndarray, transform: Affine, *, crs: str = UTM, classes: Sequence[int] = (2,)) -> gpd.GeoDataFrame:
    """Return the outlines of some classes of a landscape with the columns `class` and `class_id`."""
    found = [(shape(s), int(v)) for s, v in trace(ids, mask=np.isin(ids, classes), transform=transform)]
    data = {"class": [LEGEND.names[v] for _, v in found], "class_id": [v for _, v in found]}
    return gpd.GeoDataFrame(data, geometry=[s for s, _ in found], crs=crs)


def geotiff_with_vectors(
    path: Path,
    *,
    count: int = 6,
    size: int = 96,
    bands: int = 3,
    dtype: str = "uint8",
    classes: Sequence[int] = (2,),
    column: bool = False,
    vectors: str = "labels.geojson",
    crs: str = "EPSG:4326",
) -> Path:
    """Write `count` GeoTIFF side by side on the ground, and the outlines of some classes in a vector file.

    Args:
        path: The folder.
        count: How many images, from west to east without gaps.
        size: Their side in pixels of half a metre.
        bands: Their bands.
        dtype: Their type.
        classes: Which ids are outlined.
        column: Whether the file says which class a polygon is.
        vectors: Name of the vector file; its suffix says which kind.
        crs: Its CRS.
    """
    frames = []
    for i in range(count):
        ids = landscape(i, size)
        transform = Affine(0.5, 0, CORNER[0] + i * size * 0.5, 0, -0.5, CORNER[1])
        geotiff(path / "images" / f"tile_{i}.tif", ids, bands=bands, dtype=dtype, transform=transform)
        frames.append(polygons(ids, transform, classes=classes))
    every = gpd.GeoDataFrame(gpd.pd.concat(frames, ignore_index=True), crs=UTM).to_crs(crs)
    write_vectors(path / vectors, every if column else every[["geometry"]])
    return path


def write_vectors(path: Path, frame: gpd.GeoDataFrame) -> Path:
    """Write shapes by the kind of the suffix."""
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, engine="pyogrio")
    return path


def side_by_side(path: Path, *, count: int = 6, size: int = 64, reverse: bool = False) -> Path:
    """Write pictures of twice their height: the image on the left and its map on the right, or the reverse."""
    for i in range(count):
        ids = landscape(i, size)
        halves = [seen(ids, i), colour_mask(ids)]
        save(path / f"{i:03}.png", np.concatenate(halves[::-1] if reverse else halves, axis=2))
    return path


def two_folders(path: Path, *, count: int = 6, size: int = 64) -> Path:
    """Write `sat/*.png` and `map/*.png`: image to map pairs whose map has the shades of a drawn map."""
    for i in range(count):
        ids = landscape(i, size)
        shade = np.linspace(0, 60, size)[None, None, :] + np.linspace(0, 40, size)[None, :, None]
        save(path / "sat" / f"{i:03}.png", seen(ids, i))
        save(path / "map" / f"{i:03}.png", (colour_mask(ids) * 0.6 + shade).astype(np.uint8))
    return path
