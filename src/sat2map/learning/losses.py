"""How wrong a map is, as one number to learn from: plain functions, and sums of them by name.

Every loss takes raw scores and the true map, computes in float32, and never looks at pixels whose id is `IGNORED`, or
that are clear in a true picture. If all are, the loss is zero and so is its gradient. Importing this needs no torch, so
that names can be listed without it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from sat2map.errors import BadOption, UnknownName
from sat2map.legend import IGNORED
from sat2map.outputs import Picture

if TYPE_CHECKING:
    from torch import Tensor

    Loss: TypeAlias = Callable[..., Tensor]


def cross_entropy(scores_NKHW: Tensor, labels_NHW: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of the labelled pixels.

    Args:
        scores_NKHW: Raw scores of K classes.
        labels_NHW: Class ids, uint8 or int64.
        weight: Weight of each class `(K,)`; the mean over the pixels is weighted by it, as torch does.
    """
    losses_NHW, weights_NHW = _by_pixel(scores_NKHW, labels_NHW, weight)
    return _mean(losses_NHW, weights_NHW)


def focal(scores_NKHW: Tensor, labels_NHW: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return the mean focal loss, cross-entropy times `(1 - p)^2`: pixels that are right already count little.

    Lin et al. 2017, Focal Loss for Dense Object Detection, eq. 4 with gamma = 2. Arguments as in `cross_entropy`.
    """
    losses_NHW, weights_NHW = _by_pixel(scores_NKHW, labels_NHW, weight)
    missing_NHW = -(-losses_NHW).expm1()  # 1 - p, without losing digits where p is near one
    return _mean(missing_NHW * missing_NHW * losses_NHW, weights_NHW)


def dice(scores_NKHW: Tensor, labels_NHW: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return one minus the Dice coefficient (F1) of the probabilities, as in `tversky` with both weights 1/2."""
    return _overlap(scores_NKHW, labels_NHW, weight, false_positives=0.5, false_negatives=0.5)


def jaccard(scores_NKHW: Tensor, labels_NHW: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return one minus the Jaccard index (IoU) of the probabilities, as in `tversky` with both weights 1."""
    return _overlap(scores_NKHW, labels_NHW, weight, false_positives=1.0, false_negatives=1.0)


def tversky(scores_NKHW: Tensor, labels_NHW: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return one minus the Tversky index of the probabilities: a missed pixel costs more than one too many.

    Salehi et al. 2017, Tversky Loss Function for Image Segmentation, eq. 1 and 3, with alpha = 0.3 and beta = 0.7.
    Counted over the batch, and averaged over the classes that are in its labels: a class that is absent has no
    overlap to reach, and would only teach the network to be silent.

    Args:
        scores_NKHW: Raw scores of K classes.
        labels_NHW: Class ids, uint8 or int64.
        weight: Weight of each class `(K,)` in the average.
    """
    return _overlap(scores_NKHW, labels_NHW, weight, false_positives=0.3, false_negatives=0.7)


def lovasz(scores_NKHW: Tensor, labels_NHW: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return the Lovász-Softmax loss: the Jaccard loss made smooth by its Lovász extension.

    Berman et al. 2018, The Lovász-Softmax Loss, eq. 8 and 9 and algorithm 1. Counted as `tversky` is. Sorts the
    pixels of each class, which makes it several times slower than the others.
    """
    known_NHW, truth_NKHW = _truth(scores_NKHW, labels_NHW)
    errors_NKHW = (truth_NKHW - scores_NKHW.float().softmax(1)).abs() * known_NHW.unsqueeze(1)
    errors, truth = (x.transpose(0, 1).flatten(1) for x in (errors_NKHW, truth_NKHW))  # (K, pixels)
    present_K = truth.any(1)
    errors, order = errors[present_K].sort(dim=1, descending=True)
    steps = _jaccard_steps(truth[present_K].gather(1, order))
    return _mean((errors * steps).sum(1), _class_weights(present_K, weight)[present_K])


def l1(scores_NKHW: Tensor, truth: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return the mean absolute difference of colours from -1 to 1, as pix2pix is trained with.

    Args:
        scores_NKHW: Raw scores of three colours.
        truth: Pictures `(N, 4, H, W)` uint8.
        weight: Not used: pictures have no classes.
    """
    differences_NKHW, known = _differences(scores_NKHW, truth)
    return _mean(differences_NKHW.abs().mean(1, keepdim=True), known)


def l2(scores_NKHW: Tensor, truth: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return the mean squared difference of colours from -1 to 1. Arguments as in `l1`."""
    differences_NKHW, known = _differences(scores_NKHW, truth)
    return _mean(differences_NKHW.square().mean(1, keepdim=True), known)


def charbonnier(scores_NKHW: Tensor, truth: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """Return the mean of `sqrt(d^2 + e^2)`, an absolute difference that is smooth near 0, where it is `e` = 1e-3.

    Charbonnier et al. 1994, Two deterministic half-quadratic regularization algorithms. Arguments as in `l1`.
    """
    differences_NKHW, known = _differences(scores_NKHW, truth)
    return _mean((differences_NKHW.square() + 1e-6).sqrt().mean(1, keepdim=True), known)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "dice": dice,
    "jaccard": jaccard,
    "focal": focal,
    "tversky": tversky,
    "lovasz": lovasz,
}
"""The losses of class maps."""

PICTURE_LOSSES: dict[str, Loss] = {"l1": l1, "l2": l2, "charbonnier": charbonnier}
"""The losses of map pictures."""


@dataclass(frozen=True)
class WeightedLoss:
    """A sum of losses, written back by `str`.

    Args:
        terms: Weight and name of each loss of the sum.
        class_weights: Weight of each class `(K,)`, for all of them.
    """

    terms: tuple[tuple[float, str], ...]
    class_weights: Tensor | None = field(default=None, compare=False)

    def __call__(self, scores_NKHW: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of raw scores against the true map, a scalar."""
        total = scores_NKHW.new_zeros(())
        for factor, name in self.terms:
            total = total + factor * (LOSSES | PICTURE_LOSSES)[name](scores_NKHW, truth, weight=self.class_weights)
        return total

    def __str__(self) -> str:
        return " + ".join(name if factor == 1 else f"{factor!r}*{name}" for factor, name in self.terms)


_TERM = re.compile(r"\s*(?:(?P<factor>(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*\*)?\s*(?P<name>[a-z_]\w*)\s*(?:\+|$)", re.I)


def parse_loss(text: str, class_weights: Tensor | None = None, *, known: Mapping[str, Loss] = LOSSES) -> WeightedLoss:
    """Read a sum of losses such as `dice + 0.5*focal`.

    Args:
        text: The sum.
        class_weights: Weight of each class `(K,)`.
        known: The losses it may name: `LOSSES` or `PICTURE_LOSSES`.

    Raises:
        BadOption: It is not written like that, or a weight is not above zero.
        UnknownName: It names another loss.
    """
    terms: list[tuple[float, str]] = []
    place = 0
    while place < len(text) or not terms:
        match = _TERM.match(text, place)
        if not match:
            raise _unreadable(text, place, known)
        factor, name, place = float(match["factor"] or 1), match["name"], match.end()
        if name not in known:
            raise UnknownName("loss", name, known)
        if not 0 < factor < math.inf:
            raise BadOption(f"The loss {text!r} weights {name} by {match['factor']}; weights must be above 0.")
        terms.append((factor, name))
    if text.rstrip().endswith("+"):
        raise _unreadable(text, len(text), known)
    return WeightedLoss(tuple(terms), class_weights)


def _unreadable(text: str, place: int, known: Mapping[str, Loss]) -> BadOption:
    where = f"at {text[place:].strip()!r}" if text[place:].strip() else "at its end"
    return BadOption(
        f"The loss {text!r} cannot be read {where}. "
        f"Write a sum such as 'cross_entropy + 0.5*dice', with weights above 0, of: {', '.join(known)}."
    )


def _differences(scores_NKHW: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Return by how much the drawn colours differ `(N, 3, H, W)`, and where they are known `(N, 1, H, W)`."""
    picture = Picture()
    colours_NKHW, known = picture.encode(truth)
    return picture.activate(scores_NKHW.float()) - colours_NKHW, known


def _by_pixel(scores_NKHW: Tensor, labels_NHW: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of each pixel, and how much the pixel counts: not at all where it is ignored."""
    from torch.nn.functional import cross_entropy as unweighted

    losses_NHW = unweighted(scores_NKHW.float(), labels_NHW.long(), ignore_index=IGNORED, reduction="none")
    known_NHW = labels_NHW != IGNORED
    if weight is None:
        return losses_NHW, known_NHW.float()
    return losses_NHW, weight.to(losses_NHW)[labels_NHW.long() * known_NHW] * known_NHW


def _overlap(
    scores_NKHW: Tensor, labels_NHW: Tensor, weight: Tensor | None, *, false_positives: float, false_negatives: float
) -> Tensor:
    known_NHW, truth_NKHW = _truth(scores_NKHW, labels_NHW)
    chances_NKHW = scores_NKHW.float().softmax(1)
    hits_K = (chances_NKHW * truth_NKHW).sum((0, 2, 3))
    predicted_K = (chances_NKHW * known_NHW.unsqueeze(1)).sum((0, 2, 3))
    true_K = truth_NKHW.sum((0, 2, 3))
    weighted_K = hits_K + false_positives * (predicted_K - hits_K) + false_negatives * (true_K - hits_K)
    return _mean(1 - _ratio(hits_K, weighted_K), _class_weights(true_K > 0, weight))


def _truth(scores_NKHW: Tensor, labels_NHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return 1 where pixels are labelled `(N, H, W)`, and where they are of each class `(N, K, H, W)`; else 0."""
    classes_K = labels_NHW.new_tensor(range(scores_NKHW.shape[1]))
    truth_NKHW = (labels_NHW.unsqueeze(1) == classes_K.view(-1, 1, 1)).float()
    return (labels_NHW != IGNORED).float(), truth_NKHW


def _jaccard_steps(truth: Tensor) -> Tensor:
    """Return by how much the Jaccard loss grows with each further wrong pixel, in the given order, `(K, pixels)`."""
    total = truth.sum(1, keepdim=True)
    union = total + (1 - truth).cumsum(1)
    losses = 1 - (total - truth.cumsum(1)) / union
    return losses.diff(dim=1, prepend=losses.new_zeros(len(losses), 1))


def _class_weights(present_K: Tensor, weight: Tensor | None) -> Tensor:
    return present_K.float() if weight is None else present_K * weight.to(present_K.device).float()


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return _ratio((values * weights).sum(), weights.sum())


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Divide; nothing of nothing is 0."""
    return part / whole.clamp(min=1e-12)
