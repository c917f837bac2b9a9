import warnings

import numpy as np
import openvino
import pytest
import torch
from torch import nn

from sat2map.errors import BadOption
from sat2map.networks import NETWORKS, build_network, count_parameters
from sat2map.networks.critics import PatchCritic, receptive_field, smallest_side
from sat2map.networks.norms import has_group_norm, refuse_instance_norm
from sat2map.networks.pix2pix import Pix2pixGenerator

UPS = ("transposed", "resize")


def images(bands: int = 3, side: int = 256, count: int = 1) -> torch.Tensor:
    return torch.randn(count, bands, side, side, generator=torch.Generator().manual_seed(0))


def layers_of(network: nn.Module, kind: type[nn.Module]) -> list:
    return [layer for layer in network.modules() if isinstance(layer, kind)]


def test_the_published_generator_has_54_million_parameters() -> None:
    with torch.device("meta"):
        generator = Pix2pixGenerator(3, 3)
    assert count_parameters(generator) == 54_414_531
    assert [layer.out_channels for layer in layers_of(generator, nn.Conv2d)] == [64, 128, 256, *[512] * 5]
    assert [layer.in_channels for layer in layers_of(generator, nn.ConvTranspose2d)] == [
        512, 1024, 1024, 1024, 1024, 512, 256, 128
    ]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("pix2pix")])
def test_a_row_halves_as_often_as_it_says(name: str) -> None:
    generator = build_network(name, bands=3, channels=3, width=2).network
    assert 2 ** len(generator.down) == NETWORKS[name].stride == (128 if "7" in name else 256)
    assert bool(layers_of(generator, nn.Upsample)) == name.endswith("resize")
    assert bool(layers_of(generator, nn.ConvTranspose2d)) != name.endswith("resize")


@pytest.mark.parametrize("up", UPS)
@pytest.mark.parametrize("levels", [2, 4, 8])
def test_a_batch_of_one_image_down_to_one_pixel_is_learnt_from(levels: int, up: str) -> None:
    generator = Pix2pixGenerator(3, 2, width=4, levels=levels, up=up).train()
    scores = generator(images(side=2**levels))
    assert scores.shape == (1, 2, 2**levels, 2**levels)
    scores.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())
    assert generator.down[0][0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("levels", "dropped"), [(2, 1), (3, 2), (4, 3), (8, 3)])
def test_the_first_levels_up_have_dropout_in_training_only(levels: int, dropped: int) -> None:
    generator = Pix2pixGenerator(3, 2, width=2, levels=levels)
    assert [layer.p for layer in layers_of(generator, nn.Dropout)] == [
        *[0.5] * dropped, *[0.0] * (levels - 1 - dropped)
    ]  # fmt: skip
    x = images()
    with torch.no_grad():
        assert not generator.train()(x).equal(generator(x))
        assert generator.eval()(x).equal(generator(x))


def test_first_innermost_and_last_level_are_not_normalised() -> None:
    generator = Pix2pixGenerator(3, 2, width=2, levels=5)
    assert [bool(layers_of(level, nn.BatchNorm2d)) for level in generator.down] == [False, True, True, True, False]
    assert all(layers_of(level, nn.BatchNorm2d) for level in generator.up)
    assert not layers_of(generator.head, nn.BatchNorm2d)
    for layer in layers_of(generator.down, nn.Conv2d):
        assert (layer.bias is None) == (layer.out_channels in (4, 8, 16) and layer is not generator.down[-1][-1])


def test_every_skip_arrives() -> None:
    generator = Pix2pixGenerator(3, 2, width=2, levels=4).eval()
    x = images(side=16)
    with torch.no_grad():
        scores = generator(x)
        for level in generator.down[:-1]:
            hook = level.register_forward_hook(lambda _, __, out: 2 * out)
            assert not generator(x).allclose(scores)
            hook.remove()
        outermost = generator.down[0].register_forward_hook(lambda _, __, out: torch.zeros_like(out))
        below = generator.up[-1].register_forward_hook(lambda _, __, out: torch.zeros_like(out))
        assert generator(x).equal(generator.head(torch.zeros(1, 4, 8, 8)))
        outermost.remove()
        below.remove()


