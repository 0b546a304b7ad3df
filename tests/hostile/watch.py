"""What a piece of code touches, and how much time and memory it takes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.resident import forget_peak, peak

ROOT = Path(__file__).resolve().parents[2]
#: where Python and its libraries read from at any time
LIBRARIES = tuple({sys.prefix, sys.base_prefix, str(ROOT), "/usr", "/proc", "/sys", "/dev"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.", "socket.connect")
_FORBIDDEN += ("pickle.find_class",)


@dataclass
class Watched:
    """What was seen.

    Attributes:
        folder: the only place that may be touched.
        touched: what lies outside, as sentences.
        seconds, megabytes: processor time taken, and memory at its height beyond the beginning.
    """

    folder: Path
    touched: list[str] = field(default_factory=list)
    seconds: float = 0.0
    megabytes: float = 0.0

    def event(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Note an audit event of Python that concerns files or processes."""
        if name.startswith(_FORBIDDEN):
            self.touched.append(f"{name} {arguments!r:.200}")
        elif name == "open":
            path, _, flags = arguments
            self._file(name, path, bool(flags & _WRITING) if isinstance(flags, int) else True)
        elif name in ("os.listdir", "os.scandir"):
            self._file(name, arguments[0], writes=False)
        elif name.startswith(("os.", "shutil.")):
            for path in arguments[:2]:
                self._file(name, path, writes=True)

    def _file(self, name: str, path: Any, writes: bool) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a file descriptor: it was opened before
        full = os.path.realpath(os.fsdecode(path))
        allowed = (str(self.folder),) if writes else (str(self.folder), *LIBRARIES)
        cached = "__pycache__" in full
        if not full.startswith(allowed) and not cached and full != os.devnull:
            self.touched.append(f"{name} {full!r}")


_watching: list[Watched] = []


def _hook(name: str, arguments: tuple[Any, ...]) -> None:
    if _watching:
        _watching[-1].event(name, arguments)


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    """Watch the block; an audit hook cannot be taken away, so one is shared."""
    if not getattr(sys, "_workbench_hook", False):
        sys.addaudithook(_hook)
        sys._workbench_hook = True
    found = Watched(folder.resolve())
    before = forget_peak()
    start = time.process_time()  # other processes may take turns
    _watching.append(found)
    try:
        yield found
    finally:
        _watching.pop()
        found.seconds = time.process_time() - start
        found.megabytes = peak() - before
