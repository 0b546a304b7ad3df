"""A run: a directory on disk with what was asked, what happened and what came of it."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.foundation.errors import RunError, WorkbenchError
from workbench.foundation.positive import positive
from workbench.session import processes
from workbench.session.recipe import Recipe
from workbench.session.store import Checkpoint, RunFiles, read_json

if TYPE_CHECKING:
    import pandas

    from workbench.deploy.export import Exported
    from workbench.deploy.profile import Profile
    from workbench.deploy.verify import Verification
    from workbench.graph.quantized import QuantizedGraph
    from workbench.session.session import Session, Watch

log = logging.getLogger(__name__)

State = Literal["running", "stopped", "done", "failed"]

_LAUNCH_SECONDS = 20.0  # a run without a process may still be about to get one


class Stopped(BaseException):
    """The run was asked to stop; not an `Exception`, so that nothing swallows it on the way."""


class Run:
    """A run that is being made or has been made.

    Args:
        directory: its folder, or its name below `runs_dir()`.

    Raises:
        RunError: there is no run.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = locate(directory)
        self.files = RunFiles(self.directory)
        self.about = self.files.read_run()

    def __repr__(self) -> str:
        words = filter(None, (repr(str(self.directory)), self.state, self.data_free))
        return f"Run({', '.join(words)})"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.directory.name

    @property
    def state(self) -> State:
        """Where it stands; a run whose process is gone counts as stopped and can be resumed."""
        about = self.files.read_run()
        state: State = about["state"]
        if state != "running":
            return state
        process = processes.load(self.files.pid)
        if process is None:
            young = time.time() - float(about["changed"]) < _LAUNCH_SECONDS
            return "running" if young else "stopped"
        return "running" if process.alive() else "stopped"

    @property
    def data_free(self) -> str:
        """`data-free (ZeroQ, 128 pictures)` where it calibrated on made examples; else empty."""
        return str(self.about.get("data_free", ""))

    @property
    def message(self) -> str:
        """Why it failed, in one sentence; empty otherwise."""
        return str(self.files.read_run().get("message", ""))

    @cached_property
    def recipe(self) -> Recipe:
        """What was asked."""
        return Recipe.load(self.files.recipe)

    def rerun(self, progress: Watch | None = None, **changes: Any) -> Run:
        """The same work in a new run.

        Args:
            progress: called with each event and how far the run is.
            changes: fields of the recipe to change.
        """
        from workbench.session.execute import Extent

        session, stored = self.session, self.about.get("data", {})
        if stored.get("kind") == "arrays":  # the new run keeps them too, whatever becomes of this
            session.use_data(replace(session.data, record=stored))
        extent = Extent.from_record(self.about.get("extent", {}))
        recipe = self.recipe.changed(**changes) if changes else self.recipe
        return session.quantize(recipe=recipe, extent=extent, progress=progress, again=True)

    def report(self) -> dict[str, Any]:
        """The whole outcome; where a cure made the run, its story as `cured`.

        Raises:
            RunError: the run is not done.
        """
        if not self.files.report.exists():
            raise RunError(
                f"run '{self.name}' is {self.state} and has no report yet;"
                f" go on with: workbench resume {self.name}"
            )
        found = read_json(self.files.report, "holds no report")
        if self.files.story.exists():
            found["cured"] = read_json(self.files.story, "holds no story of cures")
        return found

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """Records by candidate: "float", "naive", "learned", "onnxruntime"."""
        return self.report()["scores"]

    @property
    def layers(self) -> pandas.DataFrame:
        """One row for each layer, in the order of the graph."""
        import pandas

        return pandas.DataFrame(self.report().get("layers", []))

    def events(self, start: int = 0) -> list[dict[str, Any]]:
        """What was reported, from the `start`-th event on."""
        return self.files.read_events(start)

    @cached_property
    def session(self) -> Session:
        """The model and data it was made with, opened again."""
        from workbench.session.session import reopen

        return reopen(self.directory)

    @cached_property
    def model(self) -> QuantizedGraph:
        """The learned simulation, an `nn.Module`."""
        from workbench.session.execute import build

        model = build(self.session, self.recipe, self.files.read_measured()).eval()
        stored = Checkpoint.read(self.files.state)
        if stored is None:
            raise RunError(
                f"run '{self.name}' has learned nothing yet; go on with:"
                f" workbench resume {self.name}"
            )
        model.load_state(stored)
        return model

    def export(
        self,
        path: str | Path = "model.onnx",
        store: str | None = None,
        opset: int | None = None,
        external: bool = False,
    ) -> File:
        """Write the learned model to `path`; the result can `.verify()` itself.

        Args:
            path: of the file.
            store: "packed" or "int8" containers; by default as the recipe has it.
            opset: operator set to write; by default the oldest that holds the codes packed.
            external: keep the tensors in a second file beside it.
        """
        from workbench.deploy.export import export
        from workbench.deploy.metadata import SCORES, compact
        from workbench.session.restored import file_metadata

        metadata = file_metadata(self.session, self.recipe, self.files.read_measured())
        if self.files.report.exists():
            metadata[SCORES] = compact(self.scores)
        kind = self.recipe.changed(store=store).store if store else self.recipe.store
        written = export(
            self.model, path, store=kind, opset=opset, external=external, metadata=metadata
        )
        return File(self, written)

    def verify(self, path: str | Path | None = None, examples: int = 128) -> Verification:
        """Compare a file (by default the run's own) with the simulation on held-out data.

        Raises:
            ModelError: the file is missing or is not a usable ONNX file.
            RunError: no examples were asked for, or the file was made from another model.
        """
        from workbench.deploy.verify import verify
        from workbench.session.kinship import require_own

        positive("examples", examples)
        require_own(self.session, path or self.files.model, self.name)
        data = self.session.judging(self.recipe)
        size = min(self.session.batch_size, examples)
        batches = (inputs for inputs, _ in data.batches("test", size, examples))
        return verify(path or self.files.model, self.model, batches)

    def latency(self, threads: int = 1, repeats: int = 20) -> Profile:
        """Time of each node of the run's file in ONNX Runtime, beside the float model."""
        from workbench.session.verifying import check_run

        return check_run(self, examples=1).profile(threads, repeats)


