"""Pictures for people: images as one sees them, maps in the legend's colours, sheets, curves and confusion.

Everything becomes an array `(H, W, 3)` uint8 or a PNG; nothing is scored here. Matplotlib is imported by the functions
that draw with it (it takes half a second) and always through figure objects, never through pyplot: no global state, no
window, no figures that pile up in long runs.
"""

from __future__ import annotations

import base64
import importlib.metadata
import io
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image
from shapely.geometry.base import BaseGeometry

from sat2map.files import VERSION_TAG, whole_file
from sat2map.legend import IGNORED, Legend
from sat2map.metrics import row_shares
from sat2map.raster import Raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

NO_DATA = (222, 222, 222)
"""Colour of pixels for which the image holds no data."""

HATCH = ((232, 232, 232), (196, 196, 196))
"""The two greys of the stripes that mean "no label", and in maps "no data"."""

Rows: TypeAlias = Sequence[Mapping[str, float | None]]
"""Rows of `metrics.jsonl`."""

_INK, _FAINT = "#22262B", "#8A929B"
SPREAD = 20
"""Losses of which the largest is more than so many times the smallest are drawn in a logarithmic scale."""

_DPI = 110
_SAMPLES = 1_000_000
_MIME = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}


def to_rgb(raster: Raster, bands: Sequence[str]) -> np.ndarray:
    """Return an image as one sees it.

    Three bands of bytes are shown as they are. All others are stretched band by band from the 2nd to the 98th
    percentile of the valid pixels (the "cumulative count cut" of GIS programs).

    Args:
        raster: Pixels of any number of bands and any type; of complex pixels the magnitude is shown.
        bands: Names of the bands. Red, green and blue are looked for; else the first three are taken, or the first as
            grey if there are fewer.

    Returns:
        `(H, W, 3)` uint8, `NO_DATA` where pixels are not valid.
    """
    pixels = raster.pixels[_visible(bands)]
    if len(bands) == 3 and pixels.dtype == np.uint8:
        rgb = np.moveaxis(pixels, 0, -1).copy()
    else:
        rgb = np.stack([_stretch(band, raster.valid) for band in pixels], axis=-1)
    rgb[~raster.valid] = NO_DATA
    return rgb


def _visible(bands: Sequence[str]) -> list[int]:
    """Return which three bands are red, green and blue."""
    names = [name.casefold() for name in bands]
    if {"red", "green", "blue"} <= set(names):
        return [names.index(colour) for colour in ("red", "green", "blue")]
    return [0, 1, 2] if len(names) >= 3 else [0, 0, 0]


