import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from sat2map.raster import Raster, is_georeferenced, pixel_size, window_geobox
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
