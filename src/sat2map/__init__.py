"""sat2map: satellite and aerial imagery to maps.

The verbs of the command line are functions here and take the same words; each is imported when it is first used, so
that geometry and prediction need no torch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sat2map.errors import MissingExtra

if TYPE_CHECKING:
    from sat2map.changes import change as change
    from sat2map.demonstration import demo as demo
    from sat2map.downloads import download as download
    from sat2map.evaluation import evaluate as evaluate
    from sat2map.inspection import inspect as inspect
    from sat2map.learning.quantization import export as export
    from sat2map.mapmodel import load_model as load_model
    from sat2map.polygons import polygonize as polygonize
    from sat2map.prediction import predict as predict
    from sat2map.reference import area as area
    from sat2map.reference import sample as sample
    from sat2map.scenes import open_scene as open_scene
    from sat2map.sources import open_source as open_source
    from sat2map.suggesting import suggest as suggest
    from sat2map.training import train as train

__version__ = "0.1.0"

# OpenVINO and NNCF tell their maker of each use, from a fork of the process, unless this cannot be imported. A program
# that imports OpenVINO before this package has let it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

_HOMES = {
    "area": "reference",
    "change": "changes",
    "demo": "demonstration",
    "download": "downloads",
    "evaluate": "evaluation",
    "export": "learning.quantization",
    "inspect": "inspection",
    "load_model": "mapmodel",
    "open_scene": "scenes",
    "open_source": "sources",
    "polygonize": "polygons",
    "predict": "prediction",
    "sample": "reference",
    "suggest": "suggesting",
    "train": "training",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sat2map' has no attribute {name!r}")
    try:
        return getattr(import_module(f"sat2map.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sat2map"):
            raise
        raise MissingExtra(f"sat2map.{name}", "train") from error
