"""Measures of patches of pictures by torchmetrics: SSIM, MS-SSIM, LPIPS, FID, KID and Inception Score.

Patches are added as they come and none is kept, only their features. Torch is imported when patches are measured.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from sat2map.errors import MissingExtra
from sat2map.features import build_inception, build_lpips, describe, find_weights, sort_weights
from sat2map.fidelity import FULL, Metric

if TYPE_CHECKING:
    import torch
    import torchmetrics
    from torch import Tensor

PATCH = 256
"""Side in pixels of the patches that are measured."""

BATCH = 16
"""Patches that are measured at once."""

FEATURES = 2048
"""Features of Inception-v3 that are compared."""

ENOUGH = 2048
"""Samples from which on FID is reliable: with fewer than features, their covariance has no full rank."""

SUBSET = 1000
"""Samples in each of the subsets over which KID is a mean; half of all samples where these are few."""


class _Gauge(Protocol):
    """Measures batches of patches `(N, 3, H, W)` uint8."""

    def __init__(self, given: Mapping[str, Path], device: torch.device) -> None: ...

    def add(self, truth_NCHW: Tensor, painted_NCHW: Tensor) -> None: ...

    def metrics(self, samples: int) -> tuple[Metric, ...]: ...


class _Structure:
    """SSIM (Wang et al. 2004) and MS-SSIM (Wang et al. 2003), means over patches."""

    def __init__(self, given: Mapping[str, Path], device: torch.device) -> None:
        from torchmetrics.image import MultiScaleStructuralSimilarityIndexMeasure, StructuralSimilarityIndexMeasure

        self._measures: dict[str, torchmetrics.Metric] = {
            "SSIM": StructuralSimilarityIndexMeasure(data_range=FULL).to(device),
            "MS-SSIM": MultiScaleStructuralSimilarityIndexMeasure(data_range=FULL).to(device),
        }

    def add(self, truth_NCHW: Tensor, painted_NCHW: Tensor) -> None:
        for measure in self._measures.values():
            measure.update(painted_NCHW.float(), truth_NCHW.float())

    def metrics(self, samples: int) -> tuple[Metric, ...]:
        return tuple(_of_patches(name, samples, float(m.compute())) for name, m in self._measures.items())


class _Perception:
    """LPIPS (Zhang et al. 2018), mean over patches."""

    def __init__(self, given: Mapping[str, Path], device: torch.device) -> None:
        network = "vgg16" if "vgg16" in given else "alexnet"
        file = find_weights(network, given)
        self._extractor, self._total = describe(network, file), 0.0
        self._measure = build_lpips(network, file).to(device)

    def add(self, truth_NCHW: Tensor, painted_NCHW: Tensor) -> None:
        self._total += float(self._measure(painted_NCHW / FULL, truth_NCHW / FULL, normalize=True).sum())

    def metrics(self, samples: int) -> tuple[Metric, ...]:
        return (_of_patches("LPIPS", samples, self._total / samples, extractor=self._extractor),)


class _Distribution:
    """FID (Heusel et al. 2017), KID (Binkowski et al. 2018) and Inception Score (Salimans et al. 2016).

    All take features of one network, so it sees each patch once; torchmetrics is handed its features.
    """

    def __init__(self, given: Mapping[str, Path], device: torch.device) -> None:
        from torch.nn import Identity
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.inception import InceptionScore
        from torchmetrics.image.kid import KernelInceptionDistance

        file = find_weights("inception", given)
        self._title, self._network = describe("inception", file), build_inception(file).to(device)
        features = Identity()
        features.num_features = FEATURES  # type: ignore[assignment]
        with warnings.catch_warnings():  # it says that features are kept: 12 kB of each patch
            warnings.simplefilter("ignore", UserWarning)
            self._fid, self._kid = FrechetInceptionDistance(features), KernelInceptionDistance(features)
            self._score, self._score_of_truth = InceptionScore(Identity()), InceptionScore(Identity())

    def add(self, truth_NCHW: Tensor, painted_NCHW: Tensor) -> None:
        for batch, real, score in ((truth_NCHW, True, self._score_of_truth), (painted_NCHW, False, self._score)):
            features, logits = (seen.cpu() for seen in self._network(batch))
            self._fid.update(features, real=real)
            self._kid.update(features, real=real)
            score.update(logits)

    def metrics(self, samples: int) -> tuple[Metric, ...]:
        if samples < 2:
            return _absent(_GAUGES[type(self)], samples, "It compares sets: at least two patches are needed.")
        layer, logits = f"{self._title}, layer {FEATURES}", f"{self._title}, logits without bias"
        self._kid.subset_size = max(2, min(SUBSET, samples // 2))  # of all samples, subsets would not differ
        kid, spread = map(float, self._kid.compute())
        few = samples < ENOUGH
        noise = f"Unreliable: of fewer than {ENOUGH:,} samples it is far too large. See KID." if few else ""
        grows = "Of so few samples it is too low: compare it with that of the truth only." if few else ""
        scores = (("Inception Score", self._score), ("Inception Score, truth", self._score_of_truth))
        return (
            _of_patches("FID", samples, float(self._fid.compute()), extractor=layer, reason=noise),
            _of_patches("KID", samples, kid, spread, extractor=layer),
            *(_of_patches(n, samples, *map(float, s.compute()), extractor=logits, reason=grows) for n, s in scores),
        )


_GAUGES: dict[type[_Gauge], tuple[str, ...]] = {
    _Structure: ("SSIM", "MS-SSIM"),
    _Perception: ("LPIPS",),
    _Distribution: ("FID", "KID", "Inception Score", "Inception Score, truth"),
}
"""What measures patches, and the names of the measures."""

_LOWER = ("LPIPS", "FID", "KID")


def _of_patches(
    name: str, samples: int, value: float | None, spread: float | None = None, *, extractor: str = "", reason: str = ""
) -> Metric:
    better: Literal["lower", "higher"] = "lower" if name in _LOWER else "higher"
    return Metric(name, value, samples, "patches", better, spread, extractor, reason)


def _absent(names: Iterable[str], samples: int, reason: str) -> tuple[Metric, ...]:
    return tuple(_of_patches(name, samples, None, reason=reason) for name in names)


class PatchMetrics:
    """The measures that torchmetrics takes of patches, as far as they can be had here.

    Args:
        files: Files of weights of `FEATURE_NETWORKS`; others are downloaded.

    Raises:
        BadOption: A file is none of these, or damaged.
    """

    def __init__(self, files: Sequence[str] = ()) -> None:
        self._samples = 0
        try:
            given = sort_weights(files)
        except MissingExtra as error:
            self._gauges: dict[tuple[str, ...], _Gauge | str] = dict.fromkeys(_GAUGES.values(), str(error))
        else:
            self._gauges = {names: _open(kind, names[0], given) for kind, names in _GAUGES.items()}

    def add(self, truth_NCHW: np.ndarray, painted_NCHW: np.ndarray) -> None:
        """Measure patches `(N, 3, PATCH, PATCH)` uint8."""
        self._samples += len(truth_NCHW)
        for gauge in self._gauges.values():
            if not isinstance(gauge, str):
                for first in range(0, len(truth_NCHW), BATCH):
                    _add(gauge, truth_NCHW[first : first + BATCH], painted_NCHW[first : first + BATCH])

    def metrics(self) -> tuple[Metric, ...]:
        """Return the measures over all patches so far."""
        found: list[Metric] = []
        for names, gauge in self._gauges.items():
            if isinstance(gauge, str):
                found += _absent(names, self._samples, gauge)
            elif not self._samples:
                found += _absent(names, 0, f"No patch of {PATCH} x {PATCH} pixels is known as a whole.")
            else:
                found += _computed(gauge, self._samples)
        return tuple(found)


def _open(kind: type[_Gauge], name: str, given: Mapping[str, Path]) -> _Gauge | str:
    """Return a gauge, or why it cannot be had."""
    try:
        return kind(given, _device())
    except ImportError:
        return str(MissingExtra(f"Measuring {name}", "train"))
    except OSError as error:
        return str(error)


def _device() -> torch.device:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _add(gauge: _Gauge, truth_NCHW: np.ndarray, painted_NCHW: np.ndarray) -> None:
    import torch

    with torch.no_grad():
        gauge.add(*(torch.from_numpy(patches).to(_device()) for patches in (truth_NCHW, painted_NCHW)))


def _computed(gauge: _Gauge, samples: int) -> tuple[Metric, ...]:
    """Return the measures; KID and Inception Score draw subsets, which are the same each time."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return gauge.metrics(samples)
