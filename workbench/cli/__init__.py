"""The command line: `workbench --help`.

With `--json` standard output holds JSON and nothing else; progress and logs go to standard error.
What the user can mend is one sentence and exit code 2; `--debug` shows where it arose.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

import typer

from workbench.cli import (
    advise,
    allocate,
    course,
    cure,
    diagnose,
    doctor,
    doors,
    methods,
    models,
    quantize,
    restore,
    runs,
    sweep,
    targets,
    verify,
    whatif,
)
from workbench.cli.console import app, errors
from workbench.foundation.errors import WorkbenchError

__all__ = ["main"]

#: typer carries its own copy of click, whose base of wrong usage has no public name
UsageError = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")
INTERRUPTED = 130
#: importing them registers their commands
_COMMANDS = (
    advise,
    allocate,
    course,
    cure,
    diagnose,
    doctor,
    doors,
    methods,
    models,
    quantize,
    restore,
    runs,
    sweep,
    targets,
    verify,
    whatif,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING, stream=sys.stderr)
    previous = _polite_end(_as_interrupt)
    try:
        code = app(given, prog_name="workbench", standalone_mode=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        if debug:
            raise
        return _report(error, "--json" in given)
    finally:
        _polite_end(previous)
    return code if isinstance(code, int) else 0


def _polite_end(handler: Any) -> Any:
    """Set what SIGTERM does, where this thread may; gives what it did before."""
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, handler)


def _as_interrupt(*_: object) -> NoReturn:
    """A polite end is like Ctrl-C: what can be resumed says how."""
    raise KeyboardInterrupt


def _report(error: Exception, as_json: bool) -> int:
    text = _sentence(error)
    known = isinstance(error, (WorkbenchError, UsageError))
    errors.print(f"[bold red]error:[/] {_plain(text)}", highlight=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps({"error": text}) + "\n")
    return 2 if known else 1


def _sentence(error: Exception) -> str:
    """What went wrong, for people."""
    if isinstance(error, WorkbenchError):
        return str(error)
    if isinstance(error, UsageError):
        context = getattr(error, "ctx", None)
        reason = str(getattr(error, "format_message", error.__str__)()).rstrip(".")
        place = "workbench" if context is None else context.command_path
        return f"{reason[:1].lower()}{reason[1:]}; see: {place} --help"
    first = (str(error).splitlines() or [""])[0]
    kind = type(error).__name__
    return f"internal error, {kind}: {first}; run again with --debug to see where"


def _plain(text: str) -> str:
    """Safe against markup in names that strangers chose."""
    return text.replace("[", "\\[")
