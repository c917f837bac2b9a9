"""GDAL's view of a flat file: a VRT with its place, tags, band names, colours and overviews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as Xml

from odc.geo.geobox import GeoBox

from sat2map.legend import IGNORED
from sat2map.raster import is_georeferenced
from sat2map.sinks.content import Content
from sat2map.sinks.raw import RawFile


def write_vrt(
    path: Path,
    raw: RawFile,
    content: Content,
    *,
    geobox: GeoBox | None = None,
    tags: Mapping[str, str] | None = None,
    overviews: Sequence[Path] = (),
) -> Path:
    """Write a VRT of a flat file, which has to lie in the VRT's folder or below.

    Args:
        path: The VRT.
        raw: The flat file.
        content: What its numbers mean.
        geobox: Its place, if it has one.
        tags: What to note.
        overviews: VRTs of the same map at smaller sizes, in the VRT's folder or below.
    """
    height, width = raw.shape
    root = Xml.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if geobox is not None and geobox.crs is not None:
        Xml.SubElement(root, "SRS").text = geobox.crs.to_wkt()
    if geobox is not None and is_georeferenced(geobox):
        Xml.SubElement(root, "GeoTransform").text = ", ".join(map(repr, geobox.affine.to_gdal()))
    metadata = Xml.SubElement(root, "Metadata")
    for key, text in (tags or {}).items():
        Xml.SubElement(metadata, "MDI", key=key).text = text
    for index in range(len(content.bands)):
        band = Xml.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(index + 1), subClass="VRTRawRasterBand")
        _fill_band(band, index, content)
        file = Xml.SubElement(band, "SourceFilename", relativeToVRT="1")
        file.text = raw.path.relative_to(path.parent).as_posix()
        for tag, number in (("ImageOffset", index * height * width), ("PixelOffset", 1), ("LineOffset", width)):
            Xml.SubElement(band, tag).text = str(number)
        for overview in overviews:
            file = Xml.SubElement(Xml.SubElement(band, "Overview"), "SourceFilename", relativeToVRT="1")
            file.text = overview.relative_to(path.parent).as_posix()
    path.write_text(Xml.tostring(root, encoding="unicode"), encoding="utf-8")
    return path


def _fill_band(band: Xml.Element, index: int, content: Content) -> None:
    """Write what GDAL shall know of a band besides its pixels."""
    if name := content.bands[index]:
        Xml.SubElement(band, "Description").text = name
    if "Alpha" not in content.interpretation:
        Xml.SubElement(band, "NoDataValue").text = str(content.nothing)
    if content.interpretation:
        Xml.SubElement(band, "ColorInterp").text = content.interpretation[index]
    if content.colours:
        table = Xml.SubElement(band, "ColorTable")
        for value in range(IGNORED + 1):
            colour = content.colours.get(value, (0, 0, 0, 255))
            Xml.SubElement(table, "Entry", {f"c{i + 1}": str(part) for i, part in enumerate(colour)})