class File:
    """An exported file together with the run that it came from."""

    def __init__(self, run: Run, exported: Exported) -> None:
        self.run = run
        self.exported = exported
        self.path = exported.path
        self.bytes = exported.bytes

    def verify(self, examples: int = 128) -> Verification:
        """Compare the file with the run's simulation."""
        return self.run.verify(self.path, examples)

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return self.exported.record()


def runs_dir() -> Path:
    """Where runs go unless told otherwise: `WORKBENCH_RUNS`, or `runs` in the current folder."""
    return Path(environ.get("WORKBENCH_RUNS") or "runs")


def locate(run: str | Path) -> Path:
    """The folder of a run, given as a path or as a name below `runs_dir()`."""
    for folder in (Path(run).expanduser(), runs_dir() / run):
        if (folder / "run.json").is_file():
            return folder.resolve()
    raise RunError(f"there is no run '{run}'; list them with: workbench runs")


def all_runs() -> list[Run]:
    """The runs below `runs_dir()`, newest first; broken ones are left out with a warning."""
    found: list[Run] = []
    for path in runs_dir().glob("*/run.json"):
        if path.parent.name.startswith("."):  # being made or removed
            continue
        try:
            found.append(Run(path.parent))
        except WorkbenchError as error:
            log.warning("%s", error)
    return sorted(found, key=lambda run: float(run.about.get("created", 0)), reverse=True)


def run_name(model: str, recipe: Recipe) -> str:
    """A readable, new name, such as `digits-mobilenet-w4a8-gram-3f9a1c`."""
    return f"{run_stem(model, recipe)}-{secrets.token_hex(3)}"


def run_stem(model: str, recipe: Recipe) -> str:
    """The readable part of a run's name."""
    active = recipe.activations.bits if recipe.activations else "f"
    methods = "-".join(stage.method for stage in recipe.stages)[:40]
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:40] or "model"
    made = f"-{recipe.synthetic.maker}" if recipe.synthetic else ""
    return f"{plain}-w{recipe.weights.bits}a{active}-{methods}{made}"


def set_state(files: RunFiles, state: State, message: str = "") -> None:
    """Record where a run stands."""
    files.update_run(state=state, message=message, changed=time.time())


@contextmanager
def making(files: RunFiles) -> Iterator[None]:
    """While the block makes the run: note the process, and afterwards how it ended.

    Raises:
        RunError: another process is making it.
    """
    claim(files)
    try:
        yield
    except WorkbenchError as error:
        set_state(files, "failed", str(error))
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else ""
        set_state(files, "failed", f"internal error: {type(error).__name__}: {reason}")
        raise
    except BaseException:  # asked to stop: SIGTERM, Ctrl-C, or the caller's loop ended early
        set_state(files, "stopped")
        raise
    else:
        set_state(files, "done")
    finally:
        files.pid.unlink(missing_ok=True)
        shutil.rmtree(files.scratch, ignore_errors=True)


def claim(files: RunFiles) -> None:
    """Make this process the one that makes the run."""
    this = processes.current()
    with files.locked():
        other = processes.load(files.pid)
        if other is not None and other.pid != this.pid and other.alive():
            name = files.directory.name
            raise RunError(f"run '{name}' is being made by process {other.pid}; wait")
        files.tidy()
        files.change(state="running", message="", changed=time.time())
        this.save(files.pid)


@dataclass(frozen=True)
class Removed:
    """What was removed.

    Attributes:
        name: of the run; files, bytes: that it held.
    """

    name: str
    files: int
    bytes: int


def remove(run: Run) -> Removed:
    """Delete a run's folder with all that lies in it.

    Raises:
        RunError: it is being made, by a process that is alive.
    """
    with run.files.locked():
        if run.state == "running":
            raise RunError(
                f"run '{run.name}' is running; end it first with: workbench stop {run.name}"
            )
        found = [path for path in run.directory.rglob("*") if path.is_file()]
        size = sum(path.lstat().st_size for path in found)
        gone = run.directory.with_name(f".removed-{secrets.token_hex(3)}-{run.name}")
        run.directory.rename(gone)  # at once, so that nobody meets half a run
    shutil.rmtree(gone)
    return Removed(run.name, len(found), size)
