"""Maps as cloud-optimised GeoTIFF with overviews; class maps with a colour table and class names, pictures in RGBA."""

from __future__ import annotations

from pathlib import Path

import rasterio
import rasterio.shutil
from rasterio._err import CPLE_BaseError

from sat2map.sinks.base import Numbers
from sat2map.sinks.vrt import write_vrt

BLOCK = 512

LEVEL = 5
"""Of DEFLATE: level 6 takes three times as long and saves an eighth (docs/log.md)."""

CACHE = 256 << 20
"""Bytes that GDAL may hold of pixels it has read or will write."""


def write_geotiff(numbers: Numbers, path: Path) -> None:
    """Write a map as GeoTIFF; overviews of classes are the most frequent, others averages of what has data."""
    levels = numbers.content.overviews(numbers.raw, numbers.folder, BLOCK)
    overviews = tuple(write_vrt(raw.path.with_suffix(".vrt"), raw, numbers.content) for raw in levels)
    try:
        with rasterio.Env(GDAL_CACHEMAX=CACHE):
            rasterio.shutil.copy(
                str(numbers.vrt(overviews)), str(path), driver="COG", compress="DEFLATE", level=str(LEVEL),
                blocksize=str(BLOCK), overview_resampling="AVERAGE", bigtiff="IF_SAFER", num_threads="ALL_CPUS",
            )  # fmt: skip
    except CPLE_BaseError as error:
        raise OSError(str(error)) from error
    except SystemError:  # as rasterio puts it where GDAL has failed without a word
        raise OSError("GDAL could not finish the file") from None
    numbers.content.beside(path, numbers.counts)
