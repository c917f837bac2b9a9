"""One step of optimisation: `Supervised` learns from true maps alone, `Adversarial` from a critic's judgement too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.nn.modules.batchnorm import _BatchNorm

from sat2map.errors import BadOption
from sat2map.learning.criteria import CRITERIA, Replay, frozen
from sat2map.learning.recipe import Recipe
from sat2map.learning.samples import Batch
from sat2map.options import CriticOptions
from sat2map.outputs import Output

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From scores `(N, K, H, W)` and the true map, as `Samples` give it, to a number."""

Logged = dict[str, torch.Tensor]
"""What a step tells, still on the device."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, betas=(0.5, 0.99), fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "gan-adam": partial(torch.optim.Adam, betas=(0.5, 0.999), fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}
"""How an optimizer is made of groups of parameters and a learning rate.

`adamw` is for trainings of few steps, where a shorter memory than the usual 0.9 and 0.999 learns more (docs/log.md).
"""

NORM_LR = 0.03
"""The learning rate up to which normalisations are hurried: a step of Adam moves a gain of about 1 by as much."""


def make_optimizer(
    network: torch.nn.Module, name: str, lr: float, weight_decay: float, norm_rate: float = 1.0
) -> torch.optim.Optimizer:
    """Return the optimizer of a network; biases and normalisations do not decay, and nothing does under Adam.

    Args:
        network: What learns.
        name: Of `OPTIMIZERS`.
        lr: Peak learning rate.
        weight_decay: Of filters.
        norm_rate: By how much more than the rest the gains and shifts of batch normalisations learn (see `Recipe`);
            `Learner` keeps them to `NORM_LR`.
    """
    learnt = [p for p in network.parameters() if p.requires_grad]
    normalising = {p for layer in network.modules() if isinstance(layer, _BatchNorm) for p in layer.parameters()}
    decay = 0.0 if name in ("adam", "gan-adam") else weight_decay
    groups = [
        {"params": [p for p in learnt if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in learnt if p.ndim <= 1 and p not in normalising], "weight_decay": 0.0},
        {"params": [p for p in learnt if p in normalising], "weight_decay": 0.0, "lr": norm_rate * lr},
    ]
    return OPTIMIZERS[name](groups, lr=lr)


def to_device(fabric: Fabric, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs `(N, C, H, W)` and true maps on the device."""
    x_NCHW, truth = (torch.from_numpy(array).to(fabric.device, non_blocking=True) for array in batch)
    return x_NCHW, truth


def fastest_layout(fabric: Fabric) -> torch.memory_format:
    """Return how filters are best kept in memory, which decides for all that they work on: mostly channels last.

    Not in float32 on a processor, where the gradients of such filters take up to three times as long to compute (oneDNN
    3.12 with AVX2).
    """
    plain = fabric.device.type == "cpu" and fabric.strategy.precision.precision == "32-true"
    return torch.contiguous_format if plain else torch.channels_last


