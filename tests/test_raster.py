import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS

from sat2map.raster import Raster, ground_size, is_georeferenced, keeps_areas, pixel_areas, pixel_size, window_geobox
from sat2map.tiling import Window

PLACE = GeoBox((4, 6), Affine(0.5, 0, 100, 0, -0.5, 200), "EPSG:32636")


def test_parts_of_a_raster_must_agree():
    with pytest.raises(ValueError, match="disagree"):
        Raster(np.zeros((1, 4, 6)), np.ones((4, 5), bool), PLACE)
    with pytest.raises(ValueError, match="disagree"):
        Raster(np.zeros((4, 6)), np.ones((4, 6), bool), PLACE)


def test_a_window_outside_has_its_place():
    place = window_geobox(PLACE, Window(-2, 1, 3, 3))
    assert place.affine * (0, 0) == (100.5, 201)
    assert place.shape == (3, 3) and place.crs == PLACE.crs


def test_what_counts_as_georeferenced():
    assert is_georeferenced(PLACE)
    assert is_georeferenced(GeoBox((4, 6), Affine.scale(2), None))
    assert not is_georeferenced(GeoBox((4, 6), Affine.identity(), None))


def test_pixel_size_does_not_depend_on_rotation():
    turned = GeoBox((4, 6), PLACE.affine * Affine.rotation(30), PLACE.crs)
    assert pixel_size(turned) == pytest.approx(0.5)


MERCATOR = GeoBox((101, 101), Affine(10, 0, 1_669_300, 0, -10, 6_800_600), "EPSG:3857")
"""At 15 degrees east and 52 north."""


def test_metres_of_web_mercator_are_not_those_of_the_ground():
    ground = MERCATOR.extent.to_crs("EPSG:32633").area / 101**2
    assert ground_size(MERCATOR) == pytest.approx(ground**0.5, rel=1e-3)
    assert ground_size(MERCATOR) == pytest.approx(10 * np.cos(np.radians(52)), rel=5e-3)


def test_a_map_over_the_equator_is_not_measured_by_its_middle_alone():
    world = Affine(1e5, 0, -5e5, 0, -1e5, 1e7)
    areas = pixel_areas(world, MERCATOR.crs.proj, (200, 10), np.array([0, 100]))
    assert areas[1] == pytest.approx(1e10, rel=0.01) and areas[0] < 0.2e10


@pytest.mark.parametrize(
    ("crs", "corner", "pixel", "metres"),
    [
        ("EPSG:32633", (412_000, 5_340_000), 0.3, 0.3),
        ("EPSG:27572", (600_000, 2_400_000), 5, 5),  # in metres, but its degrees are grads
        ("EPSG:2263", (984_250, 200_000), 2, 2 * 0.3048006096),
        ("EPSG:4326", (15, 0), 1e-5, (1.113195 * 1.105743) ** 0.5),
        ("EPSG:4807", (0, 0), 1e-5, 0.9 * (1.113195 * 1.105743) ** 0.5),  # in grads
    ],
)
def test_the_side_of_a_pixel_on_the_ground(crs, corner, pixel, metres):
    place = GeoBox((4, 6), Affine(pixel, 0, corner[0], 0, -pixel, corner[1]), crs)
    assert ground_size(place) == pytest.approx(metres, rel=1e-3)


def test_where_a_crs_does_not_reach_no_size_is_known():
    assert ground_size(GeoBox((4, 6), Affine.identity(), None)) is None
    assert ground_size(GeoBox((4, 6), Affine.translation(0, 300), "EPSG:4326")) is None


@pytest.mark.parametrize(
    ("crs", "x", "y", "side", "kept"),
    [
        ("EPSG:32636", 500_000, 6_650_000, 10, True),
        ("EPSG:6933", 1_000_000, 6_000_000, 10, True),  # keeps areas everywhere
        ("EPSG:2225", 6_500_000, 2_000_000, 100, True),  # in feet
        ("EPSG:3395", 0, 8_362_699, 10, False),  # Mercator at 60 degrees north: four times too large
        ("EPSG:3857", 0, 8_399_738, 10, False),
        ("EPSG:3857", 0, 0, 10, True),
        ("EPSG:4326", 33, 60, 0.001, False),
    ],
)
def test_maps_that_keep_areas_are_known(crs, x, y, side, kept):
    assert keeps_areas(Affine(side, 0, x, 0, -side, y), CRS(crs), (20, 20)) == kept