@pytest.mark.parametrize("make", [Pix2pixGenerator, PatchCritic], ids=["generator", "critic"])
def test_weights_start_as_published(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = make(6, 3, width=32, levels=4) if make is Pix2pixGenerator else make(6, width=32, levels=4)
    for kind, mean in ((nn.Conv2d, 0), (nn.ConvTranspose2d, 0), (nn.BatchNorm2d, 1)):
        layers = layers_of(network, kind)
        if layers:
            weights = torch.cat([layer.weight.flatten() for layer in layers])
            assert weights.mean().item() == pytest.approx(mean, abs=0.005)
            assert weights.std().item() == pytest.approx(0.02, rel=0.15)
            assert all(layer.bias is None or not layer.bias.any() for layer in layers)


@pytest.mark.parametrize("up", UPS)
def test_openvino_gives_the_same_scores_for_other_sizes(up: str) -> None:
    name = {"transposed": "pix2pix-7", "resize": "pix2pix-7-resize"}[up]
    network = build_network(name, bands=3, channels=3, width=4).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of branches that depend on the size
        graph = openvino.convert_model(network, example_input=images(side=128, count=2))
    graph.reshape([-1, 3, -1, -1])
    compiled = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.inference_mode():
        np.testing.assert_allclose(compiled(images().numpy())[0], network(images()).numpy(), atol=1e-4)


@pytest.mark.parametrize(("levels", "field", "parameters"), [(3, 70, 2_768_705), (4, 142, 6_964_033)])
def test_a_critic_has_the_published_size(levels: int, field: int, parameters: int) -> None:
    assert receptive_field(levels) == field
    assert count_parameters(PatchCritic(6, levels=levels)) == parameters


@pytest.mark.parametrize("levels", [3, 4])
def test_a_score_looks_at_its_receptive_field_and_no_further(levels: int) -> None:
    critic = PatchCritic(1, width=2, levels=levels).eval()
    x = images(1, side=512).requires_grad_()
    scores = critic(x)
    middle = scores.shape[-1] // 2
    (gradient,) = torch.autograd.grad(scores[0, 0, middle, middle], x)
    rows = gradient[0, 0].abs().sum(1).nonzero().flatten()
    assert rows[-1] - rows[0] + 1 == receptive_field(levels)


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize("levels", [3, 4])
def test_a_critic_scores_patches_of_images_that_are_large_enough(levels: int, spectral: bool) -> None:
    critic = PatchCritic(6, width=2, levels=levels, spectral=spectral).train()
    side = smallest_side(levels)
    scores = critic(images(6, side))
    assert scores.shape == (1, 1, 1, 1)
    scores.sum().backward()
    assert all(p.grad is not None for p in critic.parameters())
    assert critic(images(6, 256)).shape == (1, 1, *[256 // 2**levels - 2] * 2)
    with pytest.raises(RuntimeError, match="Kernel size can't be greater"):
        critic.eval()(images(6, side - 1))


def test_spectral_normalisation_takes_the_place_of_batch_normalisation() -> None:
    critic = PatchCritic(6, width=8, spectral=True).train()
    assert layers_of(PatchCritic(6, width=8), nn.BatchNorm2d)
    assert not layers_of(critic, nn.BatchNorm2d)
    for _ in range(20):
        critic(images(6, 64))
    critic.eval()
    for layer in layers_of(critic, nn.Conv2d):
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.03)


def test_a_critic_of_other_levels_is_refused() -> None:
    for make in (receptive_field, smallest_side, lambda levels: PatchCritic(6, levels=levels)):
        with pytest.raises(BadOption, match=r"no patch critic of 5 levels. Take 3 \(70 x 70\) or 4 \(142 x 142\)"):
            make(5)


def test_layers_that_normalise_each_window_by_itself_are_refused() -> None:
    for layer in (nn.InstanceNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False)):
        network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(layer))
        with pytest.raises(
            BadOption, match=rf"layer '1.0' \({type(layer).__name__}\).*another tone in the next window"
        ):
            refuse_instance_norm(network)
    for layer in (nn.InstanceNorm2d(4, track_running_stats=True), nn.BatchNorm2d(4), nn.GroupNorm(2, 4)):
        refuse_instance_norm(nn.Sequential(layer))


def test_group_normalisation_is_found() -> None:
    from timm.layers import GroupNorm1, LayerNorm2d

    assert has_group_norm(nn.Sequential(nn.Sequential(nn.GroupNorm(2, 4))))
    assert has_group_norm(GroupNorm1(4))
    assert not has_group_norm(nn.Sequential(LayerNorm2d(4), nn.BatchNorm2d(4)))