def _stretch(band: np.ndarray, valid: np.ndarray) -> np.ndarray:
    values = np.abs(band) if np.iscomplexobj(band) else band.astype(np.float64)
    sample = values[valid]
    if not sample.size:
        return np.zeros(band.shape, np.uint8)
    low, high = np.percentile(sample[:: max(1, sample.size // _SAMPLES)], (2, 98))
    scaled = (np.where(valid, values, low) - low) / (high - low) if high > low else np.full(band.shape, 0.5)
    return np.round(255 * scaled.clip(0, 1)).astype(np.uint8)


def class_picture(ids: np.ndarray, legend: Legend) -> np.ndarray:
    """Return class ids `(H, W)` in the legend's colours `(H, W, 3)` uint8, unlabelled pixels striped in grey."""
    return _striped_where(ids == IGNORED, legend.colourise(ids))


def map_colours(drawn: np.ndarray) -> np.ndarray:
    """Return a map picture `(4, H, W)` uint8 as its colours `(H, W, 3)` uint8, pixels without data striped in grey."""
    return _striped_where(drawn[3] == 0, np.moveaxis(drawn[:3], 0, -1).copy())


def _striped_where(absent: np.ndarray, picture: np.ndarray) -> np.ndarray:
    broad = max(4, max(absent.shape) // 64)
    stripes = np.add.outer(*(np.arange(side) for side in absent.shape)) // broad % 2
    picture[absent] = np.array(HATCH, np.uint8)[stripes[absent]]
    return picture


def drawn_map(pixels: np.ndarray, legend: Legend) -> np.ndarray:
    """Return a map as colours `(H, W, 3)` uint8: class ids `(H, W)`, or a picture `(4, H, W)` with an alpha."""
    return class_picture(pixels, legend) if pixels.ndim == 2 else map_colours(pixels)


def shrink(picture: np.ndarray, side: int, *, photo: bool) -> np.ndarray:
    """Return a picture whose longer side is at most `side` pixels.

    Args:
        picture: `(H, W, 3)` or `(H, W)`.
        side: The longest side allowed, in pixels.
        photo: Mean of the pixels, as for images; else one of them, so that a class map keeps its classes.
    """
    step = math.ceil(max(picture.shape[:2]) / side)
    if step <= 1:
        return picture
    return np.asarray(Image.fromarray(picture).reduce(step)) if photo else picture[::step, ::step]


def to_data_uri(picture: Path | np.ndarray, *, photo: bool = False) -> str:
    """Return a picture as a `data:` address, so that a page holds it.

    Args:
        picture: A PNG, JPEG or SVG file, or pixels `(H, W, 3)` uint8.
        photo: Store pixels as JPEG of quality 85; else as PNG, which is exact and smaller for class maps.
    """
    if isinstance(picture, Path):
        return _uri(_MIME[picture.suffix.lower()], picture.read_bytes())
    kind, options = ("jpeg", {"quality": 85}) if photo else ("png", {"optimize": True})
    data = io.BytesIO()
    Image.fromarray(picture).save(data, kind, **options)
    return _uri(f"image/{kind}", data.getvalue())


def _uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def sample_sheet(
    rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    legend: Legend | None,
    path: Path,
    *,
    captions: Sequence[str] | None = None,
) -> None:
    """Draw samples one below the other: image, truth and prediction side by side, with the legend.

    Args:
        rows: Image, truth and prediction of each sample, `(H, W, 3)` uint8 (`to_rgb`, `class_picture`, `map_colours`).
        legend: The classes; None where the maps are pictures.
        path: Where to write the PNG.
        captions: A line above each sample.
    """
    ratios = [image.shape[0] / image.shape[1] for image, _, _ in rows]
    heading = 0.35 if captions else 0.1
    figure = new_figure(12, sum(3.9 * ratio + heading for ratio in ratios) + 1, layout="compressed")
    grid = figure.subplots(len(rows), 3, squeeze=False, height_ratios=ratios)
    for i, (axes, pictures) in enumerate(zip(grid, rows, strict=True)):
        for ax, picture in zip(axes, pictures, strict=True):
            show(ax, picture)
        if captions:
            axes[0].set_title(plain(captions[i], 110), fontsize=9, color=_INK, loc="left", pad=5)
    for ax, head in zip(grid[0], ("Image", "Truth", "Prediction"), strict=True):
        ax.annotate(
            head, (0.5, 1), (0, 22 if captions else 6), "axes fraction", "offset points", ha="center",
            fontsize=12, fontweight="bold", color=_INK,
        )  # fmt: skip
    if legend is not None:
        striped = any(is_striped(picture) for row in rows for picture in row[1:])
        _legend_strip(figure, legend, stripes="no label" if striped else None)
    save_figure(figure, path)


def confusion_picture(matrix: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draw which class was mapped as which: shares of each row (the truth), and counts of pixels.

    Args:
        matrix: Counts `(K, K)`: rows are the truth, columns the prediction.
        names: Names of the K classes.
        path: Where to write the PNG.
    """
    shares, count = row_shares(matrix), len(names)
    labels = ["\n".join(textwrap.wrap(plain(name, 44), 22)) for name in names]
    side = max(0.74 * count, 2.2)
    figure = new_figure(side + 2.6, side + 2.2)
    ax = figure.subplots()
    ax.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for (row, col), share in np.ndenumerate(shares):
        _confusion_cell(ax, row, col, share, int(matrix[row, col]))
    ax.set_xticks(range(count), labels, rotation=40, ha="right", rotation_mode="anchor", fontsize=9.5, color=_INK)
    ax.set_yticks(range(count), labels, fontsize=9.5, color=_INK)
    ax.set_xticks(np.arange(count + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(count + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=2)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("mapped as", fontsize=11, fontweight="bold", color=_INK)
    ax.set_ylabel("truth", fontsize=11, fontweight="bold", color=_INK)
    save_figure(figure, path)


def _confusion_cell(ax: Axes, row: int, col: int, share: float, pixels: int) -> None:
    if math.isnan(share):
        ax.text(col, row, "–", ha="center", va="center", fontsize=9, color=_FAINT)
        return
    ink = "white" if share > 0.55 else _INK if pixels else _FAINT
    for text, lift, size in ((share_text(share), 6, 10), (short_count(pixels), -9, 7.5)):
        weight = "bold" if row == col and lift > 0 else "normal"
        ax.annotate(
            text, (col, row), (0, lift), textcoords="offset points", ha="center", va="center", fontsize=size, color=ink,
            fontweight=weight,
        )  # fmt: skip


def share_text(share: float) -> str:
    """Return a share as whole per cent; `<1 %` and `>99 %` where rounding would say none or all."""
    if 0 < share <= 0.005:
        return "<1 %"
    if 0.995 <= share < 1:
        return ">99 %"
    return f"{100 * share:.0f} %"


def short_count(count: int) -> str:
    """Return a count in at most five signs, such as `12.3k`."""
    for size, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            value = count / size
            return f"{value:.1f}{unit}" if value < 99.95 else f"{value:.0f}{unit}"
    return str(count)


def curves(rows: Rows, path: Path, *, legend: Legend | None = None) -> None:
    """Draw how training went: losses, those of a critic, how good the maps of validation are, and the learning rate.

    Args:
        rows: `epoch` (or `step`), `train_loss`, `train_adversarial`, `train_critic`, `val_loss`, `val_mean_iou`,
            `val_accuracy`, `val_iou/<class>`, `val_l1`, `lr`. Any of them may be absent from any row.
        path: Where to write the PNG.
        legend: Gives the classes their colours.
    """
    panels = {"Loss": (1.0, _loss_lines), "On validation": (1.15, _quality_lines), "Learning rate": (0.8, _rate_lines)}
    if _points(rows, "train_critic"):
        panels["Against the critic"] = (0.9, _critic_lines)
    figure = new_figure(5 * len(panels), 4.6)
    axes = figure.subplots(1, len(panels), width_ratios=[width for width, _ in panels.values()])
    for ax, (title, (_, draw)) in zip(axes, panels.items(), strict=True):
        _panel(ax, title, _unit(rows))
        draw(ax, rows, legend)
        if len(ax.lines) > 1:
            many = len(ax.lines) > 4
            below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 3} if many else {"loc": "best"}
            ax.legend(fontsize=8.5, frameon=False, labelcolor=_INK, **below)
    save_figure(figure, path)


def _loss_lines(ax: Axes, rows: Rows, _: Legend | None) -> None:
    _line(ax, rows, "train_loss", "training", color="#8A929B")
    _line(ax, rows, "val_loss", "validation", color="#1F6FB2", linewidth=2.2)
    losses = [loss for key in ("train_loss", "val_loss") for _, loss in _points(rows, key)]
    if losses and 0 < SPREAD * min(losses) < max(losses):
        ax.set_yscale("log")


def _quality_lines(ax: Axes, rows: Rows, legend: Legend | None) -> None:
    if _points(rows, "val_l1"):
        _line(ax, rows, "val_l1", "L1 in grey levels", color=_INK, linewidth=2.6)
        ax.set_ylabel("L1 in grey levels", fontsize=9.5, color=_INK)
        ax.set_ylim(bottom=0)
        return
    _class_lines(ax, rows, legend)
    _line(ax, rows, "val_accuracy", "accuracy", color="#8A929B", linestyle="--")
    _line(ax, rows, "val_mean_iou", "mean IoU", color=_INK, linewidth=2.6)
    ax.set_ylim(0, 1)


def _rate_lines(ax: Axes, rows: Rows, _: Legend | None) -> None:
    _line(ax, rows, "lr", "learning rate", color="#1F6FB2")
    if any(lr > 0 for _, lr in _points(rows, "lr")):
        ax.set_yscale("log")


def _critic_lines(ax: Axes, rows: Rows, _: Legend | None) -> None:
    _line(ax, rows, "train_adversarial", "the network's loss", color="#1F6FB2")
    _line(ax, rows, "train_critic", "the critic's loss", color="#D6006C")


def _class_lines(ax: Axes, rows: Rows, legend: Legend | None) -> None:
    """Draw the classes in their colours; a rim lets white and yellow be seen on paper."""
    from matplotlib.patheffects import Normal, Stroke

    colours = {c.name: c.hex for c in legend.classes} if legend else {}
    rim = [Stroke(linewidth=2.6, foreground="#00000055"), Normal()]
    for key in dict.fromkeys(k for row in rows for k in row if k.startswith("val_iou/")):
        name = key.removeprefix("val_iou/")
        _line(ax, rows, key, plain(name, 24), color=colours.get(name), linewidth=1.6, path_effects=rim)


def _points(rows: Rows, key: str) -> list[tuple[float, float]]:
    unit = _unit(rows)
    couples = ((row.get(unit, i), row.get(key)) for i, row in enumerate(rows, 1))
    return [(x, y) for x, y in couples if x is not None and y is not None and math.isfinite(y)]


def _unit(rows: Sequence[Mapping[str, float | None]]) -> str:
    return next((key for key in ("epoch", "step") if any(key in row for row in rows)), "row")


def _line(ax: Axes, rows: Rows, key: str, label: str, **style: object) -> None:
    points = _points(rows, key)
    if points:
        marker = "o" if len(points) <= 12 else None
        ax.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=3.5, **style)  # type: ignore[arg-type]


def _panel(ax: Axes, title: str, unit: str) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_title(title, fontsize=12, fontweight="bold", color=_INK, loc="left")
    ax.set_xlabel(unit, fontsize=9.5, color=_INK)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.tick_params(labelsize=9, colors=_INK, length=3)
    ax.grid(color="#E4E7EA", linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color("#C3C8CE")


def map_picture(
    ids: np.ndarray,
    legend: Legend,
    path: Path,
    *,
    rgb: np.ndarray | None = None,
    polygons: Iterable[BaseGeometry] = (),
    side: int = 1600,
) -> None:
    """Draw a map with its legend, beside its image if there is one.

    Args:
        ids: Class ids `(H, W)`.
        legend: The classes.
        path: Where to write the PNG.
        rgb: The image `(h, w, 3)` uint8 of the same ground, at any resolution.
        polygons: Outlines to draw over the image (over the map if there is no image), in pixels of `ids`: x is the
            column and y the row.
        side: The longest side of the picture in pixels.
    """
    height, width = ids.shape
    wide = width > 1.4 * height
    parts = 1 if rgb is None else 2
    rows, cols = (parts, 1) if wide else (1, parts)
    unit = (side / _DPI - 1.2) / max(rows * height, cols * width)
    figure = new_figure(max(cols * width * unit, 4.5), rows * height * unit + 1.0, layout="compressed")
    axes = figure.subplots(rows, cols, squeeze=False).ravel()
    extent = (0.0, float(width), float(height), 0.0)
    if rgb is not None:
        show(axes[0], shrink(rgb, side, photo=True), extent)
    show(axes[-1], class_picture(shrink(ids, side, photo=False), legend), extent)
    _outline(axes[0], polygons, extent)
    _legend_strip(figure, legend, stripes="no data" if (ids == IGNORED).any() else None)
    save_figure(figure, path)


def _outline(ax: Axes, polygons: Iterable[BaseGeometry], extent: tuple[float, float, float, float]) -> None:
    """Draw outlines dark on light, so that they are seen on any ground."""
    from matplotlib.collections import LineCollection

    borders = [p.boundary for p in polygons if not p.is_empty]
    lines = [np.asarray(part.coords)[:, :2] for b in borders for part in getattr(b, "geoms", [b])]
    for colour, linewidth in (("white", 2.2), ("#D6006C", 1.1)):
        ax.add_collection(LineCollection(lines, colors=colour, linewidths=linewidth), autolim=False)
    ax.axis(extent)


def new_figure(width: float, height: float, *, layout: str = "constrained") -> Figure:
    """Return an empty figure of this many inches that belongs to no window and to no global list."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout=layout, facecolor="white")  # type: ignore[arg-type]
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, with little around it, packed fast: photographs take the usual level thrice as long."""
    ours = {VERSION_TAG: importlib.metadata.version("sat2map")}
    with whole_file(path) as part:
        figure.savefig(
            part, format="png", metadata=ours, bbox_inches="tight", pad_inches=0.12, pil_kwargs={"compress_level": 1}
        )


def show(ax: Axes, picture: np.ndarray, extent: tuple[float, float, float, float] | None = None) -> None:
    """Show a picture `(H, W, 3)` without ticks, sharp where it is enlarged."""
    ax.imshow(picture, extent=extent, interpolation="antialiased", interpolation_stage="rgba")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_color("#C3C8CE")


def _legend_strip(figure: Figure, legend: Legend, *, stripes: str | None) -> None:
    """Put the classes, and what stripes mean if there are any, below the pictures, in as many columns as fit."""
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=c.hex, edgecolor=_FAINT, label=plain(c.name, 36)) for c in legend.classes]
    if stripes:
        light, dark = ("#{:02X}{:02X}{:02X}".format(*grey) for grey in HATCH)
        handles.append(Patch(facecolor=light, edgecolor=dark, hatch="////", label=stripes))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=_columns(figure, handles),
        frameon=False,
        fontsize=10,
        labelcolor=_INK,
        handlelength=1.4,
        handleheight=1.1,
    )


def _columns(figure: Figure, handles: Sequence[Patch]) -> int:
    longest = max(len(str(h.get_label())) for h in handles)
    inches = 0.09 * longest + 0.6
    return max(1, min(len(handles), int(figure.get_figwidth() / inches)))


def is_striped(picture: np.ndarray) -> bool:
    """Tell whether some of a drawn map `(H, W, 3)` has no label, or no data."""
    return bool((picture == HATCH[0]).all(axis=-1).any())


def plain(text: str, length: int) -> str:
    """Return a user's text so that matplotlib shows just it: it takes `$` for formulas and hides labels in `_`."""
    short = text if len(text) <= length else text[: length - 1] + "…"
    return (" " if short.startswith("_") else "") + short.replace("$", r"\$")
