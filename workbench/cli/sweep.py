"""The command that makes many runs: `sweep`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn

from workbench.cli.console import AsJson, DataPath, app, emit, errors, open_session, say, show
from workbench.cli.quantize import Fast, value_of
from workbench.foundation.errors import RecipeError, RunError

if TYPE_CHECKING:
    from workbench.session.recipe import Recipe
    from workbench.session.results import Results
    from workbench.session.sweep import Place, Sweep, Watch

FAILED = 1
ENGINES = ("local", "ray")

What = Annotated[str, typer.Argument(help="A sweep's .toml file, or a model as for `quantize`.")]
Grid = Annotated[
    list[str] | None,
    typer.Option(
        "--grid",
        help="KEY=VALUE,VALUE,...; again for more. A key is weights, activations, method,"
        " transforms, edges, seed, weights.table, METHOD.OPTION; + joins methods or transforms.",
    ),
]
Recipes = Annotated[
    list[Path] | None,
    typer.Option("--recipe", help="A recipe that the grid changes; again for more."),
]
Workers = Annotated[
    int | None, typer.Option(help="Processes at a time \\[as cores and memory allow].")
]
Memory = Annotated[
    float | None, typer.Option(help="GiB for all of them together \\[four fifths of what is free].")
]
ThreadsEach = Annotated[int, typer.Option("--threads", help="Threads of each process.")]
Retries = Annotated[int, typer.Option(help="Attempts after the first where a process is killed.")]
EngineName = Annotated[
    str, typer.Option("--engine", help="local: processes here; ray: a cluster (extra 'ray').")
]
Address = Annotated[
    str, typer.Option("--address", help="Of the Ray cluster, such as 127.0.0.1:6379.")
]


@dataclass(frozen=True)
class Means:
    """What makes the runs."""

    engine: str
    address: str
    workers: int | None
    memory: float | None
    threads: int
    retries: int

    def run(self, sweep: Sweep, watch: Watch) -> Results:
        """Make the sweep."""
        from workbench.session import crew
        from workbench.session.sweep import local

        if self.engine == "ray":
            from workbench.session.cluster import Cluster

            each = None if self.memory is None else self.memory / (self.workers or 1)
            cluster = Cluster(self.address, self.threads, each, self.workers)
            return sweep.run(cluster, watch, self.retries)
        budget = crew.budget(self.workers, self.memory, self.threads)
        say(f"{budget.workers} processes of {budget.each_gib:.1f} GiB")
        return local(sweep, budget, watch, self.retries)


@app.command()
def sweep(  # noqa: PLR0913 - one parameter for each option
    what: What,
    grid: Grid = None,
    recipe: Recipes = None,
    data: DataPath = None,
    workers: Workers = None,
    memory: Memory = None,
    threads: ThreadsEach = 1,
    retries: Retries = 2,
    engine: EngineName = "local",
    address: Address = "",
    fast: Fast = False,
    as_json: AsJson = False,
) -> None:
    """Make a run of each recipe with each combination of values, and judge them side by side.

    What is done already is not done again: after a kill, the same command goes on.
    """
    means = Means(_known(engine), address, workers, memory, threads, retries)
    found = _asked(what, grid or [], recipe or [], data, fast)
    say(f"{len(found.points)} runs")
    try:
        with _watching() as watch:
            results = means.run(found, watch)
    except KeyboardInterrupt:
        say("stopped; the same command goes on")
        raise typer.Exit(130) from None
    if as_json:
        emit({"results": results.records, "best": [row["run"] for row in results.best]})
    else:
        show_results(results.records)
    if results.failed:
        raise typer.Exit(FAILED)


def show_results(records: Sequence[Mapping[str, Any]]) -> None:
    """A table; those that no other beats in score and size are marked."""
    keys = list(dict.fromkeys(key for row in records for key in row["settings"]))
    first = next((row for row in records if row["metric"]), None)
    metric = f"{first['metric']} {first['unit']}".strip() if first else "score"
    columns = (*keys, metric, "SQNR dB", "KB", "s", "best", "run")
    show("Sweep", columns, [_row(row, keys) for row in records])
    for row in records:
        if row["state"] != "done":
            say(f"{row['run']}: {row['state']}; {row['message']}")


def _row(row: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...]:
    settings = [str(row["settings"].get(key, "–")) for key in keys]
    if row["state"] != "done":
        return (*settings, row["state"], "–", "–", "–", "", row["run"])
    digits = 2 if row["unit"] == "%" else 3
    noise = "–" if row["sqnr_db"] is None else f"{row['sqnr_db']:.1f}"
    size, seconds = f"{row['bytes'] / 1000:.1f}", f"{row['seconds']:.1f}"
    score = f"{row['score']:.{digits}f}"
    return (*settings, score, noise, size, seconds, "*" if row["pareto"] else "", row["run"])


def _asked(
    what: str, grid: Sequence[str], recipes: Sequence[Path], data: Path | None, fast: bool
) -> Sweep:
    from workbench.session.execute import Extent
    from workbench.session.grid import SweepError, SweepFile, bases
    from workbench.session.sweep import build

    try:
        if what.endswith(".toml"):
            file = SweepFile.load(what)
            model, found, values = file.model, file.bases(), dict(file.grid)
            data, fast = data or (Path(file.data) if file.data else None), fast or file.fast
        else:
            model, found, values = what, bases(recipes), {}
        values |= _grid(grid)
        extent = Extent(layers=not fast, verify=not fast, latency=False)
        return build(open_session(model, data), values, _changed(found, recipes, what), extent)
    except SweepError as error:
        if len(error.problems) > 1:
            for problem in error.problems:
                say(problem)
        raise


def _changed(found: dict[str, Recipe], recipes: Sequence[Path], what: str) -> dict[str, Recipe]:
    """Recipes of the command line take the place of a file's."""
    from workbench.session.grid import bases

    return bases(recipes) if recipes and what.endswith(".toml") else found


def _grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not key:
            raise RecipeError(f"--grid was '{text}'; give KEY=VALUE,VALUE,...")
        found[key] = [value_of(value) for value in values.split(",") if value]
    return found


def _known(engine: str) -> str:
    if engine not in ENGINES:
        raise RunError(f"--engine was '{engine}'; give one of: {', '.join(ENGINES)}")
    return engine


@contextmanager
def _watching() -> Iterator[Watch]:
    """A bar for the whole sweep, and a line for each result, on standard error."""
    columns = (
        BarColumn(bar_width=30),
        TextColumn("{task.fields[count]}", markup=False),
        TextColumn("{task.fields[rest]}", style="dim", markup=False),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("sweep", total=1.0, count="", rest="")

        def watch(place: Place) -> None:
            failed = f", {place.failed} failed" if place.failed else ""
            count = f"{place.done} of {place.total}{failed}"
            rest = "" if place.eta_seconds is None else f"{place.eta_seconds:.0f} s left"
            bar.update(task, completed=place.fraction, count=count, rest=rest)
            if place.row:
                say(f"{place.seconds:6.1f} s  {count}{rest and f', {rest}'}: {_said(place.row)}")

        yield watch


def _said(row: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in row["settings"].items())
    if row["state"] != "done":
        return f"{settings or row['run']}: {row['state']}; {row['message']}"
    return f"{settings or row['run']}: {row['score']:.2f} {row['unit']}, {row['bytes']:,} bytes"
