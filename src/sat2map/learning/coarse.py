"""Coarse first: at the beginning patches are shown at half their size, so that more of them fit into the same time.

What is where can be learnt from coarse pixels, and a step costs about a third; details are learnt afterwards. Known as
progressive resizing, or progressive learning (Karras et al. 2018, Progressive Growing of GANs; Tan and Le 2021,
EfficientNetV2, section 4).
"""

from __future__ import annotations

import torch
from torch.nn.functional import avg_pool2d

HALF = 2
"""By how much both sides of a patch are divided."""


def halved(x_NCHW: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs averaged over `HALF` by `HALF` pixels, and of the true maps one pixel of each of these.

    Args:
        x_NCHW: Inputs; sides that are no multiple lose their last pixels.
        truth: Ids `(N, H, W)`, or pictures `(N, 4, H, W)`; never mixed.
    """
    height, width = (side // HALF * HALF for side in x_NCHW.shape[-2:])
    return avg_pool2d(x_NCHW, HALF), truth[..., :height:HALF, :width:HALF].contiguous()
