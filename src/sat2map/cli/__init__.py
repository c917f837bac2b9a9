"""The command line: parse, call the verb of the same name, print.

Heavy modules are imported by the commands that need them, so that `sat2map --help` answers at once.
"""

from __future__ import annotations

from sat2map.cli.app import app
from sat2map.cli.beginning import demo, download
from sat2map.cli.maps import area, change, polygonize, predict, sample, suggest
from sat2map.cli.models import evaluate, export, inspect, networks, train
from sat2map.cli.running import main, run

__all__ = [
    "app",
    "area",
    "change",
    "demo",
    "download",
    "evaluate",
    "export",
    "inspect",
    "main",
    "networks",
    "polygonize",
    "predict",
    "run",
    "sample",
    "suggest",
    "train",
]
