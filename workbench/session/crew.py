"""The local engine of a sweep: a few processes that make run after run, within a memory budget.

A process is kept for the next run, since starting one takes seconds. If it is killed, only its run
is lost, and a new process takes its place. When this process ends, however that happens, the input
of the others closes: they finish the run they are at, and end.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import psutil

from workbench.foundation.errors import RunError
from workbench.foundation.positive import positive
from workbench.session import processes
from workbench.session.runs import Run

Ending = Literal["ended", "died"]

LEAST_GIB = 2.0  # of one process, unless less is asked for
_SHARE = 0.8  # of the memory that is free, for all processes together
_PAUSE = 0.05
_PATIENCE = 2.0


@dataclass(frozen=True)
class Budget:
    """What the processes of a sweep may use together.

    Attributes:
        workers: processes at a time.
        memory_gib: of all of them.
        threads: of each; the number does not depend on `workers`, so that results do not either.
    """

    workers: int
    memory_gib: float
    threads: int = 1

    @property
    def each_gib(self) -> float:
        """Limit of one process."""
        return self.memory_gib / self.workers

    def alone(self) -> Budget:
        """All of the memory for one process."""
        return Budget(1, self.memory_gib, self.threads)


def budget(workers: int | None = None, memory_gib: float | None = None, threads: int = 1) -> Budget:
    """A budget; what is None follows from this machine.

    Raises:
        RunError: nothing to work with.
    """
    positive("threads", threads)
    if memory_gib is not None and not memory_gib > 0:
        raise RunError(f"memory was {memory_gib} GiB; give a number above 0")
    memory = memory_gib or _SHARE * psutil.virtual_memory().available / 2**30
    if workers is None:
        cores = len(os.sched_getaffinity(0))
        workers = max(1, min(cores // threads, int(memory / LEAST_GIB)))
    return Budget(positive("workers", workers), memory, threads)


def left_to_make(run: Run, closed: Callable[[], bool]) -> bool:
    """Wait while another process makes a run; True if it has to be made, and nothing was closed."""
    while run.state == "running" and not closed():
        time.sleep(_PAUSE)
    return not closed() and run.state != "done"


class Crew:
    """Makes runs in processes of its own.

    Args:
        budget: of the processes.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._pool = ThreadPoolExecutor(budget.workers, thread_name_prefix="crew")
        self._lock = threading.Lock()
        self._idle: list[_Hand] = []
        self._all: list[_Hand] = []
        self._closed = False

    def submit(self, directory: Path) -> Future[Ending]:
        """Make the run in `directory` as soon as a process is free."""
        return self._pool.submit(self._make, directory)

    def close(self) -> None:
        """End the processes; what they are at can be gone on with."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for hand in self._all:
                hand.end()
        self._pool.shutdown()

    def _make(self, directory: Path) -> Ending:
        run = Run(directory)
        if not left_to_make(run, lambda: self._closed):
            return "ended"
        hand = self._take()
        if not hand.make(directory):
            hand.end()
            return "died"
        with self._lock:
            self._idle.append(hand)
        return "ended"

    def _take(self) -> _Hand:
        """A process that is free, or a new one."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            hand = _Hand(self._budget)
            self._all.append(hand)
            if self._closed:
                hand.end()
            return hand


class _Hand:
    """One process of a crew."""

    def __init__(self, budget: Budget) -> None:
        command = [sys.executable, "-m", "workbench.session.worker", "--crew"]
        command += ["--memory-gib", f"{budget.each_gib:.3f}"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # until the first run: then it goes to the run's own log
            env=processes.environment(budget.threads),
            process_group=0,
            text=True,
        )

    def make(self, directory: Path) -> bool:
        """Make a run and wait for the end of it; False if the process died."""
        try:
            pipe = _open(self._process.stdin)
            pipe.write(json.dumps(str(directory)) + "\n")
            pipe.flush()
            return bool(_open(self._process.stdout).readline())
        except (OSError, ValueError):  # it died, or the pipes were closed under our hands
            return False

    def end(self) -> None:
        """Ask it to end, and after a while make it."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                _open(pipe).close()


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
