"""What every process of a training gets: plain data, so that it can be sent to them."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from lightning_fabric import Fabric

from sat2map.inputs import Inputs
from sat2map.learning.coarse import HALF
from sat2map.learning.losses import LOSSES, PICTURE_LOSSES, parse_loss
from sat2map.learning.objectives import Adversarial, Loss, Supervised
from sat2map.learning.recipe import Recipe, choose_recipe
from sat2map.learning.samples import Samples
from sat2map.learning.whitening import whiten
from sat2map.mapmodel import Architecture
from sat2map.networks import network_summary, stride_of
from sat2map.networks.anysize import at_scale
from sat2map.networks.critics import PatchCritic
from sat2map.networks.members import members_of
from sat2map.options import TrainOptions
from sat2map.outputs import Output, Picture
from sat2map.runs import RunFolder
from sat2map.runtimes.torch import build
from sat2map.splits import Area, Split
from sat2map.tiling import Tiling

WINDOW = 512
"""Side in pixels of the windows at validation and prediction, where images are that large."""

LOOKED_AT = 32
"""From so many patches the first filters are taken."""


def own_of(network: torch.nn.Module | None, loss: Loss | None) -> tuple[str, ...]:
    """Return the names of what was passed as an object."""
    return tuple(name for name, given in (("network", network), ("loss", loss)) if given is not None)


@dataclass(frozen=True)
class Plan:
    """All that a process needs to train.

    Args:
        run: Where results go.
        options: How to learn.
        samples: What to learn from.
        split: Which ground is learnt from, validated on and kept for the test.
        inputs: What the network is shown.
        output: What its channels mean.
        scale: By how much pixels are averaged down before the network.
        network: A network that was passed as an object; built from the options if None.
        loss: A loss that was passed as an object; made from the options if None.
    """

    run: RunFolder
    options: TrainOptions
    samples: Samples
    split: Split
    inputs: Inputs
    output: Output
    scale: float = 1.0
    network: torch.nn.Module | None = None
    loss: Loss | None = None

    @property
    def validation(self) -> tuple[Area, ...]:
        """The ground to validate on."""
        return self.split.part("val")

    @property
    def recipe(self) -> Recipe:
        """How to learn."""
        return choose_recipe(self.options, self.output.kind, own_network=self.network is not None)

    @property
    def architecture(self) -> Architecture:
        """How the network is built."""
        name = "custom" if self.network else self.recipe.network
        return Architecture(name, self.options.encoder, self.options.width, self.scale, self.options.members)

    @property
    def batch(self) -> int:
        """Patches in a step, of all processes and for all members together."""
        return self.options.batch * self.options.members

    @property
    def smallest(self) -> int:
        """Side in pixels of the smallest patches that are learnt from."""
        return self.samples.size // (HALF if self.recipe.coarse_first else 1)

    @property
    def unit(self) -> int:
        """The sides of windows that the network need not pad are multiples of this."""
        return round(stride_of(self.architecture.network) * self.scale)

    @property
    def tiling(self) -> Tiling:
        """The windows at validation and prediction: no larger than the images, no smaller than a patch."""
        longest = max(side for pair in self.samples.pairs.values() for side in pair.image.shape)
        unit = stride_of(self.architecture.network) * self.scale
        units = max(min(math.ceil(longest / unit), round(WINDOW / unit)), math.ceil(self.samples.size / unit))
        size = round(units * unit)
        return Tiling(size, size // 4, self.unit)

    def build_network(self) -> torch.nn.Module:
        """Return the network with random weights or those that are asked for; the same ones for the same seed."""
        if self.network is not None:
            return at_scale(copy.deepcopy(self.network), self.scale)
        torch.manual_seed(self.options.seed)
        return build(
            self.architecture,
            bands=len(self.inputs.bands),
            channels=self.output.channels,
            encoder_weights=self.options.encoder_weights,
        )

    def starting_network(self) -> torch.nn.Module:
        """Return the network as training starts from it: its first filters are of the imagery if they were random."""
        network = self.build_network()
        if self.recipe.whiten:
            anchors = self.samples.order(0)[:LOOKED_AT]
            patches = [self.samples.sample(0, number, int(anchor))[0] for number, anchor in enumerate(anchors)]
            for member in members_of(network):
                whiten(member, [torch.from_numpy(image_CHW) for image_CHW in patches])
        return network

    @cached_property
    def summaries(self) -> dict[str, str]:
        """The layers of the network, member by member, and of the critic if there is one, as tables."""
        bands, size = len(self.inputs.bands), self.samples.size
        members = members_of(self.build_network())
        tables = {"network": "\n\n".join(network_summary(member, bands, size) for member in members)}
        if critic := self.build_critic():
            tables["critic"] = network_summary(critic, bands + self.output.channels, size)
        return tables

    def build_loss(self) -> Loss:
        """Return what is made small."""
        if isinstance(self.output, Picture):
            return self.loss or parse_loss(self.recipe.loss, known=PICTURE_LOSSES)
        return self.loss or parse_loss(self.recipe.loss, self._class_weights(), known=LOSSES)

    def build_critic(self) -> torch.nn.Module | None:
        """Return the critic with the weights it starts from, if one is asked for."""
        o = self.options
        if not o.adversarial:
            return None
        torch.manual_seed(o.seed)
        return PatchCritic(
            len(self.inputs.bands) + self.output.channels, levels=o.critic_levels, spectral=o.spectral_norm
        )

    def build_objective(self, fabric: Fabric, network: torch.nn.Module) -> Supervised:
        """Return what makes the steps of a network."""
        loss, critic, decay = self.build_loss(), self.build_critic(), self.options.weight_decay
        if critic is None:
            return Supervised(fabric, network, loss, self.recipe, decay)
        return Adversarial(
            fabric, network, loss, self.recipe, decay, critic=critic, output=self.output, options=self.options
        )

    def _class_weights(self) -> torch.Tensor | None:
        """Return the inverse root of each class's frequency in the training ground, 1 on average over its pixels."""
        if self.options.class_weights == "none":
            return None
        counts = np.sum([a.counts for a in self.samples.anchors], axis=0, dtype=float)
        weights = np.where(counts > 0, 1 / np.sqrt(np.maximum(counts, 1)), 0)
        return torch.tensor(weights * counts.sum() / (weights * counts).sum(), dtype=torch.float32)
