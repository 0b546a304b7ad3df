"""The files of a run: each replaced in one step, so that whoever looks sees old or new, never half.

recipe.toml          what was asked
run.json             source, its sha256, data, version, state
events.jsonl         what learning reported, one JSON object in a line, only ever appended
progress.json        how far it is: fraction, eta_seconds, stage, step, total, text
checkpoint.safetensors   the stage in progress, if it offers one
measured.safetensors what transformations of the float graph saw in the data
state.safetensors    what finished stages learned
report.json, model.onnx  the outcome
layers.jsonl         what layers were measured to lose, under what it follows from
predictions.safetensors  the class of each held-out example, by candidate
pid.json             the process at work, and when it was born
worker.log           output of the job's process
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from workbench.foundation.errors import RunError

MAX_JSON = 256 * 2**20

_TEMPORARY = ".partial-"
_STATES = frozenset({"running", "stopped", "done", "failed"})
_RECORDED = {"name": str, "state": str, "changed": int | float, "source": Mapping, "sha256": str}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without error."""
    owner = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f"{_TEMPORARY}{owner}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """Replace `path` by `content` in one step; `durable` waits until it is on the disk."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        if durable:
            os.fsync(stream.fileno())


def write_json(path: Path, value: Mapping[str, Any], durable: bool = True) -> None:
    """Replace `path` by strict JSON; numbers that are not finite become null."""
    write_bytes(path, json.dumps(finite(value), indent=1, allow_nan=False).encode(), durable)


def finite(value: Any) -> Any:
    """The same JSON value with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


class RunFiles:
    """The files of one run directory.

    Args:
        directory: the run's own folder.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.recipe = directory / "recipe.toml"
        self.run = directory / "run.json"
        self.events = directory / "events.jsonl"
        self.progress = directory / "progress.json"
        self.measured = directory / "measured.safetensors"
        self.state = directory / "state.safetensors"
        self.checkpoint = directory / "checkpoint.safetensors"
        self.report = directory / "report.json"
        self.layers = directory / "layers.jsonl"
        self.story = directory / "cure.json"
        self.predictions = directory / "predictions.safetensors"
        self.model = directory / "model.onnx"
        self.pid = directory / "pid.json"
        self.log = directory / "worker.log"
        self.scratch = directory / "scratch"

    def read_run(self) -> dict[str, Any]:
        """`run.json`, or `RunError` where this is no run."""
        about = read_json(self.run, "holds no run")
        for key, kind in _RECORDED.items():
            if not isinstance(about.get(key), kind):
                raise RunError(f"'{self.run}' is damaged (no '{key}'); start a new run")
        if about["state"] not in _STATES:
            raise RunError(f"'{self.run}' is damaged (state '{about['state']}'); start a new run")
        return about

    def read_measured(self) -> dict[str, Tensor] | None:
        """What transformations saw in the data; None where they needed none."""
        return Checkpoint.read(self.measured)

    def write_measured(self, measured: Mapping[str, Tensor], key: str) -> None:
        """Keep it, if there is anything to keep."""
        if measured:
            Checkpoint(self.measured, key).save(measured, 0)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process or thread at a time; if it dies inside, the system lets the next one in.

        Raises:
            RunError: there is no such folder any more.
        """
        try:
            handle = os.open(self.directory, os.O_RDONLY)
        except FileNotFoundError:
            raise RunError(f"'{self.directory}' is gone; start a new run") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def update_run(self, **changes: Any) -> None:
        """Change fields of `run.json`."""
        with self.locked():
            self.change(**changes)

    def change(self, **changes: Any) -> None:
        """The same for one who holds the lock."""
        write_json(self.run, {**self.read_run(), **changes})

    def read_progress(self) -> dict[str, Any]:
        """The last progress, {} before there is any."""
        return read_json(self.progress, "holds no progress") if self.progress.exists() else {}

    def append_event(self, record: Mapping[str, Any]) -> None:
        """Add one line in a single write, so that a kill cannot leave two lines mixed."""
        line = json.dumps(finite(record), allow_nan=False) + "\n"
        handle = os.open(self.events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)

    def read_events(self, start: int = 0) -> list[dict[str, Any]]:
        """All events from the `start`-th on; a last line that is not finished is left out."""
        if not self.events.exists():
            return []
        lines = _bounded(self.events).split(b"\n")[:-1]
        return [_event(line, self.events) for line in lines[start:] if line]

    def tidy(self) -> None:
        """Remove what a killed process left: temporary files and half an event."""
        for leftover in self.directory.glob(f"{_TEMPORARY}*"):
            leftover.unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        if not self.events.exists():
            return
        content = self.events.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            write_bytes(self.events, content[:whole])


class Checkpoint:
    """Tensors and a step number in one file: what a stage needs to go on where it was.

    Args:
        path: the file.
        key: what the tensors belong to, such as the stage's number and recipe; a checkpoint with
            another key is not used.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key

    def save(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Replace the checkpoint."""
        plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        write_bytes(self._path, save(plain, {"key": self._key, "step": str(step)}))

    def load(self) -> tuple[dict[str, Tensor], int] | None:
        """The tensors and the step that were saved last; None if there is nothing to go on from."""
        if not self._path.exists():
            return None
        try:
            with safe_open(str(self._path), framework="pt") as stored:
                about = stored.metadata() or {}
                if about.get("key") != self._key:
                    return None
                return _tensors(stored), int(about["step"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise RunError(
                f"'{self._path}' is damaged ({error}); delete it to start this run again"
            ) from None

    @staticmethod
    def read(path: Path) -> dict[str, Tensor] | None:
        """The tensors in `path`, whatever they belong to; None if it does not exist."""
        if not path.exists():
            return None
        try:
            with safe_open(str(path), framework="pt") as stored:
                return _tensors(stored)
        except (SafetensorError, OSError) as error:
            raise RunError(f"'{path}' is damaged ({error}); start the run again") from None


def _tensors(stored: Any) -> dict[str, Tensor]:
    names = stored.keys()  # a `safe_open` is no mapping: it cannot be iterated over
    return {name: stored.get_tensor(name) for name in names}


def read_json(path: Path, fault: str) -> dict[str, Any]:
    """A JSON object, or `RunError` naming the folder and its `fault`."""
    try:
        value = json.loads(_bounded(path))
    except FileNotFoundError:
        raise RunError(
            f"'{path.parent}' {fault} (no {path.name}); list the runs with 'workbench runs'"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"'{path}' is damaged ({error}); start the run again") from None
    if not isinstance(value, dict):
        raise RunError(f"'{path}' is not a run's file; start the run again")
    return value


def _bounded(path: Path) -> bytes:
    """The content of a regular file that is not absurdly large."""
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):
        raise RunError(f"'{path}' is not a regular file; start a new run")
    if info.st_size > MAX_JSON:
        raise RunError(f"'{path}' has '{info.st_size}' bytes, too many; start a new run")
    return path.read_bytes()


def _event(line: bytes, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RunError(f"'{path}' is damaged ({error}); start a new run") from None
    if not isinstance(value, dict):
        raise RunError(f"'{path}' holds the line {line[:40]!r}; start a new run")
    return value
