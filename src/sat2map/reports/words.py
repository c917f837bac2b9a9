"""Scores in words and figures, alike in pages, model cards and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sat2map.areas import Estimate
from sat2map.bootstrap import Interval
from sat2map.fidelity import Metric
from sat2map.metrics import Scores
from sat2map.reports.content import Report

MEANS = {
    "accuracy": "Accuracy",
    "mean_iou": "Mean IoU",
    "mean_f1": "Mean F1",
    "mean_precision": "Mean precision",
    "mean_recall": "Mean recall",
    "mean_boundary_f1": "Mean boundary F1",
    "mean_boundary_iou": "Mean boundary IoU",
}
"""Scores of a map, and what they are called."""

COLUMNS = {
    "iou": "IoU",
    "f1": "F1",
    "precision": "Precision",
    "recall": "Recall",
    "boundary_f1": "Boundary F1",
    "boundary_iou": "Boundary IoU",
}
"""Scores of a class, and what they are called."""

OBJECTS = {"object_precision": "Precision", "object_recall": "Recall", "object_f1": "F1"}
"""Scores of a class's objects, and what they are called."""

_DIGITS = {"L1": 1, "PSNR": 1, "FID": 1, "KID": 4}
_NARROW = 0.02


def verdict(scores: Scores) -> str:
    """Return in plain words what the scores say, beside what a map without any skill would reach."""
    labelled = sum(c.pixels for c in scores.classes)
    if scores.accuracy is None or not labelled:
        return "No labelled pixel could be scored, so nothing can be said about this map."
    common = max(scores.classes, key=lambda c: c.pixels)
    base = common.pixels / labelled
    text = f"The map is right on {percent(scores.accuracy)} of the labelled pixels. "
    reach = f"Calling everything {common.name} would reach {percent(base)}"
    text += f"{reach}." if scores.accuracy > base else f"{reach}: the map is no better than that."
    ranked = sorted((c.iou, c.name) for c in scores.classes if c.iou is not None)
    if len(ranked) > 1:
        (low, worst), (high, best) = ranked[0], ranked[-1]
        text += f" {best} is mapped best (IoU {high:.2f}), {worst} worst (IoU {low:.2f})."
    return text


def picture_verdict(metrics: Sequence[Metric], l1_of_mean_colour: float | None) -> str:
    """Return in plain words how far pictures are from their truth, beside what painting without skill would reach."""
    l1 = next((m.value for m in metrics if m.name == "L1"), None)
    if l1 is None or l1_of_mean_colour is None:
        return "No pixel could be compared, so nothing can be said about this map."
    text = f"The picture is {l1:.1f} of 255 grey levels from the truth on average. "
    reach = f"Painting everything in the mean colour of the truth would be {l1_of_mean_colour:.1f} from it"
    return text + (f"{reach}." if l1 < l1_of_mean_colour else f"{reach}: the picture is no better than that.")


def whole_verdict(report: Report) -> str:
    """Return in plain words what measures and scores say, as far as there are any."""
    parts = [picture_verdict(report.metrics, report.l1_of_mean_colour)] if report.metrics else []
    if report.scores:
        parts.append(("By classes: " if parts else "") + verdict(report.scores))
    return " ".join(parts)


def percent(share: float | None) -> str:
    """Return a share in per cent with one decimal; a dash for None."""
    return "–" if share is None else f"{100 * share:.1f} %"


def percent_range(interval: Interval | None) -> str:
    """Return an interval of shares in per cent; nothing for None."""
    return f"{100 * interval[0]:.1f} – {100 * interval[1]:.1f} %" if interval else ""


def decimal(score: float | None, name: str = "") -> str:
    """Return a score in as many digits as are of use; a dash for None.

    Args:
        score: The score.
        name: What it is called: some measures are no numbers from 0 to 1.
    """
    return "–" if score is None else f"{score:.{_DIGITS.get(name, 3)}f}"


