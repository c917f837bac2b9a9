"""The tree of mistakes. Every message says what came, what is allowed and what to do.

Sat2mapError            exit code 1: something failed that the user did not cause
├── MissingExtra        an optional part of the package is not installed   (also ImportError)
├── TrainingFailed      the loss left the numbers, a worker died           (also RuntimeError)
├── WorkerLost          the processes of a cluster died again and again    (also RuntimeError)
└── UserError           exit code 2: the call or the data need a change    (also ValueError)
    ├── BadOption       an option whose value cannot be used
    ├── UnknownName     a name that stands in no table
    ├── SceneError      an image that cannot be read                       (also OSError)
    ├── SourceError     imagery and labels that do not fit together
    ├── ModelError      a model that cannot be loaded, or not for this scene
    └── OutputError     a destination that cannot be written               (also OSError)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class Sat2mapError(Exception):
    """Base of all errors of this package; the command line ends with `exit_code`."""

    exit_code = 1


class MissingExtra(Sat2mapError, ImportError):
    """An optional dependency is missing."""

    def __init__(self, job: str, extra: str) -> None:
        self._given = job, extra
        super().__init__(f"{job} needs the optional part '{extra}'. Install it with: pip install 'sat2map[{extra}]'")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given  # as raised by another process


class TrainingFailed(Sat2mapError, RuntimeError):
    """Training cannot go on."""


class WorkerLost(Sat2mapError, RuntimeError):
    """Processes that computed for this one died."""


class UserError(Sat2mapError, ValueError):
    """The call or the data need a change by the user."""

    exit_code = 2


class BadOption(UserError):
    """An option whose value cannot be used."""


class UnknownName(UserError):
    """A name that stands in no table.

    Args:
        kind: What was looked for, in words ("network").
        name: What came.
        allowed: What there is.
    """

    def __init__(self, kind: str, name: str, allowed: Iterable[str]) -> None:
        names = sorted(set(allowed))
        self._given = kind, name, names
        close = difflib.get_close_matches(name, names, n=3)
        hint = f" Did you mean {' or '.join(repr(n) for n in close)}?" if close else ""
        known = f"There is: {', '.join(names) or 'none'}." if len(names) <= 40 else f"{len(names)} are known."
        super().__init__(f"There is no {kind} {name!r}.{hint} {known}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._given  # as raised by another process


class SceneError(UserError, OSError):
    """An image that cannot be read."""


class SourceError(UserError):
    """Imagery and labels that do not fit together."""


class ModelError(UserError):
    """A model that cannot be loaded, or that does not fit this scene."""


class OutputError(UserError, OSError):
    """A destination that cannot be written."""
