"""Class names in and beside a map: written by the sinks, read wherever a finished map is read.

They stand in the file as a tag that holds the whole legend, and beside it, in GDAL's `.aux.xml`, as the category names
and the attribute table that QGIS and gdalinfo show.
"""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.crs import CRS
from rasterio.io import MemoryFile

from sat2map.legend import Legend, MapClass, palette

LEGEND_TAG = "SAT2MAP_LEGEND"

COLUMNS = (
    ("Value", 0, 5), ("Class name", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8), ("Alpha", 0, 9),
    ("PixelCount", 0, 1),
)  # fmt: skip
"""Columns of the attribute table: name, GDAL's `GDALRATFieldType` and its `GDALRATFieldUsage`."""


def legend_tag(legend: Legend) -> dict[str, str]:
    """Return the tag that holds the legend."""
    return {LEGEND_TAG: json.dumps(legend.to_json())}


def describe(legend: Legend, counts: np.ndarray, crs: CRS | None = None) -> str:
    """Return the text of an `.aux.xml`: class names, and GDAL's attribute table with colours and numbers of pixels.

    Args:
        legend: The classes.
        counts: How many pixels hold each number, `(256,)`.
        crs: The CRS, if the map's file itself cannot hold it.
    """
    root = _dataset(crs)
    band = Xml.SubElement(root, "PAMRasterBand", band="1")
    categories = Xml.SubElement(band, "CategoryNames")
    names = {c.value: c.name for c in legend.classes}
    for value in range(max(names, default=-1) + 1):
        Xml.SubElement(categories, "Category").text = names.get(value, "")
    band.append(_attribute_table(legend, counts))
    return _text(root)


def describe_place(crs: CRS) -> str:
    """Return the text of an `.aux.xml` with nothing but a CRS."""
    return _text(_dataset(crs))


def _dataset(crs: CRS | None) -> Xml.Element:
    root = Xml.Element("PAMDataset")
    if crs is not None:
        Xml.SubElement(root, "SRS").text = crs.to_wkt()
    return root


def _text(root: Xml.Element) -> str:
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode") + "\n"


def _attribute_table(legend: Legend, counts: np.ndarray) -> Xml.Element:
    table = Xml.Element("GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(COLUMNS):
        column = Xml.SubElement(table, "FieldDefn", index=str(index))
        for tag, text in (("Name", name), ("Type", str(kind)), ("Usage", str(usage))):
            Xml.SubElement(column, tag).text = text
    for index, c in enumerate(sorted(legend.classes, key=lambda c: c.value)):
        row = Xml.SubElement(table, "Row", index=str(index))
        for cell in (c.value, c.name, *c.colour, 255, counts[c.value]):
            Xml.SubElement(row, "F").text = str(cell)
    return table


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
