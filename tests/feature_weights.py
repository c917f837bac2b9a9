"""Feature networks for tests: nothing is downloaded, so what they see means nothing, but it tells pictures apart."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
import torch
from torch_fidelity import feature_extractor_inceptionv3 as module

from sat2map import patchmetrics


def inception_file(path: Path) -> Path:
    """Write weights of Inception-v3 drawn at random."""
    torch.manual_seed(0)
    kind = module.FeatureExtractorInceptionV3
    with (
        mock.patch.object(module, "load_state_dict_from_url", lambda *_, **__: {}),
        mock.patch.object(kind, "load_state_dict", lambda *_: None),
    ):
        network = kind("random", ["2048"])
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    torch.save(network.state_dict(), path)
    return path


class SmallInception(torch.nn.Module):
    """Sees the mean colours of large parts of a picture; as good for a test, and a hundred times as fast."""

    features = 48

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.nn.functional.adaptive_avg_pool2d(images / 255, 4).flatten(1)
        return features, 4 * features[:, :10]


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure by `SmallInception` in the place of Inception-v3, and nothing else: SSIM takes its time."""
    gauges = {kind: names for kind, names in patchmetrics._GAUGES.items() if "FID" in names}
    monkeypatch.setattr(patchmetrics, "_GAUGES", gauges)
    monkeypatch.setattr(patchmetrics, "FEATURES", SmallInception.features)
    monkeypatch.setattr(patchmetrics, "build_inception", lambda file: SmallInception())
