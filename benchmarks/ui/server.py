"""The app as `make app` starts it, in a process of its own, and what it costs the machine."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

_ADDRESS = re.compile(r"open at (http\S+)")
_PATIENCE = 180.0


@dataclass(frozen=True)
class Server:
    """A running app: its address and its process."""

    url: str
    process: psutil.Process

    @property
    def memory(self) -> int:
        """Resident bytes of the server alone, without its jobs."""
        return self.process.memory_info().rss

    @property
    def processor(self) -> float:
        """Seconds of processor time of the server alone."""
        times = self.process.cpu_times()
        return times.user + times.system


@contextmanager
def running(runs: Path) -> Iterator[Server]:
    """The app on a free port, with `runs` as its folder; its jobs end with it."""
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / "server.log").open("w+") as log:
        command = [sys.executable, "-m", "workbench", "app", "--port", "0", "--runs", str(runs)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            url = _address(process, runs / "server.log")
            yield Server(url, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait(30)
            _end_jobs(runs)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if found := _ADDRESS.search(log.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.01)
    raise RuntimeError(f"the app did not start: {log.read_text(encoding='utf-8')[-500:]}")


def _end_jobs(runs: Path) -> None:
    """End what still learns for tabs that were closed."""
    from workbench.session.jobs import Job
    from workbench.session.studies import Study

    for folder in (*runs.glob("baselines/*"), *runs.glob("users/*/runs/*")):
        Study(folder, "causes").stop()
    for run in runs.glob("users/*/runs/*"):
        (run / "queued.json").unlink(missing_ok=True)
        Job(run).stop()
