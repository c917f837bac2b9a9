"""How to learn, where the user does not say: it depends on whether classes or pictures are learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sat2map.options import LearnOptions


@dataclass(frozen=True)
class Recipe:
    """What is asked for, and the usual for the rest.

    Args:
        network: Name of the network.
        loss: Sum of losses.
        lr: Peak learning rate.
        optimizer: Name of the optimizer.
        schedule: Name of the schedule.
        clip: To this norm gradients are clipped; None if they are not.
    """

    network: str
    loss: str
    lr: float
    optimizer: str
    schedule: str
    clip: float | None


USUAL = {
    "classes": Recipe("unet", "cross_entropy + dice", 1e-3, "adamw", "cosine", clip=1.0),
    "picture": Recipe("pix2pix", "100*l1", 2e-4, "gan-adam", "linear", clip=None),
}
"""The recipe of each kind of output; that of pictures is of Isola et al. 2017, Image-to-Image Translation (pix2pix)."""


def choose_recipe(options: LearnOptions, kind: str) -> Recipe:
    """Return the recipe for an output of this kind."""
    words = ("network", "loss", "lr", "optimizer", "schedule")
    given = {name: getattr(options, name) for name in words if getattr(options, name) is not None}
    return replace(USUAL[kind], **given)
