"""Errors a person can act on: one sentence with what was wrong, the value, and the cure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

_LONGEST = 2000


class WorkbenchError(Exception):
    """Base of every error that is the caller's to mend; doors print it without a traceback.

    A message quotes names that strangers chose: line breaks and control characters in it are
    written as escapes, and what is far too long loses its middle.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(plain(message))


class ModelError(WorkbenchError):
    """The model file or module cannot be used as it is."""


class OperatorError(ModelError):
    """An operator, or one of its options, that the graph floor does not know."""


class DataError(WorkbenchError):
    """Calibration or evaluation data that does not fit the model."""


class RecipeError(WorkbenchError):
    """A recipe that asks for something impossible."""


class TargetError(RecipeError):
    """A grid or granularity that the chosen target cannot run."""


class RunError(WorkbenchError):
    """A run directory or job that is missing, broken or in the wrong state."""


class ExportError(WorkbenchError):
    """A quantizer or graph that cannot be written to ONNX."""


def unknown_name(noun: str, name: str, known: Sequence[str]) -> str:
    """The sentence for a name that is not among those known, with the nearest of them.

    Example:
        >>> unknown_name("method", "rtm", ["gram", "rtn"])
        "unknown method 'rtm'; did you mean 'rtn'? known are: gram, rtn"
    """
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown {noun} '{name}'; {hint}known are: {', '.join(known)}"


def plain(text: str) -> str:
    r"""`text` in one printable line of bounded length.

    Example:
        >>> print(plain("layer\nname"))
        layer\nname
    """
    line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", _escape, text)
    half = _LONGEST // 2
    return line if len(line) <= _LONGEST else f"{line[:half]} … {line[-half:]}"


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode()