def decimal_range(interval: Interval | None, name: str = "") -> str:
    """Return an interval in two digits, or three where it is narrow; nothing for None."""
    if interval is None:
        return ""
    digits = _DIGITS.get(name, 2 if interval[1] - interval[0] >= _NARROW else 3)
    return " – ".join(_signed(end, digits) for end in interval)


def figure(metric: Metric) -> str:
    """Return a measure with its spread in as many digits as are of use; a dash where it is absent."""
    if metric.value is None or metric.spread is None:
        return decimal(metric.value, metric.name)
    return f"{decimal(metric.value, metric.name)} ± {decimal(metric.spread, metric.name)}"


def margin(estimate: Estimate | None) -> str:
    """Return half of an interval of 95 % of a share; nothing for None."""
    return "" if estimate is None else f"± {estimate.margin:.3f}"


def area(size: float, like: float | None = None) -> str:
    """Return an area such as 21,158 or 37.2 or 0.45, in as many digits as one of the size `like`, if that is given."""
    scale = abs(size if like is None else like)
    return f"{size:,.{0 if scale >= 1000 else 1 if scale >= 10 else 2}f}"


def difference(value: float, low: float, high: float, name: str = "") -> tuple[str, str]:
    """Return a difference of two models in words, and its interval.

    Args:
        value: One model minus the other.
        low: The lower end of its interval of 95 %.
        high: The upper end.
        name: What the score is called.

    Returns:
        Such as `+0.031 higher` and `+0.012 to +0.050`: `unclear` where the interval holds 0.
    """
    word = "higher" if low > 0 else "lower" if high < 0 else "unclear"
    digits = _DIGITS.get(name, 3)
    said, *ends = (_signed(v, digits, "+") for v in (value, low, high))
    return f"{said} {word}", " to ".join(ends)


def _signed(value: float, digits: int, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}".replace("-", "−")


def headline(report: Report, *, tiles: int) -> dict[str, tuple[str, str]]:
    """Return the first figures of a page, each with its interval or nothing, by what they are called."""
    return dict(list((_picture_headline if report.metrics else _class_headline)(report).items())[:tiles])


def _class_headline(report: Report) -> dict[str, tuple[str, str]]:
    if report.scores is None:
        return {}
    known = {MEANS[key]: getattr(report.scores, key) for key in MEANS}
    ends = {name: report.intervals.get(key) for key, name in MEANS.items()}
    shown = {name: (decimal(value), decimal_range(ends[name])) for name, value in known.items()}
    return shown | {"Accuracy": (percent(report.scores.accuracy), percent_range(ends["Accuracy"]))}


def _picture_headline(report: Report) -> dict[str, tuple[str, str]]:
    """Return the measures that there are, and can be trusted."""
    known: dict[str, float | None] = {m.name: m.value for m in report.metrics if m.reliable}
    if report.scores:
        known["Mean IoU"] = report.scores.mean_iou
    order = ["L1", "PSNR", "Mean IoU", "SSIM", "FID" if "FID" in known else "KID", "LPIPS", "MS-SSIM"]
    ends = {**report.intervals, "Mean IoU": report.intervals.get("mean_iou")}
    return {n: (decimal(known[n], n), decimal_range(ends.get(n), n)) for n in order if n in known}


def known_columns(scores: Scores | None) -> Mapping[str, str]:
    """Return the scores that classes are told by: those of outlines only if any class has them."""
    classes = scores.classes if scores else ()
    return {k: n for k, n in COLUMNS.items() if "boundary" not in k or any(getattr(c, k) is not None for c in classes)}


def shares(report: Report) -> Mapping[str, float]:
    """Return which share of the truth each class is of; nothing where no pixel is labelled."""
    classes = report.scores.classes if report.scores else ()
    labelled = sum(c.pixels for c in classes)
    return {c.name: c.pixels / labelled for c in classes} if labelled else {}
