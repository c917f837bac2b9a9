"""One step of optimisation. `Supervised` learns from labels alone; an adversarial objective would stand beside it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric

from sat2map.learning.samples import Batch
from sat2map.options import LearnOptions

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From scores `(N, K, H, W)` and class ids `(N, H, W)` to a number."""

LARGEST_GRADIENT = 1.0
"""To this norm gradients are clipped."""

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, betas=(0.9, 0.99), fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}
"""How an optimizer is made of groups of parameters and a learning rate."""


def make_optimizer(network: torch.nn.Module, options: LearnOptions) -> torch.optim.Optimizer:
    """Return the optimizer of a network; biases and normalisations do not decay, and nothing does under `adam`."""
    learnt = [p for p in network.parameters() if p.requires_grad]
    decay = 0.0 if options.optimizer == "adam" else options.weight_decay
    groups = [
        {"params": [p for p in learnt if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[options.optimizer](groups, lr=options.lr)


def to_device(fabric: Fabric, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs `(N, C, H, W)`, channels last in memory, and class ids `(N, H, W)` on the device."""
    images, labels = (torch.from_numpy(array) for array in batch)
    x_NCHW = images.to(fabric.device, memory_format=torch.channels_last, non_blocking=True)
    return x_NCHW, labels.to(fabric.device, non_blocking=True)


class Supervised:
    """Make scores agree with labels.

    Args:
        fabric: Owns device, precision and processes.
        network: From inputs `(N, C, H, W)` to scores `(N, K, H, W)`.
        loss: What is made small.
        options: Optimizer, learning rate and weight decay.
    """

    def __init__(self, fabric: Fabric, network: torch.nn.Module, loss: Loss, options: LearnOptions) -> None:
        optimizer = make_optimizer(network, options)
        self.fabric = fabric
        self.loss = loss
        self.network, self.optimizer = fabric.setup(network, optimizer)

    def step(self, x_NCHW: torch.Tensor, y_NHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Improve the network on one batch; return what is to be logged, still on the device."""
        self.optimizer.zero_grad()
        loss = self.loss(self.network(x_NCHW), y_NHW)
        self.fabric.backward(loss)
        self.fabric.clip_gradients(self.network, self.optimizer, max_norm=LARGEST_GRADIENT, error_if_nonfinite=False)
        self.optimizer.step()
        return {"loss": loss.detach()}

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {"network": self.network.module.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the dict of `state_dict`."""
        self.network.module.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
