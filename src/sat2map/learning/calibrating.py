"""What makes a network's probabilities right, fitted on validation ground."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from sat2map.calibration import FLOOR, Calibration, Kind, Reliability
from sat2map.learning.plan import Plan
from sat2map.legend import IGNORED
from sat2map.progress import track
from sat2map.splits import spread_windows

WINDOWS = 100
"""Most windows that are looked at: more would take minutes and change little."""

PIXELS = 200_000
"""Most pixels that are kept of them."""

HOTTEST = 20.0
"""The largest temperature and factor, and one over it the smallest: where all is right or nothing, there is no best."""

RIDGE = 1e-3
"""Price of a class's departure from the common temperature: else a class that is rare there could vanish for good."""


def calibrate(network: torch.nn.Module, plan: Plan, kind: Kind) -> tuple[Calibration, dict[str, float | None]]:
    """Fit the calibration of a network that maps classes, on the validation ground of its plan.

    Args:
        network: In evaluation mode, on the CPU.
        plan: Where the ground is.
        kind: One temperature, or a scale and a shift of each class.

    Returns:
        The calibration, and `val_ece_before`, `val_ece_after`, likewise `brier` and `nll`, for the provenance. They are
        of the very pixels it was fitted on, so those after are too good. Where validation ground holds no label,
        nothing is changed and they are None.
    """
    log_p, truth_N = collect(network, plan)
    known = len(truth_N) > 0
    found = fit_calibration(log_p, truth_N, kind) if known else Calibration.of_temperature(1, plan.output.channels)
    p_KHW, truth_HW = log_p.exp().T.numpy()[:, None], truth_N.numpy()[None]
    figures: dict[str, float | None] = {}
    for when, probabilities_KHW in (("before", p_KHW), ("after", found.apply(p_KHW))):
        reliability = Reliability()
        reliability.add(probabilities_KHW, truth_HW)
        figures |= {f"val_{name}_{when}": getattr(reliability, name) for name in ("ece", "brier", "nll")}
    return found, figures


@torch.no_grad()
def collect(network: torch.nn.Module, plan: Plan, most: int = PIXELS) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw labelled pixels of the validation ground at random, each with the same chance.

    Each pixel gets a random number, and those with the smallest stay: so memory is set by `most`, not by the ground.

    Args:
        network: In evaluation mode, on the CPU.
        plan: Where the ground is; its seed sets which pixels are drawn.
        most: Most pixels that are returned.

    Returns:
        Log-probabilities `(N, K)` float32 and true ids `(N,)` uint8, of up to `WINDOWS` windows spread over the ground.
    """
    rng = np.random.default_rng(plan.options.seed)
    log_p, truth_N = torch.empty(0, plan.output.channels), torch.empty(0, dtype=torch.uint8)
    drawn_N = np.empty(0)
    windows = spread_windows(plan.validation, plan.tiling.size, WINDOWS)
    for area, window in track(windows, "Calibrating", len(windows)):
        image_CHW, truth_HW = plan.samples.read(area, window)
        known = torch.from_numpy(truth_HW != IGNORED)
        if not known.any():
            continue
        scores_KHW = network(torch.from_numpy(image_CHW)[None])[0].float()
        log_p = torch.cat([log_p, scores_KHW[:, known].T.log_softmax(dim=1)])
        truth_N = torch.cat([truth_N, torch.from_numpy(truth_HW)[known]])
        drawn_N = np.concatenate([drawn_N, rng.random(int(known.sum()))])
        stay = drawn_N.argsort(kind="stable")[:most]
        log_p, truth_N, drawn_N = log_p[stay], truth_N[stay], drawn_N[stay]
    return log_p, truth_N


def fit_calibration(log_probabilities: torch.Tensor, truth: torch.Tensor, kind: Kind) -> Calibration:
    """Return the calibration under which the true classes are the most likely.

    The negative log likelihood is made small, as Guo et al. 2017 do. A vector starts from the best temperature and pays
    `RIDGE` for the square of each departure from it: of the logarithm of a scale, and of a shift (Kull et al. 2019,
    Beyond temperature scaling, regularise likewise). So it is at least as likely as the temperature is.

    Args:
        log_probabilities: `(N, K)`.
        truth: Ids `(N,)`.
        kind: One temperature, from `1 / HOTTEST` to `HOTTEST`, or a scale and a shift of each class.

    Raises:
        ValueError: There is no pixel.
    """
    if not len(truth):
        raise ValueError("A calibration needs labelled pixels, and there are none.")
    log_p, truth_N = log_probabilities.double().clamp(min=math.log(FLOOR)), truth.long()
    classes = log_p.shape[1]
    common = _minimise(lambda free: cross_entropy(_factor(free) * log_p, truth_N), 1)
    if kind == "temperature":
        return Calibration.of_temperature(1 / float(_factor(common)), classes)

    def loss(free: torch.Tensor) -> torch.Tensor:
        departures_K, shift_K = free.view(2, classes)
        likely = cross_entropy(_factor(common + departures_K) * log_p + shift_K, truth_N)
        return likely + RIDGE * free.square().sum()

    departures_K, shift_K = _minimise(loss, 2 * classes).view(2, classes)
    return Calibration(tuple(_factor(common + departures_K).tolist()), tuple(shift_K.tolist()))


def _factor(free: torch.Tensor) -> torch.Tensor:
    """Map any numbers to factors from `1 / HOTTEST` to `HOTTEST`; 0 to 1."""
    limit = math.log(HOTTEST)
    return (limit * torch.tanh(free / limit)).exp()


def _minimise(loss: Callable[[torch.Tensor], torch.Tensor], count: int) -> torch.Tensor:
    """Return the numbers `(count,)` float64 for which a smooth loss is least, found from 0 on."""
    free = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [free], max_iter=200, tolerance_grad=1e-8, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(free)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return free.detach()
