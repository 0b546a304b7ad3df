"""The other end of `worker`: sends files, and starts a new process where one died."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # by the clock: a busy machine is slow, and a hang lasts longer


@dataclass(frozen=True)
class Answer:
    """What came of a file: "ran", "opened", "refused", or a fault: "wrong", "slow", "died"."""

    outcome: str
    text: str
    seconds: float

    @property
    def fault(self) -> bool:
        return self.outcome in ("wrong", "slow", "died") or "\n" in self.text


class Worker:
    """A worker process under limits, to be used in a `with` block."""

    def __init__(self, memory_gib: float = 2.0, seconds: float = 5.0) -> None:
        self._memory_gib = memory_gib
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def open(self, path: Path) -> Answer:
        """What the workbench makes of the file."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{path}\n".encode())
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        line = process.stdout.readline() if ready else b""
        if line:
            return Answer(**json.loads(line))
        self._end()
        how = f"exit code {process.returncode}" if ready else "hangs outside of Python"
        return Answer("died" if ready else "slow", how, self._seconds)

    def _start(self) -> subprocess.Popen[bytes]:
        arguments: list[Any] = [self._memory_gib, self._seconds]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.worker", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it is ready
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None
