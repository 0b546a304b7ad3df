"""The process of a job: `python -m workbench.session.worker RUN`.

SIGTERM and the time limit raise where Python stands, so that files close and the state is written.
Exit codes: 0 done, 2 the user's to mend, 1 an internal error, 143 stopped.
"""

from __future__ import annotations

import argparse
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the run; the exit code."""
    wanted = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    _prepare(wanted)
    try:
        work(RunFiles(wanted.directory), wanted.memory_gib)
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
        tempfile.tempdir = str(files.scratch)  # what a kill leaves is found and removed there
        try:
            _make(files)
        except (MemoryError, RuntimeError) as error:
            if memory_gib and _out_of_memory(error):
                raise RunError(
                    f"the job needs more than its limit of {memory_gib:g} GiB; raise the limit or"
                    " use fewer calibration examples"
                ) from error
            raise


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
    parser.add_argument("directory", type=Path, help="run directory")
    parser.add_argument("--memory-gib", type=float, help="memory limit")
    parser.add_argument("--seconds", type=float, help="time limit")
    return parser.parse_args(arguments)


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


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


if __name__ == "__main__":
    sys.exit(main())
