import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from sat2map.errors import BadOption, ModelError, Sat2mapError, UnknownName, UserError
from sat2map.networks import NETWORKS, STRIDE, build_network, count_parameters, network_summary, stride_of
from sat2map.networks.anysize import AnySize, Scaled, at_scale
from sat2map.networks.unets import AttentionGate

LIGHT = "mobilenetv3_small_050"  # of timm; the smallest that fits every network

every_network = pytest.mark.parametrize("name", NETWORKS)


def build(name: str, bands: int = 3, channels: int = 2, **options) -> nn.Module:
    slim = {} if NETWORKS[name].encoder else {"width": 4}
    return build_network(name, bands=bands, channels=channels, encoder=LIGHT, **{**slim, **options})


@pytest.fixture(scope="module")
def built() -> dict[str, nn.Module]:
    """Every network for 14 bands and 3 channels; a test may change its mode, but not its weights."""
    return {name: build(name, bands=14, channels=3) for name in NETWORKS}


def images(bands: int, height: int = 64, width: int = 64, count: int = 2) -> torch.Tensor:
    return torch.randn(count, bands, height, width, generator=torch.Generator().manual_seed(0))


def test_the_table_is_read_without_torch() -> None:
    code = "import sys, sat2map.networks as n; print(*n.NETWORKS); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(NETWORKS)


@every_network
def test_a_row_says_what_the_network_is(name: str) -> None:
    row = NETWORKS[name]
    assert row.name == name
    assert row.about.endswith(".")
    assert row.least % STRIDE == row.stride % STRIDE == 0
    assert stride_of(name) == row.stride


def test_a_network_of_the_users_own_has_the_usual_stride() -> None:
    assert stride_of("custom") == STRIDE


@every_network
def test_nothing_is_padded_where_sides_are_multiples_of_the_stride(name: str, built: dict[str, nn.Module]) -> None:
    network = built[name].eval()
    side = network.least
    whole = network.network
    with torch.inference_mode():
        x_NCHW = images(14, side, side, count=1)
        assert network(x_NCHW).equal(whole(x_NCHW))
    assert side % stride_of(name) == 0


@every_network
def test_scores_have_the_size_of_the_image(name: str, built: dict[str, nn.Module]) -> None:
    network = built[name].eval()
    with torch.inference_mode():
        for height, width in ((64, 64), (37, 61), (1, 3)):
            scores = network(images(14, height, width))
            assert scores.shape == (2, 3, height, width)
            assert scores.isfinite().all()


@every_network
@pytest.mark.parametrize("bands", [1, 3])
def test_any_band_count(name: str, bands: int) -> None:
    network = build(name, bands=bands).eval()
    with torch.inference_mode():
        first, second = network(images(bands)), network(images(bands).roll(1, 0))
    assert first.shape == (2, 2, 64, 64)
    assert not first.equal(second)


@every_network
def test_gradients_reach_every_parameter_that_is_not_frozen(name: str, built: dict[str, nn.Module]) -> None:
    network = built[name].train()
    learnt = {n for n, p in network.named_parameters() if p.requires_grad}
    network.requires_grad_(True).zero_grad(set_to_none=True)
    network(images(14)).square().mean().backward()
    reached = {n for n, p in network.named_parameters() if p.grad is not None}
    network.requires_grad_(False)
    for parameter_name in learnt:
        network.get_parameter(parameter_name).requires_grad_(True)
    assert learnt == reached
    assert all(p.grad.isfinite().all() for n, p in network.named_parameters() if n in reached)


@every_network
def test_a_network_is_repeatable_and_reloadable(name: str, built: dict[str, nn.Module], tmp_path: Path) -> None:
    network, again = built[name].eval(), build(name, bands=14, channels=3).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    x_NCHW = images(14, 37, 61)
    with torch.inference_mode():
        scores = network(x_NCHW)
        assert network(x_NCHW).equal(scores)
        assert again(x_NCHW).equal(scores)
        torch.testing.assert_close(network(x_NCHW[:1]), scores[:1], atol=1e-4, rtol=1e-3)


def test_the_same_seed_builds_the_same_network() -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(torch.cat([p.flatten() for p in build("attention-unet").parameters()]))
    assert weights[0].equal(weights[1])


def test_levels_that_a_network_leaves_out_are_frozen_and_not_counted() -> None:
    network = build_network("pspnet", bands=3, channels=2, encoder="resnet18")
    frozen = {n.split(".")[2] for n, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"layer3", "layer4"}
    assert count_parameters(network) < 2e6 < sum(p.numel() for p in network.parameters())


