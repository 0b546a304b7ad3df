"""A job: a run being made in a process of its own, which outlives whoever asked for it.

A page that reloads or a kernel that restarts finds the job again by its directory. Stop ends the
whole process group; since every file is replaced in one step, what is left is a run that can be
resumed.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from workbench.foundation.errors import RunError
from workbench.session import processes
from workbench.session.processes import Process
from workbench.session.runs import Run, State

_PATIENCE = 2.0
_PAUSE = 0.05


class Job:
    """The making of one run, seen from outside.

    Args:
        directory: the run's folder, or its name.
    """

    def __init__(self, directory: str | Path) -> None:
        self.run = Run(directory)
        self.directory = self.run.directory
        self._files = self.run.files

    def __repr__(self) -> str:
        return f"Job({str(self.directory)!r}, {self.state})"

    @property
    def state(self) -> State:
        """One of "running", "stopped" (it can be resumed), "done" or "failed"."""
        return self.run.state

    def start(
        self,
        memory_gib: float | None = None,
        seconds: float | None = None,
        threads: int | None = None,
    ) -> Job:
        """Launch the process, from the beginning or from where the run stands.

        Args:
            memory_gib: limit of the process's memory; None for no limit.
            seconds: limit of its time; the run can be resumed afterwards.
            threads: of its arithmetic; None for as many as this process is told to use.

        Raises:
            RunError: it is being made, or done.
        """
        arguments = ["-m", "workbench.session.worker", str(self.directory)]
        arguments += processes.options(memory_gib=memory_gib, seconds=seconds)
        with self._files.locked():
            state = self.state
            if state in ("running", "done"):
                raise RunError(f"run '{self.run.name}' is {state}; there is nothing to start")
            self._files.tidy()
            self._files.change(state="running", message="", changed=time.time())
            processes.start(arguments, self._files.log, threads).save(self._files.pid)
        return self

    def resume(self) -> Job:
        """Go on with a run that was stopped or has failed."""
        return self.start()

    def progress(self) -> dict[str, Any]:
        """How far it is; see `progress.Progress`, with "state", "pid" and "message" added."""
        process = self._process()
        state = self.state
        found = self._files.read_progress()
        if state == "done":
            found |= {"fraction": 1.0, "eta_seconds": 0.0}
        pid = process.pid if process else None
        return {"fraction": 0.0, **found, "state": state, "pid": pid, "message": self.run.message}

    def stop(self, patience: float = _PATIENCE) -> State:
        """End the process and all its children; the state afterwards."""
        process = self._process()
        if process is not None and self.state == "running":
            process.end(patience)
        with self._files.locked():
            if self._files.read_run()["state"] == "running":
                self._files.change(state="stopped", message="", changed=time.time())
        self._files.pid.unlink(missing_ok=True)
        self._files.tidy()
        return self.state

    def wait(self, timeout: float | None = None) -> State:
        """Block until it ends, or for `timeout` seconds; the state then."""
        end = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while (state := self.state) == "running" and time.monotonic() < end:
            time.sleep(_PAUSE)
        return state

    def _process(self) -> Process | None:
        return processes.load(self._files.pid)
