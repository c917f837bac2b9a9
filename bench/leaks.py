"""Leaks in real imagery: how many are found, surely or perhaps, and how many pairs are called leaks that are none.

    python bench/leaks.py DATA --json out.json --pictures FOLDER

DATA holds `dubai-aerial`, `kampala-buildings`, `atlanta-buildings` and `landsat7-landcover`.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from affine import Affine
from PIL import Image
from rasterio.warp import transform_bounds

from sat2map.leaks import Ground, Leak, draw_leaks, find_leaks
from sat2map.scenes import Scene, open_scene
from sat2map.scenes.array import array_scene
from sat2map.scenes.views import unplaced
from sat2map.tiling import Window, whole

PLACES = {
    "dubai 1": "dubai-aerial/Tile 1/images/image_part_001.jpg",
    "dubai 2": "dubai-aerial/Tile 2/images/image_part_005.jpg",
    "dubai 4": "dubai-aerial/Tile 4/images/image_part_002.jpg",
    "dubai 8": "dubai-aerial/Tile 8/images/image_part_003.jpg",
    "kampala z20": "kampala-buildings/images/z20/OAM-619212-523272-20.tif",
    "kampala z19": "kampala-buildings/images/z19/OAM-309613-261632-19.tif",
    "atlanta": "atlanta-buildings/sample_geotiff.tif",
    "landsat 2002": "landsat7-landcover/LE70220492002106EDC00_stack.gtif",
}


def turned(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """Turn within the frame; what lies outside becomes 0."""
    height, width = pixels.shape[1:]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.stack([cv2.warpAffine(band, matrix, (width, height), flags=cv2.INTER_CUBIC) for band in pixels])


def scaled(pixels: np.ndarray, factor: float) -> np.ndarray:
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.stack([cv2.resize(band, None, fx=factor, fy=factor, interpolation=how) for band in pixels])


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    low, high = np.percentile(pixels[:3], (1, 99))
    return (255 * ((pixels[:3] - low) / (high - low)).clip(0, 1)).astype(np.uint8)


def recompressed(pixels: np.ndarray) -> np.ndarray:
    """Brighten by 30 grey levels, and store as JPEG of quality 40."""
    seen = np.moveaxis(as_bytes(pixels), 0, -1)
    bright = (seen.astype(int) + 30).clip(0, 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(bright.squeeze()).save(data, "jpeg", quality=40)
    back = np.asarray(Image.open(data))
    return np.moveaxis(back, -1, 0) if back.ndim == 3 else back[None]


KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "shifted by 37": lambda p: p[:, 37:, 37:],
    "rotated by 90": lambda p: np.rot90(p, axes=(1, 2)),
    "rotated by 17": lambda p: turned(p, 17),
    "mirrored": lambda p: p[:, :, ::-1],
    "scaled by 0.25": lambda p: scaled(p, 0.25),
    "scaled by 0.5": lambda p: scaled(p, 0.5),
    "scaled by 0.7": lambda p: scaled(p, 0.7),
    "scaled by 1.5": lambda p: scaled(p, 1.5),
    "jpeg 40, brighter": recompressed,
    "right half": lambda p: p[:, :, p.shape[2] // 2 :],
    "a quarter of it, turned and scaled": lambda p: scaled(turned(p[:, p.shape[1] // 2 :, p.shape[2] // 2 :], 33), 0.8),
}


def ground(name: str, part: str, image: Scene) -> Ground:
    return Ground(name, part, image, whole(image.shape))


def in_memory(name: str, part: str, pixels: np.ndarray) -> Ground:
    return ground(name, part, array_scene(np.ascontiguousarray(pixels), name=name))


def seeded(data: Path, _: Path | None) -> dict[str, Any]:
    """Return the likeness of each kind of seeded leak at each place, None where it is not sure, and the counts."""
    found: dict[str, dict[str, float | None]] = {}
    for place, path in PLACES.items():
        pixels = open_scene(data / path).read().pixels
        for kind, change in KINDS.items():
            leaks = find_leaks([in_memory(place, "train", pixels), in_memory(kind, "test", change(pixels))])
            found.setdefault(kind, {})[place] = leaks[0].likeness if leaks and leaks[0].sure else None
        found.setdefault("overlapping windows of one picture", {})[place] = windows(unplaced(open_scene(data / path)))
        print(place, {kind: each[place] for kind, each in found.items()}, flush=True)
    tries = [value for each in found.values() for value in each.values()]
    return {"kinds": found, "found": sum(value is not None for value in tries), "tries": len(tries)}


def windows(image: Scene) -> float | None:
    """Return 1 if two windows that share a quarter of each are found with just that share."""
    height, width = image.shape
    cut = width * 4 // 7
    sides = [Window(0, 0, height, cut), Window(0, width - cut, height, cut)]
    leaks = find_leaks([Ground(f"window {i}", f"part {i}", image, w) for i, w in enumerate(sides)])
    return 1.0 if leaks and abs(leaks[0].share - (2 * cut - width) / cut) < 1e-6 else None


def kampala(data: Path, _: Path | None) -> dict[str, Any]:
    """Compare the zooms of Kampala by place, and by what they show; the pairs by place are the truth."""
    files = sorted((data / "kampala-buildings/images").glob("z*/*.tif"))
    grounds = [ground(f.stem, f.parent.name, open_scene(f)) for f in files]
    bounds = [transform_bounds(g.image.geobox.crs, "EPSG:3857", *g.image.geobox.boundingbox.bbox) for g in grounds]
    truth = set()
    for (a, p), (b, q) in itertools.combinations(zip(grounds, bounds, strict=True), 2):
        common = (min(p[2], q[2]) - max(p[0], q[0]), min(p[3], q[3]) - max(p[1], q[1]))
        if a.part != b.part and min(common) > 0.01 * min(p[2] - p[0], q[2] - q[0]):
            truth.add(frozenset((a.name, b.name)))
    by_place = _names(find_leaks(grounds))
    seen = find_leaks([ground(g.name, g.part, unplaced(g.image)) for g in grounds])
    by_content, surely = _names(seen), _names([leak for leak in seen if leak.sure])
    return {
        "pairs of zooms that share ground": len(truth),
        "found by place": len(by_place & truth), "other pairs by place": len(by_place - truth),
        "found by content": len(by_content & truth), "other pairs by content": len(by_content - truth),
        "sure by content": len(surely & truth), "sure of other pairs by content": len(surely - truth),
    }  # fmt: skip


def _names(leaks: Sequence[Leak]) -> set[frozenset[str]]:
    return {frozenset((leak.first.name, leak.second.name)) for leak in leaks}


def unseeded(data: Path, pictures: Path | None) -> dict[str, Any]:
    """Return which pairs of ground are called leaks though nothing was seeded, and out of how many pairs."""
    dubai = [
        ground(f"{f.parts[-3]}/{f.name}", f.parts[-3], open_scene(f))
        for f in sorted((data / "dubai-aerial").glob("*/images/*.jpg"))
    ]
    zoom = [
        ground(f.stem, f.stem, unplaced(open_scene(f)))
        for f in sorted((data / "kampala-buildings/images/z21").glob("*"))
    ]
    atlanta = ground("atlanta", "atlanta", unplaced(open_scene(data / PLACES["atlanta"])))
    result = {}
    for name, grounds in (
        ("dubai, split by Tile", dubai),
        ("kampala, 80 tiles of zoom 21", zoom),
        ("atlanta against dubai", [atlanta, *dubai[:27]]),
    ):
        began, used = time.perf_counter(), time.process_time()
        leaks = find_leaks(grounds)
        if name.startswith("atlanta"):
            leaks = tuple(leak for leak in leaks if "atlanta" in (leak.first.name, leak.second.name))
        pixels = sum(g.window.height * g.window.width for g in grounds) / 1e6
        result[name] = {
            "pairs": sum(a.part != b.part for a, b in itertools.combinations(grounds, 2)),
            "called leaks": [(x.first.name, x.second.name, round(x.share, 3), x.likeness, x.sure) for x in leaks],
            "mpx": pixels, "wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - used,
        }  # fmt: skip
        if leaks and pictures:
            draw_leaks(leaks, pictures / f"{name.replace(',', '').replace(' ', '_')}.png", most=12)
    return result


SIDES = 96, 128, 160, 192, 256, 320
"""Sides of chips in pixels."""

TRIES = 100
"""How many pairs of chips that show the same are tried of each side and kind."""


def chips(data: Path, pictures: Path | None) -> dict[str, Any]:
    """Return of chips of Dubai how many pairs of different ground are called leaks, and how many true ones are found.

    Different are chips of a grid over the pictures of Tiles that share no ground. Of true ones, the second is of the
    same photograph, shifted by up to half a chip, brighter and stored as JPEG; or of another date.
    """
    dated = find_leaks([ground(f.name, f.parts[-3], open_scene(f)) for f in _pictures(data, "48")])
    return {str(side): _chips_of(side, _pictures(data, "12356"), dated, pictures) for side in SIDES}


def _pictures(data: Path, tiles: str) -> list[Path]:
    return sorted((data / "dubai-aerial").glob(f"Tile [{tiles}]/images/*.jpg"))


def _chips_of(side: int, files: Sequence[Path], dated: Sequence[Leak], pictures: Path | None) -> dict[str, Any]:
    apart = [chip for file in files for chip in _grid(file, side)]
    called = find_leaks(apart)
    if called and pictures:
        draw_leaks(called, pictures / f"chips_{side}.png", most=12)
    rng = np.random.default_rng(side)
    copies = [_copied(files, side, rng) for _ in range(TRIES)]
    others = [_of_other_date(dated, side, rng) for _ in range(TRIES)]
    found = {"of different ground": called, "copies": _all_leaks(copies), "other dates": _all_leaks(others)}
    result: dict[str, Any] = {"chips": len(apart), "tries": TRIES}
    result |= {kind: {"sure": sum(x.sure for x in those), "in all": len(those)} for kind, those in found.items()}
    print(side, result, flush=True)
    return result


def _all_leaks(pairs: Sequence[Sequence[Ground]]) -> list[Leak]:
    return [leak for pair in pairs for leak in find_leaks(pair)]


def _grid(file: Path, side: int) -> list[Ground]:
    pixels = open_scene(file).read().pixels
    corners = itertools.product(*(range(0, n - side + 1, side) for n in pixels.shape[1:]))
    names = {corner: f"{file.parts[-3]}/{file.stem}/{corner}" for corner in corners}
    return [in_memory(name, name, _cut(pixels, corner, side)) for corner, name in names.items()]


def _cut(pixels: np.ndarray, corner: Iterable[int], side: int) -> np.ndarray:
    row, col = corner
    return pixels[:, row : row + side, col : col + side]


def _copied(files: Sequence[Path], side: int, rng: np.random.Generator) -> list[Ground]:
    """Cut two chips that share a quarter of each or more, and store one again."""
    while True:
        pixels = open_scene(files[int(rng.integers(len(files)))]).read().pixels
        most = np.array(pixels.shape[1:]) - side
        if most.min() >= 0:
            break
    one = rng.integers(most + 1)
    other = (one + rng.integers(-side // 2, side // 2 + 1, 2)).clip(0, most)
    again = recompressed(_cut(pixels, other, side))
    return [in_memory("one", "train", _cut(pixels, one, side)), in_memory("other", "test", again)]


def _of_other_date(leaks: Sequence[Leak], side: int, rng: np.random.Generator) -> list[Ground]:
    """Cut a chip from the second of two pictures that show the same, and one near where it lies in the first."""
    while True:
        leak = leaks[int(rng.integers(len(leaks)))]
        first, second = (g.image.read().pixels for g in (leak.first, leak.second))
        row, col = rng.integers(np.array(second.shape[1:]) - side + 1)
        x, y = np.array(Affine(*leak.matrix) @ (col, row)) + rng.uniform(-side / 2, side / 2, 2)
        if 0 <= x <= first.shape[2] - side and 0 <= y <= first.shape[1] - side:
            break
    there, here = _cut(first, (int(y), int(x)), side), _cut(second, (row, col), side)
    return [in_memory("one", "train", there), in_memory("other", "test", here)]


EXPERIMENTS: dict[str, Callable[[Path, Path | None], dict[str, Any]]] = {
    "seeded": seeded,
    "kampala": kampala,
    "unseeded": unseeded,
    "chips": chips,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--only", choices=EXPERIMENTS, nargs="+", default=list(EXPERIMENTS))
    told = parser.parse_args()
    environment = {"machine": platform.processor() or platform.machine(), "opencv": cv2.__version__}
    environment |= {"numpy": np.__version__, "python": platform.python_version()}
    result: dict[str, Any] = {"environment": environment}
    result |= {name: EXPERIMENTS[name](told.data, told.pictures) for name in told.only}
    print(json.dumps(result, indent=1))
    if told.json:
        told.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
