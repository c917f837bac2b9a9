"""Polygons have the colours of their classes in QGIS, and styles that are not theirs stay."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import pytest

from sat2map.legend import Legend
from sat2map.polygons import WRITERS, polygonize
from sat2map.sinks.style import qgis_style
from test_polygons import LEGEND, patches, read, save, write_band


@pytest.mark.parametrize("suffix", WRITERS)
def test_qgis_finds_a_style_of_the_classes_beside_polygons(tmp_path, suffix):
    out = polygonize(save(tmp_path / "map.tif", patches()), tmp_path / f"out{suffix}")
    renderer = Xml.parse(out.with_suffix(".qml")).getroot().find("renderer-v2")
    assert renderer.get("attr") in read(out)
    fills = {s.get("name"): s.find("layer/Option/Option[@name='color']").get("value") for s in renderer.iter("symbol")}
    drawn = {c.get("value"): fills[c.get("symbol")].split(",")[:3] for c in renderer.iter("category")}
    assert drawn.pop("") == ["128"] * 3, "of no class"
    assert drawn == {c.name: [*map(str, c.colour)] for c in LEGEND.classes}


def test_a_map_and_polygons_of_one_name_share_their_style(tmp_path):
    made = save(tmp_path / "map.tif", patches())
    style = (tmp_path / "map.qml").read_bytes()
    polygonize(made, tmp_path / "map.gpkg")
    assert (tmp_path / "map.qml").read_bytes() == style


@pytest.mark.parametrize(
    "text", ['<!DOCTYPE qgis>\n<qgis version="3.34.1-Prizren"/>', qgis_style(Legend(LEGEND.classes[:1]))]
)
def test_a_style_of_yours_or_of_another_map_stays(tmp_path, text):
    style = tmp_path / "out.qml"
    style.write_text(text)
    polygonize(save(tmp_path / "map.tif", patches()), tmp_path / "out.gpkg")
    assert style.read_text() == text


def test_a_map_that_tells_no_classes_gives_no_style(tmp_path):
    made = save(tmp_path / "map.tif", patches())
    polygonize(write_band(tmp_path / "plain.tif", patches(), made), tmp_path / "out.gpkg")
    assert not (tmp_path / "out.qml").exists()


def test_their_own_older_style_is_replaced(tmp_path):
    made, out = save(tmp_path / "map.tif", patches()), tmp_path / "out.gpkg"
    polygonize(made, out)
    out.with_suffix(".qml").write_text(qgis_style(Legend(LEGEND.classes[:1])))
    polygonize(made, out, overwrite=True)
    assert out.with_suffix(".qml").read_text() == (tmp_path / "map.qml").read_text()
