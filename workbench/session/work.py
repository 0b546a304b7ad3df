"""A piece of work: a recipe asked of a model with its data, known by what decides its outcome.

    digest = SHA-256 of recipe, model, data, teacher and version
    folder = runs/MODEL-wBITSaBITS-METHODS-ADDRESS,  ADDRESS = SHA-256 of digest and extent

So the same work has the same folder, whoever asks for it: it is found finished, gone on with where
it was stopped, or waited for while another process makes it. The folder of a run is put together
beside its place and moved there in one step, so that of two processes one is first.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from workbench.foundation.errors import RunError
from workbench.graph.passes.registry import Measured
from workbench.graph.trial import trial
from workbench.session import data_free, processes, teaching
from workbench.session.execute import Extent, build, state_key
from workbench.session.recipe import Recipe
from workbench.session.runs import Run, all_runs, run_name, run_stem, runs_dir
from workbench.session.store import Checkpoint, RunFiles, write_bytes, write_json
from workbench.session.version import VERSION, code

if TYPE_CHECKING:
    from workbench.session.data import Data
    from workbench.session.session import Session

_MAKING = ".making-"
_ADDRESS = 10  # hexadecimal digits in a folder's name


@dataclass(frozen=True)
class Work:
    """What is asked, checked against the model and its data; made by `check`.

    Attributes:
        session, recipe, extent: the model, what is asked of it, and how much of the outcome.
        measured: what the recipe's transformations saw in the data.
        record: what `run.json` holds from the beginning.
    """

    session: Session
    recipe: Recipe
    extent: Extent
    measured: Measured
    record: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Of all that decides what is learned."""
        return str(self.record["digest"])

    @cached_property
    def name(self) -> str:
        """The folder's name, the same for the same work."""
        asked = json.dumps(asdict(self.extent), sort_keys=True)
        address = hashlib.sha256(f"{self.digest}{asked}".encode()).hexdigest()[:_ADDRESS]
        return f"{run_stem(self.session.name, self.recipe)}-{address}"

    def found(self, runs: Sequence[Run] | None = None) -> Run | None:
        """A run that is this work: a finished one, else the one in its place.

        Args:
            runs: to look among; by default those below `runs_dir()` now.
        """
        known = all_runs() if runs is None else runs
        same = [run for run in known if run.about.get("digest") == self.digest]
        for run in same:
            done = run.about["state"] == "done" and run.files.report.exists()
            if done and Extent.from_record(run.about.get("extent", {})).covers(self.extent):
                return run
        return next((run for run in same if run.name == self.name), None)

    def place(self, runs: Sequence[Run] | None = None) -> RunFiles:
        """The run that is this work, made ready if there is none yet; `runs` as for `found`."""
        run = self.found(runs)
        if run is not None:
            return run.files
        try:
            return self.write(runs_dir() / self.name)
        except RunError:
            run = self.found()  # another process was first
            if run is None:
                raise
            return run.files

    def anew(self) -> RunFiles:
        """A new run of this work, whether or not there is one."""
        return self.write(runs_dir() / run_name(self.session.name, self.recipe))

    def write(self, directory: str | Path, learned: Mapping[str, Tensor] | None = None) -> RunFiles:
        """A run directory in which nothing is learned yet.

        Args:
            directory: a new or empty one.
            learned: a state that was learned elsewhere: learning counts as done, and the run does
                not stand for its recipe.

        Raises:
            RunError: there is a run, or something else, in it already.
        """
        directory = Path(directory).expanduser().resolve()
        record = self.record if learned is None else {**self.record, "digest": ""}
        with creating(directory, self.recipe, record) as files:
            key = state_key(self.session, self.recipe)
            files.write_measured(self.measured, key)
            if learned is not None:
                Checkpoint(files.state, key).save(learned, len(self.recipe.stages))
            if self.session.origin.kind == "module":
                self.session.save(files.directory / "source.onnx")
            if self.record["data"].get("kind") == "arrays":
                self.session.save_arrays(files.directory / "data.npz")
        return RunFiles(directory)


