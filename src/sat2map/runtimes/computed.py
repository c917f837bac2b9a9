"""What a step of any runtime gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Computed(NamedTuple):
    """What a network makes of a batch of windows.

    Args:
        activated: What `Output.activate` gives, `(N, K, H, W)` float32.
        inner: The deepest features, averaged over the valid ground of each window, `(N, D)` float32, for
            `Domain.strangeness`; None of a model without.
    """

    activated: np.ndarray
    inner: np.ndarray | None = None
