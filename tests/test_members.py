"""Networks that learn side by side: each from its own share, the map of their mean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import synthetic
from sat2map import predict, train
from sat2map.cli import run
from sat2map.errors import BadOption
from sat2map.learning.journal import Journal
from sat2map.learning.objectives import Supervised
from sat2map.mapmodel import Architecture, load_model
from sat2map.networks import build_network
from sat2map.networks.members import Members, members_of
from sat2map.runtimes.torch import build

TINY = {"network": "small-unet", "width": 4, "size": 32, "batch": 4, "precision": "fp32", "members": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return synthetic.rgb_folder(tmp_path_factory.mktemp("source"), count=3, size=96)


def pair(bands: int = 3, channels: int = 4, **words) -> nn.Module:
    torch.manual_seed(0)
    return build(Architecture("small-unet", width=4, **{"members": 2, **words}), bands=bands, channels=channels)


def test_each_learns_from_its_own_share_alone() -> None:
    network = pair().train()
    first, second = network.members
    x_NCHW = torch.randn(4, 3, 32, 32)
    scores_NKHW = network(x_NCHW)
    torch.testing.assert_close(scores_NKHW, torch.cat([first(x_NCHW[:2]), second(x_NCHW[2:])]))
    scores_NKHW[:2].sum().backward()
    assert all(p.grad.any() for p in first.parameters() if p.ndim > 1)
    assert not any(p.grad.any() for p in second.parameters())


def test_a_share_for_each_is_needed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        pair().train()(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("members", [2, 3])
def test_the_map_is_of_the_mean_of_their_probabilities(members: int) -> None:
    network, x_NCHW = pair(members=members).eval(), torch.randn(2, 3, 40, 24)
    with torch.no_grad():
        mean_NKHW = sum(one(x_NCHW).softmax(dim=1) for one in network.members) / members
        torch.testing.assert_close(network(x_NCHW).softmax(dim=1), mean_NKHW)
        torch.testing.assert_close(network(x_NCHW).exp(), mean_NKHW)


def test_they_begin_unlike() -> None:
    first, second = members_of(pair())
    assert not torch.equal(next(first.parameters()), next(second.parameters()))


def test_one_alone_is_what_it_was() -> None:
    network = pair(members=1)
    assert not isinstance(network, Members)
    assert members_of(network) == [network]


def test_each_gets_a_whole_batch_in_a_step(tmp_path, folder, without_graph, monkeypatch) -> None:
    batches, step = [], Supervised.step

    def watched(self, x_NCHW, truth):
        batches.append(len(x_NCHW))
        return step(self, x_NCHW, truth)

    monkeypatch.setattr(Supervised, "step", watched)
    run = train(folder, tmp_path / "run", epochs=1, **TINY)
    assert set(batches) == {8}
    assert (run / "network.txt").read_text().count("Total params") == 2


def test_a_critic_judges_what_all_of_them_draw(tmp_path, folder, without_graph) -> None:
    run = train(folder, tmp_path / "run", epochs=1, adversarial=0.1, **TINY)
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert np.isfinite([row["train_critic"], row["train_adversarial"]]).all()
    assert load_model(run).architecture.members == 2


def test_weights_that_are_given_are_given_to_each(tmp_path) -> None:
    words = {"encoder": "resnet18", "bands": 3, "channels": 2}
    file = tmp_path / "encoder.safetensors"
    save_file(build_network("unet", **words).network.encoder.state_dict(), file)
    made = Architecture("unet", "resnet18", members=2)
    first, second = members_of(build(made, bands=3, channels=2, encoder_weights=str(file)))
    theirs = load_file(file)
    for member in (first, second):
        mine = member.network.encoder.state_dict()
        assert all(torch.equal(mine[name], theirs[name]) for name in ("conv1.weight", "layer4.1.conv2.weight"))


def test_an_interruption_changes_nothing(tmp_path, folder, without_graph, monkeypatch) -> None:
    write = Journal.write

    def stop(self, row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt
        write(self, row)

    train(folder, tmp_path / "whole", epochs=3, **TINY)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Journal, "write", stop)
        train(folder, tmp_path / "cut", epochs=3, **TINY)
    train(folder, tmp_path / "cut", resume=True)
    whole, cut = (load_file(tmp_path / name / "model" / "weights.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)


def test_graph_and_network_make_the_same_map_of_a_scene(tmp_path, folder, without_pictures) -> None:
    model = load_model(train(folder, tmp_path / "run", epochs=2, scale=1.5, **TINY))
    assert model.architecture.members == 2
    assert model.architecture.title == "2 x small-unet"
    assert model.unit is not None  # windows of other sizes are computed right too
    assert model.domain is not None and model.domain.tap is not None
    scene = synthetic.geotiff(tmp_path / "scene.tif", synthetic.landscape(0, 150))
    by_graph, by_network = (_scores(scene, tmp_path / "run", runtime) for runtime in ("openvino", "torch"))
    assert by_graph.std() > 1
    assert np.abs(by_graph - by_network).max() <= 1


def _scores(scene: Path, model: Path, runtime: str) -> np.ndarray:
    path = scene.with_name(f"{runtime}_scores.tif")
    predict(scene, scene.with_name(f"{runtime}.tif"), model=model, runtime=runtime, precision="fp32", scores=path)
    with rasterio.open(path) as file:
        return file.read().astype(float)


def test_several_cannot_be_had_of_one_network_or_of_pictures(tmp_path, folder, picture_folder, capsys) -> None:
    with pytest.raises(BadOption, match="a network that is passed as an object has only one set"):
        train(folder, tmp_path / "run", network=nn.Conv2d(3, 3, 1), members=2, size=32, epochs=1)
    words = f"train {picture_folder} {tmp_path / 'run'} --members 2 --epochs 1 --size 32 --network pix2pix-7"
    assert run(words.split()) == 2
    assert "--members is 2, but map pictures are drawn by one" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_patch_for_each_is_enough_where_a_network_can_learn_from_one(tmp_path, folder, without_graph) -> None:
    train(folder, tmp_path / "run", epochs=1, **{**TINY, "batch": 1})
    deep = {"network": "deeplabv3", "encoder": "resnet18", "width": None}
    with pytest.raises(BadOption, match="deeplabv3 cannot learn from one patch at a time"):
        train(folder, tmp_path / "other", epochs=1, **{**TINY, **deep, "batch": 1})
