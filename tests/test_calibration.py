"""Calibrations against known temperatures, and sums over pixels against what they are by definition."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.functional.classification import multiclass_calibration_error

import synthetic
from sat2map.calibration import FLOOR, UNCERTAINTIES, Calibration, Reliability
from sat2map.learning import calibrating
from sat2map.learning.calibrating import HOTTEST, calibrate, collect, fit_calibration
from sat2map.learning.fitting import plan_run
from sat2map.learning.plan import Plan
from sat2map.legend import IGNORED
from sat2map.options import TrainOptions
from sat2map.runs import RunFolder
from sat2map.splits import Area
from sat2map.tiling import Tiling, Window

VECTOR = Calibration((0.5, 2.0, 1.0), (0.3, -0.2, -0.1))


def drawn(seed: int = 0, classes: int = 4, side: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities `(K, side, side)` and a truth `(side, side)` drawn by them: calibrated by construction."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 2, (classes, side, side))
    p_KHW = np.exp(scores) / np.exp(scores).sum(axis=0)
    truth = (p_KHW.cumsum(axis=0) < rng.random((side, side))).sum(axis=0).clip(0, classes - 1)
    return p_KHW.astype(np.float32), truth.astype(np.uint8)


def counted(p_KHW: np.ndarray, truth: np.ndarray) -> Reliability:
    reliability = Reliability()
    reliability.add(p_KHW, truth)
    return reliability


def flat(p_KHW: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(p_KHW.reshape(len(p_KHW), -1).T.copy())


@st.composite
def probabilities(draw: st.DrawFn, classes: int = 3) -> np.ndarray:
    """Probabilities `(K, 3, 4)`, also of 0 and 1."""
    weights = draw(arrays(np.float32, (classes, 3, 4), elements=st.sampled_from([0, 1e-30, 0.01, 0.5, 1, 3, 7])))
    weights[0] += weights.sum(axis=0) == 0
    return weights / weights.sum(axis=0)


temperatures = st.floats(0.05, 20)
positive = st.floats(0.05, 20)
calibrations = st.builds(
    Calibration, st.tuples(positive, positive, positive), st.tuples(*[st.floats(-5, 5) for _ in range(3)])
)


@given(probabilities(), calibrations)
def test_calibrated_is_the_softmax_of_scaled_logarithms(p_KHW, calibration):
    scale, shift = (np.array(numbers)[:, None, None] for numbers in (calibration.scale, calibration.shift))
    scores = scale * np.log(np.maximum(p_KHW.astype(float), FLOOR)) + shift
    shifted = np.exp(scores - scores.max(axis=0))
    found = calibration.apply(p_KHW)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, shifted / shifted.sum(axis=0), atol=3e-5)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)


@given(probabilities(), temperatures)
def test_a_temperature_keeps_the_order_of_the_classes(p_KHW, temperature):
    order = p_KHW.argsort(axis=0, kind="stable")
    ordered = np.take_along_axis(Calibration.of_temperature(temperature, 3).apply(p_KHW), order, axis=0)
    assert (np.diff(ordered, axis=0) >= -1e-6).all()


def test_no_calibration_changes_no_bit():
    p_KHW, _ = drawn()
    for nothing in (Calibration.of_temperature(1, 4), Calibration((1, 1, 1, 1), (0, 0, 0, 0))):
        assert np.array_equal(nothing.apply(p_KHW), p_KHW)


def test_temperatures_undo_each_other():
    p_KHW, _ = drawn()
    there = Calibration.of_temperature(2.5, 4).apply(p_KHW)
    assert np.abs(there - p_KHW).max() > 0.1
    np.testing.assert_allclose(Calibration.of_temperature(1 / 2.5, 4).apply(there), p_KHW, atol=1e-5)


def test_a_pixel_does_not_depend_on_its_neighbours():
    p_KHW, _ = drawn(classes=3)
    whole = VECTOR.apply(p_KHW)
    assert np.array_equal(VECTOR.apply(p_KHW[:, 13:120, 7:61]), whole[:, 13:120, 7:61])
    assert np.array_equal(VECTOR.apply(p_KHW[:, 13, :5]), whole[:, 13, :5])


def test_what_a_calibration_tells_of_itself():
    warm = Calibration.of_temperature(2.0, 3)
    assert (warm.temperature, warm.kind, warm.keeps_classes) == (2.0, "temperature", True)
    assert (VECTOR.temperature, VECTOR.kind, VECTOR.keeps_classes) == (None, "vector", False)
    shifted = Calibration((1.0, 1.0), (0.5, 0.0))
    assert (shifted.temperature, shifted.kind) == (None, "vector")


@given(calibrations)
def test_a_calibration_outlives_json(calibration):
    assert Calibration.from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


@pytest.mark.parametrize(
    "data",
    [
        {"scale": [1.0, 1.0], "shift": [0.0]},
        {"scale": [], "shift": []},
        {"scale": [1.0, 0.0], "shift": [0.0, 0.0]},
        {"scale": [1.0, -1.0], "shift": [0.0, 0.0]},
        {"scale": [1.0, math.nan], "shift": [0.0, 0.0]},
        {"scale": [1.0, math.inf], "shift": [0.0, 0.0]},
        {"scale": [1.0, 1.0], "shift": [0.0, math.inf]},
        {"scale": [1.0, "2"], "shift": [0.0, 0.0]},
        {"scale": None, "shift": [0.0]},
        {"scale": [1.0]},
        [],
    ],
)
def test_unsound_calibrations_are_refused(data):
    with pytest.raises(ValueError):
        Calibration.from_json(data)


def test_other_mistakes_are_refused():
    with pytest.raises(ValueError, match="3 classes does not fit 4"):
        VECTOR.apply(np.ones((4, 2, 2), np.float32))
    for temperature in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="positive"):
            Calibration.of_temperature(temperature, 3)
    p_KHW, truth = drawn(side=4)
    with pytest.raises(ValueError, match="differ in shape"):
        Reliability().add(p_KHW, truth[1:])
    with pytest.raises(ValueError, match="none of 4 classes"):
        Reliability().add(p_KHW, np.full_like(truth, 4))
    for share in (0, -0.1, 1.01):
        with pytest.raises(ValueError, match="coverage"):
            counted(p_KHW, truth).accuracy_at(share)


def test_figures_are_those_of_their_definitions():
    p_KHW, truth = drawn(side=30)
    p_KHW = Calibration.of_temperature(0.4, 4).apply(p_KHW)
    truth[:3] = IGNORED
    found = counted(p_KHW, truth)
    rows = [(p, t) for p, t in zip(flat(p_KHW).double().numpy(), truth.ravel(), strict=True) if t != IGNORED]
    assert found.count == len(rows) == 27 * 30
    hits = [p.argmax() == t for p, t in rows]
    assert found.accuracy == pytest.approx(np.mean(hits))
    assert found.mean_confidence == pytest.approx(np.mean([p.max() for p, _ in rows]))
    assert found.brier == pytest.approx(np.mean([((p - np.eye(4)[t]) ** 2).sum() for p, t in rows]), rel=1e-5)
    assert found.nll == pytest.approx(np.mean([-math.log(p[t]) for p, t in rows]), rel=1e-5)
    certain = np.argsort([-p.max() for p, _ in rows], kind="stable")
    for share in (0.3, 0.8, 0.9, 1.0):
        kept = certain[: round(share * len(rows))]
        assert found.accuracy_at(share) == pytest.approx(np.mean(np.array(hits)[kept]), abs=0.005)
        assert found.confidence_at(share) == pytest.approx(rows[kept[-1]][0].max(), abs=0.002)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.0])
def test_ece_is_that_of_torchmetrics(temperature):
    p_KHW, truth = drawn(1)
    p_KHW = Calibration.of_temperature(temperature, 4).apply(p_KHW)
    expected = multiclass_calibration_error(
        flat(p_KHW), torch.from_numpy(truth.ravel()).long(), num_classes=4, n_bins=15, norm="l1"
    )
    assert counted(p_KHW, truth).ece == pytest.approx(float(expected), abs=2e-5)  # it adds up in float32


def test_ece_is_small_where_probabilities_are_right():
    right, truth = drawn(2)
    sure = Calibration.of_temperature(0.4, 4).apply(right)
    assert counted(right, truth).ece < 0.01
    assert counted(sure, truth).ece > 0.08
    assert counted(sure, truth).brier > counted(right, truth).brier
    assert counted(sure, truth).nll > counted(right, truth).nll


@given(probabilities(), arrays(np.uint8, (3, 4), elements=st.sampled_from([0, 1, 2, IGNORED])), st.integers(0, 3))
def test_blocks_add_up(p_KHW, truth, row):
    whole, top, bottom = (counted(p_KHW[:, part], truth[part]) for part in np.s_[:, :row, row:])
    both = top + bottom
    top.add(p_KHW[:, row:], truth[row:])
    for found in (both, top):
        assert found.count == whole.count == np.count_nonzero(truth != IGNORED)
        assert np.array_equal(found.fine, whole.fine) and np.array_equal(found.right, whole.right)
        for name in ("accuracy", "mean_confidence", "ece", "brier", "nll"):
            assert getattr(found, name) == pytest.approx(getattr(whole, name), abs=1e-6)


def test_nothing_counted_has_no_figures():
    empty = counted(np.ones((2, 3, 3), np.float32), np.full((3, 3), IGNORED, np.uint8))
    told = json.loads(json.dumps(empty.to_json(), allow_nan=False))
    assert told["pixels"] == 0 and empty.curve is None
    assert {told[name] for name in ("accuracy", "mean_confidence", "ece", "brier", "nll")} == {None}
    assert {row["accuracy"] for row in told["curve"]} == {None} == {row["confidence"] for row in told["curve"]}


@pytest.mark.parametrize("nothing", [np.nan, 0.0])
def test_pixels_without_probabilities_are_not_counted(nothing):
    p_KHW, truth = drawn(side=20)
    known, labelled = p_KHW.copy(), truth.copy()
    known[:, 5:9], labelled[5:9] = nothing, IGNORED
    assert counted(known, truth).to_json() == counted(p_KHW, labelled).to_json()


def test_the_curve_ends_at_all_pixels():
    p_KHW, truth = drawn(3)
    found = counted(p_KHW, truth)
    coverage, accuracy = found.curve
    assert (np.diff(coverage) > 0).all() and coverage[-1] == 1
    assert accuracy[-1] == found.accuracy == found.accuracy_at(1) == found.to_json()["curve"][-1]["accuracy"]
    assert found.accuracy_at(0.5) > found.accuracy_at(0.8) > found.accuracy_at(0.9) > found.accuracy
    assert found.accuracy_at(float(coverage[5])) == pytest.approx(accuracy[5])


def test_certain_pixels_are_counted_in_the_last_bin():
    found = counted(np.array([1, 0], np.float32)[:, None, None], np.zeros((1, 1), np.uint8))
    assert (found.ece, found.brier, found.nll, found.pixels[-1], found.fine[1, -1]) == (0, 0, 0, 1, 1)
    wrong = counted(np.array([1, 0], np.float32)[:, None, None], np.ones((1, 1), np.uint8))
    assert (wrong.ece, wrong.brier, wrong.accuracy) == (1, 2, 0) and math.isfinite(wrong.nll)


@pytest.mark.parametrize("name", UNCERTAINTIES)
@given(p_KHW=probabilities(classes=4))
def test_uncertainty_is_a_share(name, p_KHW):
    unsure = UNCERTAINTIES[name](p_KHW)
    assert unsure.shape == p_KHW.shape[1:] and unsure.dtype == np.float32
    assert (unsure >= 0).all() and (unsure <= 1).all()
    assert (unsure[p_KHW.max(axis=0) == 1] < 1e-6).all()


@pytest.mark.parametrize("name", UNCERTAINTIES)
@pytest.mark.parametrize("classes", [2, 3, 6])
def test_uncertainty_is_largest_where_all_classes_are_alike(name, classes):
    alike = np.full((classes, 2, 3), 1 / classes, np.float32)
    assert UNCERTAINTIES[name](alike) == pytest.approx(1, abs=1e-6)
    assert UNCERTAINTIES[name](np.ones((1, 2, 3), np.float32)) == pytest.approx(0)


def test_uncertainties_of_known_probabilities():
    p_KHW = np.array([0.2, 0.7, 0.1], np.float32)[:, None, None]
    bits = -sum(p * math.log(p) for p in (0.2, 0.7, 0.1)) / math.log(3)
    assert UNCERTAINTIES["entropy"](p_KHW)[0, 0] == pytest.approx(bits, rel=1e-5)
    assert UNCERTAINTIES["margin"](p_KHW)[0, 0] == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5, 6.0])
def test_a_known_temperature_is_found(temperature):
    p_KHW, truth = drawn(4, side=300)
    log_p = torch.log_softmax(flat(p_KHW).double().log() * temperature, dim=1)
    found = fit_calibration(log_p, torch.from_numpy(truth.ravel()), "temperature")
    assert found.temperature == pytest.approx(temperature, rel=0.02)
    assert found == fit_calibration(log_p, torch.from_numpy(truth.ravel()), "temperature")


def test_a_known_vector_is_found():
    p_KHW, truth = drawn(5, classes=3)
    undone = Calibration((1.5, 0.6, 1.0), (0.4, 0.1, -0.5))
    log_p = flat(p_KHW).double().log()
    shown = (log_p - torch.tensor(undone.shift)) / torch.tensor(undone.scale)
    found = fit_calibration(shown, torch.from_numpy(truth.ravel()), "vector")
    assert found.scale == pytest.approx(undone.scale, rel=0.05)
    assert found.shift == pytest.approx(undone.shift, abs=0.1)  # a little is held back by the ridge


def test_a_vector_is_at_least_as_likely_as_a_temperature():
    p_KHW, truth = drawn(6, classes=3, side=60)
    given = VECTOR.apply(p_KHW)
    nll = [
        counted(fit_calibration(flat(given).log(), torch.from_numpy(truth.ravel()), kind).apply(given), truth).nll
        for kind in ("temperature", "vector")
    ]
    assert nll[1] < nll[0] < counted(given, truth).nll


@pytest.mark.parametrize("kind", ["temperature", "vector"])
@pytest.mark.parametrize("truth", [[0, 1, 2], [1, 2, 0], [0, 0, 0], [0, 0, 1]])
@pytest.mark.parametrize("sureness", [0.0, 3.0, math.inf])
def test_what_can_be_separated_has_a_bounded_calibration(kind, truth, sureness):
    scores = torch.where(torch.eye(3, dtype=torch.bool), 0.0, -sureness)
    found = fit_calibration(scores.log_softmax(dim=1), torch.tensor(truth, dtype=torch.uint8), kind)
    assert all(1 / HOTTEST <= scale <= HOTTEST for scale in found.scale)
    assert np.isfinite(found.shift).all()


def test_always_right_is_surer_and_always_wrong_less_sure():
    log_p = torch.tensor([[0.6, 0.4], [0.4, 0.6]]).log()
    right, wrong = (fit_calibration(log_p, torch.tensor(ids), "temperature") for ids in ([0, 1], [1, 0]))
    assert right.temperature < 0.1 and wrong.temperature == pytest.approx(HOTTEST, rel=0.01)


def test_a_class_that_is_not_there_does_not_vanish():
    p_KHW, truth = drawn(7, side=100)
    kept = truth != 3
    found = fit_calibration(flat(p_KHW).log()[kept.ravel()], torch.from_numpy(truth[kept]), "vector")
    sure = np.array([0.01, 0.01, 0.01, 0.97], np.float32)[:, None, None]
    assert found.apply(sure).argmax() == 3


def test_no_pixels_cannot_be_fitted():
    with pytest.raises(ValueError, match="labelled pixels"):
        fit_calibration(torch.empty(0, 3), torch.empty(0), "temperature")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Three places of 64 pixels, read in windows of 32."""
    source = synthetic.rgb_folder(tmp_path_factory.mktemp("source"), count=3, size=64)
    options = TrainOptions(network="small-unet", width=4, size=32)
    return plan_run(source, RunFolder(tmp_path_factory.mktemp("run")), options)


