"""Nearest rounding of each model, measured once and kept: what a page shows before anyone acts.

A baseline is a run like any other, shared by all pages of the machine. It is kept in the cache
folder under a name that depends on the model's bytes, the data and the version.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import replace
from pathlib import Path

from workbench.foundation.errors import WorkbenchError
from workbench.session import zoo
from workbench.session.data_free import BY_CHANCE
from workbench.session.execute import Extent
from workbench.session.jobs import Job
from workbench.session.recipe import Recipe, Synthetic
from workbench.session.restored import RestoredSession
from workbench.session.runs import Run
from workbench.session.session import Session
from workbench.session.session import open as open_session
from workbench.session.version import VERSION
from workbench.ui.gradio.limits import JOB_SECONDS, memory_gib

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
MADE = 32  # inputs by chance tell little, however many they are


class Baselines:
    """Finds baselines, and has missing ones made in the background.

    Args:
        root: folder they are kept in.
        extent: how much is measured; naive scores are left out, they would be the same.
    """

    def __init__(self, root: Path, extent: Extent) -> None:
        self._root = root
        self._extent = replace(extent, naive=False)
        self._starting: dict[Path, threading.Thread] = {}
        self._problems: dict[Path, str] = {}
        self._prints: dict[tuple[str, int, int], str] = {}
        self._lock = threading.Lock()

    def find(self, model: str, data: str | None) -> Run | None:
        """The baseline's run, in whatever state; None if it was not begun or cannot be."""
        try:
            directory = self._directory(model, data)
            return Run(directory) if (directory / "run.json").exists() else None
        except WorkbenchError:
            return None

    def problem(self, model: str, data: str | None) -> str:
        """Why there is none, in one sentence; empty if it is there or on its way."""
        try:
            directory = self._directory(model, data)
        except WorkbenchError as error:
            return str(error)
        run = self.find(model, data)
        if run is not None and run.state == "failed":
            return run.message
        return self._problems.get(directory, "")

    def ensure(self, model: str, data: str | None) -> None:
        """Have it made unless it is there, is being made, or has failed while this server ran."""
        try:
            directory = self._directory(model, data)
        except WorkbenchError:
            return
        run = self.find(model, data)
        state = None if run is None else run.state
        if state in ("running", "done"):
            return
        with self._lock:
            thread = self._starting.get(directory)
            final = directory in self._problems or (state == "failed" and thread is not None)
            if final or (thread is not None and thread.is_alive()):
                return
            thread = threading.Thread(
                target=self._start, args=(directory, model, data), daemon=True, name="baseline"
            )
            self._starting[directory] = thread
            thread.start()

    def make(self, model: str, data: str | None) -> Run:
        """Make it now, in this process: for a machine that is prepared before anyone comes.

        Raises:
            WorkbenchError: the model or the data cannot be used.
        """
        session = open_session(model, data=data)
        out = self._directory(model, data)
        return session.quantize(recipe=_recipe(session), out=out, extent=self._extent)

    def busy(self, model: str, data: str | None) -> bool:
        """True while it is being made."""
        if self.problem(model, data):
            return False
        # asked first: written down, a run counts as stopped until its process is there
        starting = self._starting.get(self._directory(model, data))
        if starting is not None and starting.is_alive():
            return True
        run = self.find(model, data)
        return run is None or run.state == "running"

    def _start(self, directory: Path, model: str, data: str | None) -> None:
        try:
            if (directory / "run.json").exists():
                Job(directory).start(memory_gib(), JOB_SECONDS)
                return
            session = open_session(model, data=data)
            recipe = _recipe(session)
            session.start(recipe, directory, self._extent, memory_gib(), JOB_SECONDS)
        except WorkbenchError as error:
            self._problems[directory] = str(error)
        except Exception:
            log.exception("the baseline of '%s' could not be started", model)
            self._problems[directory] = (
                f"'{Path(model).name}' could not be opened for a reason we did not foresee;"
                " the server's log has the details"
            )

    def _directory(self, model: str, data: str | None) -> Path:
        path = Path(model) if Path(model).is_file() else zoo.find(model).path()
        parts = [self._print(path), self._print(Path(data)) if data else "", VERSION]
        name = "".join(c if c.isalnum() else "-" for c in path.stem.lower())[:40]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
        return self._root / f"{name}-{key}"

    def _print(self, path: Path) -> str:
        """SHA-256 of a file; remembered while its size and time stay the same."""
        about = path.stat()
        key = (str(path), about.st_size, about.st_mtime_ns)
        if key not in self._prints:
            digest = hashlib.sha256()
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
            self._prints[key] = digest.hexdigest()
        return self._prints[key]


def _recipe(session: Session) -> Recipe:
    """Nearest rounding; on inputs made by chance where a float model has no data."""
    waits = session.has_data or isinstance(session, RestoredSession)
    synthetic = None if waits else Synthetic(maker=BY_CHANCE, examples=MADE)
    return Recipe(synthetic=synthetic).naive()
