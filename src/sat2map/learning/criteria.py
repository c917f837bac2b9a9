"""How a critic's scores become the losses of both players."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch.nn.functional import relu, softplus


class Criterion(NamedTuple):
    """The losses of both players; the critic's is 0 where it tells all maps apart with certainty.

    Args:
        judge: From the critic's raw scores of true and of drawn maps to its loss.
        fool: From its scores of drawn maps to the network's loss.
        wins: Below this the critic's loss says that it has won.
    """

    judge: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    fool: Callable[[torch.Tensor], torch.Tensor]
    wins: float


CRITERIA = {
    # Goodfellow et al. 2014, Generative Adversarial Nets; halved as in pix2pix, to slow the critic down
    "bce": Criterion(
        lambda real, fake: (softplus(-real).mean() + softplus(fake).mean()) / 2,
        lambda fake: softplus(-fake).mean(),
        wins=0.02,
    ),
    # Mao et al. 2017, Least Squares Generative Adversarial Networks, with 0 and 1 for drawn and true
    "least-squares": Criterion(
        lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        lambda fake: (fake - 1).square().mean(),
        wins=0.01,
    ),
    # Lim and Ye 2017, Geometric GAN
    "hinge": Criterion(
        lambda real, fake: (relu(1 - real).mean() + relu(1 + fake).mean()) / 2,
        lambda fake: -fake.mean(),
        wins=0.02,
    ),
}
"""How critics can judge."""


@contextmanager
def frozen(network: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Learn nothing of a network here, only through it: half of its work is saved."""
    learnt = [p for p in network.parameters() if p.requires_grad]
    for parameter in learnt:
        parameter.requires_grad_(False)
    yield network
    for parameter in learnt:
        parameter.requires_grad_(True)


class Replay:
    """Earlier maps that a critic is shown again, so that it does not forget what it has seen.

    Shrivastava et al. 2017, Learning from Simulated and Unsupervised Images through Adversarial Training, section 2.3.

    Args:
        size: How many maps are kept; with 0 each map is shown once.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: list[torch.Tensor] = []

    def exchange(self, drawn_NCHW: torch.Tensor) -> torch.Tensor:
        """Return maps of which, once enough are kept, about half are earlier ones; the new ones are kept for them."""
        if not self.size:
            return drawn_NCHW
        if self.kept and self.kept[0].shape != drawn_NCHW.shape[1:]:
            self.kept = []  # patches are of another size from now on
        shown = [self._exchange(drawn) for drawn in drawn_NCHW]
        return torch.stack(shown)

    def _exchange(self, drawn: torch.Tensor) -> torch.Tensor:
        if len(self.kept) < self.size:
            self.kept.append(drawn)
            return drawn
        if torch.rand(()) < 0.5:
            return drawn
        place = int(torch.randint(self.size, ()))
        earlier, self.kept[place] = self.kept[place], drawn
        return earlier

    def state_dict(self) -> list[torch.Tensor]:
        """Return the maps that are kept."""
        return self.kept

    def load_state_dict(self, state: list[torch.Tensor]) -> None:
        """Go on from what `state_dict` returned."""
        self.kept = list(state)
