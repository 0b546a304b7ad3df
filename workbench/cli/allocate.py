"""`allocate`: which weight, and which activation, gets how many bits under a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress

from workbench.cli.console import (
    AsJson,
    DataPath,
    Model,
    app,
    emit,
    errors,
    open_session,
    output,
    say,
    show,
)
from workbench.cli.quantize import (
    MethodOptions,
    OptionalActivations,
    OptionalEdges,
    Overrides,
    RecipeFile,
    Store,
    TargetName,
    Transforms,
    recipe_of,
)
from workbench.foundation.errors import RecipeError

if TYPE_CHECKING:
    from workbench.session.allocation import Allocation, Choice
    from workbench.session.recipe import Recipe
    from workbench.session.session import Session

#: suffix of a size, in small letters -> bytes
UNITS = {"kib": 2**10, "mib": 2**20, "kb": 1e3, "mb": 1e6, "b": 1.0}

AverageBits = Annotated[
    float | None, typer.Option(help="Of each value, of the weights that have a choice.")
]
SizeLimit = Annotated[
    str | None, typer.Option("--size", help="Of all quantized weights, packed, such as 0.5MB.")
]
FileSize = Annotated[
    str | None, typer.Option("--file-size", help="The same in the containers of the file.")
]
Bops = Annotated[float | None, typer.Option(help="Million bit operations for one example.")]
Latency = Annotated[
    float | None, typer.Option(help="Milliseconds of ONNX Runtime's kernels on this machine.")
]
How = Annotated[str, typer.Option("--method", help="milp, hawq, cem, evolution or haq.")]
Sensitivity = Annotated[str, typer.Option(help="fisher, exact or hawq.")]
Rounding = Annotated[str, typer.Option(help="Of the weights that are tried: nearest, gram, gptq.")]
Then = Annotated[
    list[str] | None,
    typer.Option(
        "--then", help="The recipe's method, on top of the bits; again for more \\[gram]."
    ),
]
ActivationBits = Annotated[
    str | None,
    typer.Option(help="Choices for activations too, such as 4,8, for --bops and --latency."),
]
Pins = Annotated[
    list[str] | None, typer.Option("--pin", help="PATTERN=BITS that are not chosen; 0 is float.")
]
Ties = Annotated[str, typer.Option(help="Equal bits: none, residual, inputs or both.")]
Pairs = Annotated[bool, typer.Option("--pairs", help="Count what layers of one sum do together.")]
Pareto = Annotated[int, typer.Option(help="Points of a sweep; without a budget its knee is taken.")]
OutRecipe = Annotated[Path | None, typer.Option("--out", help="Where the recipe is written.")]
Figure = Annotated[Path | None, typer.Option(help="A picture of the choices: .svg, .pdf, .png.")]


@app.command()
def allocate(  # noqa: PLR0913 - one option for each choice
    model: Model,
    average_bits: AverageBits = None,
    size: SizeLimit = None,
    file_size: FileSize = None,
    bops: Bops = None,
    latency: Latency = None,
    method: How = "milp",
    sensitivity: Sensitivity = "fisher",
    rounding: Rounding = "nearest",
    least: Annotated[int, typer.Option(help="Fewest bits.")] = 2,
    most: Annotated[int, typer.Option(help="Most bits.")] = 8,
    activation_bits: ActivationBits = None,
    pin: Pins = None,
    ties: Ties = "none",
    pairs: Pairs = False,
    pareto: Pareto = 0,
    examples: Annotated[int, typer.Option(help="To measure sensitivities on.")] = 256,
    judged: Annotated[int, typer.Option(help="To run whole choices on.")] = 256,
    rounds: Annotated[int, typer.Option(help="Of a search.")] = 6,
    population: Annotated[int, typer.Option(help="Choices in a round.")] = 16,
    target: TargetName = None,
    activations: OptionalActivations = None,
    edges: OptionalEdges = None,
    override: Overrides = None,
    transform: Transforms = None,
    store: Store = None,
    then: Then = None,
    option: MethodOptions = None,
    recipe: RecipeFile = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all chance \\[0].")] = None,
    data: DataPath = None,
    out: OutRecipe = None,
    figure: Figure = None,
    as_json: AsJson = False,
) -> None:
    """Choose the bits of each weight under a budget; what comes out is a recipe."""
    given = {
        "target": target, "activations": activations, "edges": edges, "override": override,
        "transform": transform, "store": store, "method": then, "option": option, "seed": seed,
    }  # fmt: skip
    how = {
        "method": method, "sensitivity": sensitivity, "rounding": rounding, "least": least,
        "most": most, "ties": ties, "pairs": pairs, "examples": examples, "judged": judged,
        "search": {"rounds": rounds, "population": population}, "points": pareto,
    } | {"activations": _widths(activation_bits)}  # fmt: skip
    limits = _budgets(average_bits, size, file_size, bops, latency)
    base, pins = recipe_of(given, recipe), _pins(pin or [])
    found = _found(open_session(model, data), base, limits, pins, how)
    _tell(found, _write(found, out, figure), as_json)


def _found(
    session: Session,
    base: Recipe,
    budgets: Mapping[str, float],
    pins: Mapping[str, int],
    how: Mapping[str, Any],
) -> Allocation:
    search = {**how["search"], "seed": base.seed}
    with Progress(console=errors, transient=True) as bar:
        task = bar.add_task("bits", total=1.0)
        return session.allocate(
            base,
            budgets,
            pins=pins,
            progress=lambda share, text: bar.update(task, completed=share, description=text),
            **{**how, "search": search},
        )


def _tell(found: Allocation, written: Sequence[Path], as_json: bool) -> None:
    if as_json:
        emit({**found.record(), "files": [str(path) for path in written]})
        return
    _show(found)
    for path in written:
        say(f"wrote {path}")


def bytes_of(text: str, option: str) -> float:
    """`0.5MB`, `300 KiB` or a plain number as bytes.

    Raises:
        RecipeError: anything else.
    """
    small = text.strip().lower()
    suffix = next((unit for unit in UNITS if small.endswith(unit)), "")
    try:
        return float(small.removesuffix(suffix)) * UNITS.get(suffix, 1.0)
    except ValueError:
        raise RecipeError(f"{option} was '{text}'; give a size such as 0.5MB or 300KiB") from None


def _budgets(
    average_bits: float | None,
    size: str | None,
    file_size: str | None,
    bops: float | None,
    latency: float | None,
) -> dict[str, float]:
    values = {
        "average_bits": average_bits,
        "bytes": None if size is None else bytes_of(size, "--size"),
        "file_bytes": None if file_size is None else bytes_of(file_size, "--file-size"),
        "bops": bops,
        "latency_ms": latency,
    }
    return {name: value for name, value in values.items() if value is not None}


def _widths(text: str | None) -> tuple[int, ...]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise RecipeError(f"--activation-bits was '{text}'; give numbers such as 4,8")
    return tuple(map(int, parts))


def _pins(texts: Sequence[str]) -> dict[str, int]:
    found = {}
    for text in texts:
        pattern, equals, bits = text.rpartition("=")
        if not equals or not bits.isdecimal():
            raise RecipeError(f"--pin was '{text}'; give PATTERN=BITS")
        found[pattern] = int(bits)
    return found


def _write(found: Allocation, out: Path | None, figure: Path | None) -> list[Path]:
    """The recipe, one beside it for each point of a sweep, and the picture."""
    written: list[Path] = []
    recipes = {} if out is None else {out: found.recipe}
    for index, point in enumerate(found.points if out else (), 1):
        assert out is not None
        recipes[out.with_stem(f"{out.stem}-point-{index}")] = found.recipe_of(point)
    for path, made in recipes.items():
        made.save(path)
        written.append(path)
    if figure is not None:
        from workbench.views import allocation, figures

        written.append(figures.save(figures.pareto(allocation.pareto(found.record())), figure))
    return written


def _show(found: Allocation) -> None:
    names = list(found.chosen.costs)
    columns = ("", *(_heads()[name] for name in names), "estimated harm", "KL nats")
    choices: dict[str, Choice] = {c.name: c for c in (*found.points, *found.uniform)}
    rows = [_row(choice, names) for choice in choices.values()]
    show("Bits of weights", columns, [*rows, _row(found.chosen, names, "taken: ")])
    active = set(found.activations)
    for head, own in (("layers", set(found.chosen.bits) - active), ("activations", active)):
        by_bits: dict[int, list[str]] = {}
        for name in (name for name in found.chosen.bits if name in own):
            by_bits.setdefault(found.chosen.bits[name], []).append(found.patterns[name])
        if by_bits:
            show("", ("bits", head), [(b, ", ".join(by_bits[b])) for b in sorted(by_bits)])
    if found.points and found.knee is not None:
        output.print(f"knee: {found.points[found.knee].name}", markup=False)
    output.print(f"{found.sentence()}; {found.seconds:.0f} s", markup=False)
    if found.note:
        output.print(found.note, markup=False)


def _heads() -> Mapping[str, str]:
    return {
        "average_bits": "average bits",
        "bytes": "kB",
        "file_bytes": "kB in file",
        "bops": "Mbops",
        "latency_ms": "ms",
    }


def _row(choice: Choice, names: Sequence[str], before: str = "") -> list[Any]:
    scale = {"bytes": 1e-3, "file_bytes": 1e-3}
    costs = [f"{choice.costs[name] * scale.get(name, 1.0):.4g}" for name in names]
    return [before + choice.name, *costs, f"{choice.harm:.3g}", f"{choice.kl or 0.0:.3g}"]
