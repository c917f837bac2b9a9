"""What a painted map says, read by its colours: each pixel is of the class whose colour is the nearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sat2map.colours import nearest_colours
from sat2map.evaluation.counting import ClassCounts
from sat2map.fidelity import both_opaque
from sat2map.legend import IGNORED, Legend, MapClass
from sat2map.reports import percent
from sat2map.sources import Finding
from sat2map.tiling import Window

FAR = 60
"""Distance in grey levels (of at most 442) from which on a colour is of no class."""

STEP = 16
"""Width in grey levels of the bins in which far colours are counted."""

NOTABLE = 0.05
"""From which share of far pixels on the truth is warned of."""

SHOWN = 5
"""How many of the most common far colours are told."""


@dataclass
class Decoded:
    """Classes of painted maps and of their truth, and colours that mean none; adds up over blocks.

    Truth in an ignored or a far colour is not scored. A painted pixel always counts as its nearest class, so that
    nothing is gained by colours which mean none.

    Args:
        legend: What the colours mean.
    """

    legend: Legend
    pixels: int = 0
    far_truth: int = 0
    far_painted: int = 0
    counts: ClassCounts = field(init=False)
    _far_colours: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.counts = ClassCounts(self.legend)
        self._far_colours = np.zeros((256 // STEP) ** 3, np.int64)

    @property
    def far_colours(self) -> list[tuple[str, float]]:
        """The most common far colours of the painted maps, about, and the share of all pixels that each has."""
        most = np.argsort(-self._far_colours, kind="stable")[:SHOWN]
        return [(_bin_colour(i), self._far_colours[i] / self.pixels) for i in most if self._far_colours[i]]

    def add(self, picture: str, block: Window, truth: np.ndarray, painted: np.ndarray) -> None:
        """Count a block of a picture: red, green, blue and alpha `(4, H, W)` uint8."""
        known = both_opaque(truth, painted)
        ids, far = self._decode(truth)
        nearest, _ = nearest_colours(painted[:3], _colours(self.legend.classes))
        ids[~known | far] = IGNORED
        self.counts.add(picture, block, ids, nearest)
        strange = self._decode(painted)[1] & known
        self.pixels += int(known.sum())
        self.far_truth += int((far & known).sum())
        self.far_painted += int(strange.sum())
        red, green, blue = painted[:3, strange].astype(np.int64) // STEP
        bins = (red * (256 // STEP) + green) * (256 // STEP) + blue
        self._far_colours += np.bincount(bins, minlength=len(self._far_colours))

    def _decode(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ids, `IGNORED` for ignored classes, and where a colour is far from all of the legend."""
        colours = _colours(self.legend.classes + self.legend.ignored)
        nearest, squared = nearest_colours(picture[:3], colours)
        nearest[nearest >= len(self.legend)] = IGNORED
        return nearest, squared > FAR**2

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Tell if much of the truth means no class: it may have another legend."""
        if self.far_truth < NOTABLE * self.pixels:
            return ()
        text = (
            f"{percent(self.far_truth / self.pixels)} of the true pictures is in colours far from every class of the "
            "legend, and not scored by class. Is it the legend of these maps?"
        )
        return (Finding("warning", "far-colours", text),)

    def facts(self) -> Mapping[str, str]:
        """Return what a reader of the report has to know."""
        pixels = max(self.pixels, 1)
        common = ", ".join(f"{colour} ({percent(share)})" for colour, share in self.far_colours)
        return {
            "Class of a pixel": f"the nearest colour of the legend; more than {FAR} grey levels from all is far",
            "Truth that is far": f"{percent(self.far_truth / pixels)} of the pixels; not scored by class",
            "Prediction that is far": f"{percent(self.far_painted / pixels)} of the pixels; scored as the nearest",
            "Most common there": common or "–",
        }

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **self.counts.scores.to_json(),
            "confusion": {"classes": list(self.legend.names), "rows_are_truth": self.counts.matrix.tolist()},
            "far": {
                "distance": FAR,
                "share_of_truth": self.far_truth / self.pixels if self.pixels else None,
                "share_of_prediction": self.far_painted / self.pixels if self.pixels else None,
                "most_common_in_prediction": [{"colour": c, "share": share} for c, share in self.far_colours],
            },
        }


def _colours(classes: Sequence[MapClass]) -> np.ndarray:
    return np.array([c.colour for c in classes], np.int32)


def _bin_colour(number: int) -> str:
    """Return the colour in the middle of a bin."""
    side = 256 // STEP
    levels = (int(number) // side**2, int(number) // side % side, int(number) % side)
    return "#{:02X}{:02X}{:02X}".format(*(level * STEP + STEP // 2 for level in levels))
