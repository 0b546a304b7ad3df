"""The process behind a run: started in its own group, recognised later, ended as a group.

A number alone does not name a process: after a restart another one may carry it. So the time of
birth is stored beside it where the system tells it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import workbench
from workbench.foundation.errors import RunError
from workbench.session.store import read_json, write_json

_PAUSE = 0.02
_FEW_FILES = 256
#: work in the background gives way to what answers a hand; alone on a machine it is as fast
_NICE = 5
#: programs that are started in a group of their own
_LEADERS = ("workbench.session.worker", "workbench.session.studies")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Process:
    """A process: its number, its birth (clock ticks since boot; 0 unknown), if it leads a group."""

    pid: int
    born: int
    leads: bool

    def alive(self) -> bool:
        """True while it runs; one that has ended but was not waited for counts as ended."""
        _reap(self.pid)
        status = _stat(self.pid)
        if status is None:
            return _exists(self.pid)
        state, born = status
        return state not in ("Z", "X", "") and self.born == born

    def end(self, patience: float = 2.0) -> None:
        """Ask the whole group to end, and after `patience` seconds make it.

        Raises:
            RunError: it does not lead a group of its own, so others would end with it.
        """
        if not self.leads:
            raise RunError("this run is made inside another program; interrupt it there")
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if not self.alive():
                return
            try:
                os.killpg(self.pid, sign)
            except ProcessLookupError:
                return
            self.wait(patience)

    def wait(self, timeout: float) -> bool:
        """True if it ended within `timeout` seconds."""
        stop = time.monotonic() + timeout
        while self.alive():
            if time.monotonic() >= stop:
                return False
            time.sleep(_PAUSE)
        return True

    def save(self, path: Path) -> None:
        """Write it down for others."""
        write_json(path, asdict(self))


def load(path: Path) -> Process | None:
    """The process that `save` wrote; None if there is none."""
    if not path.exists():
        return None
    stored = read_json(path, "holds no process")
    return Process(int(stored["pid"]), int(stored["born"]), bool(stored["leads"]))


def current() -> Process:
    """This process."""
    pid = os.getpid()
    return Process(pid, _born(pid), os.getpgrp() == pid and _is_worker())


def start(arguments: Sequence[str], log: Path, threads: int | None = None) -> Process:
    """Run `python <arguments>` as the leader of a new group, its output appended to `log`.

    It has a lower priority than this process.

    Args:
        arguments: of the interpreter.
        log: the file that its output goes to.
        threads: of torch's and numpy's arithmetic; None leaves them as they are here.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, *arguments],
        environment(threads),
        file_actions=actions,
        setpgroup=0,
    )
    with contextlib.suppress(OSError):  # it has ended already, or has a low one
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, 0) + _NICE)
    return Process(pid, _born(pid), True)


def options(**bounds: float | None) -> list[str]:
    """Those bounds that are given, as a command line has them: `--memory-gib 2`."""
    given = {name.replace("_", "-"): value for name, value in bounds.items() if value}
    return [part for name, value in given.items() for part in (f"--{name}", str(value))]


def limit(
    gibibytes: float | None, seconds: float | None = None, mebibytes: int | None = None
) -> None:
    """Bound this process.

    Args:
        gibibytes: of memory, as `limit_memory` has it.
        seconds: of processor time, at whose end the process is killed.
        mebibytes: of each file that it writes; more is an `OSError`. It opens few at a time then.
    """
    if gibibytes:
        limit_memory(gibibytes)
    if seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    if mebibytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (mebibytes * 2**20, mebibytes * 2**20))
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FEW_FILES, _FEW_FILES))


def limit_memory(gibibytes: float) -> None:
    """No more memory than this for data of this process; beyond it allocations fail."""
    limit = int(gibibytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed, in Python or in torch."""
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def environment(threads: int | None = None) -> dict[str, str]:
    """This environment, in which the same `workbench` is found, with so many `threads`."""
    counts = dict.fromkeys(_THREADS, str(threads)) if threads else {}
    home = str(Path(workbench.__file__).resolve().parents[1])
    paths = [home, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    own = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **own, **counts}


def _is_worker() -> bool:
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name in _LEADERS


def _born(pid: int) -> int:
    status = _stat(pid)
    return status[1] if status else 0


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and start time from /proc; ("", 0) if gone, None without /proc."""
    if not Path("/proc/self/stat").exists():
        return None
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "", 0
    fields = text.rpartition(")")[2].split()  # the name before ')' may hold anything
    return fields[0], int(fields[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _reap(pid: int) -> None:
    """Let an ended child go."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
