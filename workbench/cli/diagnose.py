"""`diagnose`: which sites and layers hurt, and inside one of them which channels and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.console import (
    Activations,
    AsJson,
    DataPath,
    Edges,
    Mean,
    Model,
    Size,
    Std,
    Tell,
    Weights,
    app,
    bits,
    emit,
    open_session,
    output,
    positive_option,
    say,
    show,
    telling,
)
from workbench.foundation.errors import RecipeError

if TYPE_CHECKING:
    from workbench.session.diagnosis import SiteDiagnosis

MILLI = 1000.0


@app.command()
def diagnose(  # noqa: PLR0913 - one parameter for each option
    model: Model,
    weights: Weights = 4,
    activations: Activations = "8",
    edges: Edges = "same",
    method: Annotated[str, typer.Option(help="How to quantize meanwhile.")] = "rtn",
    data: DataPath = None,
    mean: Mean = "",
    std: Std = "",
    size: Size = "",
    exact: Annotated[
        bool,
        typer.Option(
            "--exact/--estimate",
            help="Measure each site and layer, or estimate all of them from a few passes.",
        ),
    ] = False,
    site: Annotated[str, typer.Option(help="A weight or activation: its channels.")] = "",
    channel: Annotated[
        int | None, typer.Option(help="Of --site: single weights of this output channel.")
    ] = None,
    examples: Annotated[
        int, typer.Option(help="To look at, of each split.", callback=positive_option)
    ] = 64,
    top: Annotated[int, typer.Option(help="Rows to show.", callback=positive_option)] = 30,
    as_json: AsJson = False,
) -> None:
    """Which sites suffer: alone, all together, and what each does to the answer.

    Of a run's directory, the quantizers that it has learned; otherwise the model is quantized now.
    """

    def look(tell: Tell) -> SiteDiagnosis:
        if _is_run(model):
            return _of_run(model, exact, examples, tell)
        active, ends = bits(activations, "--activations", "float"), bits(edges, "--edges", "same")
        session = open_session(model, data, mean, std, size)
        return session.site_errors(
            weights, active, method, ends, exact=exact, examples=examples, watch=tell
        )

    if channel is not None and not site:
        raise RecipeError(f"--channel was {channel} without --site; say whose channel with --site")
    found = _kept(look)
    if site:
        _site(found, site, channel, top, as_json)
    elif as_json:
        emit({**found.record, "guilty": found.guilty})
    else:
        _overview(found, top)


def _kept(look: Callable[[Tell], SiteDiagnosis]) -> SiteDiagnosis:
    """With progress; Ctrl-C says that nothing is lost."""
    with telling("diagnosing") as tell:
        try:
            return look(tell)
        except KeyboardInterrupt:
            say("what was measured so far is kept; the same command goes on from there")
            raise


def _is_run(model: str) -> bool:
    return (Path(model).expanduser() / "run.json").exists()


def _of_run(directory: str, exact: bool, examples: int, tell: Tell) -> SiteDiagnosis:
    from workbench.session.diagnosis import site_errors
    from workbench.session.runs import Run

    run = Run(directory)
    return site_errors(
        run.session, run.recipe, run.model, exact=exact, examples=examples, watch=tell
    )


def _overview(found: SiteDiagnosis, top: int) -> None:
    from workbench.session.diagnosis import damage

    ranked = sorted(found.sites, key=lambda record: -damage(record))
    columns = (
        "site", "grid", "dB/theory", "gathered", "damage", "gain", "flips %", "calibration",
    )  # fmt: skip
    show(f"{found.record['model']}: sites", columns, map(_row, ranked[:top]))
    _rest(len(ranked), top)
    worst = sorted(found.layers, key=lambda record: -damage(record))
    columns = ("layer", "operator", "bits", "damage", "gain", "calibration")
    show("Layers, weights and inputs together", columns, map(_layer_row, worst[:top]))
    _rest(len(worst), top)
    for line in _foot(found.record):
        output.print(line, markup=False, highlight=False)
    output.print("worst first: " + ", ".join(found.guilty), markup=False)


def _rest(count: int, top: int) -> None:
    if count > top:
        output.print(f"{count - top} more; see them with --top {count}", markup=False)


def _row(record: Mapping[str, Any]) -> tuple[str, ...]:
    held_out = record["held_out"]
    flips = held_out["exact"] and held_out["exact"]["alone"]["flips"]
    return (
        record["site"],
        record["grid"].replace(" tensor", ""),
        f"{_fixed(record['sqnr_db'])}/{_fixed(record['theory_db'])}",
        _fixed(held_out["gathered"]["sqnr_db"]),
        *_damages(record),
        _fixed(None if flips is None else 100 * flips),
        _milli(*_kl(record["calibration"])),
    )


def _layer_row(record: Mapping[str, Any]) -> tuple[str, ...]:
    width = f"W{record['bits_weights'] or '–'} A{record['bits_activations'] or '–'}"
    calibration = _milli(*_kl(record["calibration"]))
    return (record["layer"], record["op"], width, *_damages(record), calibration)


def _damages(record: Mapping[str, Any]) -> tuple[str, str]:
    """Damage alone and gain of leaving it float, measured where they were."""
    held_out = record["held_out"]
    source = held_out["exact"] or held_out["estimate"]
    return _milli(*_kl(held_out)), _milli(source["gain"], held_out["exact"] is None)


def _kl(split: Mapping[str, Any]) -> tuple[float, bool]:
    exact = split["exact"]
    return (split["estimate"]["kl"], True) if exact is None else (exact["alone"]["kl"], False)


def _milli(value: float, estimated: bool) -> str:
    """In thousandths of a nat; an estimate is marked."""
    mark, value = "~" if estimated else "", MILLI * value
    return mark + (f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}")


def _foot(record: Mapping[str, Any]) -> list[str]:
    before, after = record["unquantized"]["held_out"], record["quantized"]["held_out"]
    nats = "thousandths of a nat" if record["answer"] == "classes" else "thousandths of ½‖Δz‖²"
    apart = f"SQNR {_fixed(after['sqnr_db'])} dB, float arithmetic {_fixed(record['floor_db'])} dB"
    lines = [
        f"damage: {nats} when it alone is quantized; gain: when it alone stays float; ~ estimated",
        f"all together: {MILLI * after['kl']:.3g}; {apart}",
    ]
    if after["flips"] is not None:
        lines[1] += f"; {100 * after['flips']:.1f} % of predictions change"
    if before["score"] is not None:
        lines.append(f"score on these examples: {before['score']:.2f} → {after['score']:.2f}")
    for split, found in record["spearman"].items():
        if found is not None:
            ranks = ", ".join(f"{name} {of['alone']:.2f}" for name, of in found.items())
            lines.append(f"rank correlation of estimate and measurement, {split}: {ranks}")
    return lines


def _site(found: SiteDiagnosis, site: str, channel: int | None, top: int, as_json: bool) -> None:
    channels = found.channels(site)
    record = next(own for own in found.sites if own["site"] == site)
    weights = found.weights(site, channel, top) if record["kind"] == "weight" else []
    if as_json:
        emit(
            {
                "site": record,
                "channels": channels,
                "weights": weights,
                "shape": found.shape(site),
            }
        )
        return
    ranked = sorted(channels, key=lambda own: -own["error_share"])
    columns = (
        "channel", "low", "high", "kurtosis", "asymmetry", "clipped %", "saturated %", "codes",
        "dB", "error %", "damage %", "",
    )  # fmt: skip
    show(f"{site}, {record['grid']}: channels", columns, map(_channel_row, ranked[:top]))
    _rest(len(ranked), top)
    if weights:
        columns = ("weight", "value", "code", "rounded", "error", "share %")
        show("Largest errors", columns, map(_weight_row, weights))


def _channel_row(record: Mapping[str, Any]) -> tuple[str, ...]:
    share = record.get("damage_share")
    marks = [mark for mark in ("dead", "outlier") if record[mark]]
    used = "–" if record["codes_used"] is None else f"{record['codes_used']} of {record['codes']}"
    return (
        str(record["channel"]),
        f"{record['low']:.4g}",
        f"{record['high']:.4g}",
        _fixed(record["kurtosis"]),
        f"{record['asymmetry']:.2f}",
        _fixed(100 * record["clipped"]),
        _fixed(100 * record["saturated"]),
        used,
        _fixed(record["sqnr_db"]),
        _fixed(100 * record["error_share"]),
        _fixed(None if share is None else 100 * share),
        ", ".join(marks),
    )


def _weight_row(record: Mapping[str, Any]) -> tuple[str, ...]:
    place = ", ".join(map(str, record["index"]))
    numbers = (f"{record[key]:.4g}" for key in ("value", "code", "rounded", "error"))
    return (place, *numbers, _fixed(100 * record["share"]))


def _fixed(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.1f}"
