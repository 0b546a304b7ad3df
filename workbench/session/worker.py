"""The process of a job: `python -m workbench.session.worker RUN`, or of many: `... --crew`.

One of a crew makes run after run: a line on standard input is the path of a run's folder as JSON, a
line on standard output is how it ended, {"code": N}. When the input closes, its work is over.

SIGTERM and the time limit raise where Python stands, so that files close and the state is written.
Exit codes: 0 done, 2 the user's to mend, 1 an internal error, 143 stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from workbench.foundation.errors import RunError, WorkbenchError
from workbench.session import processes
from workbench.session.runs import Stopped, making
from workbench.session.store import RunFiles

log = logging.getLogger("workbench.worker")

STOPPED = 128 + signal.SIGTERM
NEEDS_MORE = "the job needs more than its limit"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the run; the exit code."""
    wanted = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    _prepare(wanted)
    if not wanted.crew:
        return attempt(RunFiles(wanted.directory), wanted.memory_gib)
    try:
        return _serve(wanted.memory_gib)
    except Stopped:  # while it waited
        return STOPPED


def attempt(files: RunFiles, memory_gib: float | None = None) -> int:
    """Make or go on with the run in `files`; the exit code."""
    try:
        work(files, memory_gib)
    except Stopped:
        return STOPPED
    except WorkbenchError as error:
        log.error("%s", error)
        return 2
    except Exception:
        log.exception("internal error")
        return 1
    return 0


def work(files: RunFiles, memory_gib: float | None = None) -> None:
    """Make or go on with the run in `files`."""
    with making(files):
        files.scratch.mkdir(exist_ok=True)
        before = tempfile.tempdir
        tempfile.tempdir = str(files.scratch)  # what a kill leaves is found and removed there
        try:
            _make(files)
        except (MemoryError, RuntimeError) as error:
            if memory_gib and processes.out_of_memory(error):
                raise RunError(
                    f"{NEEDS_MORE} of {memory_gib:g} GiB; raise the limit or"
                    " use fewer calibration examples"
                ) from error
            raise
        finally:
            tempfile.tempdir = before


def _serve(memory_gib: float | None) -> int:
    """Make the runs that are named on standard input, one after the other."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    for line in sys.stdin:
        files = RunFiles(Path(json.loads(line)))
        _log_to(files.log)
        code = attempt(files, memory_gib)
        replies.write(json.dumps({"code": code}) + "\n")
        replies.flush()
        if code == STOPPED:
            return code
    return 0


def _log_to(path: Path) -> None:
    """From now on output is appended to `path`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        handle = os.open(path, flags, 0o644)
    except OSError:  # the folder is gone; making the run says so
        return
    os.dup2(handle, sys.stdout.fileno())
    os.dup2(handle, sys.stderr.fileno())
    os.close(handle)


def _make(files: RunFiles) -> None:
    from workbench.session.execute import Extent, execute
    from workbench.session.recipe import Recipe
    from workbench.session.session import reopen

    session = reopen(files.directory)
    extent = Extent.from_record(files.read_run().get("extent", {}))
    for event, progress in execute(session, Recipe.load(files.recipe), files.directory, extent):
        log.info("%3.0f %% %s", 100 * progress.fraction, event.text or event.site or event.kind)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make a prepared run.")
    parser.add_argument("directory", type=Path, nargs="?", help="run directory")
    parser.add_argument("--crew", action="store_true", help="runs are named on standard input")
    parser.add_argument("--memory-gib", type=float, help="memory limit")
    parser.add_argument("--seconds", type=float, help="time limit")
    wanted = parser.parse_args(arguments)
    if wanted.crew == (wanted.directory is not None):
        parser.error("give one run directory, or --crew")
    return wanted


def _prepare(wanted: argparse.Namespace) -> None:
    """Own group, signals, limits."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGALRM, _too_long)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if wanted.memory_gib:
        processes.limit_memory(wanted.memory_gib)
    if wanted.seconds:
        signal.setitimer(signal.ITIMER_REAL, wanted.seconds)


def _stop(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not break the tidying
    raise Stopped


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise RunError("the job passed its time limit; resume it with a longer one")


if __name__ == "__main__":
    sys.exit(main())
