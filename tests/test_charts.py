"""What the pictures of reliability show: read from the figures, not from their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sat2map import charts
from sat2map.calibration import Calibration, Reliability
from sat2map.charts import coverage_picture, reliability_picture
from sat2map.legend import IGNORED


def reliability(temperature: float = 1.0, labelled: bool = True) -> Reliability:
    """Return what is counted of probabilities that are right at temperature 1."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 2, (3, 100, 100))
    p_KHW = (np.exp(scores) / np.exp(scores).sum(axis=0)).astype(np.float32)
    truth = (p_KHW.cumsum(axis=0) < rng.random((100, 100))).sum(axis=0).clip(0, 2).astype(np.uint8)
    found = Reliability()
    found.add(
        Calibration.of_temperature(temperature, 3).apply(p_KHW), truth if labelled else np.full_like(truth, IGNORED)
    )
    return found


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """Collect figures in place of writing them."""
    figures: list[Figure] = []
    monkeypatch.setattr(charts, "save_figure", lambda figure, _: figures.append(figure))
    return figures


def told(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_both_are_shown_with_their_errors(drawn):
    sure, right = reliability(0.4), reliability()
    reliability_picture(sure, right, Path("unused"))
    errors = [f"ECE {100 * found.ece:.1f} %" for found in (sure, right)]
    assert told(drawn[0]) == ["just as sure as right", f"before, {errors[0]}", f"calibrated, {errors[1]}"]
    for line, found in zip(drawn[0].axes[0].lines[1:], (sure, right), strict=True):
        held = found.pixels > 0
        np.testing.assert_allclose(line.get_xdata(), found.confidence[held] / found.pixels[held])
        np.testing.assert_allclose(line.get_ydata(), found.right[held] / found.pixels[held])
    assert len({line.get_color() for line in drawn[0].axes[0].lines}) == 3


def test_one_is_shown_where_nothing_was_calibrated(drawn):
    reliability_picture(reliability(0.4), None, Path("unused"))
    assert len(drawn[0].axes[0].lines) == 2 and told(drawn[0])[1].startswith("as the network says, ECE ")


def test_the_histogram_holds_all_pixels(drawn):
    found = reliability()
    reliability_picture(found, None, Path("unused"))
    values = drawn[0].axes[1].patches[0].get_data().values
    assert values.sum() == pytest.approx(1) and values.max() < drawn[0].axes[1].get_ylim()[1]


def test_accuracies_are_written_beside_the_curve(drawn):
    found = reliability()
    coverage_picture(found, Path("unused"))
    shares = (1.0, 0.9, 0.8)
    assert told(drawn[0]) == [f"{100 * s:.0f} % kept: {100 * found.accuracy_at(s):.1f} % right" for s in shares]
    curve, *marks = drawn[0].axes[0].lines
    assert np.array_equal(curve.get_xydata().T, np.array(found.curve)[:, found.curve[0] >= 0.01])
    for mark, share in zip(marks, shares, strict=True):
        assert mark.get_xydata().tolist() == [[share, found.accuracy_at(share)]]
    low, high = drawn[0].axes[0].get_ylim()
    assert low < found.accuracy < high


def test_pictures_are_written(tmp_path):
    reliability_picture(reliability(0.4), reliability(), tmp_path / "reliability.png")
    coverage_picture(reliability(), tmp_path / "coverage.png")
    for name in ("reliability", "coverage"):
        picture = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        assert 400 < picture.shape[1] < 800 and picture.std() > 10


def test_nothing_counted_is_drawn_too(tmp_path):
    nothing = reliability(labelled=False)
    reliability_picture(nothing, nothing, tmp_path / "reliability.png")
    coverage_picture(nothing, tmp_path / "coverage.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 1000 for name in ("reliability", "coverage"))
