"""How QGIS draws a class map: a `.qml` that it finds beside the map by its name."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

from sat2map.legend import Legend

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_ROOT = {"version": "3.22.0", "styleCategories": "Symbology"}
_HEAD = _DOCTYPE + "<qgis " + " ".join(f'{name}="{value}"' for name, value in _ROOT.items()) + ">"


def qgis_style(legend: Legend) -> str:
    """Return the text of a QGIS style: classes with names and colours; nodata, which is not among them, is clear."""
    root = Xml.Element("qgis", _ROOT)
    pipe = Xml.SubElement(root, "pipe")
    renderer = Xml.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1", nodataColor=""
    )
    Xml.SubElement(renderer, "rasterTransparency")
    palette = Xml.SubElement(renderer, "colorPalette")
    for c in legend.classes:
        Xml.SubElement(palette, "paletteEntry", value=str(c.value), label=c.name, color=c.hex.lower(), alpha="255")
    Xml.SubElement(root, "blendMode").text = "0"
    Xml.indent(root)
    return _DOCTYPE + Xml.tostring(root, encoding="unicode") + "\n"


def is_ours(path: Path) -> bool:
    """Tell whether a file is a style as we write it; one that was saved in QGIS says more of its version."""
    return path.is_file() and path.read_text("utf-8", "replace").startswith(_HEAD)