def check(
    session: Session,
    recipe: Recipe,
    extent: Extent | None = None,
    measured: Measured | None = None,
) -> Work:
    """Check that `recipe` can be made of the session's model; nothing is written.

    Args:
        session, recipe, extent: as for `Session.quantize`.
        measured: what the recipe's transformations saw in the data; by default they look now.

    Raises:
        WorkbenchError: in one sentence, what does not fit and how to mend it.
    """
    if recipe.synthetic is not None:
        data_free.check(session, recipe)
    recipe = teaching.located(recipe)
    teacher = teaching.teacher(session, recipe)
    if measured is None:
        measured = session.observe(recipe)
    build(session, recipe, measured)
    data = session.data if session.has_data or recipe.synthetic is None else None
    trial(session.graph, data_free.some(session))
    extent = extent or Extent()
    record: dict[str, Any] = {
        "name": session.name,
        "source": asdict(session.origin),
        "sha256": session.sha256,
        "data": _noted(session, data),
        "data_free": data_free.label(session, recipe),
        "version": VERSION,
        "code": code(),
        "extent": asdict(extent),
        **({"teacher": teacher.sha256} if teacher else {}),
    }
    record["digest"] = _digest(recipe, record)
    return Work(session, recipe, extent, measured, record)


@contextmanager
def creating(directory: Path, recipe: Recipe, record: Mapping[str, Any]) -> Iterator[RunFiles]:
    """The files of a run to be, beside its place; it takes its place when the block ends.

    Raises:
        RunError: there is a run, or something else, in it already.
    """
    _require_free(directory)
    this = processes.current()
    token = secrets.token_hex(3)
    partial = directory.with_name(f"{_MAKING}{this.pid}-{this.born}-{token}-{directory.name}")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"'{directory}' cannot be made ({error.strerror}); choose another") from None
    _forget_dead(directory.parent)
    try:
        files = RunFiles(partial)
        write_bytes(files.recipe, recipe.toml().encode())
        yield files
        now = time.time()
        write_json(files.run, {**record, "state": "stopped", "created": now, "changed": now})
        _move(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _move(partial: Path, directory: Path) -> None:
    """A folder takes the place of an empty one or of none, never of one that holds something."""
    try:
        partial.rename(directory)
    except OSError:
        _require_free(directory)
        raise


def _require_free(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise RunError(f"'{directory}' is a file; choose a folder for the run")
    if directory.exists() and any(directory.iterdir()):
        raise RunError(
            f"'{directory}' is there and not empty; choose another folder,"
            f" or go on with it: workbench resume {directory}"
        )


def _forget_dead(store: Path) -> None:
    """Remove folders whose makers were killed before they took their place."""
    for leftover in store.glob(f"{_MAKING}*"):
        pid, born, *_ = leftover.name.removeprefix(_MAKING).split("-")
        known = pid.isdecimal() and born.isdecimal()
        if known and not processes.Process(int(pid), int(born), False).alive():
            shutil.rmtree(leftover, ignore_errors=True)


def _noted(session: Session, data: Data | None) -> dict[str, Any]:
    """How to open the data again, and for arrays what they hold."""
    if data is None:
        return data_free.no_record(session)
    record = dict(data.record)
    return {**record, "content": _content(data)} if record.get("kind") == "arrays" else record


def _content(data: Data) -> str:
    found = hashlib.blake2b(digest_size=16)
    for tensor in data.source.read(np.arange(len(data.source))):
        found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    if data.source.labels is not None:
        found.update(data.source.labels.tobytes())
    return found.hexdigest()


def _digest(recipe: Recipe, record: Mapping[str, Any]) -> str:
    """Where the model and the data lie does not count, what they hold does."""
    asked = recipe.toml() if not recipe.teacher else recipe.changed(teacher="").toml()
    data = {key: value for key, value in record["data"].items() if key != "path"}
    parts = [asked, record["sha256"], data, record.get("teacher", ""), VERSION, record["code"]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
