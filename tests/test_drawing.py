import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sat2map.errors import UnknownName
from sat2map.networks import CRITICS, NETWORKS, build_any, build_network, count_parameters, draw_network, stride_of
from sat2map.networks.blocks import trace_blocks

LIGHT = "mobilenetv3_small_050"

every_network = pytest.mark.parametrize("name", [*NETWORKS, *CRITICS])


def build(name: str) -> nn.Module:
    if name in CRITICS:
        return build_any(name, bands=3, channels=3)[0]
    slim = {} if NETWORKS[name].encoder else {"width": 4}
    return build_network(name, bands=6, channels=3, encoder=LIGHT, **slim)


@every_network
def test_every_network_has_few_blocks_that_hold_all_that_is_learnt(name: str) -> None:
    network, size = build(name), max(128, stride_of(name))
    blocks = trace_blocks(network, 6, size)
    assert 5 < len(blocks) <= 32
    assert (blocks[0].name, blocks[0].shape, blocks[0].sources) == ("image", (6, size, size), [])
    assert blocks[-1].shape == ((1, *[size // 2 ** int(name[-1]) - 2] * 2) if name in CRITICS else (3, size, size))
    assert sum(block.parameters for block in blocks) == count_parameters(network)
    for number, block in enumerate(blocks[1:], 1):
        assert block.sources
        assert max(block.sources) < number
    used = {source for block in blocks for source in block.sources}
    assert all(blocks[unused].parameters == 0 for unused in set(range(len(blocks) - 1)) - used)  # frozen


def test_skips_are_found() -> None:
    blocks = trace_blocks(build("pix2pix-7"), 6, 128)
    assert [block.name for block in blocks] == [
        "image", *(f"down.{i}" for i in range(7)), *(f"up.{i}" for i in range(6)), "head"
    ]  # fmt: skip
    assert [block.sources for block in blocks[8:]] == [[7], [6, 8], [5, 9], [4, 10], [3, 11], [2, 12], [1, 13]]
    assert [block.shape[1] for block in blocks[1:9]] == [64, 32, 16, 8, 4, 2, 1, 2]


def test_what_follows_a_block_belongs_to_it_and_equal_blocks_are_one() -> None:
    def block() -> nn.Module:
        return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())

    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), block(), block(), block(), nn.MaxPool2d(2)
    )
    blocks = trace_blocks(network, 3, 8)
    assert [(b.name, b.count, b.parameters, b.sources) for b in blocks] == [
        ("image", 1, 0, []), ("0", 1, 24, [0]), ("3", 3, 3 * 148, [1]), ("6", 1, 0, [2])
    ]  # fmt: skip


def test_tokens_have_a_height_and_a_width() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix = nn.Conv2d(3, 8, 4, stride=4), nn.Linear(8, 5)

        def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
            return self.mix(self.embed(x_NCHW).flatten(2).transpose(1, 2))

    assert [block.shape for block in trace_blocks(Tokens(), 3, 32)] == [(3, 32, 32), (8, 8, 8), (5, 8, 8)]


def test_a_network_is_left_as_it_is() -> None:
    network = build("small-unet").train()
    before = copy.deepcopy(network.state_dict())
    trace_blocks(network, 6, 64)
    assert all(module.training and not module._forward_hooks for module in network.modules())
    assert all(tensor.equal(before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", ["pix2pix", "unet++", "patch-3"])
def test_a_picture_is_drawn(name: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "network.png"
    draw_network(build(name), 6, 256, path, title=name)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert [p.name for p in path.parent.iterdir()] == ["network.png"]
    assert 500 < pixels.shape[1] < 3000
    for colour, drawn in (("3B7EA1", True), ("B9C0C7", True), ("D9822B", name != "patch-3")):
        assert (pixels == tuple(bytes.fromhex(colour))).all(axis=-1).any() == drawn


def test_critics_are_built_by_name_for_image_and_map() -> None:
    assert list(CRITICS) == ["patch-3", "patch-4"]
    for name in CRITICS:
        critic, bands = build_any(name, bands=4, channels=3)
        assert bands == 7
        assert critic(torch.zeros(1, 7, 64, 64)).shape[1] == 1
        assert CRITICS[name].about.endswith(".")
    network, bands = build_any("fpn", bands=4, channels=3, encoder=LIGHT)
    assert bands == 4
    assert network.eval()(torch.zeros(1, 4, 64, 64)).shape == (1, 3, 64, 64)
    with pytest.raises(UnknownName, match=r"no network 'patch-5'. Did you mean 'patch-"):
        build_any("patch-5", bands=4, channels=3)
