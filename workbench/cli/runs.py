"""Commands about runs: list, compare, report, watch, resume, rerun, remove, stop, export."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.console import AsJson, RunName, app, emit, output, say, show, watching
from workbench.cli.quantize import leading, summary
from workbench.foundation.errors import RunError, WorkbenchError

if TYPE_CHECKING:
    from workbench.session.jobs import Job
    from workbench.session.recipe import Recipe
    from workbench.session.runs import Run
    from workbench.session.session import Session

LOOK_SECONDS = 0.5  # between two looks at a run that is being made


@app.command()
def runs(as_json: AsJson = False) -> None:
    """The runs below `runs/` (or WORKBENCH_RUNS), newest first."""
    from workbench.session.runs import all_runs

    found = [_record(run) for run in all_runs()]
    if as_json:
        emit(found)
        return
    columns = ("run", "state", "score", "made")
    rows = [(r["name"], r["state"], _score(r), _when(r["created"])) for r in found]
    show("Runs", columns, rows)


@app.command()
def watch(
    run: RunName,
    follow: Annotated[bool, typer.Option(help="Go on until the run ends.")] = True,
    as_json: AsJson = False,
) -> None:
    """What a run learns, a line a report: losses, gradient, codes that moved; and what went wrong.

    With --json everything so far, as the app draws it.
    """
    from workbench.session.runs import Run
    from workbench.views.signals import line, signals

    found = Run(run)
    if as_json:
        emit(signals(found.events(), found.files.read_progress(), found.state, found.name))
        return
    seen, state = 0, found.state
    while True:
        events = found.events(seen)
        seen += len(events)
        for event in events:
            text = f"! {event['text']}" if event.get("concern") else line([event])
            if text:
                output.print(text, markup=False, highlight=False)
        if state != "running" or not follow:
            break
        time.sleep(LOOK_SECONDS)
        state = found.state
    output.print(f"{found.name}: {state}", markup=False)


@app.command()
def resume(
    run: RunName,
    background: Annotated[bool, typer.Option(help="Start a job and return at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was stopped or has failed."""
    from workbench.session.launched import require_alone

    if background:
        require_alone("--background")
        job = _to_resume(run).resume()
        emit(job.progress()) if as_json else say(f"started {job.directory}")
        return
    with leading(lambda: _learned_from(run)) as together:
        job = _to_resume(run)
        with watching(job.run.name) as watch:
            job.run.session.make(job.run.files, watch, together)
    emit(summary(job.run)) if as_json else say(f"done: {job.directory}")


def _to_resume(run: str) -> Job:
    from workbench.session.jobs import Job

    job = Job(run)
    if job.state in ("done", "running"):
        raise RunError(f"run '{job.run.name}' is {job.state}; there is nothing to resume")
    return job


def _learned_from(run: str) -> tuple[Session, Recipe]:
    """What a process needs that learns along."""
    from workbench.session.runs import Run

    found = Run(run)
    return found.session, found.recipe


@app.command()
def compare(
    run: Annotated[list[str], typer.Argument(help="Two or more; the first is the base.")],
    as_json: AsJson = False,
) -> None:
    """Runs side by side: what differs in the recipe, scores, layers, predictions that flipped."""
    from workbench.session.comparing import compare as compared
    from workbench.session.runs import Run
    from workbench.views.comparison import tables

    found = compared([Run(name) for name in run])
    if as_json:
        emit(found)
        return
    for table in tables(found):
        columns = [column["label"] for column in table["columns"]]
        show(table["title"], columns, [row["cells"] for row in table["rows"]])
    for flips in found["flips"]:
        if flips["reason"]:
            say(f"{flips['base']} and {flips['run']}: {flips['reason']}")


@app.command()
def report(
    run: Annotated[list[str], typer.Argument(help="One run, or several to see side by side.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    figures: Annotated[
        Path | None, typer.Option(help="Folder for SVG, PDF, CSV and JSON of each picture too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """One HTML file about runs that needs no network: the pictures of the app, and their numbers.

    With --json the numbers that the file holds.
    """
    from workbench.session.comparing import gather
    from workbench.session.runs import Run
    from workbench.session.store import write_bytes
    from workbench.views.report import page, write_papers

    record = gather([Run(name) for name in run])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, page(record).encode())
    written = write_papers(record, figures) if figures is not None else []
    if as_json:
        emit(record)
        return
    more = f", and {len(written)} files in {figures}" if written else ""
    output.print(f"wrote {out}: {out.stat().st_size:,} bytes{more}", markup=False)


@app.command()
def rerun(run: RunName, as_json: AsJson = False) -> None:
    """Do the same work again, in a new run."""
    from workbench.session.runs import Run

    found = Run(run)
    with watching(found.name) as watch:
        made = found.rerun(watch)
    emit(summary(made)) if as_json else say(f"done: {made.directory}")


@app.command()
def rm(
    run: Annotated[list[str], typer.Argument(help="Run directories, or names that `runs` lists.")],
    as_json: AsJson = False,
) -> None:
    """Delete runs with all that lies in their folders; one that is running is refused."""
    from workbench.session.runs import Run, remove

    found = [Run(name) for name in run]
    removed = [remove(one) for one in found]
    if as_json:
        emit([asdict(one) for one in removed])
        return
    for one, gone in zip(found, removed, strict=True):
        text = f"removed {one.directory}: {gone.files} files, {gone.bytes:,} bytes"
        output.print(text, markup=False)


@app.command()
def stop(run: RunName, as_json: AsJson = False) -> None:
    """End a job; what it has learned is kept and can be resumed."""
    from workbench.session.jobs import Job

    job = Job(run)
    state = job.stop()
    if as_json:
        emit({"name": job.run.name, "state": state})
    else:
        output.print(f"{job.run.name}: {state}", markup=False)


@app.command()
def export(
    run: RunName,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("model.onnx"),
    store: Annotated[
        str | None, typer.Option(help="packed (small) or int8 (fast); else the recipe's.")
    ] = None,
    opset: Annotated[
        int | None, typer.Option(help="Operator set, 13 or newer; else the oldest that serves.")
    ] = None,
    external_data: Annotated[
        bool, typer.Option("--external-data", help="Keep the tensors in a file beside it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the learned model to an ONNX file."""
    from workbench.session.runs import Run

    written = Run(run).export(out, store, opset, external_data).record()
    if as_json:
        emit(written)
        return
    sizes = f"float {written['float_bytes']:,}, in 8 bits {written['int8_bytes']:,}"
    text = f"{written['path']}: {written['bytes']:,} bytes ({sizes}), opset {written['opset']}"
    output.print(text, markup=False)


def _record(run: Run) -> dict[str, Any]:
    about = run.about
    record = {"name": run.name, "directory": str(run.directory), "state": run.state}
    record |= {"model": about.get("name"), "created": about.get("created"), "message": run.message}
    record |= {"digest": about.get("digest", ""), "version": about.get("version")}
    record["summary"] = _summary(run)
    return record


def _summary(run: Run) -> dict[str, Any] | None:
    """None where there is no report, or one that another version wrote."""
    try:
        return summary(run) if run.files.report.exists() else None
    except (KeyError, TypeError, WorkbenchError):
        return None


def _score(record: dict[str, Any]) -> str:
    found = record["summary"]
    if found is None:
        return "–"
    return f"{found['learned']:.2f} {found['unit']} (float {found['float']:.2f})"


def _when(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "–"
