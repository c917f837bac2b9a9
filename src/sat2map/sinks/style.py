"""How QGIS draws a class map: a `.qml` that it finds beside the map by its name."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

from sat2map.legend import Legend

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def qgis_style(legend: Legend) -> str:
    """Return the text of a QGIS style: classes with names and colours; nodata, which is not among them, is clear."""
    root = Xml.Element("qgis", version="3.22.0", styleCategories="Symbology")
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
