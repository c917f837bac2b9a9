"""Pictures of how far probabilities can be believed: reliability diagram, and accuracy of the most certain pixels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sat2map.calibration import BINS, Reliability
from sat2map.pictures import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREY, _INK = "#0072B2", "#D55E00", "#8A929B", "#22262B"
_STYLES = ({"color": _ORANGE, "marker": "s", "linestyle": "--"}, {"color": _BLUE, "marker": "o", "linestyle": "-"})
"""Told apart by colour (of Okabe and Ito, for all kinds of sight), marker and line."""

_FIRST = 0.01
"""The smallest share of pixels that is drawn: the accuracy of fewer jumps."""

_MARKED = {1.0: "s", 0.9: "o", 0.8: "^"}
"""Shares of pixels whose accuracy is written into the picture, and their markers."""


def reliability_picture(before: Reliability, after: Reliability | None, path: Path) -> None:
    """Draw accuracy against confidence, and below how many pixels are how confident.

    The reliability diagram of DeGroot and Fienberg 1983, The comparison and evaluation of forecasters, in the bins of
    the expected calibration error, which stands in the legend.

    Args:
        before: Of the probabilities as the network gives them.
        after: Of the calibrated ones, if there are any.
        path: Where to write the PNG.
    """
    shown = {"as the network says": before} if after is None else {"before": before, "calibrated": after}
    figure = new_figure(4.6, 5.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    upper.plot([0, 1], [0, 1], color=_GREY, linewidth=1.2, linestyle=":", label="just as sure as right")
    for (name, reliability), style in zip(shown.items(), _STYLES, strict=False):
        held = reliability.pixels > 0
        pixels = reliability.pixels[held]
        where = reliability.confidence[held] / pixels, reliability.right[held] / pixels
        ece = "" if reliability.ece is None else f", ECE {_percent(reliability.ece)}"
        upper.plot(
            *where, label=f"{name}{ece}", linewidth=2.2, markersize=6, markeredgecolor="white", clip_on=False, **style
        )
    _histogram(lower, shown)
    upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    lower.set(xlabel="confidence", ylabel="pixels")
    upper.legend(loc="upper left", fontsize=10, frameon=False, labelcolor=_INK)
    for ax in (upper, lower):
        _in_percent(ax)
    save_figure(figure, path)


def _histogram(ax: Axes, shown: Mapping[str, Reliability]) -> None:
    edges, highest = np.linspace(0, 1, BINS + 1), 0.1
    for reliability, style in zip(shown.values(), _STYLES, strict=False):
        shares = reliability.pixels / max(reliability.count, 1)
        highest = max(highest, shares.max())
        ax.stairs(shares, edges, color=style["color"], linestyle=style["linestyle"], linewidth=1.8)
        ax.stairs(shares, edges, color=style["color"], fill=True, alpha=0.15)
    ax.set_ylim(0, 1.1 * highest)
    ax.locator_params(axis="y", nbins=3)


def coverage_picture(reliability: Reliability, path: Path) -> None:
    """Draw how accurate a map is where only its most certain pixels are kept.

    Args:
        reliability: Of the probabilities that certainty is told by.
        path: Where to write the PNG.
    """
    figure = new_figure(4.6, 3.9)
    ax = figure.subplots()
    low = 0.0
    if reliability.curve is not None:
        coverage, accuracy = (values[reliability.curve[0] >= _FIRST] for values in reliability.curve)
        ax.plot(coverage, accuracy, color=_BLUE, linewidth=2.4)
        low = max(np.floor(10 * accuracy.min() - 2) / 10, 0)
        for share, marker in _MARKED.items():
            _mark(ax, share, marker, reliability.accuracy_at(share))
        ax.legend(loc="lower left", fontsize=10, frameon=False, labelcolor=_INK, handletextpad=0.3)
    ax.set(xlim=(0, 1), ylim=(low, 1), xlabel="share of the pixels that is kept", ylabel="accuracy of these")
    _in_percent(ax)
    save_figure(figure, path)


def _mark(ax: Axes, share: float, marker: str, accuracy: float | None) -> None:
    if accuracy is not None:
        label = f"{100 * share:.0f} % kept: {_percent(accuracy)} right"
        ax.vlines(share, 0, accuracy, color=_ORANGE, linewidth=1.2, linestyle=":")
        (point,) = ax.plot(share, accuracy, marker, label=label, color=_ORANGE, markersize=8, clip_on=False, zorder=3)
        point.set_markeredgecolor("white")


def _in_percent(ax: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axis.label.set(fontsize=11, color=_INK)
    ax.tick_params(labelsize=10, colors=_INK, length=3)
    ax.grid(color="#E4E7EA", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#C3C8CE")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
