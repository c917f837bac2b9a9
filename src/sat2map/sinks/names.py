"""Class names in and beside a map: written by the sinks, read wherever a finished map is read.

They stand in the file as a tag that holds the whole legend, and beside it, in GDAL's `.aux.xml`, as the category names
that QGIS and gdalinfo show.
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as Xml

import rasterio
import rasterio.shutil
from odc.geo.crs import CRS
from rasterio.io import MemoryFile

from sat2map.legend import Legend, MapClass, palette

LEGEND_TAG = "SAT2MAP_LEGEND"


def legend_tag(legend: Legend) -> dict[str, str]:
    """Return the tag that holds the legend."""
    return {LEGEND_TAG: json.dumps(legend.to_json())}


def category_names(legend: Legend, crs: CRS | None = None) -> str:
    """Return the text of an `.aux.xml` with the class names, and the CRS if the map's file itself cannot hold it."""
    root = Xml.Element("PAMDataset")
    if crs is not None:
        Xml.SubElement(root, "SRS").text = crs.to_wkt()
    band = Xml.SubElement(root, "PAMRasterBand", band="1")
    categories = Xml.SubElement(band, "CategoryNames")
    names = {c.value: c.name for c in legend.classes}
    for value in range(max(names, default=-1) + 1):
        Xml.SubElement(categories, "Category").text = names.get(value, "")
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode") + "\n"


def read_map_legend(path: Path | str) -> Legend | None:
    """Return the legend of a finished map: of our tag, or else of GDAL's category names; None if it has neither."""
    with rasterio.open(path) as file:
        tag = file.tags().get(LEGEND_TAG)
        colours = file.colormap(1) if file.colorinterp[0].name == "palette" else {}
    if tag is not None:
        return Legend.from_json(json.loads(tag))
    names = {value: name for value, name in enumerate(_category_names(path)) if name}
    classes = (
        MapClass(name, colours[value][:3] if value in colours else default, value)
        for (value, name), default in zip(names.items(), palette(len(names)), strict=True)
    )
    return Legend(tuple(classes)) if names else None


def _category_names(path: Path | str) -> list[str]:
    """Return GDAL's category names, which rasterio does not tell but a VRT of the file does."""
    with MemoryFile(ext="vrt") as memory:
        rasterio.shutil.copy(str(path), memory.name, driver="VRT")
        root = Xml.fromstring(memory.read())
    return [category.text or "" for category in root.findall("VRTRasterBand[@band='1']/CategoryNames/Category")]
