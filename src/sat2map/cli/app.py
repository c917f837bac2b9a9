"""The command `sat2map`, how options become words of it, and how it speaks. Nothing else in the package prints."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

import sat2map
from sat2map.options import (
    CriticOptions,
    EvaluateOptions,
    LearnOptions,
    PredictOptions,
    ReadOptions,
    RuntimeOptions,
    SplitOptions,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

app = App(
    name="sat2map",
    help="Turn satellite and aerial imagery into maps.",
    help_format="plaintext",  # the list of commands needs no Markdown, whose parser takes longer to load than the list
    version=sat2map.__version__,
    default_parameter=Parameter(negative_iterable=()),
    suppress_keyboard_interrupt=False,  # `run` tells how to go on
)

command = partial(app.command, help_format="markdown")
"""Makes a function a command; its docstring is its help."""


def _flat(group: str) -> Parameter:
    """Show the fields of an options class as options of the command, under one heading."""
    return Parameter(name="*", group=group)


Reading = Annotated[ReadOptions, _flat("Reading")]
Splitting = Annotated[SplitOptions, _flat("Split")]
Learning = Annotated[LearnOptions, _flat("Learning")]
Judging = Annotated[CriticOptions, _flat("Critic")]
Predicting = Annotated[PredictOptions, _flat("Prediction")]
Running = Annotated[RuntimeOptions, _flat("Prediction")]
Evaluating = Annotated[EvaluateOptions, _flat("Evaluation")]


def console() -> Console:
    """Return what tables are printed on, each text as it is: names of classes may hold brackets and colons."""
    from rich.console import Console

    return Console(markup=False, emoji=False)


def say(text: str) -> None:
    """Print a line."""
    print(text)


def show(parts: Iterable[Table | str]) -> None:
    """Print tables and lines."""
    for part in parts:
        print(part) if isinstance(part, str) else console().print(part)
