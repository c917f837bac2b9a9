"""What learns how fast: filters, biases, and the gains and shifts of batch normalisations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from sat2map.errors import BadOption
from sat2map.learning.fitting import plan_run
from sat2map.learning.losses import parse_loss
from sat2map.learning.objectives import OPTIMIZERS, Learner, Supervised, make_optimizer
from sat2map.learning.plan import Plan
from sat2map.learning.recipe import USUAL, choose_recipe
from sat2map.options import TrainOptions
from sat2map.runs import RunFolder


def network(channels: int = 2) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8),
        nn.Conv2d(8, channels, 1),
    )  # fmt: skip


def rates(optimizer: torch.optim.Optimizer, made: nn.Module) -> dict[str, float]:
    """Return the learning rate of each parameter by its name; each must be learnt once."""
    given = [(p, group["lr"]) for group in optimizer.param_groups for p in group["params"]]
    by_parameter = dict(given)
    assert len(by_parameter) == len(given)
    return {name: by_parameter[p] for name, p in made.named_parameters()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gains_and_shifts_of_batch_normalisations_learn_faster_and_nothing_else_does(name: str) -> None:
    made = network()
    optimizer = make_optimizer(made, name, 1e-3, 0.05, norm_rate=30)
    told = rates(optimizer, made)
    assert {told.pop("1.weight"), told.pop("1.bias")} == {0.03}
    assert set(told.values()) == {1e-3}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_filters_decay_and_not_under_adam(name: str) -> None:
    made = network()
    optimizer = make_optimizer(made, name, 1e-3, 0.05, norm_rate=30)
    decaying = [p for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]]
    filters = [p for p in made.parameters() if p.ndim > 1]
    assert [p.shape for p in decaying] == ([p.shape for p in filters] if name in ("adamw", "sgd") else [])


def learner(lr: float) -> Learner:
    made = network()
    return Learner(Fabric(accelerator="cpu"), made, make_optimizer(made, "adamw", lr, 0.05, norm_rate=30), clip=None)


def group_rates(made: Learner) -> list[float]:
    return [group["lr"] for group in made.optimizer.param_groups]


@pytest.mark.parametrize(("lr", "expected"), [(1e-4, 3e-3), (1e-3, 0.03), (1e-2, 0.03), (0.1, 0.1)])
def test_it_is_not_more_than_gains_of_about_one_can_bear(lr: float, expected: float) -> None:
    assert group_rates(learner(lr)) == pytest.approx([lr, lr, expected])


@pytest.mark.parametrize("lr", [1e-5, 1e-3, 1e-2, 1.0])
def test_a_rate_that_is_tried_is_that_of_a_training_with_it(lr: float) -> None:
    tried = learner(1e-3)
    tried.set_lr(lr / 1e-3)
    assert group_rates(tried) == pytest.approx(group_rates(learner(lr)))


def test_what_is_frozen_is_not_learnt() -> None:
    made = network()
    made[1].requires_grad_(requires_grad=False)
    optimizer = make_optimizer(made, "adamw", 1e-3, 0.05, norm_rate=30)
    assert not optimizer.param_groups[2]["params"]


def test_all_follow_the_schedule_from_peaks_of_their_own() -> None:
    made = learner(1e-3)
    for factor in (0.5, 0.1, 1.0):
        made.set_lr(factor)
        assert group_rates(made) == pytest.approx([factor * 1e-3, factor * 1e-3, factor * 0.03])


def supervised(norm_rate: float) -> Supervised:
    recipe = replace(USUAL["classes"], norm_rate=norm_rate)
    return Supervised(Fabric(accelerator="cpu"), network(), parse_loss("cross_entropy"), recipe, 0.0)


def test_gains_come_further_in_the_same_steps() -> None:
    moved = {}
    for rate in (1.0, 30.0):
        made = supervised(rate)
        x, truth = torch.randn(2, 3, 16, 16), torch.randint(0, 2, (2, 16, 16))
        for _ in range(5):
            made.step(x, truth)
        moved[rate] = (made.network.module[1].weight - 1).abs().max().item()
    assert 10 * moved[1.0] < moved[30.0]


def test_a_step_that_another_version_kept_is_refused_in_a_sentence() -> None:
    made = supervised(30.0)
    state = made.state_dict()
    state["optimizer"]["param_groups"].pop()
    before = [p.clone() for p in made.network.module.parameters()]
    with pytest.raises(BadOption, match="begun by an earlier version"):
        made.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(before, made.network.module.parameters(), strict=True))


# --- in a training ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "kind", "expected"),
    [
        ({}, "classes", 30),
        ({"adversarial": 1.0}, "classes", 30),
        ({"optimizer": "adam"}, "classes", 1),
        ({"optimizer": "sgd"}, "classes", 1),
        ({"encoder_weights": "imagenet"}, "classes", 1),
        ({}, "picture", 1),
        ({"optimizer": "adamw"}, "picture", 1),
    ],
)
def test_it_is_the_rule_for_classes_that_begin_at_random_under_adamw(words: dict, kind: str, expected: float) -> None:
    assert choose_recipe(TrainOptions(**words), kind).norm_rate == expected


def norm_lr(plan: Plan) -> float:
    built = plan.build_network()
    name = next(f"{name}.weight" for name, m in built.named_modules() if isinstance(m, nn.BatchNorm2d))
    objective = plan.build_objective(Fabric(accelerator="cpu"), built)
    return rates(objective.learner.optimizer, built)[name]


def test_networks_that_learnt_before_are_not_hurried(rgb_folder: Path, tmp_path: Path) -> None:
    words = {"network": "unet", "encoder": "resnet18", "size": 32, "batch": 2, "lr": 1e-3, "scale": 1.0}
    plan = plan_run(rgb_folder, RunFolder(Path("never written")), TrainOptions(**words))
    assert norm_lr(plan) == pytest.approx(0.03)
    torch.save(plan.build_network().network.encoder.state_dict(), tmp_path / "e.pt")
    given = replace(plan, options=replace(plan.options, encoder_weights=str(tmp_path / "e.pt")))
    assert norm_lr(given) == pytest.approx(1e-3)
    assert norm_lr(replace(plan, network=network(plan.output.channels))) == pytest.approx(1e-3)