def test_openvino_gives_the_same_scores() -> None:
    network = build_network("unet", bands=4, channels=3, encoder="resnet18").eval()
    x_NCHW = images(4, 64, 64)
    exported = openvino.convert_model(torch.export.export(network, (x_NCHW,)))
    compiled = openvino.compile_model(exported, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with torch.inference_mode():
        np.testing.assert_allclose(compiled(x_NCHW.numpy())[0], network(x_NCHW).numpy(), atol=1e-4)


class Recorder(nn.Module):
    """Gives its input back, and keeps it."""

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        self.seen = x_NCHW
        return x_NCHW


sides = st.integers(1, 300)


@given(height=sides, width=sides, least=st.sampled_from([32, 128]), stride=st.sampled_from([32, 256]))
def test_any_size_pads_and_crops(height: int, width: int, least: int, stride: int) -> None:
    inner = Recorder()
    x_NCHW = images(1, height, width, count=1)
    assert AnySize(inner, least, stride)(x_NCHW).equal(x_NCHW)
    for side, padded in zip((height, width), inner.seen.shape[-2:], strict=True):
        assert padded % stride == 0
        assert max(side, least) <= padded < max(side + stride, least + 1)
    edge = inner.seen[..., height - 1 :, :width]
    assert edge.equal(edge[..., :1, :].expand_as(edge))


def test_any_size_adds_nothing_where_the_size_fits() -> None:
    inner = Recorder()
    x_NCHW = images(1, 64, 96)
    assert AnySize(inner)(x_NCHW) is x_NCHW
    assert inner.seen is x_NCHW


def test_an_attention_gate_opens_and_closes_where_the_signal_says() -> None:
    gate = AttentionGate(skip=4, signal=6)
    skip_NCHW, signal_NCHW = images(4, 8, 8), torch.zeros(2, 6, 4, 4)
    signal_NCHW[..., 2:] = 1
    nn.init.zeros_(gate.of_skip.weight)
    nn.init.ones_(gate.of_signal.weight)
    nn.init.zeros_(gate.of_signal.bias)
    nn.init.constant_(gate.to_weight.weight, 10)
    nn.init.constant_(gate.to_weight.bias, -30)
    with torch.no_grad():
        gated = gate(skip_NCHW, signal_NCHW)
    torch.testing.assert_close(gated[..., :3], torch.zeros(2, 4, 8, 3), atol=1e-6, rtol=0)
    torch.testing.assert_close(gated[..., 5:], skip_NCHW[..., 5:])


def test_attention_gates_are_on_all_skips_but_the_finest() -> None:
    network = build_network("attention-unet", bands=3, channels=2, encoder="resnet18")
    gates = [m for m in network.modules() if isinstance(m, AttentionGate)]
    assert [gate.of_skip.in_channels for gate in gates] == [256, 128, 64]
    assert count_parameters(network) > count_parameters(build_network("unet", bands=3, channels=2, encoder="resnet18"))


@pytest.mark.parametrize(("width", "parameters"), [(4, 0.1e6), (16, 1.9e6), (32, 7.8e6), (64, 31.0e6)])
def test_small_unet_has_the_published_widths(width: int, parameters: float) -> None:
    network = build("small-unet", width=width)
    assert [level[0].out_channels for level in network.network.down] == [width * 2**i for i in range(5)]
    assert count_parameters(network) == pytest.approx(parameters, rel=0.25)


def test_a_summary_shows_layers_shapes_and_parameters() -> None:
    network = build("small-unet", bands=4, width=4).train()
    text = network_summary(network, 4, 64)
    assert "SmallUnet" in text
    assert "[1, 2, 64, 64]" in text
    assert f"Total params: {count_parameters(network):,}" in text
    assert network.training


def test_a_summary_shows_as_much_of_a_network_that_is_wrapped() -> None:
    network = build("small-unet", bands=4, width=4)
    text = network_summary(at_scale(network, 2), 4, 64)
    assert text.count("ConvTranspose2d") == network_summary(network, 4, 64).count("ConvTranspose2d") == 4


@pytest.mark.parametrize("name", ["resnet18", "tu-resnet18", "resnet18.a1_in1k", "tu-resnet10t", "resnet10t"])
def test_encoders_of_both_libraries_are_found(name: str) -> None:
    network = build_network("linknet", bands=3, channels=2, encoder=name)
    assert count_parameters(network) > 5e6


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"name": "unett"}, UnknownName, "no network 'unett'. Did you mean 'unet'"),
        ({"encoder": "resnet43"}, UnknownName, "no encoder 'resnet43'. Did you mean 'resnet"),
        ({"width": 16}, BadOption, "Use it with: small-unet, pix2pix, "),
        ({"name": "small-unet", "encoder_weights": "imagenet"}, BadOption, "small-unet has no encoder"),
        ({"bands": 0}, BadOption, "at least 1"),
        ({"encoder": "vit_tiny_patch16_224"}, BadOption, "unet cannot be built on the encoder 'vit_tiny_patch16_224'"),
        ({"encoder_weights": "nowhere.pt"}, BadOption, "neither 'none', nor 'imagenet', nor a file"),
        (
            {"encoder": "dpn68b", "encoder_weights": "imagenet"},
            BadOption,
            "no ImageNet weights for the encoder 'dpn68b'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict, error: type[UserError], text: str) -> None:
    options = {"name": "unet", "bands": 3, "channels": 2, "encoder": LIGHT, **options}
    with pytest.raises(error) as raised:
        build_network(options.pop("name"), **options)
    assert text in str(raised.value)


def weights_of(encoder: str = LIGHT) -> dict[str, torch.Tensor]:
    """Return random weights for three bands, as its own library would save them, with a classifier."""
    network = build_network("unet", bands=3, channels=2, encoder=encoder)
    bare = {name.removeprefix("model."): t.clone() for name, t in network.network.encoder.state_dict().items()}
    return {**bare, "classifier.weight": torch.zeros(10, 4)}


def first_convolution(network: nn.Module) -> torch.Tensor:
    return next(m for m in network.network.encoder.modules() if isinstance(m, nn.Conv2d)).weight


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_weights_in_a_file_are_fitted_to_the_bands(
    bands: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = weights_of()
    save_file(weights, tmp_path / "encoder.safetensors")
    with caplog.at_level(logging.INFO):
        network = build("fpn", bands=bands, encoder_weights=tmp_path / "encoder.safetensors")
    assert "1 not used (classifier.weight)" in caplog.text
    stem = weights["conv_stem.weight"]
    expected = torch.stack([stem[:, i % 3] * 3 / bands for i in range(bands)], 1)
    if bands == 1:
        expected = 3 * stem[:, :1]
    torch.testing.assert_close(first_convolution(network).detach(), expected)
    rest = {n: t for n, t in network.network.encoder.model.state_dict().items() if n != "conv_stem.weight"}
    assert all(t.equal(weights[n]) for n, t in rest.items())


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
@pytest.mark.parametrize("prefix", ["", "module.encoder."])
def test_weights_are_found_under_any_prefix(encoder: str, prefix: str, tmp_path: Path) -> None:
    weights = weights_of(encoder)
    torch.save({"state_dict": {prefix + n: t for n, t in weights.items()}, "epoch": 3}, tmp_path / "checkpoint.pt")
    network = build_network(
        "fpn", bands=3, channels=2, encoder=encoder, encoder_weights=str(tmp_path / "checkpoint.pt")
    )
    assert first_convolution(network).equal(weights["conv1.weight"])


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    save_file(weights_of("resnet18"), tmp_path / "encoder.safetensors")
    with pytest.raises(ModelError, match=r"tensors \d+ are missing.*and \d+ have another shape"):
        build("unet", encoder_weights=tmp_path / "encoder.safetensors")


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_files_that_are_no_weights_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(ModelError, match="cannot be read"):
        build("unet", encoder_weights=tmp_path / name)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"weights": Path("x")}, tmp_path / "weights.pt")  # a class of its own needs code to be loaded
    with pytest.raises(ModelError, match="state dict alone"):
        build("unet", encoder_weights=tmp_path / "weights.pt")


