"""Two numbers that tell whether a network that draws pictures will draw seamless maps."""

from __future__ import annotations

import copy

import torch

from sat2map.learning.plan import Plan
from sat2map.outputs import HALF, Picture
from sat2map.tiling import Window


@torch.no_grad()
def indicators(network: torch.nn.Module, plan: Plan) -> dict[str, float]:
    """Return, for networks that draw pictures, both numbers in grey levels of 255, measured on validation ground.

    `tile_mismatch`: how much the same ground differs, mean and absolute, when it is seen through two windows shifted
    by half of their side. `train_eval_disparity`: how much a window differs when it is normalised by its own
    statistics and dropout is on, as in training, from how it is at prediction. Where the second is large, the
    statistics of batches are no good estimate of those that prediction uses. They are taken of both windows together:
    a network that pools a window to one pixel has nothing to normalise over in one.

    Args:
        network: Left as it was.
        plan: Where the ground is.
    """
    if not isinstance(plan.output, Picture):
        return {}
    area = max(plan.validation, key=lambda area: min(area.window.height, 2 * area.window.width // 3))
    room = min(area.window.height, 2 * area.window.width // 3, plan.tiling.size)
    size = max(room // plan.unit, 1) * plan.unit  # both windows lie on the ground, unless it is small
    image_CHW, _ = plan.samples.read(area, Window(area.window.row, area.window.col, size, size + size // 2))
    x_NCHW = torch.from_numpy(image_CHW)[None]
    left, right = x_NCHW[..., :size], x_NCHW[..., size // 2 :]
    network = copy.deepcopy(network).eval()
    first, second = (plan.output.activate(network(x)) for x in (left, right))
    trained = plan.output.activate(network.train()(torch.cat([left, right])))[:1]
    known = left.any(dim=1, keepdim=True)
    return {
        "tile_mismatch": _grey(first[..., size // 2 :] - second[..., : -(size // 2)], known[..., size // 2 :]),
        "train_eval_disparity": _grey(trained - first, known),
    }


def _grey(differences_NCHW: torch.Tensor, known_NCHW: torch.Tensor) -> float:
    """Return the mean absolute difference where the image holds data, 0 where it holds none."""
    total = (differences_NCHW.abs().mean(dim=1, keepdim=True) * known_NCHW).sum()
    return float(HALF) * float(total / known_NCHW.sum().clamp(min=1))
