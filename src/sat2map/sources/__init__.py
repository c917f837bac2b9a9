"""Imagery and labels in any common form, as pairs of scenes with one legend.

`open_source` finds out how a folder or file is laid out (a row of `LAYOUTS` each), pairs images with their labels,
fits a legend, and brings both onto one grid. Whatever was found odd on the way is kept as a `Finding`.
"""

from __future__ import annotations

from sat2map.sources.base import Finding, Pair, Source
from sat2map.sources.layouts import LAYOUTS
from sat2map.sources.opening import open_source

__all__ = ["LAYOUTS", "Finding", "Pair", "Source", "open_source"]
