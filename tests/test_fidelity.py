"""Measures are those of their definitions, and what cannot be had is absent, never another number."""

from __future__ import annotations

import hashlib
import math
import socket
import subprocess
import sys
import warnings
from dataclasses import replace
from http.client import IncompleteRead
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)
from torchmetrics.image import LearnedPerceptualImagePatchSimilarity
from torchmetrics.image.fid import NoTrainInceptionV3
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from feature_weights import SmallInception, inception_file, make_small
from sat2map import features
from sat2map.errors import BadOption
from sat2map.features import FEATURE_NETWORKS, sort_weights
from sat2map.fidelity import PixelErrors, absent, pixel_errors
from sat2map.patchmetrics import ENOUGH, PATCH, PatchMetrics

FAKE = "not the published weights"


@pytest.fixture(scope="session")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inception_file(tmp_path_factory.mktemp("weights") / "inception.pth")


@pytest.fixture(scope="session")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), path)
    return path


def patches(seed: int, count: int = 2, side: int = PATCH) -> tuple[np.ndarray, np.ndarray]:
    """Return coloured patches, and the same with some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 3, 8, 8)).repeat(side // 8, 2).repeat(side // 8, 3)
    noisy = coarse + rng.normal(0, 25, coarse.shape)
    return coarse.astype(np.uint8), noisy.clip(0, 255).astype(np.uint8)


def measured(files: tuple[Path, ...], truth: np.ndarray, painted: np.ndarray, step: int = 3) -> dict:
    found = PatchMetrics([str(file) for file in files])
    for first in range(0, len(truth), step):
        found.add(truth[first : first + step], painted[first : first + step])
    return {metric.name: metric for metric in found.metrics()}


# --- pixels -----------------------------------------------------------------------------------------------------------


def opaque(colours: np.ndarray) -> np.ndarray:
    return np.concatenate([colours, np.full((1, *colours.shape[1:]), 255, np.uint8)])


def test_pixel_errors_are_those_of_their_definitions_and_add_up():
    rng = np.random.default_rng(0)
    truth, painted = rng.integers(0, 256, (2, 4, 40, 50), np.uint8)
    truth[3], painted[3] = rng.choice([0, 255], (2, 40, 50))
    found = pixel_errors(truth[:, :15], painted[:, :15]) + pixel_errors(truth[:, 15:], painted[:, 15:])
    known = (truth[3] == 255) & (painted[3] == 255)
    one, other = truth[:3, known].astype(float), painted[:3, known].astype(float)
    assert found.pixels == known.sum() > 0
    assert found.l1 == pytest.approx(np.abs(one - other).mean())
    assert found.psnr == pytest.approx(10 * np.log10(255**2 / ((one - other) ** 2).mean()))
    assert found.l1_of_mean_colour == pytest.approx(np.abs(one - one.mean(axis=1, keepdims=True)).mean())
    l1, psnr = found.metrics()
    assert (l1.value, l1.samples, l1.of, l1.better) == (found.l1, known.sum(), "pixels", "lower")
    assert (psnr.value, psnr.better) == (found.psnr, "higher")


def test_equal_pictures_have_no_finite_psnr_and_clear_ones_no_error():
    picture = opaque(patches(0, 1)[0][0])
    equal = pixel_errors(picture, picture)
    assert equal.psnr == math.inf
    assert [m.value for m in equal.metrics()] == [0, None]
    assert "infinite" in equal.metrics()[1].reason
    for nothing in (PixelErrors(), pixel_errors(picture * 0, picture)):
        assert [m.value for m in nothing.metrics()] == [None, None]
        assert nothing.l1_of_mean_colour is None


# --- patches ----------------------------------------------------------------------------------------------------------


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Fréchet distance of features `(N, D)`: the trace of the root by singular values."""
    a, b = ((f - f.mean(0)) / math.sqrt(len(f) - 1) for f in (one, other))
    between = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(((one.mean(0) - other.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * between)


def test_structure_and_lpips_agree_with_torchmetrics_called_directly(alexnet, tmp_path, monkeypatch, no_net):
    truth, painted = patches(0)
    found = measured((alexnet,), truth, painted)
    one, other = (torch.from_numpy(images).float() for images in (truth, painted))
    ssim = structural_similarity_index_measure(other, one, data_range=255.0)
    ms_ssim = multiscale_structural_similarity_index_measure(other, one, data_range=255.0)
    assert found["SSIM"].value == pytest.approx(float(ssim), rel=1e-5)
    assert found["MS-SSIM"].value == pytest.approx(float(ms_ssim), rel=1e-5)
    kept = tmp_path / "torch" / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(alexnet.read_bytes())
    lpips = LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
    assert found["LPIPS"].value == pytest.approx(float(lpips(other / 255, one / 255)), rel=1e-4)
    assert found["LPIPS"].extractor == f"AlexNet of torchvision, {FAKE}"
    assert {m.samples for m in found.values()} == {len(truth)}


def test_inception_measures_agree_with_torchmetrics_called_directly(inception, no_net, monkeypatch):
    """The formula of FID takes long for 2,048 features, so here it is what goes into it that is compared."""
    given: list[torch.Tensor] = []
    monkeypatch.setattr("torchmetrics.image.fid._compute_fid", lambda *parts: given.extend(parts) or torch.tensor(7.0))
    truth, painted = patches(0, 2)
    found = measured((inception,), truth, painted)
    network = NoTrainInceptionV3("x", ["2048"], str(inception), antialias=False)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        kid, score = KernelInceptionDistance(network, subset_size=2, subsets=3), InceptionScore(torch.nn.Identity())
        kid.update(torch.from_numpy(truth), real=True)
        kid.update(torch.from_numpy(painted), real=False)
        score.update(kid.fake_features[0] @ network.fc.weight.T)
    assert found["KID"].value == pytest.approx(float(kid.compute()[0]), rel=1e-3)
    assert found["Inception Score"].value == pytest.approx(float(score.compute()[0]), rel=1e-5)
    expected = [
        g(f[0].double().numpy()) for f in (kid.real_features, kid.fake_features) for g in (mean_of, covariance_of)
    ]
    for part, other in zip(given, expected, strict=True):  # means and covariances, truth first
        assert np.allclose(part.numpy(), other, rtol=1e-3, atol=1e-4)
    assert found["FID"].value == 7
    assert found["FID"].extractor == f"Inception-v3 of torch-fidelity, {FAKE}, layer 2048"
    assert not found["FID"].reliable
    assert "fewer than 2,048" in found["FID"].reason


def mean_of(features: np.ndarray) -> np.ndarray:
    return features.mean(axis=0)


def covariance_of(features: np.ndarray) -> np.ndarray:
    return np.cov(features, rowvar=False)


def test_sets_are_compared_as_sets(inception, no_net, monkeypatch):
    make_small(monkeypatch)
    (truth, _), (painted, _) = patches(3, 60, 16), patches(4, 60, 16)
    painted //= 2
    same, other = measured((inception,), truth, truth[::-1].copy()), measured((inception,), truth, painted)
    assert same["FID"].value == pytest.approx(0, abs=1e-4)
    assert abs(same["KID"].value) < 0.05 * other["KID"].value
    assert same["Inception Score"].value == pytest.approx(same["Inception Score, truth"].value, rel=1e-2)
    seen = [SmallInception()(torch.from_numpy(images))[0].double().numpy() for images in (truth, painted)]
    assert other["FID"].value == pytest.approx(frechet(*seen), rel=1e-3)
    assert other["FID"].value > 0.1


def test_measures_without_weights_are_absent_and_say_why(no_net):
    found = measured((), *patches(1, 1))
    assert {name for name, m in found.items() if m.value is None} == {
        "LPIPS", "FID", "KID", "Inception Score", "Inception Score, truth",
    }  # fmt: skip
    assert 0 < found["SSIM"].value < 1
    reason = found["FID"].reason
    assert reason.startswith(
        "The weights of Inception-v3 of torch-fidelity could not be downloaded (no route to host)."
    )
    assert "6726825d.pth and give the file with --feature-weights." in reason
    assert list(absent(found.values()).values()) == [
        ["LPIPS"],
        ["FID", "KID", "Inception Score", "Inception Score, truth"],
    ]


@pytest.mark.parametrize("fault", [TimeoutError("timed out"), IncompleteRead(b""), RuntimeError("invalid hash value")])
def test_no_fault_of_a_download_gets_through(no_net, monkeypatch, fault):
    monkeypatch.setattr(torch.hub, "download_url_to_file", mock.Mock(side_effect=fault))
    found = measured((), *patches(1, 1))
    assert found["LPIPS"].value is None
    assert found["LPIPS"].reason.startswith("The weights of AlexNet of torchvision could not be downloaded")


def test_a_server_that_does_not_answer_is_not_waited_for_long(no_net, monkeypatch):
    waits = []
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda *_, **__: waits.append(socket.getdefaulttimeout()) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        PatchMetrics()
    assert waits == [features.PATIENCE]
    assert socket.getdefaulttimeout() is None


def test_no_patch_and_a_single_patch_are_told(inception, no_net, monkeypatch):
    empty = {m.name: m for m in PatchMetrics().metrics()}
    assert {m.value for m in empty.values()} == {None}
    assert empty["SSIM"].reason == f"No patch of {PATCH} x {PATCH} pixels is known as a whole."
    make_small(monkeypatch)
    single = measured((inception,), *patches(2, 1, 16))
    assert {m.value for m in single.values()} == {None}
    assert "two patches" in single["KID"].reason


def test_fid_of_enough_samples_is_reliable(inception, no_net, monkeypatch):
    make_small(monkeypatch)
    for enough, reliable in ((3, True), (4, False)):
        monkeypatch.setattr("sat2map.patchmetrics.ENOUGH", enough)
        assert measured((inception,), *patches(0, 3, 16))["FID"].reliable == reliable
    assert ENOUGH == 2048


def test_measures_repeat_exactly_and_leave_the_random_numbers_alone(inception, no_net, monkeypatch):
    make_small(monkeypatch)
    monkeypatch.setattr("sat2map.patchmetrics.SUBSET", 3)
    values = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        values.append([m.value for m in measured((inception,), *patches(0, 12, 16)).values()])
        drawn = torch.rand(1)
        torch.manual_seed(seed)
        assert torch.equal(drawn, torch.rand(1))
    assert values[0] == values[1]


# --- weights ----------------------------------------------------------------------------------------------------------


def test_files_are_told_by_their_parameters(inception, alexnet, tmp_path, no_net):
    with torch.device("meta"):
        shapes = torchvision.models.vgg16(weights=None).state_dict()
    wanted = FEATURE_NETWORKS["vgg16"].shapes
    assert all(tuple(shapes[name].shape) == shape for name, shape in wanted.items())
    torch.save({name: torch.zeros(shape) for name, shape in wanted.items()}, tmp_path / "vgg.pth")
    assert sort_weights([str(inception), str(alexnet)]) == {"inception": inception, "alexnet": alexnet}
    assert [*sort_weights([str(tmp_path / "vgg.pth")])] == ["vgg16"]
    with pytest.raises(BadOption, match=r"for the same measure. Give one of them"):
        sort_weights([str(alexnet), str(tmp_path / "vgg.pth")])
    with pytest.raises(BadOption, match=r"vgg.pth does not hold all weights of its network"):
        PatchMetrics([str(tmp_path / "vgg.pth")])


def test_other_files_are_refused(tmp_path):
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("weights")
    for name, message in (
        (
            "other.pth",
            r"weights of another network. --feature-weights takes those of: Inception-v3 .*, AlexNet .*, VGG16",
        ),
        ("list.pth", "weights of another network"),
        ("text.pth", "holds no weights that torch can load"),
        ("none.pth", "cannot be read: No such file"),
    ):
        with pytest.raises(BadOption, match=message):
            PatchMetrics([str(tmp_path / name)])


def test_a_file_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(BadOption, match="holds no weights"):
        PatchMetrics([str(tmp_path / "evil.pth")])
    assert not (tmp_path / "ran").exists()


def test_only_the_published_digest_is_called_published(tmp_path, monkeypatch):
    assert [network.digest for network in FEATURE_NETWORKS.values()] == ["6726825d", "7be5be79", "397923af"]
    (tmp_path / "a.pth").write_bytes(b"weights")
    assert features.describe("alexnet", tmp_path / "a.pth") == f"AlexNet of torchvision, {FAKE}"
    digest = hashlib.sha256(b"weights").hexdigest()[:8]
    row = replace(FEATURE_NETWORKS["alexnet"], url=lambda: f"https://example.org/alexnet-{digest}.pth")
    monkeypatch.setitem(FEATURE_NETWORKS, "alexnet", row)
    assert features.describe("alexnet", tmp_path / "a.pth") == "AlexNet of torchvision"


def test_without_torch_only_patches_are_absent():
    code = (
        "import sys, importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'torch' else find(name, *a)\n"
        "from sat2map.patchmetrics import PatchMetrics\n"
        "found = PatchMetrics(['weights.pth']).metrics()\n"
        "assert len(found) == 7 and {m.value for m in found} == {None}\n"
        "assert all(\"pip install 'sat2map[train]'\" in m.reason for m in found), found\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
