"""How QGIS draws a class map and its polygons: a `.qml` that it finds beside them by their name."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

from sat2map.legend import Legend

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_ROOT = {"version": "3.22.0", "styleCategories": "Symbology"}
_HEAD = _DOCTYPE + "<qgis " + " ".join(f'{name}="{value}"' for name, value in _ROOT.items()) + ">"

_GREY = (128, 128, 128)

_FILL = 110
"""Opacity of polygons, of 255: what lies below shows through."""


def qgis_style(legend: Legend) -> str:
    """Return the text of a QGIS style: classes with names and colours, of a map's numbers and of polygons' `class`.

    A map and polygons of one name share the file; QGIS reads of it what a layer of its kind understands. Nodata, which
    is not among the classes, is clear; polygons of other classes are grey.
    """
    root = Xml.Element("qgis", _ROOT)
    root.append(_raster(legend))
    root.append(_polygons(legend))
    Xml.SubElement(root, "blendMode").text = "0"
    Xml.indent(root)
    return _DOCTYPE + Xml.tostring(root, encoding="unicode") + "\n"


def _raster(legend: Legend) -> Xml.Element:
    pipe = Xml.Element("pipe")
    renderer = Xml.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    Xml.SubElement(renderer, "rasterTransparency")
    palette = Xml.SubElement(renderer, "colorPalette")
    for c in legend.classes:
        Xml.SubElement(palette, "paletteEntry", value=str(c.value), label=c.name, color=c.hex.lower(), alpha="255")
    return pipe


def _polygons(legend: Legend) -> Xml.Element:
    renderer = Xml.Element("renderer-v2", type="categorizedSymbol", attr="class")
    categories, symbols = (Xml.SubElement(renderer, tag) for tag in ("categories", "symbols"))
    drawn = [*((c.name, c.name, c.colour) for c in legend.classes), ("", "other", _GREY)]
    for index, (value, label, colour) in enumerate(drawn):
        Xml.SubElement(categories, "category", value=value, label=label, symbol=str(index), render="true")
        symbol = Xml.SubElement(symbols, "symbol", type="fill", name=str(index))
        layer = Xml.SubElement(Xml.SubElement(symbol, "layer", {"class": "SimpleFill"}), "Option", type="Map")
        for name, opacity in (("color", _FILL), ("outline_color", 255)):
            Xml.SubElement(layer, "Option", name=name, type="QString", value=",".join(map(str, (*colour, opacity))))
    return renderer


def is_ours(path: Path) -> bool:
    """Tell whether a file is a style as we write it; one that was saved in QGIS says more of its version."""
    return path.is_file() and path.read_text("utf-8", "replace").startswith(_HEAD)