def test_downloaded_weights_are_fitted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pretrained = smp.encoders.get_encoder("resnet18", weights=None)
    asked = {}
    monkeypatch.setattr(smp.encoders, "get_encoder", lambda name, weights: asked.update({name: weights}) or pretrained)
    network = build_network("unet", bands=4, channels=2, encoder="resnet18", encoder_weights="imagenet")
    assert asked == {"resnet18": "imagenet"}
    expected = pretrained.conv1.weight[:, [0, 1, 2, 0]] * 0.75
    torch.testing.assert_close(first_convolution(network), nn.Parameter(expected.detach()))


def test_a_failed_download_is_not_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(smp.encoders, "get_encoder", unreachable)
    with pytest.raises(Sat2mapError, match="could not be downloaded") as raised:
        build_network("unet", bands=3, channels=2, encoder="resnet18", encoder_weights="imagenet")
    assert raised.value.exit_code == 1


def test_a_scaled_network_gives_scores_of_the_images_size() -> None:
    inner = build("small-unet", width=4).eval()
    for scale, side in ((1.5, 96), (2.0, 61), (3.0, 2)):
        assert at_scale(inner, scale)(images(3, side, side)).shape == (2, 2, side, side)
    assert at_scale(inner, 1.0) is inner


def test_a_scaled_network_sees_means_of_pixels() -> None:
    seen = []

    class Spy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x

    image = images(1, 8, 8)
    Scaled(Spy(), 2.0)(image)
    assert torch.allclose(seen[0], image.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2)))
