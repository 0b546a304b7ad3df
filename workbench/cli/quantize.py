"""The commands that learn: `quantize` and `demo`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.console import (
    AsJson,
    DataPath,
    Mean,
    Model,
    Size,
    Std,
    Transforms,
    app,
    bits,
    emit,
    open_session,
    output,
    say,
    show,
    watching,
)
from workbench.foundation.errors import RecipeError

if TYPE_CHECKING:
    from workbench.session.recipe import Recipe
    from workbench.session.runs import Run
    from workbench.session.session import Session

DEMO_MODEL = "digits-mobilenet"
CANDIDATES = {
    "float": "float",
    "naive": "nearest rounding",
    "learned": "learned",
    "onnxruntime": "in ONNX Runtime",
}


OptionalWeights = Annotated[
    int | None, typer.Option("--weights", help="Bits of the weights, 1 to 8 \\[4].")
]
OptionalActivations = Annotated[
    str | None,
    typer.Option("--activations", help="Bits of the activations; 'float' or 0: none \\[8]."),
]
Methods = Annotated[
    list[str] | None,
    typer.Option("--method", help="A name that `methods` lists; again for more \\[gram]."),
]
MethodOptions = Annotated[
    list[str] | None, typer.Option("--option", help="KEY=VALUE of the method, or METHOD.KEY=VALUE.")
]
Granularity = Annotated[
    str | None,
    typer.Option("--granularity", help="tensor, channel, or the size of a group \\[channel]."),
]
LevelTable = Annotated[
    str | None,
    typer.Option("--table", help="Levels of the weights: uniform, nf4, apot, ... \\[uniform]."),
]
ZeroPoints = Annotated[
    bool | None,
    typer.Option("--zero-points", help="Weights with a zero-point for each scale: asymmetric."),
]
OptionalEdges = Annotated[
    str | None,
    typer.Option("--edges", help="Bits of first and last layer; 'same': as others \\[8]."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        help="PATTERN=WEIGHTS, PATTERN=/ACTIVATIONS or both; 0 is float. A pattern is a name with"
        " * and ?, op:TYPE, tensor:NAME, after:NODE, before:NODE, layer:first or layer:last.",
    ),
]
TargetName = Annotated[
    str | None, typer.Option("--target", help="A name that `targets` lists \\[ort-cpu].")
]
Store = Annotated[str | None, typer.Option("--store", help="packed or int8 \\[packed].")]
Calibration = Annotated[
    int | None,
    typer.Option("--calibration", help="Examples to learn from \\[512; synthetic ones 128]."),
]
Training = Annotated[
    int | None,
    typer.Option(
        "--training",
        help="Examples that training methods learn from; never judged on \\[0: the model's own, or"
        " those that calibrate].",
    ),
]
TeacherName = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        help="A float model, file or name, that methods with distillation learn from \\[the model"
        " itself].",
    ),
]
SyntheticName = Annotated[
    str | None,
    typer.Option(
        "--synthetic",
        help="Calibrate on examples made from the model: zeroq, genie, gdfq, random or generated,"
        " also as zeroq:iterations=200; see: methods --kind data. Real data, if any, only judge.",
    ),
]
Augment = Annotated[
    int | None,
    typer.Option("--augment", help="Versions of each picture, mirrored and moved \\[1]."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of all chance \\[0].")]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="A TOML file instead of the options above.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Run directory; new, below runs/.")]
Background = Annotated[bool, typer.Option("--background", help="Start a job, return at once.")]
Fast = Annotated[bool, typer.Option("--fast", help="No diagnosis, verification or timing.")]


@app.command()
def quantize(  # noqa: PLR0913 - one parameter for each option
    model: Model,
    weights: OptionalWeights = None,
    activations: OptionalActivations = None,
    method: Methods = None,
    option: MethodOptions = None,
    granularity: Granularity = None,
    table: LevelTable = None,
    zero_points: ZeroPoints = None,
    edges: OptionalEdges = None,
    override: Overrides = None,
    target: TargetName = None,
    transform: Transforms = None,
    store: Store = None,
    calibration: Calibration = None,
    training: Training = None,
    teacher: TeacherName = None,
    augment: Augment = None,
    synthetic: SyntheticName = None,
    seed: Seed = None,
    recipe: RecipeFile = None,
    data: DataPath = None,
    mean: Mean = "",
    std: Std = "",
    size: Size = "",
    out: Out = None,
    background: Background = False,
    fast: Fast = False,
    as_json: AsJson = False,
) -> None:
    """Learn a low-bit model, export it, prove it, and judge it on held-out data."""
    given = {
        "weights": weights, "activations": activations, "method": method, "option": option,
        "granularity": granularity, "table": table, "zero_points": zero_points, "edges": edges,
        "override": override, "target": target, "transform": transform, "store": store,
        "augment": augment, "synthetic": synthetic, "seed": seed, "teacher": teacher,
        "calibration_examples": calibration, "training_examples": training,
    }  # fmt: skip
    wanted, session = recipe_of(given, recipe), open_session(model, data, mean, std, size)
    begin = _start if background else partial(_wait, fast=fast)
    begin(session, wanted, out, as_json)


@app.command()
def demo(
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """See it all at once: digits-mobilenet in 4 bits, nearest rounding against learning."""
    start = time.monotonic()
    session = open_session(DEMO_MODEL)
    run = make(session, session.recipe(weights=4, activations=8, method="gram"), out)
    written = _pictures(run)
    result = {**summary(run), "seconds": time.monotonic() - start}
    if as_json:
        emit({**result, "files": [str(path) for path in written]})
        return
    _print_run(run, False)
    names = ", ".join(path.name for path in written)
    output.print(f"{run.directory} holds {names}; {result['seconds']:.0f} s", markup=False)


def make(session: Session, recipe: Recipe, out: Path | None, fast: bool = False) -> Run:
    """Make a run here, with progress on standard error; Ctrl-C leaves it resumable."""
    from workbench.session.execute import Extent
    from workbench.session.runs import Run

    extent = Extent(layers=not fast, verify=not fast, latency=not fast)
    files = session.prepare(recipe, out, extent)
    try:
        with watching(session.name) as watch:
            session.make(files, watch)
    except KeyboardInterrupt:
        say(f"stopped; go on with: workbench resume {files.directory}")
        raise typer.Exit(130) from None
    return Run(files.directory)


def summary(run: Run) -> dict[str, Any]:
    """A finished run in a few plain values: scores, fidelity of the file, size, speed, verdict."""
    report = run.report()
    scores = report["scores"]
    file = scores["onnxruntime"]
    keys = ("bytes", "float_bytes", "latency_ms", "float_latency_ms", "seconds")
    verification = report.get("verification")
    return {
        "model": report["model"]["name"],
        "data_free": report.get("data_free", ""),
        "judged": report.get("judged", ""),
        **{name: record["score"] for name, record in scores.items()},
        "metric": file["metric"],
        "unit": file["unit"],
        "examples": file["examples"],
        "agreement": file["agreement"],
        "sqnr_db": file["sqnr_db"],
        "same_as_simulation": file.get("agreement_with_simulation"),
        **{key: report.get(key) for key in keys},
        "verified": None if verification is None else bool(verification["ok"]),
        "verdict": None if verification is None else verification["verdict"],
        "guilty": report.get("guilty", []),
        "directory": str(run.directory),
    }


def recipe_of(given: Mapping[str, Any], file: Path | None) -> Recipe:
    """From a file, or from the options; those that are None take their defaults."""
    from workbench.graph.targets import target as find
    from workbench.session.recipe import ActivationSpec, Recipe, WeightSpec

    named = {key: value for key, value in given.items() if value is not None}
    if file is not None:
        if named:
            wrong = next(iter(named)).replace("_examples", "").replace("_", "-")
            raise RecipeError(f"--recipe and --{wrong} do not go together; change the file instead")
        return Recipe.load(file)
    target = named.pop("target", "ort-cpu")
    default = "8" if find(target).quantizes_activations else "float"
    active = bits(named.pop("activations", default), "--activations", "float")
    stages = _stages(named.pop("method", ["gram"]), named.pop("option", []))
    if "synthetic" in named:
        examples = named.pop("calibration_examples", None)
        named["synthetic"] = _synthetic(named["synthetic"], examples)
    values: dict[str, Any] = {
        "target": target,
        "weights": WeightSpec(
            bits=named.pop("weights", 4),
            table=named.pop("table", "uniform"),
            symmetric=not named.pop("zero_points", False),
            **_granularity(named.pop("granularity", "channel")),
        ),
        "activations": None if active is None else ActivationSpec(bits=active),
        "edges": bits(named.pop("edges", "8"), "--edges", "same"),
        "overrides": tuple(_override(text) for text in named.pop("override", [])),
        "transforms": tuple(named.pop("transform", [])),
        "stages": stages,
        **named,
    }
    return Recipe(**values)


def _granularity(text: str) -> dict[str, Any]:
    """The fields of `WeightSpec` for a word or a group size."""
    if text.isdecimal():
        return {"granularity": "group", "group_size": int(text)}
    return {"granularity": text}


def _stages(methods: Sequence[str], options: Sequence[str]) -> tuple[Any, ...]:
    from workbench.session.recipe import Stage

    table: dict[str, dict[str, Any]] = {name: {} for name in methods}
    for text in options:
        key, equals, value = text.partition("=")
        method, _, name = key.rpartition(".")
        method = method or methods[-1]
        if not equals or method not in table:
            raise RecipeError(f"--option was '{text}'; give KEY=VALUE, or METHOD.KEY=VALUE")
        table[method][name] = _value(value)
    return tuple(Stage(method=name, options=table[name]) for name in methods)


def _synthetic(text: str, examples: int | None) -> dict[str, Any]:
    """The recipe's part for made examples, from `zeroq` or `zeroq:iterations=200,batch_size=32`."""
    maker, _, listed = text.partition(":")
    options: dict[str, Any] = {}
    for part in filter(None, listed.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise RecipeError(f"--synthetic was '{text}'; give NAME, or NAME:KEY=VALUE,KEY=VALUE")
        options[key] = _value(value)
    count = {} if examples is None else {"examples": examples}
    return {"maker": maker, "options": options, **count}


def _value(text: str) -> Any:
    """A number or true/false where it is one, else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _override(text: str) -> Any:
    from workbench.session.recipe import Override

    pattern, equals, widths = text.rpartition("=")
    parts = ["0" if part == "float" else part for part in widths.split("/")]
    given = [int(part) if part.isdecimal() else None for part in parts]
    wrong = any(part and width is None for part, width in zip(parts, given, strict=True))
    if not equals or len(parts) > 2 or wrong:
        raise RecipeError(
            f"--override was '{text}'; give PATTERN=WEIGHTS, PATTERN=/ACTIVATIONS, or both as"
            " PATTERN=8/8"
        )
    weights, *active = given
    return Override(pattern=pattern, weights=weights, activations=active[0] if active else None)


def _wait(session: Session, recipe: Recipe, out: Path | None, as_json: bool, *, fast: bool) -> None:
    _print_run(make(session, recipe, out, fast), as_json)


def _start(session: Session, recipe: Recipe, out: Path | None, as_json: bool) -> None:
    job = session.start(recipe, out)
    if as_json:
        emit({"directory": str(job.directory), **job.progress()})
    else:
        output.print(f"started {job.directory}; see: workbench runs", markup=False)


def _print_run(run: Run, as_json: bool) -> None:
    if as_json:
        emit(summary(run))
        return
    report = run.report()
    rows = [_row(name, record, report) for name, record in report["scores"].items()]
    metric = report["scores"]["float"]
    columns = (
        "",
        f"{metric['metric']} {metric['unit']}",
        "agreement %",
        "SQNR dB",
        "size KB",
        "latency ms",
    )
    show(run.name, columns, rows)
    for step in report.get("transforms", []):
        output.print(_transformed(step), markup=False)
    if _is_slower(report):
        output.print(
            "Codes below 8 bits are unpacked at each run; --store int8 keeps them in 8-bit"
            " containers: a larger, faster file.",
            markup=False,
        )
    if report.get("guilty"):
        output.print("hurt most: " + ", ".join(report["guilty"]), markup=False)
    if "verification" in report:
        output.print(report["verification"]["sentence"], markup=False)
    if run.data_free:
        output.print(f"{run.data_free}; {report['judged']}", markup=False)
    output.print(str(run.directory), markup=False)


def _transformed(step: Mapping[str, Any]) -> str:
    """What a transformation did to the float model, in one line."""
    if not step["count"]:
        return f"{step['name']}: nothing" + (f"; {step['detail']}" if step["detail"] else "")
    gap = step["max_difference"]
    changed = "" if gap is None else f"; largest difference of the float output {gap:.1e}"
    return f"{step['name']}: {step['count']}{changed}"


def _is_slower(report: Mapping[str, Any]) -> bool:
    """The packed file takes longer than the float model."""
    learned, original = report.get("latency_ms"), report.get("float_latency_ms")
    if learned is None or original is None:
        return False
    return learned > original and report["store"] == "packed"


def _row(name: str, record: Mapping[str, Any], report: Mapping[str, Any]) -> tuple[str, ...]:
    digits = 2 if record["unit"] == "%" else 3
    sizes = {"float": "float_bytes", "onnxruntime": "bytes"}
    times = {"float": "float_latency_ms", "onnxruntime": "latency_ms"}
    size, speed = report.get(sizes.get(name, "")), report.get(times.get(name, ""))
    shared = ", transformed alike" if name == "naive" and report.get("transforms") else ""
    return (
        CANDIDATES.get(name, name) + shared,
        f"{record['score']:.{digits}f}",
        f"{record['agreement']:.2f}",
        "–" if name == "float" else f"{record['sqnr_db']:.1f}",
        "–" if size is None else f"{size / 1000:.1f}",
        "–" if speed is None else f"{speed:.2f}",
    )


def _pictures(run: Run) -> list[Path]:
    """`report.html` and the figures, beside what the run wrote."""
    from workbench.views import figures
    from workbench.views import report as page

    report, folder = run.report(), run.directory
    drawn = {
        "layers.svg": figures.layer_errors(report["layers"]),
        "learning.svg": figures.before_after(report["naive_layers"], report["layers"]),
    }
    written = [figures.save(figure, folder / name) for name, figure in drawn.items()]
    written.append(page.write(report, folder / "report.html", run.events()))
    return [run.files.model, run.files.recipe, *written]
