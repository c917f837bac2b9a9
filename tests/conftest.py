"""What all tests share: where the real imagery is, and folders of fabricated data made once."""

from __future__ import annotations

from pathlib import Path
from unittest import mock
from urllib.error import URLError

import pytest
from hypothesis import settings

import synthetic

REAL = Path(__file__).parents[2] / "shared" / "data"

settings.register_profile("unhurried", deadline=None, max_examples=60)
settings.load_profile("unhurried")


@pytest.fixture
def real() -> Path:
    """Return the folder of real imagery; the test is skipped where there is none."""
    if not REAL.is_dir():
        pytest.skip("the real imagery is not here")
    return REAL


@pytest.fixture(scope="session")
def rgb_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures in three places with masks of colours; not to be changed by a test."""
    return synthetic.rgb_folder(tmp_path_factory.mktemp("rgb"))


@pytest.fixture(scope="session")
def vector_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six GeoTIFF and the outlines of their buildings in another CRS; not to be changed by a test."""
    return synthetic.geotiff_with_vectors(tmp_path_factory.mktemp("vectors"))


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six side-by-side pictures: image on the left, map on the right; not to be changed by a test."""
    return synthetic.side_by_side(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings draw no pictures: they take most of the time."""
    monkeypatch.setattr("sat2map.learning.journal.Journal.picture", lambda *_: None)
    monkeypatch.setattr("sat2map.learning.journal.curves", lambda *_, **__: None)
    monkeypatch.setattr("sat2map.learning.fitting.draw_network", lambda *_, **__: None)


@pytest.fixture
def without_graph(without_pictures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let trainings export no graph either, where a test is about what is learnt: that takes most of what is left."""
    monkeypatch.setattr("sat2map.learning.packing.export_graph", lambda *_, **__: None)
    monkeypatch.setattr("sat2map.learning.packing.learn_domain", lambda *_: None)


@pytest.fixture
def no_net(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no weights be found or downloaded."""
    import torch

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", mock.Mock(side_effect=URLError("no route to host")))
