"""What is wrong with a plan, told before any process starts."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from sat2map.devices import choose_place
from sat2map.errors import BadOption
from sat2map.learning.losses import LOSSES, PICTURE_LOSSES, parse_loss
from sat2map.learning.plan import Plan
from sat2map.learning.processes import crew_of
from sat2map.learning.recipe import USUAL
from sat2map.networks import network_entry
from sat2map.networks.building import smp_name
from sat2map.networks.critics import receptive_field, smallest_side
from sat2map.networks.norms import has_group_norm, refuse_instance_norm
from sat2map.options import TrainOptions
from sat2map.outputs import Classes

log = logging.getLogger(__name__)

DENSE = 0.5
"""Share of the training ground that must have labels for a critic to see whole maps."""

FEWEST = 256
"""A class of fewer pixels in the training ground is no class whose looks a critic could learn."""


def check_names(options: TrainOptions) -> None:
    """Refuse networks, encoders and losses that no one knows; it takes no source, which may take long to open.

    Raises:
        UserError: One of them cannot be used.
    """
    if options.loss is not None:
        parse_loss(options.loss, known={**LOSSES, **PICTURE_LOSSES})
    if network_entry(options.network or USUAL["classes"].network).encoder:
        smp_name(options.encoder)


def check_plan(plan: Plan) -> None:
    """Tell what is wrong with device, loss, network, critic, or the size of patches and batch.

    Raises:
        UserError: One of them cannot be used.
    """
    options = plan.options
    crew = crew_of(options)
    _check_devices(options)
    if options.batch % crew.size:
        raise BadOption(f"A batch of {options.batch} cannot be shared by {crew.size} devices. Choose a multiple.")
    plan.build_loss()
    if options.members > 1:
        _check_members(plan)
    if options.adversarial:
        _check_critic(plan)
    with tell_memory(plan):
        network = plan.build_network()
        refuse_instance_norm(network)
        if has_group_norm(network):
            log.warning(
                "%s normalises groups of channels over each window by itself: neighbouring windows of a map may get "
                "another tone.", plan.architecture.network,
            )  # fmt: skip
        _ = plan.summaries  # one image goes through the network
        if plan.recipe.coarse_first:
            _check_coarse_patch(plan, network)
        if options.batch == crew.size:
            _check_lone_patch(plan, network)


def _check_members(plan: Plan) -> None:
    """Refuse several networks where their probabilities cannot be averaged, or where they would all be the same."""
    if plan.network is not None:
        raise BadOption(
            f"members is {plan.options.members}, but a network that is passed as an object has only one set of weights "
            "to begin with. Leave it out, or name a network."
        )
    if not isinstance(plan.output, Classes):
        raise BadOption(f"--members is {plan.options.members}, but map pictures are drawn by one. Leave it out.")


def _check_devices(options: TrainOptions) -> None:
    """Refuse more devices than there are; of a CPU there can be any number of processes."""
    kind = choose_place(options.device, options.precision).device.type
    there = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind, options.devices)
    if options.devices > there:
        raise BadOption(f"--devices is {options.devices}, but this machine has {there} of the kind {kind}. Give fewer.")


def _check_coarse_patch(plan: Plan, network: torch.nn.Module) -> None:
    """Refuse patches whose half a network of the user's own cannot take."""
    size = plan.smallest
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, len(plan.inputs.bands), size, size))
    except Exception as error:  # whatever that network raises
        raise BadOption(
            f"{plan.architecture.network} cannot take the patches of {size} pixels that training begins with "
            f"({type(error).__name__}: {error}). Give --coarse-first 0, or a larger --size."
        ) from error


def _check_lone_patch(plan: Plan, network: torch.nn.Module) -> None:
    """Refuse a batch of one where a network pools its features to one pixel: nothing is left to normalise over."""
    size = plan.smallest
    try:
        with torch.no_grad():
            network.train()(torch.zeros(plan.options.members, len(plan.inputs.bands), size, size))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise BadOption(
            f"{plan.architecture.network} cannot learn from one patch at a time: its batch normalisation needs two. "
            f"Give a --batch of {2 * crew_of(plan.options).size} or more, or a larger --size."
        ) from None


def _check_critic(plan: Plan) -> None:
    """Refuse patches that a critic cannot judge, and labels that are no whole maps."""
    levels, size = plan.options.critic_levels, plan.smallest
    if size < smallest_side(levels):
        raise BadOption(
            f"A critic of {levels} levels cannot judge patches of {size} pixels. Give a --size of "
            f"{smallest_side(levels)} or more."
        )
    if isinstance(plan.output, Classes):
        _check_density(plan, plan.output)
    log.info("The critic judges patches of %d x %d pixels", receptive_field(levels), receptive_field(levels))


def _check_density(plan: Plan, output: Classes) -> None:
    counts = np.sum([anchor.counts for anchor in plan.samples.anchors], axis=0)
    share = counts.sum() / sum(area.window.height * area.window.width for area in plan.split.part("train"))
    if share < DENSE:
        raise BadOption(
            f"Only {share:.2%} of the training ground has labels, but a critic compares whole maps: at least "
            f"{DENSE:.0%} must have. Leave out --adversarial, or label more."
        )
    scarce = [f"{name} ({n} pixels)" for name, n in zip(output.legend.names, counts, strict=True) if n < FEWEST]
    if scarce:
        raise BadOption(
            f"The training ground holds too little of {', '.join(scarce)} for a critic to learn how it looks: at least "
            f"{FEWEST} pixels are needed. Leave out --adversarial, or name these classes with --ignore."
        )


@contextmanager
def tell_memory(plan: Plan) -> Iterator[None]:
    """Turn a lack of memory into a sentence.

    Raises:
        BadOption: The memory is too small for the patches.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not re.search(r"out of memory|allocate memory", str(error)):
            raise
        size, many = plan.options.size, plan.options.members > 1
        raise BadOption(
            f"The memory does not hold a batch of {plan.batch} patches of {size} x {size} pixels. "
            f"Give a smaller --batch{', --members' * many} or --size, or a lighter --network."
        ) from None
