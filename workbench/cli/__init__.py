"""The command line: `workbench --help`.

With `--json` standard output holds JSON and nothing else; progress and logs go to standard error.
What the user can mend is one sentence and exit code 2; `--debug` shows where it arose.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence

from workbench.cli import doors, models, quantize, runs
from workbench.cli.console import app, errors
from workbench.foundation.errors import WorkbenchError

__all__ = ["main"]

_COMMANDS = (doors, models, quantize, runs)  # importing them registers their commands


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    logging.basicConfig(level=logging.INFO if debug else logging.WARNING, stream=sys.stderr)
    try:
        app(given, prog_name="workbench")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except Exception as error:
        if debug:
            raise
        return _report(error, "--json" in given)
    return 0


def _report(error: Exception, as_json: bool) -> int:
    known = isinstance(error, WorkbenchError)
    first = (str(error).splitlines() or [""])[0]
    text = (
        str(error)
        if known
        else (
            f"internal error, {type(error).__name__}: {first}; run again with --debug to see where"
        )
    )
    errors.print(f"[bold red]error:[/] {_plain(text)}", highlight=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps({"error": text}) + "\n")
    return 2 if known else 1


def _plain(text: str) -> str:
    """Safe against markup in names that strangers chose."""
    return text.replace("[", "\\[")
