"""How to learn, where the user does not say: it depends on whether classes or pictures are learnt."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sat2map.options import TrainOptions


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
        horizon: Share of the training over which weights are averaged (docs/log.md).
        coarse_first: Share of the training in which patches are shown at half their size.
        whiten: Whether the first filters are taken from the imagery; never those of weights that are given.
        norm_rate: By how much more than the rest the gains and shifts of batch normalisations learn, where weights
            begin at random. In a few hundred steps of Adam they would come no further than a tenth or two from where
            they start (the like for shifts in Jordan 2024, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU).
    """

    network: str
    loss: str
    lr: float
    optimizer: str
    schedule: str
    clip: float | None
    horizon: float
    coarse_first: float = 0.0
    whiten: bool = False
    norm_rate: float = 1.0


USUAL = {
    "classes": Recipe(
        "unet", "cross_entropy + dice", 1e-3, "adamw", "cosine", clip=1.0, horizon=0.1, whiten=True, norm_rate=30
    ),
    "picture": Recipe("pix2pix", "100*l1", 2e-4, "gan-adam", "linear", clip=None, horizon=0.05),
}
"""The recipe of each kind of output; that of pictures is of Isola et al. 2017, Image-to-Image Translation (pix2pix)."""


HURRIED = 0.5
"""Share of a race against the clock in which classes are learnt from coarse patches (docs/log.md)."""


def choose_recipe(options: TrainOptions, kind: str, *, own_network: bool = False) -> Recipe:
    """Return the recipe for an output of this kind.

    Args:
        options: What is asked for.
        kind: Of the output, as in `USUAL`.
        own_network: Whether the network was passed as an object, and with it the weights that it begins with.
    """
    words = ("network", "loss", "lr", "optimizer", "schedule", "coarse_first", "whiten")
    given = {name: getattr(options, name) for name in words if getattr(options, name) is not None}
    recipe = replace(USUAL[kind], **given)
    if own_network or options.encoder_weights != "none":
        recipe = replace(recipe, whiten=False, norm_rate=1.0)
    if recipe.optimizer != "adamw":
        recipe = replace(recipe, norm_rate=1.0)
    if options.coarse_first is None and kind == "classes" and _hurries(options, recipe):
        return replace(recipe, coarse_first=HURRIED)
    return recipe


def _hurries(options: TrainOptions, recipe: Recipe) -> bool:
    """Return whether the clock alone ends the training, and no one looks at what is drawn meanwhile."""
    waits_for_gain = options.patience is not None or recipe.schedule == "plateau"
    return options.minutes is not None and not waits_for_gain and not options.adversarial
