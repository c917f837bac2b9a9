"""Time of a pix2pix step: this package against plain PyTorch in float32, the same networks, in turn, in one process.

    python bench/adversarial.py --batch 1 --rounds 5 --json out.json
    python bench/adversarial.py SOURCE --steps 200        # and the losses that equal steps reach
    python bench/adversarial.py SOURCE --rounds 0 --rounded     # only these, as in bf16 on a processor without it

The plain step is what the published implementations do: float32, memory as it comes, transposed convolutions, binary
cross-entropy + 100 * L1, Adam. Ours is `Adversarial` as `sat2map train` makes it.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss
from torch.nn.utils.parametrize import register_parametrization

from sat2map.devices import choose_place
from sat2map.learning.losses import PICTURE_LOSSES, parse_loss
from sat2map.learning.objectives import Adversarial
from sat2map.learning.recipe import USUAL
from sat2map.networks import build_network, count_parameters
from sat2map.networks.critics import PatchCritic
from sat2map.options import CriticOptions, TrainOptions
from sat2map.outputs import Picture

SIDE = 256

Pairs = Iterator[tuple[np.ndarray, np.ndarray]]
Step = Callable[[torch.Tensor, torch.Tensor], float]


def plain_step(seed: int) -> Step:
    """Return pix2pix as it is commonly written; it returns L1."""
    torch.manual_seed(seed)
    generator = build_network("pix2pix", bands=3, channels=3)
    critic = PatchCritic(6)
    drawing, judging = (torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (generator, critic))

    def told(scores: torch.Tensor, real: bool) -> torch.Tensor:
        return binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))

    def step(x: torch.Tensor, truth: torch.Tensor) -> float:
        y = truth[:, :3].float() / 127.5 - 1
        drawn = generator(x).tanh()
        judging.zero_grad()
        real, fake = critic(torch.cat([x, y], 1)), critic(torch.cat([x, drawn.detach()], 1))
        torch.autograd.backward((told(real, True) + told(fake, False)) / 2)
        judging.step()
        critic.requires_grad_(False)
        drawing.zero_grad()
        l1 = l1_loss(drawn, y)
        torch.autograd.backward(told(critic(torch.cat([x, drawn], 1)), True) + 100 * l1)
        drawing.step()
        critic.requires_grad_(True)
        return float(l1.detach())

    return step


class Rounded(torch.autograd.Function):
    """To bfloat16 and back, values as well as gradients."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.bfloat16().float()

    @staticmethod
    def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.bfloat16().float()


class Rounding(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Rounded.apply(x)


def round_all(network: nn.Module) -> None:
    """Make a network compute what autocast does, in float32: layers and what they are given are rounded to bfloat16."""
    for layer in [module for module in network.modules() if not list(module.children())]:
        layer.register_forward_pre_hook(lambda _, given: tuple(Rounded.apply(x) for x in given))
        layer.register_forward_hook(lambda _, given, made: Rounded.apply(made))
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            for name in [name for name, _ in layer.named_parameters()]:
                register_parametrization(layer, name, Rounding())


def our_step(network: str, rounded: bool, seed: int) -> Step:
    """Return a step of this package; it returns L1."""
    fabric = Fabric(accelerator="cpu", precision=choose_place("cpu", "auto").fabric_precision)
    torch.manual_seed(seed)
    generator, critic = build_network(network, bands=3, channels=3), PatchCritic(6)
    if rounded:
        round_all(generator)
        round_all(critic)
    objective = Adversarial(
        fabric, generator, parse_loss("100*l1", known=PICTURE_LOSSES), USUAL["picture"], 0.0,
        critic=critic, output=Picture(), options=CriticOptions(adversarial=1),
    )  # fmt: skip
    return lambda x, y: float(objective.step(x, y)["loss"]) / 100


OURS = ["pix2pix", "pix2pix-resize"]


def ways_of(networks: Sequence[str], rounded: bool) -> dict[str, Callable[[int], Step]]:
    """Return how to make the steps that are compared: the plain one, and ours of these networks."""
    return {"plain": plain_step, **{name: partial(our_step, name, rounded) for name in networks}}


def random_pairs(batch: int) -> Pairs:
    rng = np.random.default_rng(0)
    while True:
        image = rng.normal(size=(batch, 3, SIDE, SIDE)).astype(np.float32)
        yield (
            image,
            rng.integers(0, 256, (batch, 4, SIDE, SIDE), dtype=np.uint8)
            | np.array([0, 0, 0, 255], np.uint8)[:, None, None],
        )


def pairs_of(source: Path, batch: int) -> Pairs:
    """Yield batches as training would."""
    from sat2map.learning.fitting import plan_run
    from sat2map.runs import RunFolder

    options = TrainOptions(
        output="picture", batch=batch, patches="picture", device="cpu", zoom=0, brightness=0, contrast=0
    )
    plan = plan_run(source, RunFolder(Path("bench-run")), options)
    epoch = 0
    while True:
        yield from plan.samples.batches(epoch, batch)
        epoch += 1


def timed(ways: Mapping[str, Callable[[int], Step]], batch: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of a step of each way; they take turns."""
    steps = {name: make(0) for name, make in ways.items()}
    pairs = random_pairs(batch)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds + 1):
        x, y = (torch.from_numpy(a) for a in next(pairs))
        for name, step in steps.items():
            began = time.perf_counter()
            step(x, y)
            if i:  # the first one allocates
                seconds[name].append(time.perf_counter() - began)
    return {name: median(times) for name, times in seconds.items()}


def learnt(
    ways: Mapping[str, Callable[[int], Step]], source: Path, batch: int, steps: int, seeds: Sequence[int]
) -> dict[str, list[float]]:
    """Return the mean L1 of the last tenth of the steps, of each way and seed, from the same batches."""
    reached: dict[str, list[float]] = {}
    for seed in seeds:
        for name, make in ways.items():
            step, pairs = make(seed), pairs_of(source, batch)
            told = [step(*(torch.from_numpy(a) for a in next(pairs))) for _ in range(steps)]
            reached.setdefault(name, []).append(float(np.mean(told[-max(steps // 10, 1) :])))
            print(name, "seed", seed, "L1", f"{reached[name][-1]:.4f}", flush=True)
    return reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--networks", nargs="+", default=OURS, choices=OURS)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rounded", action="store_true", help="ours rounds as bf16 does, slowly, where there is none")
    parser.add_argument("--json", type=Path)
    words = parser.parse_args()
    ways = ways_of(words.networks, words.rounded)
    found: dict[str, object] = {
        "parameters": count_parameters(build_network("pix2pix", bands=3, channels=3)),
        "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }
    for batch in words.batch if words.rounds else []:
        seconds = timed(ways, batch, words.rounds)
        ratios = {name: seconds["plain"] / value for name, value in seconds.items()}
        found[f"seconds_batch_{batch}"], found[f"ratio_batch_{batch}"] = seconds, ratios
        print(f"batch {batch}:", ", ".join(f"{n} {s:.3f} s ({ratios[n]:.2f}x)" for n, s in seconds.items()), flush=True)
    if words.source:
        found["l1"] = learnt(ways, words.source, words.batch[-1], words.steps, words.seeds)
    if words.json:
        words.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
