"""The adversarial step is what the papers say, for pictures and for classes, and goes on exactly."""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import pytest
import torch
from lightning_fabric import Fabric
from torch.nn.functional import binary_cross_entropy_with_logits

from sat2map.errors import BadOption
from sat2map.learning.criteria import CRITERIA, Replay, frozen
from sat2map.learning.losses import PICTURE_LOSSES, parse_loss
from sat2map.learning.objectives import Adversarial, Supervised
from sat2map.learning.recipe import USUAL
from sat2map.legend import IGNORED, legend_of
from sat2map.options import CriticOptions
from sat2map.outputs import Classes, Picture

SIDE = 16
OUTPUTS = {"picture": Picture(), "classes": Classes(legend_of(["a", "b", "c", "d"]))}
LOSSES = {"picture": parse_loss("100*l1", known=PICTURE_LOSSES), "classes": parse_loss("cross_entropy + dice")}


def network(bands: int, channels: int) -> torch.nn.Module:
    torch.manual_seed(0)
    inner = torch.nn.Conv2d(bands, 8, 3, padding=1, bias=False)  # normalised away, its gradient would be noise
    return torch.nn.Sequential(inner, torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Conv2d(8, channels, 1))


def objective(kind: str, clip: float | None = None, precision: str = "32-true", **words: object) -> Adversarial:
    """Return an objective that starts from the same weights each time."""
    fabric, output = Fabric(accelerator="cpu", precision=precision), OUTPUTS[kind]
    generator, critic = network(3, output.channels), network(3 + output.channels, 1)
    recipe = replace(USUAL[kind], optimizer="gan-adam", lr=2e-4, clip=clip)
    options = CriticOptions(**{"adversarial": 1.0, **words})
    return Adversarial(fabric, generator, LOSSES[kind], recipe, 0.0, critic=critic, output=output, options=options)


def learnt(made: Adversarial) -> list[torch.Tensor]:
    return [*made.network.module.parameters(), *made.rival.network.module.parameters()]


def batch(kind: str, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, SIDE, SIDE, generator=made)
    if kind == "classes":
        return x, torch.randint(0, 4, (2, SIDE, SIDE), generator=made, dtype=torch.uint8)
    truth = torch.randint(0, 256, (2, 4, SIDE, SIDE), generator=made, dtype=torch.uint8)
    truth[:, 3] = 255
    return x, truth


def test_a_step_is_that_of_pix2pix():
    """Two steps against the equations written out: the critic first, then the network against the new critic."""
    ours = objective("picture")
    generator, critic = (copy.deepcopy(n.module) for n in (ours.network, ours.rival.network))
    drawing, judging = (torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999)) for n in (generator, critic))
    for seed in (1, 2):
        x, truth = batch("picture", seed)
        told = ours.step(x, truth)
        y, drawn = truth[:, :3] / 127.5 - 1, generator(x).tanh()
        real, fake = critic(torch.cat([x, y], 1)), critic(torch.cat([x, drawn.detach()], 1))
        ones, zeros = torch.ones_like(real), torch.zeros_like(real)
        judged = (binary_cross_entropy_with_logits(real, ones) + binary_cross_entropy_with_logits(fake, zeros)) / 2
        judging.zero_grad()
        judged.backward()
        judging.step()
        fooled = binary_cross_entropy_with_logits(critic(torch.cat([x, drawn], 1)), ones)
        l1 = (drawn - y).abs().mean()
        drawing.zero_grad()
        (fooled + 100 * l1).backward()
        drawing.step()
        expected = {"loss": 100 * l1, "adversarial": fooled, "critic": judged}
        assert {k: float(v) for k, v in told.items()} == pytest.approx({k: v.item() for k, v in expected.items()}, 1e-4)
    for one, other in ((ours.network.module, generator), (ours.rival.network.module, critic)):
        for name, value in one.state_dict().items():
            torch.testing.assert_close(value, other.state_dict()[name], msg=name)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_without_a_critic_it_is_supervised(kind):
    """A critic that does not count changes nothing of what is learnt."""
    plain = Supervised(
        Fabric(accelerator="cpu"), network(3, OUTPUTS[kind].channels), LOSSES[kind],
        replace(USUAL[kind], optimizer="gan-adam", lr=2e-4, clip=None), 0.0,
    )  # fmt: skip
    silent = objective(kind, adversarial=0.0)
    for seed in (1, 2, 3):
        plain.step(*batch(kind, seed))
        silent.step(*batch(kind, seed))
    for name, value in plain.network.module.state_dict().items():
        torch.testing.assert_close(value, silent.network.module.state_dict()[name], msg=name)


