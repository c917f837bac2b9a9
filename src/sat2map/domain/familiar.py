"""How unlike anything learnt from a window is, by what the network sees of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

STRANGE = 0.03
"""Share of the windows of other places that is called strange."""

FOLDS = 8
"""Training ground is left out in so many parts at most, to see how far ground of other places is."""

COVERED = 0.1
"""Share of a window that has to be valid for it to be learnt from, or judged: of slivers all would be strange."""

DEAD = 0.1
"""Share of the usual deviation that each feature is given at least: what never varied in training may do so later."""


@dataclass(frozen=True, eq=False)
class Familiar:
    """The inner features of training windows, as one Gaussian.

    The distance is that of Mahalanobis, as in Lee et al. (2018, A Simple Unified Framework for Detecting
    Out-of-Distribution Samples and Adversarial Attacks), of features brought to deviation 1, with one class and the
    shrunk covariance of Ledoit and Wolf (2004, A well-conditioned estimator for large-dimensional covariance
    matrices): along the principal axes each window is measured by their variances, beyond them by `rest`.

    Args:
        mean: Mean of each feature, `(D,)`.
        scale: Deviation of each feature, `(D,)`.
        axes: Principal axes of the scaled features, `(D, R)`.
        variances: Shrunk variance along each, `(R,)`.
        rest: Shrunk variance in all other directions, `(1,)`.
        threshold: Distance from which on windows are strange, `(1,)`.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    variances: np.ndarray
    rest: np.ndarray
    threshold: np.ndarray

    def __post_init__(self) -> None:
        count, rank = self.mean.size, self.variances.size
        shapes = {"mean": (count,), "scale": (count,), "axes": (count, rank), "variances": (rank,)}
        shapes |= {"rest": (1,), "threshold": (1,)}
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"{name} cannot be as it says")
            if name not in ("mean", "axes") and not (array > 0).all():
                raise ValueError(f"{name} cannot be as it says")

    def distances(self, inner_N: np.ndarray) -> np.ndarray:
        """Return the distance of Mahalanobis `(N,)` of inner features `(N, D)`."""
        centred = (inner_N.astype(np.float64) - self.mean) / self.scale
        along = centred @ self.axes
        beyond = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        distances: np.ndarray = np.sqrt((along**2 / self.variances).sum(axis=1) + beyond / self.rest)
        return distances

    def strangeness(self, inner_N: np.ndarray) -> np.ndarray:
        """Return the distances `(N,)` in thresholds."""
        strangeness: np.ndarray = self.distances(inner_N) / self.threshold
        return strangeness

    def save(self, path: Path) -> None:
        """Write the arrays to a safetensors file."""
        save_file({name: np.ascontiguousarray(array) for name, array in vars(self).items()}, path)


def load_familiar(path: Path) -> Familiar:
    """Read what `Familiar.save` wrote.

    Raises:
        ValueError: It is damaged.
    """
    try:
        return Familiar(**load_file(path))
    except (SafetensorError, OSError, TypeError) as error:
        raise ValueError(f"{path.name}: {error}") from None


def fit_familiar(learnt_N: np.ndarray, unseen_N: np.ndarray, places: Sequence[str] = ()) -> Familiar | None:
    """Fit the Gaussian to the windows learnt from, and its threshold to windows of other places.

    Judges of the threshold are the windows of validation ground, and those of each place of the training ground by the
    Gaussian of all others: how far unseen ground of the same kind is, is known only from several places.

    Args:
        learnt_N: Inner features of training windows.
        unseen_N: Those of validation windows.
        places: The place of each training window; where there are not two of them, and no validation window, the
            training windows themselves have to stand in.

    Returns:
        None if there are too few windows, or they are all the same.
    """
    fitted = _gaussian(learnt_N)
    if fitted is None:
        return None
    judges = [fitted.distances(unseen_N)] if len(unseen_N) else []
    for place in _folds(places):
        others = _gaussian(learnt_N[~place])
        judges += [others.distances(learnt_N[place])] if others else []
    distances = np.concatenate(judges or [fitted.distances(learnt_N)])
    threshold = max(float(np.quantile(distances, 1 - STRANGE, method="higher")), 1e-6)
    return replace(fitted, threshold=np.array([threshold], np.float32))


def _folds(places: Sequence[str]) -> list[np.ndarray]:
    """Return which windows belong to each place `(N,)` bool, or to each of `FOLDS` groups of places; none of one."""
    names, numbers = np.unique(np.array(places, str), return_inverse=True)
    folds = numbers % FOLDS
    return [folds == fold for fold in np.unique(folds)] if len(names) > 1 else []


def _gaussian(learnt_N: np.ndarray) -> Familiar | None:
    """Fit everything but the threshold; None if there are too few windows, or they are all the same."""
    if len(learnt_N) < 2 or not np.isfinite(learnt_N).all():
        return None
    deviation = learnt_N.std(axis=0, dtype=np.float64)
    if not deviation.any():
        return None
    mean, scale = learnt_N.mean(axis=0, dtype=np.float64), np.maximum(deviation, DEAD * deviation.mean())
    axes, variances, rest = _shrunk((learnt_N - mean) / scale)
    return Familiar(*(np.asarray(a, np.float32) for a in (mean, scale, axes, variances, [rest], [1.0])))


def _shrunk(centred_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return principal axes, their shrunk variances, and that of all other directions (Ledoit and Wolf 2004, 3.3).

    The covariance S becomes (1 - r) S + r m I, with m the mean variance; r weighs how far the windows' own products
    scatter around S against how far S is from m I.
    """
    count, features = centred_N.shape
    _, singular, directions = np.linalg.svd(centred_N, full_matrices=False)
    variances = singular**2 / count
    mean = variances.sum() / features
    spread = (variances**2).sum() - features * mean**2  # of S around m I
    norms = (centred_N**2).sum(axis=1)
    scatter = ((norms**2).sum() / count - (variances**2).sum()) / count  # of the windows' products around S
    share = min(scatter / spread, 1.0) if spread > 0 else 1.0
    share = max(share, 1e-3)
    return directions.T, (1 - share) * variances + share * mean, share * mean
