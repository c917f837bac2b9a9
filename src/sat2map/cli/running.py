"""One command from its words to its exit code: mistakes become sentences, an interruption says how to go on."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError

from sat2map.cli.app import app
from sat2map.errors import Sat2mapError

_GOING_ON = {
    "train": " Go on with the same command and --resume.",
    "predict": " Go on with the same command.",
    "download": " Go on with the same command.",
}


def main() -> None:
    """Run the command line: exit code 0, 2 for a user's mistake, 1 for a failure, 130 when interrupted."""
    sys.exit(run(sys.argv[1:]))


def run(words: list[str]) -> int:
    """Run one command and return its exit code."""
    _listen()
    try:
        code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        return _refuse(f"{_wrong_words(error)} See: {' '.join(['sat2map', *(error.command_chain or ())])} --help", 2)
    except Sat2mapError as error:
        return _refuse(str(error), error.exit_code)
    except KeyboardInterrupt:
        print(f"Stopped.{_GOING_ON.get(words[0], '')}", file=sys.stderr)
        return 130
    return code if isinstance(code, int) else 0


def _listen() -> None:
    """Show what this package logs on standard error, and nothing of what libraries warn of or log."""
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(_UNHEARD)
    ours = logging.getLogger("sat2map")
    ours.addHandler(_TOLD)
    ours.setLevel(logging.INFO)


def _refuse(text: str, code: int) -> int:
    print(f"Error: {text}", file=sys.stderr)
    return code


def _wrong_words(error: CycloptsError) -> str:
    """Return what is wrong with the words of a command, in a sentence."""
    if isinstance(error, UnusedCliTokensError):
        words = ", ".join(map(repr, error.unused_tokens or ()))
        return f"{words} cannot be placed. An option with several values is repeated: --bands red --bands green."
    if isinstance(error, MissingArgumentError):
        return str(error).partition(" parameter ")[2].replace("requires an argument", "is missing")
    return str(error)


class _Told(logging.StreamHandler[Any]):
    """Writes to standard error as it is at the time: a progress bar puts itself between."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        mark = "Warning: " if record.levelno >= logging.WARNING else ""
        return mark + super().format(record)


_TOLD, _UNHEARD = _Told(), logging.NullHandler()
