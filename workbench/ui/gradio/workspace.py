"""The server's side of a page: settings and runs in a folder that only the browser's key names."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from workbench.foundation.errors import (
    DataError,
    ModelError,
    RecipeError,
    RunError,
    WorkbenchError,
)
from workbench.graph.outline import outline
from workbench.graph.quantized import QuantizedGraph
from workbench.session import processes, zoo
from workbench.session.adopting import adopt, made_from, original_of, recipe_of
from workbench.session.execute import Extent
from workbench.session.jobs import Job
from workbench.session.openings import problem_of
from workbench.session.queueing import Queue
from workbench.session.recipe import Recipe
from workbench.session.remedies import Remedy
from workbench.session.restored import RestoredSession
from workbench.session.runs import Run, remove, run_name
from workbench.session.session import Session
from workbench.session.session import open as open_session
from workbench.session.store import read_json, write_json
from workbench.session.studies import Kind, Study
from workbench.session.teaching import teacher
from workbench.session.whys import Whys
from workbench.ui.gradio.baselines import Baselines
from workbench.ui.gradio.limits import (
    JOB_SECONDS,
    STUDY_SECONDS,
    Limits,
    memory_gib,
    upload_bounds,
)
from workbench.ui.gradio.recipe_form import Form
from workbench.ui.gradio.settings import TOP, Settings, run_label
from workbench.ui.gradio.shelf import Shelf
from workbench.views import strings

log = logging.getLogger(__name__)

_KEY = re.compile(r"[0-9a-f]{32}")
_REPORTS = 256 << 20
_MODELS = 1 << 30
_SETTINGS = 1000  # pages whose settings are kept at hand
PROMPT = Extent(layer_examples=64, verify_examples=64)  # enough to see, soon enough to wait for
_JOBS = 2  # learning at the same time on this machine
_OPENINGS = 2  # uploads that are tried at the same time


class Desk:
    """All pages of this server; the browser holds nothing but a key.

    Args:
        root: folder for baselines and users.
        extent: what runs include beyond learning and export.
        first: what a new page shows; limits: of one page.
    """

    def __init__(
        self,
        root: Path,
        extent: Extent | None = None,
        first: Settings | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.root = root
        self.limits = limits or Limits()
        self.first = first or Settings()
        self.extent = extent or PROMPT
        self.baselines = Baselines(root / "baselines", self.extent)
        self._reports: Shelf[dict[str, Any]] = Shelf(_REPORTS, _json_bytes)
        self._models: Shelf[QuantizedGraph] = Shelf(_MODELS, _model_bytes)
        self._sessions: Shelf[Session] = Shelf(_MODELS, _session_bytes)
        self._coverages: Shelf[dict[str, Any]] = Shelf(_REPORTS, _json_bytes)
        self.choices: Shelf[Settings] = Shelf(_SETTINGS, lambda _: 1)
        self.machine = Study(root / "machine", "machine")
        self._lock = threading.Lock()
        self._openings = threading.BoundedSemaphore(_OPENINGS)
        self._turns: WeakValueDictionary[str, _Turn] = WeakValueDictionary()
        self.queue = Queue(root / "users", _JOBS, _begin, self._cures)
        self.queue.wake()  # what waited when the server was stopped

    def workspace(self, key: object) -> Workspace:
        """The workspace of a key; a fresh one if the key is none of ours."""
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            key = secrets.token_hex(16)
        return Workspace(self, key, self.root / "users" / key)

    def turn(self, key: str) -> _Turn:
        """One at a time of all that change a page's settings."""
        with self._lock:
            return self._turns.setdefault(key, _Turn())

    def nobody(self) -> Workspace:
        """What a page shows before its browser has told its key."""
        return Workspace(self, "", self.root / "users" / "nobody")

    def report(self, run: Run) -> dict[str, Any]:
        """A finished run's report."""
        path = run.files.report
        return self._reports.get((path, path.stat().st_mtime_ns), run.report)

    def model(self, run: Run) -> QuantizedGraph:
        """A finished run's simulation."""
        return self._models.get(run.directory, lambda: run.model)

    def session(self, settings: Settings) -> Session:
        """The chosen model, opened; its data are read when they are first asked for.

        Raises:
            WorkbenchError: it cannot be opened.
        """
        path = Path(settings.model)
        print_ = path.stat().st_mtime_ns if path.is_file() else 0

        def opened() -> Session:
            return open_session(settings.model, data=settings.data, name=settings.title)

        return self._sessions.get((settings.model, print_, settings.data), opened)

    def coverage(self, settings: Settings, recipe: Recipe) -> dict[str, Any]:
        """What will run where with `recipe`, as a record.

        Raises:
            WorkbenchError: the model cannot be opened, or the target refuses.
        """
        session = self.session(settings)
        key = (settings.model, settings.data, recipe.toml())
        return self._coverages.get(key, lambda: session.coverage(recipe).record())

    def outline(self, settings: Settings) -> dict[str, Any]:
        """The chosen network as vertices and edges, as a record; see `graph.outline`.

        Raises:
            WorkbenchError: the model cannot be opened.
        """
        graph = self.session(settings).graph
        key = ("outline", settings.model, settings.data)
        return self._coverages.get(key, lambda: outline(graph).record())

    def damage(self, run: Run) -> dict[str, Any] | None:
        """What each layer of a finished run does to the answer, as far as that is known."""
        known = Whys(run.directory)
        stamps = _stamps(known.damages, known.place / "errors.json")
        found = self._coverages.get((run.directory, *stamps), lambda: known.damage() or {})
        return found or None

    def causes(self, run: Run) -> dict[str, dict[str, Any]]:
        """Causes of the layers of a finished run, as far as they are known."""
        known = Whys(run.directory)
        return self._coverages.get((known.found, *_stamps(known.found)), known.layers)

    def problem_of(self, folder: Path, model: str, data: str | None = None) -> str:
        """Why an upload cannot be opened, found out in a process of its own; "" where it can."""
        with self._openings:
            return problem_of(folder, model, data, upload_bounds())

    def start_looking(self, study: Study) -> None:
        """Start a study that nobody asked for, once, when no other such is running."""
        with self._lock:
            places = ("users/*/runs/*", "baselines/*")
            pids = [p for at in places for p in self.root.glob(f"{at}/studies/causes-pid.json")]
            if study.state == "none" and not any(_at_work(path) for path in pids):
                study.start(memory_gib=memory_gib(), seconds=STUDY_SECONDS)

    def start_cure(self, study: Study) -> None:
        """Start a cure, unless the machine has enough to do.

        Raises:
            RunError: too many jobs are running.
        """
        with self._lock:
            self._require_room()
            study.start(memory_gib=memory_gib(), seconds=JOB_SECONDS)

    def start_study(self, study: Study) -> None:
        """Start a study, unless the machine has enough to do.

        Raises:
            RunError: too many are running.
        """
        with self._lock:
            pids = [*self.root.glob("users/*/runs/*/studies/*-pid.json")]
            pids += self.root.glob("baselines/*/studies/*-pid.json")
            asked = [path for path in pids if path.name != "causes-pid.json"]
            if sum(_at_work(path) for path in asked) >= _JOBS:
                raise RunError(f"{_JOBS} measurements are running already; wait for one to end")
            study.start(memory_gib=memory_gib(), seconds=STUDY_SECONDS)

    def start(self, job: Job) -> None:
        """Start a job as soon as the machine has room for it."""
        self.queue.put(job.directory)

    def _cures(self) -> int:
        """Cures at work; one that makes its run counts as that run."""
        pids = self.root.glob("users/*/cures/*/studies/cure-pid.json")
        return sum(_at_work(path) and not _making(path) for path in pids)

    def _require_room(self) -> None:
        """A cure is a job too, which does not wait."""
        active = len(self.queue.active()) + self._cures()
        if active >= _JOBS:
            raise RunError(
                f"{active} jobs are running on this machine already; wait for one to end,"
                " or stop one"
            )


