import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sat2map.errors import SourceError
from sat2map.legend import IGNORED, KNOWN_LEGENDS, Legend, MapClass, legend_of, palette, parse_colour, read_legend
from synthetic import LEGEND

colours = st.tuples(*[st.integers(0, 255)] * 3)


@st.composite
def legends(draw):
    count = draw(st.integers(1, 12))
    values = draw(st.lists(st.integers(0, 254), min_size=count, max_size=count, unique=True))
    shades = draw(st.lists(colours, min_size=count, max_size=count, unique=True))
    return Legend(tuple(MapClass(f"class {i}", c, v) for i, (c, v) in enumerate(zip(shades, values, strict=True))))


@given(legends(), st.integers(0, 2**32 - 1))
def test_ids_survive_colours_and_numbers(legend, seed):
    ids = np.random.default_rng(seed).integers(0, len(legend), (5, 7)).astype(np.uint8)
    assert (legend.ids_from_colours(np.moveaxis(legend.colourise(ids), -1, 0)) == ids).all()
    assert (legend.ids_from_values(legend.values(ids)) == ids).all()


@given(legends())
def test_a_legend_survives_json(legend):
    assert Legend.from_json(json.loads(json.dumps(legend.to_json()))) == legend


def test_what_a_legend_does_not_know_is_ignored():
    assert (LEGEND.ids_from_values(np.array([[0, 7, 2]])) == [[0, IGNORED, 2]]).all()
    assert LEGEND.ids_from_colours(np.zeros((3, 1, 1), np.uint8)) == IGNORED
    assert LEGEND.values(np.array([IGNORED])) == IGNORED


def test_ignored_classes_leave_no_gap_in_the_ids():
    legend = LEGEND.without(["LAND"])
    assert legend.names == ("Water", "Building") and legend.ignored[0].name == "Land"
    assert (legend.ids_from_values(np.array([0, 1, 2])) == [IGNORED, 0, 1]).all()


@pytest.mark.parametrize("what", ["name", "value"])
def test_classes_must_differ(what):
    one = MapClass("Water", (0, 0, 1), 0)
    other = MapClass("Water" if what == "name" else "Land", (0, 0, 2), 1 if what == "name" else 0)
    with pytest.raises(SourceError, match=f"gives the {what}"):
        Legend((one, other))


def test_numbers_a_map_cannot_hold_become_ids():
    masks = legend_of(["background", "building"], [0, 255])
    assert [c.value for c in masks.for_maps().classes] == [0, 1]
    assert masks.for_maps().names == masks.names
    assert LEGEND.for_maps() is LEGEND


OWN = [{"name": "Water", "colour": "#0000FF", "value": 0}, {"name": "Land", "colour": "#00FF00", "value": 1}]


@pytest.mark.parametrize(
    "content",
    [
        {"classes": [{"title": "Water", "color": "#0000FF"}, {"title": "Land", "color": "#00FF00"}]},
        [{"name": "Water", "rgb": [0, 0, 255]}, {"name": "Land", "colour": "0,255,0"}],
        {"Water": "#0000ff", "Land": [0, 255, 0]},
        "name,r,g,b\nWater,0,0,255\nLand,0,255,0\n",
        legend_of(["Water", "Land"]).to_json() | {"classes": OWN},
    ],
)  # fmt: skip
def test_legend_files(tmp_path, content):
    path = tmp_path / ("legend.csv" if isinstance(content, str) else "legend.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    legend = read_legend(path)
    assert [(c.name, c.hex, c.value) for c in legend.classes] == [("Water", "#0000FF", 0), ("Land", "#00FF00", 1)]


def test_names_by_number(tmp_path):
    (tmp_path / "classes.json").write_text('{"10": "Water", "20": "Land"}')
    assert [(c.name, c.value) for c in read_legend(tmp_path / "classes.json").classes] == [("Water", 10), ("Land", 20)]


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("labelmap.txt", "# label:color_rgb:parts:actions\nWater:0,0,255::\nLand:0,255,0::\n", (0, 1)),
        ("_classes.csv", "Pixel Value, Class\n0, Water\n7, Land\n", (0, 7)),
        ("classes.txt", "Water\nLand\n", (0, 1)),
    ],
)
def test_legends_of_labelling_tools(tmp_path, name, text, values):
    (tmp_path / name).write_text(text)
    legend = read_legend(tmp_path / name)
    assert legend.names == ("Water", "Land") and tuple(c.value for c in legend.classes) == values
    assert not name.startswith("labelmap") or [c.hex for c in legend.classes] == ["#0000FF", "#00FF00"]


@pytest.mark.parametrize(
    "content", ["", "[]", "3", '[{"colour": "#FFFFFF"}]', '{"Water": "blue"}', '{"Water": [0, 0, 300]}']
)
def test_what_is_no_legend_says_what_one_is(tmp_path, content):
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(SourceError, match="A legend is JSON such as"):
        read_legend(tmp_path / "classes.json")


def test_palettes_differ():
    assert len(set(palette(60))) == 60


def test_known_legends_can_be_told_apart():
    shades = [frozenset(c.colour for c in legend.classes) for legend in KNOWN_LEGENDS.values()]
    assert len(set(shades)) == len(KNOWN_LEGENDS)
    assert parse_colour("#3C1098") in shades[0]
