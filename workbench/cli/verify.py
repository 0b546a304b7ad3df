"""What a quantized file does in ONNX Runtime: `verify`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.console import (
    AsJson,
    DataPath,
    Examples,
    Mean,
    Size,
    Std,
    Threads,
    app,
    emit,
    errors,
    open_session,
    output,
    say,
    show,
    threads_of,
)
from workbench.foundation.errors import RunError

if TYPE_CHECKING:
    from workbench.deploy.cures import Applied
    from workbench.deploy.profile import Profile
    from workbench.deploy.verification import Price, Verification
    from workbench.session.verifying import Check

DIFFERS = 3
"""Exit code of `verify` when the file does something else than the simulation."""

SHOWN = 16
"""Rows of the longer tables."""

Subject = Annotated[str, typer.Argument(help="A run, or the float model: a file or a name.")]
File = Annotated[
    Path | None, typer.Argument(help="The quantized file; for a run, instead of its own.")
]
Prices = Annotated[
    bool | None,
    typer.Option(
        "--prices/--no-prices",
        help="Measure what the file and each cure cost; the default is yes, for a run no.",
    ),
]
Apply = Annotated[str, typer.Option("--apply", help="A cure to apply, such as 7-bit.")]
Out = Annotated[Path | None, typer.Option("--out", help="Where to write a cured file.")]
Latency = Annotated[bool, typer.Option("--latency", help="Time each node, too.")]


@app.command()
def verify(  # noqa: PLR0913 - one parameter for each option
    subject: Subject,
    file: File = None,
    data: DataPath = None,
    mean: Mean = "",
    std: Std = "",
    size: Size = "",
    examples: Examples = 128,
    prices: Prices = None,
    apply: Apply = "",
    out: Out = None,
    latency: Latency = False,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Compare a quantized file with what it says, tensor by tensor, in ONNX Runtime.

    `verify RUN` compares a run's file with the run's simulation. `verify FLOAT.onnx QUANTIZED.onnx`
    takes a file from any tool, names the cause of a difference and the price of each cure.
    """
    if out is not None and not apply:
        raise RunError(f"--out '{out}' is for a cured file; name the cure with --apply")
    with errors.status("comparing in ONNX Runtime"):
        if _is_model(subject) and file is not None:
            session = open_session(subject, data, mean, std, size)
            check, found = _foreign(session, file, examples, prices is not False, threads)
        else:
            check, found = _of_run(subject, file, examples, prices is True, threads)
        times = check.profile(threads) if latency else None
        applied = _apply(found, check, apply, out) if apply else None
    if as_json:
        emit(_record(found, times, applied))
    else:
        _print(found, times, applied)
    raise typer.Exit(0 if found.ok or applied else DIFFERS)


def _is_model(subject: str) -> bool:
    """An .onnx file or a known model, and not a run."""
    from workbench.session import zoo

    return Path(subject).suffix.lower() == ".onnx" or subject.replace("_", "-") in zoo.known()


def _foreign(
    session: Any, file: Path, examples: int, prices: bool, threads: int
) -> tuple[Check, Verification]:
    from workbench.session.verifying import check_file

    check = check_file(session, file, examples)
    found = check.verify()
    return check, check.price(found, threads) if prices else found


def _of_run(
    subject: str, file: Path | None, examples: int, prices: bool, threads: int
) -> tuple[Check, Verification]:
    from workbench.session.runs import Run
    from workbench.session.verifying import check_run

    if _is_model(subject):
        raise RunError(f"'{subject}' is a model; give the quantized file after it, or a run")
    run = Run(subject)
    found = run.verify(file, examples)
    check = check_run(run, file, examples)
    return check, check.price(found, threads) if prices else found


def _apply(found: Verification, check: Check, cure: str, out: Path | None) -> Applied:
    """Cure the layers that depart; all that may depart elsewhere, where none does here."""
    from workbench.deploy.cures import apply_cure

    measured = next((each.layers for each in found.cures if each.name == cure), ())
    layers = measured or found.layers or None
    return apply_cure(check.path, cure, layers, out)


def _record(found: Verification, times: Profile | None, applied: Applied | None) -> dict[str, Any]:
    record = found.record()
    if times is not None:
        record["latency"] = times.record()
    if applied is not None:
        record["applied"] = applied.record()
    return record


def _print(found: Verification, times: Profile | None, applied: Applied | None) -> None:
    output.print(found.sentence(), markup=False)
    for note in found.notes:
        output.print(f"note: {note}", markup=False)
    if found.suspects:
        columns = ("departs at", "layers", "codes off", "by steps", "in the experiment")
        show("", columns, _shorten(list(_suspect_rows(found))))
    if found.price is not None:
        columns = ("cure", "top-1", "agreement", "SQNR dB", "ms", "× float", "depart")
        rows = [_price_row("(as it is)", found.price)]
        rows += [_price_row(cure.name, cure.price) for cure in found.cures]
        title = f"{found.price.examples} examples; times of one, {threads_of(found.price.threads)}"
        show(title, columns, rows)
        for cure in found.cures:
            output.print(f"{cure.name}: {cure.words}", markup=False)
    if times is not None:
        output.print(times.sentence(), markup=False)
        columns = ("slowest nodes", "kernel", "kind", "ms", "float ms", "bytes", "float bytes")
        show("", columns, _shorten(list(_node_rows(times))))
    if applied is not None:
        say(applied.sentence())


def _suspect_rows(found: Verification) -> Iterator[tuple[str, ...]]:
    for each in found.suspects:
        steps = "–" if each.max_steps is None else str(each.max_steps)
        layers = ", ".join(each.layers)
        yield each.tensor, layers, _percent(each.share), steps, _percent(each.mended_share)


def _price_row(name: str, price: Price) -> tuple[str, ...]:
    return (
        name,
        _percent(price.score, 1),
        _percent(price.agreement, 1),
        f"{price.sqnr_db:.1f}",
        f"{price.latency_ms:.2f}",
        f"{price.ratio:.2f}",
        str(price.departing),
    )


def _node_rows(times: Profile) -> Iterator[tuple[str, ...]]:
    for node in sorted(times.nodes, key=lambda node: -node.ms):
        before = "–" if node.float_ms is None else f"{node.float_ms:.3f}"
        size = "–" if node.float_bytes is None else f"{node.float_bytes:,}"
        yield (
            node.name,
            node.kernel,
            node.kind,
            f"{node.ms:.3f}",
            before,
            f"{node.bytes:,}",
            size,
        )


def _shorten(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The first rows, and how many more there are."""
    if len(rows) <= SHOWN:
        return rows
    more = f"... and {len(rows) - SHOWN} more (--json has all)"
    return [*rows[:SHOWN], (more, *[""] * (len(rows[0]) - 1))]


def _percent(share: float | None, digits: int = 2) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f} %"