class _Turn:
    """A lock that is forgotten when nobody holds it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Workspace:
    """One browser's settings, uploads and runs.

    Args:
        desk: the server's store.
        key: what the browser holds; directory: its folder.
    """

    def __init__(self, desk: Desk, key: str, directory: Path) -> None:
        self.desk = desk
        self.key = key
        self.directory = directory
        self.turn = desk.turn(key)
        self._file = directory / "settings.json"

    @property
    def settings(self) -> Settings:
        """What was chosen last."""
        try:
            about = self._file.stat()
        except FileNotFoundError:
            return self.desk.first
        stamp = (self.key, about.st_ino, about.st_mtime_ns)  # each writing makes a new file
        return self.desk.choices.get(stamp, self._read)

    def _read(self) -> Settings:
        try:
            return Settings.from_record(read_json(self._file, "holds no settings"))
        except (WorkbenchError, TypeError):
            log.warning("settings of a page were damaged and are forgotten: %s", self._file)
            return self.desk.first

    def update(self, **changes: Any) -> Settings:
        """Choose something else."""
        with self.turn:
            settings = self.settings.changed(**changes)
            self.directory.mkdir(parents=True, exist_ok=True)
            write_json(self._file, settings.record(), durable=False)
        return settings

    @property
    def changed_at(self) -> int:
        """When the settings were changed last, in microseconds; 0 before any."""
        return self._file.stat().st_mtime_ns // 1000 if self._file.exists() else 0

    def baseline(self) -> Run | None:
        """Nearest rounding of the model, if it has been begun."""
        settings = self.settings
        return self.desk.baselines.find(settings.model, settings.data)

    def runs(self) -> list[Run]:
        """Runs of the chosen model and data, newest first."""
        found = []
        settings = self.settings
        for path in (self.directory / "runs").glob("*/run.json"):
            try:
                run = Run(path.parent)
            except WorkbenchError as error:
                log.warning("%s", error)
                continue
            if (run.about["source"]["value"], data_of(run)) == (settings.model, settings.data):
                found.append(run)
        return sorted(found, key=lambda run: float(run.about.get("created", 0)), reverse=True)

    def find(self, name: str) -> Run | None:
        """The run of that name among `runs`."""
        return next((run for run in self.runs() if run.name == name), None)

    def chosen(self) -> Run | None:
        """The run that was chosen; None where the baseline is."""
        return self.find(self.settings.run)

    def shown(self) -> Run | None:
        """The finished run whose report is on screen: the chosen one, else the baseline."""
        for run in (self.chosen(), self.baseline()):
            if run is not None and run.state == "done":
                return run
        return None

    def state(self, run: Run) -> str:
        """Where a run stands: "queued" while it waits for its turn."""
        return "queued" if self.desk.queue.waits(run.directory) else run.state

    def jobs(self) -> list[Run]:
        """Runs that are being made, the first begun first, then those that wait, by turn."""
        runs = self.runs()[::-1]
        places = self.desk.queue.places()
        waiting = [run for run in runs if run.directory in places]
        waiting.sort(key=lambda run: places[run.directory].ahead)
        running = [run for run in runs if run.directory not in places and run.state == "running"]
        return [*running, *waiting]

    def at_work(self) -> Run | None:
        """The run that is being made, or is next; None if there is none."""
        return next(iter(self.jobs()), None)

    def learner(self) -> Run | None:
        """The run whose learning is shown: the chosen one if it is a job, else the one at work."""
        chosen, jobs = self.chosen(), self.jobs()
        own = chosen is not None and any(run.name == chosen.name for run in jobs)
        return chosen if own or not jobs else jobs[0]

    def waiting(self) -> int:
        """Jobs of this page in the queue, whatever model they are of."""
        places = self.desk.queue.places()
        return sum(path.is_relative_to(self.directory.resolve()) for path in places)

    def start(self) -> Run:
        """Start a job with the recipe of the form; it waits for its turn.

        Raises:
            WorkbenchError: in one sentence, what is not possible.
        """
        settings = self.settings
        recipe = self.recipe()
        self._require_room()
        session = open_session(settings.model, data=settings.data, name=settings.title)
        directory = self.directory / "runs" / run_name(settings.title, recipe)
        session.prepare(recipe, directory, self.desk.extent)
        self.desk.start(Job(directory))
        self.update(run=directory.name)
        return Run(directory)

    def stop(self) -> Run | None:
        """Stop the chosen run if it is a job, else the one at work; which it was."""
        run = self.learner()
        if run is not None and not self.desk.queue.leave(run.directory):
            Job(run.directory).stop()
        return run

    def resume(self) -> None:
        """Go on with the chosen run.

        Raises:
            RunError: too many jobs of this page wait.
        """
        run = self.chosen()
        if run is not None and self.state(run) in ("stopped", "failed"):
            self._require_room()
            self.desk.start(Job(run.directory))

    def remove(self, name: str) -> None:
        """Delete a run of this page for good.

        Raises:
            RunError: it is being made.
        """
        run = self.find(name)
        if run is not None:
            self.desk.queue.leave(run.directory)
            remove(run)

    def _require_room(self) -> None:
        self.desk.limits.require_waiting(self.waiting())
        self.desk.limits.require_stored(self.directory)

    def open_model(self, uploaded: Path) -> str:
        """Take an uploaded model, checked first; says what became of a file that we exported.

        Raises:
            ModelError: it is not an ONNX model we can use.
        """
        suffix = uploaded.suffix.lower()
        kept = self._keep(uploaded, suffix if suffix == ".zip" else ".onnx")
        self._try(kept, uploaded, str(kept), None, ModelError)
        session = open_session(kept)
        before = self.settings
        self.update(model=str(kept), title=kept.stem, data=None, run="", **TOP)
        return self._restore(session, before) if isinstance(session, RestoredSession) else ""

    def open_data(self, uploaded: Path) -> str:
        """Take uploaded data, checked against the model first; says what became of it.

        Raises:
            DataError: they do not fit the model.
        """
        kept = self._keep(uploaded, uploaded.suffix.lower())
        self._try(kept, uploaded, self.settings.model, str(kept), DataError)
        self.update(data=str(kept), run="", **TOP)
        session = self.desk.session(self.settings)
        if isinstance(session, RestoredSession) and not self.runs():
            return self._adopt(session, session)
        return ""

    def open_recipe(self, uploaded: Path) -> str:
        """Show an uploaded recipe in the form.

        Raises:
            RecipeError: it is none.
        """
        try:
            recipe = Recipe.load(uploaded)
        except WorkbenchError as error:
            raise type(error)(str(error).replace(str(uploaded), uploaded.name)) from None
        self.update(form=Form.of(recipe))
        return strings.RECIPE_TAKEN.format(name=uploaded.name)

    def open_teacher(self, uploaded: Path) -> str:
        """Let an uploaded model teach, checked first.

        Raises:
            WorkbenchError: it cannot be opened, or does not answer the same question.
        """
        kept = self._keep(uploaded, ".onnx")
        self._try(kept, uploaded, str(kept), None, ModelError)
        settings = self.settings
        form = replace(settings.form, teacher=str(kept))
        try:
            teacher(self.desk.session(settings), form.recipe())
        except WorkbenchError as error:
            shutil.rmtree(kept.parent, ignore_errors=True)
            raise type(error)(str(error).replace(str(kept), uploaded.name)) from None
        self.update(form=form)
        return strings.TEACHER_TAKEN.format(name=uploaded.name)

    def recipe(self) -> Recipe:
        """The recipe of the form.

        Raises:
            RecipeError: it is not possible, or its teacher is no model of this page.
        """
        recipe = self.settings.form.recipe()
        if recipe.teacher and recipe.teacher not in zoo.known():
            kept = Path(recipe.teacher).resolve()
            if not (kept.is_relative_to(self.directory.resolve()) and kept.is_file()):
                name = Path(recipe.teacher).name
                raise RecipeError(strings.TEACHER_ABSENT.format(name=name))
        return recipe

    def study(self, kind: Kind) -> Study | None:
        """A study of the run on screen, or of this machine; None where there is no run."""
        if kind == "machine":
            return self.desk.machine
        run = self.shown()
        return None if run is None else Study(run.directory, kind)

    def _restore(self, file: RestoredSession, before: Settings) -> str:
        """Show an exported file as a run: of the model on screen before, if it was made from that.

        Else of the model that its name leads to, else of the weights that the file holds.
        """
        for model, title, data in _originals(file, before):
            self.update(model=model, title=title, data=data)
            try:
                session = self.desk.session(self.settings)
                if made_from(file, session):
                    return self._adopt(file, session)
            except WorkbenchError as error:
                log.info("'%s' does not serve as the file's model: %s", title, error)
        self.update(model=str(file.path), title=file.path.stem, data=None)
        self.update(form=Form.of(recipe_of(file)))
        try:
            return self._adopt(file, file)
        except DataError:
            return strings.RESTORED_WAITS.format(name=file.path.name)

    def _adopt(self, file: RestoredSession, session: Session) -> str:
        """A run of `session` with the quantizers of `file`, measured anew."""
        recipe = recipe_of(file)
        directory = self.directory / "runs" / run_name(session.name, recipe)
        self.update(form=Form.of(recipe))
        adopt(file, session, directory, self.desk.extent)
        self.desk.start(Job(directory))
        self.update(run=directory.name)
        whole = session is not file or file.has_original
        words = strings.RESTORED if whole else strings.RESTORED_ALONE
        return words.format(name=file.path.name, label=run_label(recipe))

    def _try(
        self, kept: Path, uploaded: Path, model: str, data: str | None, kind: type[WorkbenchError]
    ) -> None:
        """Let what was kept of an upload be opened elsewhere before it is opened here.

        Raises:
            WorkbenchError: of that `kind`; nothing of it is kept then.
        """
        problem = self.desk.problem_of(kept.parent, model, data)
        if problem:
            shutil.rmtree(kept.parent, ignore_errors=True)
            raise kind(problem.replace(str(kept), uploaded.name))

    def _keep(self, uploaded: Path, suffix: str) -> Path:
        """A copy with a harmless name in this workspace."""
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", uploaded.stem).strip(".-")[:60] or "model"
        if suffix not in (".onnx", ".npz", ".zip", ".txt", ".tsv", ".py", ".md"):
            raise ModelError(
                f"'{uploaded.name}' is not a kind of file we can use; give an .onnx model, or data"
                " as .npz, .zip or .txt"
            )
        self.desk.limits.require_stored(self.directory, uploaded.stat().st_size)
        folder = self.directory / "uploads"
        folder.mkdir(parents=True, exist_ok=True)
        # a new folder for each upload: what earlier runs and this screen use is never written over
        kept = Path(tempfile.mkdtemp(dir=folder)) / f"{stem}{suffix}"
        shutil.copyfile(uploaded, kept)
        return kept


def data_of(run: Run) -> str | None:
    """Path of the data that a run was made with; None where the model brought its own."""
    stored = run.about.get("data") or {}
    divided = run.about.get("divided")  # a cure calibrates on a part of it
    return stored.get("path") if stored.get("kind") == "path" else divided


def _originals(file: RestoredSession, before: Settings) -> Iterator[tuple[str, str, str | None]]:
    """(model, title, data) of what a file may have been made from."""
    yield before.model, before.title, before.data
    name = original_of(file)
    if name is not None:
        yield name, name, None


def _at_work(path: Path) -> bool:
    process = processes.load(path)
    return process is not None and process.alive()


def _begin(job: Job) -> None:
    job.start(memory_gib=memory_gib(), seconds=JOB_SECONDS)


def _making(pid: Path) -> bool:
    """The cure of this process makes its run by now."""
    try:
        return Run(Remedy(pid.parents[1]).asked.out).state == "running"
    except WorkbenchError:
        return False


def _stamps(*paths: Path) -> tuple[int, ...]:
    """They change when one of the files does."""
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def _json_bytes(report: dict[str, Any]) -> int:
    """A fair guess: numbers in histograms, or rows of nodes, are nearly all of it."""
    bins = sum(len(h.get("counts", ())) * 2 for h in report.get("histograms", {}).values())
    return 32 * bins + 1_000 * len(report.get("rows", ())) + 100_000


def _model_bytes(model: QuantizedGraph) -> int:
    return 2 * sum(p.numel() * p.element_size() for p in model.parameters())


def _session_bytes(session: Session) -> int:
    """The file's tensors, the folded ones and the module's."""
    return 3 * sum(p.numel() * p.element_size() for p in session.model.parameters())
