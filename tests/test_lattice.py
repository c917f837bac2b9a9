from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from sat2map.splits.lattice import Cell, Lattice, Sheet, Sides, ground_area, lay_out, overlap
from sat2map.tiling import Window

UTM = "EPSG:32636"
PLAIN = GeoBox((90, 120), Affine.identity(), None)


def box(x: float, size: float = 1.0, shape: tuple[int, int] = (100, 100), crs: str | None = UTM) -> GeoBox:
    return GeoBox(shape, Affine(size, 0, 500_000 + x, 0, -size, 40_000), crs)


def turned(degrees: float) -> Sheet:
    base = box(0, shape=(400, 400))
    affine = base.affine * Affine.translation(200, 200) * Affine.rotation(degrees) * Affine.translation(-100, -100)
    return Sheet("ground", GeoBox((200, 200), affine, UTM), base)


def test_pictures_with_a_place_share_a_plane_and_others_have_their_own() -> None:
    places = {"a": box(0), "b": PLAIN, "c": box(100), "d": PLAIN, "e": box(5, crs=None), "f": box(7, crs=None)}
    sheets = lay_out(places)
    assert sheets["a"].plane == sheets["c"].plane
    assert sheets["e"].plane == sheets["f"].plane
    assert len({s.plane for s in sheets.values()}) == 4
    assert sheets["c"].base == places["a"] and sheets["d"].base == PLAIN


def test_ground_counts_once_in_pixels_of_the_first() -> None:
    sheets = list(lay_out({"a": box(0), "b": box(50, size=0.5, shape=(200, 200)), "c": PLAIN}).values())
    assert ground_area(sheets) == pytest.approx(100 * 150 + 90 * 120)


@pytest.mark.parametrize(
    ("second", "labels", "expected"),
    [
        (box(100), "xy", False),
        (box(99), "xy", True),
        (box(99), "xx", False),
        (box(20, size=0.1), "xy", True),
        (box(10_000), "xy", False),
    ],
)
def test_overlap_is_of_different_labels_and_more_than_an_edge(second: GeoBox, labels: str, expected: bool) -> None:
    sheets = list(lay_out({"a": box(0), "b": second, "c": PLAIN, "d": PLAIN}).values())
    assert overlap(sheets, [*labels, "p", "q"]) is expected


@given(st.floats(3, 200))
def test_a_fitted_lattice_cuts_the_first_picture_evenly(side: float) -> None:
    lattice = Sheet("p", PLAIN, PLAIN).lattice(side, fit=True)
    for cell, length in zip((lattice.height, lattice.width), PLAIN.shape, strict=True):
        assert cell >= side * (1 - 1e-6)
        ratio = max(cell / length, length / cell)
        assert ratio == pytest.approx(round(ratio))


def test_margins_are_left_at_foreign_sides_only() -> None:
    sheet = Sheet("p", PLAIN, PLAIN)
    lattice, cell = Lattice(30, 40), Cell("p", 1, 1)
    assert sheet.window(cell, lattice, Sides(), 5) == Window(30, 40, 30, 40)
    assert sheet.window(cell, lattice, Sides(top=True, right=True), 5) == Window(35, 40, 25, 35)
    assert sheet.window(cell, lattice, Sides(True, True, True, True), 15).empty


def test_a_mirrored_picture_has_its_margins_mirrored() -> None:
    base = box(0)
    south_up = GeoBox((100, 100), base.affine * Affine.translation(0, 100) * Affine.scale(1, -1), UTM)
    window = Sheet("ground", south_up, base).window(Cell("ground", 0, 0), Lattice(50, 50), Sides(top=True), 8.4)
    assert window == Window(50, 0, 41, 50)


@pytest.mark.parametrize(("degrees", "least"), [(0, 0.99), (90, 0.95), (3, 0.8), (45, 0.4)])
def test_a_turned_picture_keeps_much_of_a_cell_and_nothing_else(degrees: float, least: float) -> None:
    sheet, lattice = turned(degrees), Lattice(40, 40)
    shares = []
    for cell, window in sheet.cells(lattice):
        cols, rows = (np.array([a, b, a, b]) for a, b in ((window.col, window.right), (window.row, window.bottom)))
        us, vs = ~sheet.base.affine * sheet.geobox.affine * (cols, np.sort(rows))
        assert (us >= cell.col * 40 - 1e-3).all() and (us <= cell.col * 40 + 40 + 1e-3).all()
        assert (vs >= cell.row * 40 - 1e-3).all() and (vs <= cell.row * 40 + 40 + 1e-3).all()
        shares.append(window.height * window.width / 1600)
    assert max(shares) >= least


def test_lengths_are_in_pixels_of_the_picture() -> None:
    base = box(0)
    assert Sheet("ground", box(0, size=0.25), base).pixels(10) == 40
    assert turned(45).pixels(10) == 7