@pytest.mark.parametrize(
    ("precision", "layout"), [("32-true", torch.contiguous_format), ("bf16-mixed", torch.channels_last)]
)
@pytest.mark.parametrize("kind", OUTPUTS)
def test_all_lies_in_memory_as_filters_do(kind, precision, layout):
    """Channels last, but for float32 on a processor: there gradients of such filters are slow."""
    made, seen = objective(kind, precision=precision), []
    for convolution in (made.network.module[0], made.rival.network.module[0]):
        convolution.register_forward_hook(lambda module, given, scores: seen.extend([module.weight, scores]))
    made.step(*batch(kind))
    assert len(seen) >= 4
    assert all(tensor.is_contiguous(memory_format=layout) for tensor in seen)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_what_another_precision_kept_in_memory_otherwise_goes_on_alike(kind):
    begun = objective(kind, precision="bf16-mixed")
    for seed in range(3):
        begun.step(*batch(kind, seed))
    kept = io.BytesIO()
    torch.save(begun.state_dict(), kept)
    plain, otherwise = objective(kind), objective(kind)
    otherwise.load_state_dict(torch.load(io.BytesIO(kept.getvalue())))
    state = torch.load(io.BytesIO(kept.getvalue()))
    for player in (state, state["critic"]):
        assert not player["optimizer"]["state"][0]["exp_avg"].is_contiguous()
        for moments in player["optimizer"]["state"].values():
            moments |= {name: value.contiguous() for name, value in moments.items()}
    plain.load_state_dict(state)
    for made in (plain, otherwise):
        made.step(*batch(kind))
    for one, other in zip(learnt(plain), learnt(otherwise), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_critic_learns_to_tell_maps_apart(kind, criterion):
    made = objective(kind, criterion=criterion, critic_lr=0.01)
    made.learner.set_lr(0.0)  # the network stands still
    x, truth = batch(kind)
    losses = [float(made.step(x, truth)["critic"]) for _ in range(60)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_criteria_want_the_opposite(criterion):
    judge, fool, wins = CRITERIA[criterion]
    sure, unsure = torch.full((4,), 8.0), torch.zeros(4)
    if criterion == "least-squares":
        assert judge(torch.ones(4), unsure) == 0 < wins
        assert fool(torch.ones(4)) < fool(unsure)
    else:
        assert judge(sure, -sure) < wins < judge(unsure, unsure) < judge(-sure, sure)
        assert fool(sure) < fool(unsure) < fool(-sure)


def test_pixels_without_truth_are_not_seen_by_either_player():
    made, other = objective("classes"), objective("classes")
    x, truth = batch("classes")
    truth[:, 4:] = IGNORED
    told = made.step(x, truth)
    wild = x.clone()
    again = other.step(wild, truth)
    assert {k: float(v) for k, v in told.items()} == {k: float(v) for k, v in again.items()}
    _, known = OUTPUTS["classes"].encode(truth)
    assert known[:, :, 4:].sum() == 0 and known[:, :, :4].all()


def test_the_penalty_holds_the_critic_back():
    free, bound = objective("picture", critic_lr=0.01), objective("picture", critic_lr=0.01, r1=10.0)

    def slope(made: Adversarial) -> float:
        x, truth = batch("picture")
        both = torch.cat([x, truth[:, :3] / 127.5 - 1], 1).requires_grad_()
        (gradient,) = torch.autograd.grad(made.rival.network.module.eval()(both).sum(), both)
        return float(gradient.norm())

    for made in (free, bound):
        for _ in range(40):
            made.step(*batch("picture"))
    assert slope(bound) < 0.5 * slope(free)


def test_the_critic_is_not_moved_by_the_network_s_step():
    made = objective("picture")
    made.step(*batch("picture"))
    critic = made.rival.network.module
    assert all(p.requires_grad for p in critic.parameters())
    with frozen(critic):
        assert not any(p.requires_grad for p in critic.parameters())


def test_rates_of_both_players_fall_together():
    made = objective("picture", critic_lr=1e-3)
    made.set_lr(0.25)
    assert made.lr == pytest.approx(0.25 * 2e-4)
    assert made.rival.optimizer.param_groups[0]["lr"] == pytest.approx(0.25e-3)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_it_goes_on_exactly(kind):
    torch.manual_seed(5)
    made = objective(kind, replay=3)
    for seed in range(4):
        made.step(*batch(kind, seed))
    stored = copy.deepcopy(made.state_dict())
    torch.manual_seed(7)
    made.step(*batch(kind, 9))
    other = objective(kind, replay=3)
    other.load_state_dict(stored)
    torch.manual_seed(7)
    other.step(*batch(kind, 9))
    for one, two in ((made.network, other.network), (made.rival.network, other.rival.network)):
        for name, value in one.module.state_dict().items():
            assert torch.equal(value, two.module.state_dict()[name]), name


def test_replay_shows_each_new_map_until_it_is_full_and_then_half_of_the_time_an_earlier_one():
    torch.manual_seed(0)
    replay = Replay(4)
    maps = torch.arange(400.0).view(400, 1, 1, 1)
    shown = torch.cat([replay.exchange(one) for one in maps.split(8)])
    assert torch.equal(shown[:4], maps[:4])
    earlier = shown != maps
    assert 0.4 < earlier[4:].float().mean() < 0.6
    assert (shown[earlier] < maps[earlier]).all()
    assert len(shown[4:].unique()) == len(shown) - 4  # none twice but the first four, which were kept when shown


def test_without_replay_maps_are_shown_as_they_come():
    drawn = torch.rand(3, 1, 2, 2)
    assert Replay(0).exchange(drawn) is drawn


@pytest.mark.parametrize("words", [{"adversarial": -1}, {"r1": -0.1}, {"replay": -1}, {"critic_lr": 0}])
def test_options_that_cannot_be_are_told(words):
    with pytest.raises(BadOption, match="must be"):
        CriticOptions(**words)


def test_earlier_maps_are_forgotten_when_patches_grow():
    replay = Replay(4)
    replay.exchange(torch.zeros(4, 1, 8, 8))
    assert (replay.exchange(torch.ones(4, 1, 16, 16)) == 1).all()
    assert {tuple(kept.shape) for kept in replay.state_dict()} == {(1, 16, 16)}
