"""What changed between two Landsat scenes, and how much of it is noise.

    python examples/landsat_change.py BEFORE.tif AFTER.tif LABELS.shp OUT --minutes 3

The last band of both scenes is the mask of Fmask (Zhu and Woodcock 2012): 2 is cloud shadow, 4 is cloud. These pixels
become nodata, so they are neither learnt from nor compared. Two networks that differ in their seed alone learn both
dates from the labels. OUT/change is what changed, OUT/change_again the same by
the other network; OUT/noise_before and OUT/noise_after are "changes" between the maps
of one and the same image by the two networks: no time has passed, so all of that is error.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio

import sat2map
from sat2map.changes import change

UNSEEN = (2, 4)
"""Cloud shadow and cloud in the last band."""

NODATA = -9999


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("before", "after", "labels", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=3)
    words = parser.parse_args()
    scenes = words.out / "scenes"
    for date in ("before", "after"):
        without_clouds(getattr(words, date), scenes / f"{date}.tif")
    gpd.read_file(words.labels).to_file(scenes / "labels.gpkg")
    for seed in (0, 1):
        run = sat2map.train(
            scenes, words.out / f"run_{seed}", network="small-unet", size=64, balance=True, minutes=words.minutes,
            seed=seed,
        )  # fmt: skip
        for date in ("before", "after"):
            sat2map.predict(scenes / f"{date}.tif", words.out / f"{date}_{seed}.tif", model=run)
    compare(words.out, "before_0", "after_0", "change")
    compare(words.out, "before_1", "after_1", "change_again")
    compare(words.out, "before_0", "before_1", "noise_before")
    compare(words.out, "after_0", "after_1", "noise_after")


def without_clouds(path: Path, to: Path) -> None:
    """Write the bands of a scene but the last, with nodata where that is cloud or shadow."""
    with rasterio.open(path) as file:
        *bands, mask = file.read()
        profile = {**file.profile, "driver": "GTiff", "count": len(bands), "nodata": NODATA}
    pixels = np.where(np.isin(mask, UNSEEN), NODATA, bands)
    to.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(to, "w", **profile) as file:
        file.write(pixels)


def compare(folder: Path, before: str, after: str, out: str) -> None:
    found = change(folder / f"{before}.tif", folder / f"{after}.tif", folder / out)
    print(f"{out}: {found.changed / found.compared:.1%} of {found.compared:,.1f} {found.unit} changed")


if __name__ == "__main__":
    main()
