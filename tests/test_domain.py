"""Whether a scene belongs to a model: what is kept of training pixels, and what is said of scenes that differ."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from models import INPUTS
from sat2map.domain import (
    Domain,
    Familiar,
    compare,
    crs_family,
    familiar,
    fit_domain,
    fit_familiar,
    glimpse,
    load_familiar,
    quantiles,
    sample,
)
from sat2map.domain.looks import LEVELS, LOOKS, looks
from sat2map.scenes import Scene, array_scene
from sat2map.scenes.array import ArrayScene
from sat2map.scenes.matched import match
from sat2map.tiling import Window

NOWHERE = GeoBox((1, 1), Affine.identity(), None)


def ground(seed: int, side: int = 600) -> np.ndarray:
    """Return a picture `(3, side, side)` with patches of several sizes and some grain."""
    rng = np.random.default_rng(seed)
    total = rng.normal(0, 4, (3, side, side))
    for step in (75, 12, 4):
        coarse = rng.normal(0, 16, (3, -(-side // step), -(-side // step)))
        total += np.kron(coarse, np.ones((step, step)))[:, :side, :side]
    return np.clip(120 + total, 0, 255).astype(np.uint8)


def scene(pixels: np.ndarray, crs: str | None = None, size: float = 1.0, valid: np.ndarray | None = None) -> Scene:
    affine = Affine.scale(size, -size) if crs else Affine.identity()
    made = array_scene(pixels, geobox=GeoBox(pixels.shape[1:], affine, crs))
    assert isinstance(made, ArrayScene)
    return made if valid is None else replace(made, valid=valid)


@pytest.fixture(scope="module")
def domain() -> Domain:
    made = fit_domain([glimpse(raster) for seed in range(4) for raster in sample(scene(ground(seed)))])
    assert made is not None
    return made


def kinds(domain: Domain | None, given: Scene, inputs=INPUTS) -> list[str]:
    return [difference.kind for difference in compare(domain, inputs, given)]


def test_a_domain_holds_the_quantiles_of_its_pixels():
    ramp = np.arange(256, dtype=np.uint8).repeat(256).reshape(1, 256, 256)
    made = fit_domain([glimpse(scene(ramp).read())])
    np.testing.assert_allclose(made.quantiles[0], LEVELS * 255, atol=1)


def test_what_is_not_valid_does_not_count():
    pixels, valid = ground(0, 256), np.ones((256, 256), bool)
    pixels[:, :, 128:], valid[:, 128:] = 255, False
    one, other = (glimpse(scene(p, valid=v).read()) for p, v in ((pixels, valid), (np.where(valid, pixels, 7), valid)))
    np.testing.assert_array_equal(one.quantiles, other.quantiles)
    np.testing.assert_array_equal(one.looks, other.looks)
    assert one.quantiles.max() < 255


def test_a_domain_comes_back_as_it_was(domain):
    assert Domain.from_json(json.loads(json.dumps(domain.to_json()))) == domain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quantiles", []),
        ("quantiles", [[1.0, 2.0]]),
        ("quantiles", [[float(-i) for i in range(101)]] * 3),
        ("quantiles", [[float("nan")] * 101] * 3),
        ("crs", "utm"),
        ("crs", ["utm"]),
        ("looks", [0.0]),
        ("looks", None),
        ("spread", [0.0] * 7),
        ("tap", 3),
        ("familiar", True),
    ],
)
def test_damaged_facts_are_named(domain, name, value):
    with pytest.raises(ValueError, match=rf"{name} cannot be as it says"):
        Domain.from_json({**domain.to_json(), name: value})


def test_scenes_like_those_learnt_from_are_passed(domain):
    assert [kinds(domain, scene(ground(seed))) for seed in range(10, 15)] == [[]] * 5


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda p: np.clip(p.astype(int) + 70, 0, 255).astype(np.uint8), "brightness"),
        (lambda p: (p * 0.4).astype(np.uint8), "brightness"),
        (lambda p: (128 + (p.astype(int) - 128) * 0.2).astype(np.uint8), "contrast"),
        (lambda p: p.repeat(4, axis=1).repeat(4, axis=2), "detail"),
    ],
    ids=["brightened", "darkened", "flat", "enlarged"],
)
def test_scenes_that_look_otherwise_are_told(domain, change, kind):
    assert kind in kinds(domain, scene(change(ground(10))))


def test_the_band_that_differs_is_named(domain):
    pixels = ground(10)
    pixels[1] = np.clip(pixels[1].astype(int) + 70, 0, 255)
    (told,) = (d.text for d in compare(domain, INPUTS, scene(pixels)) if d.kind == "brightness")
    assert told.startswith("band 2 (green) is ")
    assert told.endswith(" sigma brighter than in training: --match-histogram may help")


def test_other_types_and_resolutions_are_told(domain):
    inputs = replace(INPUTS, ground=0.5)
    given = scene(ground(10).astype(np.uint16) * 16, "EPSG:32616", 0.3)
    differences = {d.kind: d for d in compare(domain, inputs, given)}
    assert set(differences) == {"dtype", "resolution", "crs"}
    assert differences["resolution"].text.startswith("resolution 0.3 m, trained on 0.5 m: --resample model")
    assert differences["dtype"].text.startswith("pixels are uint16, trained on uint8")
    assert differences["crs"].level == "note"
    assert kinds(None, given, inputs) == ["dtype", "resolution"]


@pytest.mark.parametrize(
    ("crs", "family"),
    [
        (None, "none"),
        ("EPSG:4326", "geographic"),
        ("EPSG:3857", "web mercator"),
        ("EPSG:32616", "projected in metres"),
        ("EPSG:2227", "other"),
    ],
)
def test_families_of_coordinates(crs, family):
    assert crs_family(GeoBox((2, 2), Affine.identity(), crs)) == family


def test_other_coordinates_are_told(domain):
    learnt = replace(domain, crs=("projected in metres",))
    given = scene(ground(10), "EPSG:3857", 1.0)
    (told,) = compare(learnt, INPUTS, given)
    assert told.text.startswith("coordinates are web mercator, trained on projected in metres")
    assert kinds(learnt, scene(ground(10), "EPSG:32633", 1.0)) == []


def test_a_bounded_part_of_a_scene_is_read():
    wide = scene(np.zeros((1, 30, 256 * 100), np.uint8))
    assert len(sample(wide)) == LOOKS
    assert len({r.geobox.affine.c for r in sample(wide)}) == LOOKS
    assert len(sample(scene(np.zeros((1, 4000, 4000), np.uint8)))) == LOOKS
    assert len(sample(scene(np.zeros((1, 300, 300), np.uint8)))) == 4


@pytest.mark.parametrize("pixels", [np.zeros((3, 40, 40), np.uint8), np.zeros((3, 1, 1), np.uint8)])
def test_scenes_without_structure_are_no_error(domain, pixels):
    assert kinds(domain, scene(pixels)) == []
    assert kinds(domain, scene(pixels, valid=np.zeros(pixels.shape[1:], bool))) == []
    assert fit_domain([]) is None
    assert looks([scene(pixels).read()]).shape[0] == 0


def features(count: int, seed: int, far: float = 0.0) -> np.ndarray:
    """Return features `(count, 40)` of three causes, and some noise."""
    rng, causes = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(3, 40))
    return (rng.normal(size=(count, 3)) @ causes + 0.1 * rng.normal(size=(count, 40)) + far).astype(np.float32)


def test_few_windows_like_those_learnt_from_are_strange():
    made = fit_familiar(features(60, 0), features(200, 1))
    strange = made.strangeness(features(2000, 2)) > 1
    assert 0.01 < strange.mean() < 0.06
    assert (made.strangeness(features(100, 3, far=1.0)) > 1).all()


def test_the_threshold_knows_how_far_other_places_are():
    """Four places that differ: a fifth one like them is strange to who judges by one of them alone."""
    offsets = np.random.default_rng(5).normal(size=(5, 40)).astype(np.float32)
    *learnt, other = (features(40, seed) + offset for seed, offset in enumerate(offsets))
    names = [name for name in "abcd" for _ in range(40)]
    narrow = fit_familiar(np.concatenate(learnt), learnt[0])
    wide = fit_familiar(np.concatenate(learnt), learnt[0], names)
    assert (narrow.strangeness(other) > 5).all() and (wide.strangeness(other) < 1.1).all()
    assert (wide.strangeness(features(40, 9, far=5.0)) > 1).all()
    np.testing.assert_array_equal(narrow.distances(other), wide.distances(other))


def test_many_places_are_left_out_in_a_few_parts(monkeypatch):
    fits = []
    gaussian = familiar._gaussian
    monkeypatch.setattr(familiar, "_gaussian", lambda learnt: fits.append(len(learnt)) or gaussian(learnt))
    fit_familiar(features(60, 0), features(9, 1), [str(i) for i in range(60)])
    assert len(fits) == 1 + familiar.FOLDS and min(fits[1:]) >= 52


def test_the_distance_is_that_of_the_shrunk_covariance():
    """Written out as in Ledoit and Wolf (2004), with matrices."""
    learnt = features(30, 0)
    made = fit_familiar(learnt, learnt)
    x = (learnt.astype(float) - made.mean) / made.scale
    count, width = x.shape
    covariance = x.T @ x / count
    mean = np.trace(covariance) / width
    spread = ((covariance - mean * np.eye(width)) ** 2).sum()
    scatter = sum(((np.outer(row, row) - covariance) ** 2).sum() for row in x) / count**2
    share = min(scatter / spread, 1)
    assert 0.01 < share < 1
    inverse = np.linalg.inv((1 - share) * covariance + share * mean * np.eye(width))
    y = (features(5, 1, far=0.3).astype(float) - made.mean) / made.scale
    np.testing.assert_allclose(made.distances(features(5, 1, far=0.3)), np.sqrt((y @ inverse * y).sum(1)), rtol=1e-3)


@given(st.integers(2, 12), st.integers(1, 12), st.integers(0, 5))
def test_any_number_of_windows_is_fitted(count, width, unseen):
    rng = np.random.default_rng(count * 100 + width)
    made = fit_familiar(rng.random((count, width), np.float32), rng.random((unseen, width), np.float32))
    assert np.isfinite(made.strangeness(rng.random((3, width)))).all()


def test_windows_that_are_all_the_same_tell_nothing():
    assert fit_familiar(np.ones((5, 3), np.float32), np.ones((5, 3), np.float32)) is None
    assert fit_familiar(np.ones((1, 3), np.float32), np.ones((5, 3), np.float32)) is None


def test_inner_features_come_back_from_their_file(tmp_path):
    made = fit_familiar(features(20, 0), features(20, 1))
    made.save(tmp_path / "inner.safetensors")
    loaded = load_familiar(tmp_path / "inner.safetensors")
    np.testing.assert_array_equal(loaded.distances(features(5, 2)), made.distances(features(5, 2)))
    (tmp_path / "inner.safetensors").write_bytes(b"no arrays")
    with pytest.raises(ValueError, match=r"inner\.safetensors"):
        load_familiar(tmp_path / "inner.safetensors")


@pytest.mark.parametrize("name", ["mean", "scale", "axes", "variances", "rest", "threshold"])
def test_damaged_arrays_are_named(name):
    arrays = dict(vars(fit_familiar(features(20, 0), features(20, 1))))
    for wrong in (np.full_like(arrays[name], np.nan), arrays[name][..., None], arrays[name].astype(np.float64)):
        with pytest.raises(ValueError, match=f"{name} cannot be as it says"):
            Familiar(**{**arrays, name: wrong})


def test_novelty_is_a_half_at_the_threshold(domain):
    np.testing.assert_allclose(Domain.novelty(np.array([0.0, 1.0, 3.0])), [0, 0.5, 0.75])
    assert domain.strangeness(np.ones((2, 9))).tolist() == [0, 0]


def test_matching_brings_back_what_a_curve_changed(domain):
    original = scene(ground(10))
    darker = scene((ground(10) * 0.5 + 20).astype(np.uint8))
    matched = match(darker, quantiles(sample(darker)), quantiles(sample(original)), "uint8")
    error = np.abs(matched.read().pixels.astype(int) - original.read().pixels)
    assert error.mean() < 1.5


def test_matching_does_not_depend_on_the_window(domain):
    given = scene(ground(10))
    matched = match(given, quantiles(sample(given)), domain.quantiles, "uint8")
    whole, part = matched.read(), matched.read(Window(100, 50, 80, 70), [2, 0])
    np.testing.assert_array_equal(part.pixels, whole.pixels[[2, 0], 100:180, 50:120])


def test_nodata_stays_nodata_and_bits_become_those_of_training(domain):
    valid = np.random.default_rng(0).random((600, 600)) < 0.9
    given = scene(ground(10).astype(np.uint16) * 200, valid=valid)
    matched = match(given, quantiles(sample(given)), domain.quantiles, "uint8")
    read = matched.read()
    assert (read.pixels.dtype, matched.dtype) == (np.uint8, "uint8")
    np.testing.assert_array_equal(read.valid, valid)
    assert kinds(domain, matched) == []


def test_a_band_of_one_value_is_matched(domain):
    given = scene(np.full((3, 50, 50), 9, np.uint8))
    matched = match(given, quantiles(sample(given)), domain.quantiles, "uint8")
    assert np.unique(matched.read().pixels[0]).size == 1