def test_pixels_are_drawn_at_random(plan):
    network = plan.build_network().eval()
    everything, truth = collect(network, plan)
    counts = sum(plan.output.count(plan.samples.read(area, area.window)[1]) for area in plan.validation)
    assert np.array_equal(np.bincount(truth, minlength=len(counts)), counts)
    assert everything.exp().sum(dim=1).allclose(torch.ones(()))
    some, ids = collect(network, plan, most=500)
    assert torch.equal(some, everything[:500]) and torch.equal(ids, truth[:500])


def test_windows_are_drawn_from_alike(monkeypatch):
    def read(area: Area, window: Window) -> tuple[np.ndarray, np.ndarray]:
        truth = np.full(window.shape, window.row // 8, np.uint8)
        truth[:4] = IGNORED
        return np.zeros((1, *window.shape), np.float32), truth

    fake = SimpleNamespace(
        validation=(Area("pair", Window(0, 0, 800, 8), "val"),),
        tiling=Tiling(8, 0),
        samples=SimpleNamespace(read=read),
        options=TrainOptions(),
        output=SimpleNamespace(channels=1),
    )
    _, truth = collect(torch.nn.Identity(), fake, most=1600)
    found = np.bincount(truth, minlength=100)
    assert found.sum() == 1600 and found.min() > 5 and found.max() < 28  # half of the 32 labelled pixels of each
    monkeypatch.setattr(calibrating, "WINDOWS", 50)
    _, truth = collect(torch.nn.Identity(), fake)
    assert sorted(set(truth.tolist())) == list(range(0, 100, 2))


@pytest.mark.parametrize("kind", ["temperature", "vector"])
def test_a_network_is_calibrated_on_validation_ground(plan, kind):
    found, figures = calibrate(plan.build_network().eval(), plan, kind)
    assert set(figures) == {f"val_{name}_{when}" for name in ("ece", "brier", "nll") for when in ("before", "after")}
    assert figures["val_nll_after"] < figures["val_nll_before"]
    assert len(found.scale) == plan.output.channels and found.kind == kind


def test_ground_without_labels_leaves_probabilities_as_they_are(plan, monkeypatch):
    monkeypatch.setattr(calibrating, "IGNORED", 0)
    monkeypatch.setattr(type(plan.samples), "read", lambda *_: (np.zeros((3, 32, 32), np.float32), np.zeros((32, 32))))
    found, figures = calibrate(plan.build_network().eval(), plan, "vector")
    assert found.temperature == 1 and set(figures.values()) == {None}