class Learner:
    """A network with its optimizer.

    Args:
        fabric: Owns device, precision and processes.
        network: What learns.
        optimizer: How; its learning rates are the peaks, that of filters the first.
        clip: To this norm gradients are clipped; None if they are not.
    """

    def __init__(
        self, fabric: Fabric, network: torch.nn.Module, optimizer: torch.optim.Optimizer, clip: float | None
    ) -> None:
        self.fabric, self.clip = fabric, clip
        self.peaks = [float(group["lr"]) for group in optimizer.param_groups]
        network = network.to(memory_format=fastest_layout(fabric))
        self.network, self.optimizer = fabric.setup(network, optimizer)
        self.set_lr(1.0)

    def descend(self, loss: torch.Tensor) -> None:
        """Make one step down a loss whose gradients are not there yet."""
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        if self.clip is not None:
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=self.clip, error_if_nonfinite=False)
        self.optimizer.step()

    def set_lr(self, factor: float) -> None:
        """Take this share of the peak learning rates; what is hurried learns no faster than `NORM_LR` or filters do."""
        highest = max(factor * self.peaks[0], NORM_LR)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = min(factor * peak, highest)

    def state_dict(self) -> dict[str, Any]:
        """Return weights and the optimizer's memory."""
        return {"network": self.network.module.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the dict of `state_dict`.

        Raises:
            BadOption: An earlier version made it, whose optimizer was another.
        """
        if len(state["optimizer"]["param_groups"]) != len(self.peaks):
            raise BadOption(
                "The run was begun by an earlier version, which learnt in another way, so this one cannot go on with "
                "it. Go on with that version, or start anew with --overwrite."
            )
        self.network.module.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():  # fused steps take them to lie in memory as weights do
            like = {name: value for name, value in moments.items() if value.shape == parameter.shape}
            moments |= {name: torch.empty_like(parameter).copy_(value) for name, value in like.items()}


class Supervised:
    """Make maps agree with the true ones.

    Args:
        fabric: Owns device, precision and processes.
        network: From inputs `(N, C, H, W)` to scores `(N, K, H, W)`.
        loss: What is made small.
        recipe: Optimizer, learning rate and clipping.
        weight_decay: Of the optimizer.
    """

    def __init__(
        self, fabric: Fabric, network: torch.nn.Module, loss: Loss, recipe: Recipe, weight_decay: float
    ) -> None:
        optimizer = make_optimizer(network, recipe.optimizer, recipe.lr, weight_decay, recipe.norm_rate)
        self.learner = Learner(fabric, network, optimizer, recipe.clip)
        self.network, self.loss = self.learner.network, loss

    def step(self, x_NCHW: torch.Tensor, truth: torch.Tensor) -> Logged:
        """Improve the network on one batch."""
        loss = self.loss(self.network(x_NCHW), truth)
        self.learner.descend(loss)
        return {"loss": loss.detach()}

    @property
    def lr(self) -> float:
        """The network's learning rate."""
        return float(self.learner.optimizer.param_groups[0]["lr"])

    def set_lr(self, factor: float) -> None:
        """Take this share of the peak learning rate in the next steps."""
        self.learner.set_lr(factor)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return self.learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the dict of `state_dict`."""
        self.learner.load_state_dict(state)


class Adversarial(Supervised):
    """Make maps agree with the true ones, and look true to a critic, which learns to tell them apart.

    Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, eq. 1 to 4. The critic is
    shown an image with its true map, or with what the network makes of it; pixels without truth are 0 in both.

    Args:
        fabric: See `Supervised`, as `network`, `loss`, `recipe` and `weight_decay`.
        network: See there.
        loss: See there.
        recipe: See there.
        weight_decay: See there.
        critic: From images and maps `(N, C + K, H, W)` to raw scores, high where the map looks true.
        output: How scores become a map.
        options: How much the critic counts, and how it learns.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: torch.nn.Module,
        loss: Loss,
        recipe: Recipe,
        weight_decay: float,
        *,
        critic: torch.nn.Module,
        output: Output,
        options: CriticOptions,
    ) -> None:
        super().__init__(fabric, network, loss, recipe, weight_decay)
        optimizer = make_optimizer(critic, "gan-adam", options.critic_lr, 0.0)
        self.rival = Learner(fabric, critic, optimizer, clip=None)
        self.fabric, self.output, self.options = fabric, output, options
        self.criterion = CRITERIA[options.criterion]
        self.replay = Replay(options.replay)

    def step(self, x_NCHW: torch.Tensor, truth: torch.Tensor) -> Logged:
        """Improve the critic on what the network draws now, then the network on what the critic says."""
        true_NKHW, known = self.output.encode(truth)
        scores_NKHW = self.network(x_NCHW)
        drawn_NKHW = self.output.activate(scores_NKHW.float()) * known
        real = torch.cat([x_NCHW, true_NKHW * known], dim=1)
        fake = torch.cat([x_NCHW, drawn_NKHW], dim=1)

        critic_loss = self._judge(real, self.replay.exchange(fake.detach()))
        self.rival.descend(critic_loss)

        with frozen(self.rival.network.module) as critic, self.fabric.autocast():
            adversarial = self.criterion.fool(critic(fake).float())
        loss = self.loss(scores_NKHW, truth)
        self.learner.descend(loss + self.options.adversarial * adversarial)
        logged = {"loss": loss, "adversarial": adversarial, "critic": critic_loss}
        return {name: value.detach() for name, value in logged.items()}

    def _judge(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Return how badly the critic tells true maps from drawn ones, with the penalty R1 if it is asked for.

        R1 is of Mescheder et al. 2018, Which Training Methods for GANs do actually Converge?, eq. 9.
        """
        real.requires_grad_(self.options.r1 > 0)
        real_scores, fake_scores = self.rival.network(real).float(), self.rival.network(fake).float()
        loss = self.criterion.judge(real_scores, fake_scores)
        if self.options.r1 > 0:
            (gradient,) = torch.autograd.grad(real_scores.sum(), real, create_graph=True)
            loss = loss + self.options.r1 / 2 * gradient.square().sum(dim=(1, 2, 3)).mean()
        return loss

    def set_lr(self, factor: float) -> None:
        """Take this share of both peak learning rates in the next steps."""
        super().set_lr(factor)
        self.rival.set_lr(factor)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {**super().state_dict(), "critic": self.rival.state_dict(), "replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the dict of `state_dict`."""
        super().load_state_dict(state)
        self.rival.load_state_dict(state["critic"])
        self.replay.load_state_dict(state["replay"])
