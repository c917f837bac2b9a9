"""The first filters are the principal components of what they see: uncorrelated, equally strong, with both signs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from sat2map.learning.fitting import plan_run
from sat2map.learning.plan import Plan
from sat2map.learning.recipe import choose_recipe
from sat2map.learning.whitening import FLOOR, whiten
from sat2map.networks import NETWORKS, build_network
from sat2map.options import TrainOptions
from sat2map.runs import RunFolder

LIGHT = "resnet18"


def natural(bands: int, count: int = 4, size: int = 48, seed: int = 0) -> list[torch.Tensor]:
    """Return images `(bands, size, size)` in which neighbours and bands are nearly alike, with a mean of 0."""
    noise = torch.randn(count, bands, size // 8, size // 8, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(noise, size=(size, size), mode="bilinear")
    fine = torch.randn(count, bands, size, size, generator=torch.Generator().manual_seed(seed + 1))
    mixed = smooth.mean(dim=1, keepdim=True) + 0.3 * smooth + 0.1 * fine
    return list(mixed - mixed.mean(dim=(0, 2, 3), keepdim=True))


def stem(bands: int, filters: int, side: int, **words: int) -> nn.Sequential:
    conv = nn.Conv2d(bands, filters, side, **words)
    return nn.Sequential(conv, nn.BatchNorm2d(filters), nn.ReLU())


def answers(conv: nn.Conv2d, images: list[torch.Tensor]) -> torch.Tensor:
    """Return what filters answer to patches side by side, `(patches, filters)`."""
    with torch.no_grad():
        told = F.conv2d(torch.stack(images), conv.weight, stride=conv.kernel_size, dilation=conv.dilation)
    return told.permute(0, 2, 3, 1).flatten(0, 2).double()


def strengths(images: list[torch.Tensor], side: int) -> torch.Tensor:
    """Return the variances of the principal components of patches side by side, the largest first."""
    patches = F.unfold(torch.stack(images), side, stride=side).transpose(1, 2).flatten(0, 1).double()
    return torch.linalg.eigvalsh(patches.T @ patches / len(patches)).flip(0)


@given(bands=st.integers(1, 6), side=st.sampled_from([2, 3, 4]), filters=st.integers(2, 24), seed=st.integers(0, 9))
def test_answers_are_uncorrelated_and_equally_strong(bands: int, side: int, filters: int, seed: int) -> None:
    network, images = stem(bands, filters, side), natural(bands, seed=seed)
    before = network[0].weight.detach().clone()
    whiten(network, images)
    most = min(filters // 2, bands * side**2)
    told = answers(network[0], images)[:, : 2 * most]
    variances = strengths(images, side)
    once = torch.diag(variances / (variances + FLOOR * variances[0]))[:most, :most]
    expected = torch.cat([torch.cat([once, -once]), torch.cat([-once, once])], dim=1)
    torch.testing.assert_close(told.T @ told / len(told), expected, atol=1e-3, rtol=0)
    assert torch.equal(network[0].weight[2 * most :], before[2 * most :])


def test_the_strongest_components_come_first() -> None:
    images = natural(3)
    network = stem(3, 8, 3)
    whiten(network, images)
    norms = network[0].weight.detach()[:4].flatten(1).norm(dim=1).double()
    variances = strengths(images, 3)
    torch.testing.assert_close(norms**-2, variances[:4] + FLOOR * variances[0], rtol=1e-4, atol=0)


def test_nothing_is_computed_behind_the_first_convolution() -> None:
    class Never(nn.Module):
        def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
            raise AssertionError("reached")

    network = nn.Sequential(*stem(3, 8, 3), Never())
    network.eval()
    whiten(network, natural(3))
    assert not network.training
    assert not network[0]._forward_pre_hooks


def test_filters_see_what_lies_in_front_of_them() -> None:
    """Images that are averaged down first are seen averaged down."""
    images, bare, behind = natural(3), stem(3, 8, 3), nn.Sequential(nn.AvgPool2d(2), *stem(3, 8, 3))
    whiten(behind, images)
    whiten(bare, [F.avg_pool2d(image, 2) for image in images])
    torch.testing.assert_close(behind[1].weight, bare[0].weight)


@pytest.mark.parametrize(
    ("network", "images"),
    [
        (stem(3, 8, 3), [torch.zeros(3, 16, 16)]),
        (stem(4, 8, 3, groups=2), natural(4)),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8)), natural(3)),
        (nn.Conv2d(3, 8, 3), natural(3)),
    ],
    ids=["blank", "groups", "not of batches", "not normalised"],
)
def test_networks_that_stay_as_they_are(network: nn.Module, images: list[torch.Tensor]) -> None:
    before = [p.detach().clone() for p in network.parameters()]
    whiten(network, images)
    assert all(torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))


def test_a_network_without_a_convolution_is_told() -> None:
    with pytest.raises(ValueError, match="Linear has no convolution"):
        whiten(nn.Linear(48, 2), natural(3))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_takes_filters(name: str) -> None:
    words = {"encoder": LIGHT} if NETWORKS[name].encoder else {"width": 4}
    network = build_network(name, bands=5, channels=2, **words)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    whiten(network, natural(5))
    changed = [key for key, value in network.state_dict().items() if not torch.equal(value, before[key])]
    assert len(changed) == 1 and before[changed[0]].shape[1] == 5


def test_transformers_keep_their_own() -> None:
    network = build_network("unet", bands=3, channels=2, encoder="mit_b0")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    whiten(network, natural(3, size=64))
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


# --- in a training ----------------------------------------------------------------------------------------------------


def plan_of(folder: Path, **words: object) -> Plan:
    options = TrainOptions(**{"network": "small-unet", "width": 4, "size": 32, "batch": 2, **words})
    return plan_run(folder, RunFolder(Path("never written")), options)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_training_starts_from_filters_of_its_imagery(rgb_folder: Path) -> None:
    plan = plan_of(rgb_folder)
    started = plan.starting_network()
    assert not same(started, plan.build_network())
    assert same(started, plan.starting_network())


def test_a_training_that_is_told_not_to_does_not(rgb_folder: Path) -> None:
    plan = plan_of(rgb_folder, whiten=False)
    assert same(plan.starting_network(), plan.build_network())


def test_weights_that_are_given_stay(rgb_folder: Path, tmp_path: Path) -> None:
    words = {"network": "unet", "encoder": LIGHT, "width": None, "scale": 1.0}
    torch.save(plan_of(rgb_folder, **words).build_network().network.encoder.state_dict(), tmp_path / "e.pt")
    plan = plan_of(rgb_folder, **words, encoder_weights=str(tmp_path / "e.pt"))
    assert same(plan.starting_network(), plan.build_network())
    own = replace(plan_of(rgb_folder), network=stem(3, 8, 3))
    assert same(own.starting_network(), own.build_network())


@pytest.mark.parametrize(
    ("words", "kind", "expected"),
    [
        ({}, "classes", True),
        ({}, "picture", False),
        ({"whiten": True}, "picture", True),
        ({"whiten": True, "encoder_weights": "imagenet"}, "classes", False),
    ],
)
def test_it_is_the_rule_for_classes(words: dict, kind: str, expected: bool) -> None:
    assert choose_recipe(TrainOptions(**words), kind).whiten is expected
