"""A sweep: many recipes of one model, made as runs by an engine, and judged side by side.

A sweep has no state of its own. Each of its recipes is work with a folder of its own (`work.py`),
so asking for the same sweep again finds what is finished, waits for what is being made, goes on
with what was stopped, and starts the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from workbench.foundation.errors import WorkbenchError
from workbench.session import grid
from workbench.session.crew import Budget, Crew, Ending
from workbench.session.execute import Extent
from workbench.session.grid import Point
from workbench.session.results import Results, marked, record
from workbench.session.runs import Run, all_runs
from workbench.session.worker import NEEDS_MORE

if TYPE_CHECKING:
    from workbench.session.recipe import Recipe
    from workbench.session.session import Session
    from workbench.session.work import Work

RETRIES = 2
_LOOK = 0.5  # seconds between two looks


class Engine(Protocol):
    """What makes runs: processes of this machine, or a cluster."""

    def submit(self, directory: Path) -> Future[Ending]:
        """Make, or go on with, the run in `directory`."""
        ...

    def close(self) -> None:
        """End what is being made; it can be gone on with."""
        ...


@dataclass(frozen=True)
class Place:
    """How far a sweep is.

    Attributes:
        done, failed, total: runs.
        fraction: 0 to 1, with the parts of runs that are being made.
        eta_seconds: expected rest, None while unknown.
        seconds: since this sweep was begun or gone on with.
        row: the result that has just come in, if one has.
    """

    done: int
    failed: int
    total: int
    fraction: float
    eta_seconds: float | None
    seconds: float
    row: dict[str, Any] | None = None


Watch = Callable[[Place], None]


@dataclass
class _Task:
    """A point on its way."""

    point: Point
    run: Run
    tries: int = 0
    trouble: str = ""

    @property
    def ended(self) -> bool:
        return self.trouble != "" or self.run.state == "done"


class Sweep:
    """Runs to be made; everything is checked when it is built, and nothing started.

    Args:
        session: model and data.
        points: the recipes.
        extent: how much of each run's outcome is wanted.

    Raises:
        SweepError: with all that does not fit.
    """

    def __init__(
        self, session: Session, points: Sequence[Point], extent: Extent | None = None
    ) -> None:
        self.points = list(points)
        extent = extent or Extent(latency=False)  # runs beside each other disturb timings
        self.works: list[Work] = []
        problems: list[tuple[Point, WorkbenchError]] = []
        for point in self.points:
            try:
                self.works.append(session.work(point.recipe, extent))
            except WorkbenchError as error:
                problems.append((point, error))
        grid.checked(problems)

    def run(
        self,
        engine: Engine,
        watch: Watch | None = None,
        retries: int = RETRIES,
        spare: Callable[[], Engine] | None = None,
    ) -> Results:
        """Make what is not made yet.

        Args:
            engine: what makes the runs; it is closed at the end.
            watch: called now and then, and with each result as it comes in.
            retries: how often a run whose process was killed is begun again.
            spare: an engine for runs that need more memory than one of several may have.
        """
        known = all_runs()
        tasks = [
            _Task(point, Run(work.place(known).directory))
            for point, work in zip(self.points, self.works, strict=True)
        ]
        clock = _Clock(tasks, watch)
        try:
            _make(tasks, engine, clock, retries)
        finally:
            engine.close()
        short = [task for task in tasks if spare and NEEDS_MORE in task.trouble]
        if spare and short:
            _make_alone(short, spare(), clock, retries)
        return Results(marked([record(task.point, task.run, task.trouble) for task in tasks]))


def local(
    sweep: Sweep, budget: Budget, watch: Watch | None = None, retries: int = RETRIES
) -> Results:
    """Make a sweep in processes of this machine, within a budget."""
    alone = budget.alone() if budget.workers > 1 else None
    spare = (lambda: Crew(alone)) if alone else None
    return sweep.run(Crew(budget), watch, retries, spare)


def build(
    session: Session,
    values: grid.Values,
    recipes: Mapping[str, Recipe] | None = None,
    extent: Extent | None = None,
) -> Sweep:
    """A sweep over a grid, see `session.grid`.

    Args:
        session: model and data.
        values: values by key.
        recipes: that the grid changes, by name; the usual one if None.
        extent: how much of each run's outcome is wanted; all but latency if None.

    Raises:
        SweepError: with all that does not fit.
    """
    return Sweep(session, grid.points(recipes or grid.bases(()), values), extent)


def _make(tasks: Sequence[_Task], engine: Engine, clock: _Clock, retries: int) -> None:
    """Until every task has ended, well or not."""
    waiting: dict[Future[Ending], _Task] = {}
    for task in tasks:
        if task.ended:
            clock.tell(task)
        else:
            waiting[engine.submit(task.run.directory)] = task
    while waiting:
        ready, _ = wait(waiting, timeout=_LOOK, return_when=FIRST_COMPLETED)
        for future in ready:
            task = waiting.pop(future)
            if _again(task, _ending(future), retries):
                waiting[engine.submit(task.run.directory)] = task
            else:
                clock.tell(task)
        clock.tell()


def _make_alone(tasks: Sequence[_Task], engine: Engine, clock: _Clock, retries: int) -> None:
    for task in tasks:
        task.trouble = ""
    try:
        _make(tasks, engine, clock, retries)
    finally:
        engine.close()


def _ending(future: Future[Ending]) -> Ending:
    try:
        return future.result()
    except (WorkbenchError, CancelledError):
        return "ended"


def _again(task: _Task, ending: Ending, retries: int) -> bool:
    """Whether to begin again, now that one attempt has ended; notes why not."""
    state = task.run.state
    if state == "done":
        return False
    if state == "running":  # another process took it
        return True
    if state == "failed":
        task.trouble = task.run.message
    elif ending == "ended":
        task.trouble = "stopped by someone"
    elif task.tries >= retries:
        task.trouble = f"its process was killed {task.tries + 1} times; see {task.run.files.log}"
    else:
        task.tries += 1
        return True
    return False


class _Clock:
    """Tells how far a sweep is, at the pace since it was begun or gone on with."""

    def __init__(self, tasks: Sequence[_Task], watch: Watch | None) -> None:
        self._tasks = tasks
        self._watch = watch
        self._start = time.monotonic()
        self._first = self._fraction()

    def tell(self, task: _Task | None = None) -> None:
        """Report, with the result of `task` if one has come in."""
        if self._watch is None:
            return
        seconds, fraction = time.monotonic() - self._start, self._fraction()
        gained = fraction - self._first
        rest = seconds * (1 - fraction) / gained if gained > 0 else None
        failed = sum(task.trouble != "" for task in self._tasks)
        done = sum(task.ended for task in self._tasks) - failed
        row = record(task.point, task.run, task.trouble) if task else None
        self._watch(Place(done, failed, len(self._tasks), fraction, rest, seconds, row))

    def _fraction(self) -> float:
        whole = sum(1.0 if task.ended else _part(task.run) for task in self._tasks)
        return whole / max(1, len(self._tasks))


def _part(run: Run) -> float:
    """How much of a run that has not ended is made."""
    return float(run.files.read_progress().get("fraction", 0.0))
