"""What all commands share: the application, its options, output and progress."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from workbench.foundation.errors import DataError, RecipeError, plain
from workbench.foundation.positive import positive

if TYPE_CHECKING:
    from workbench.methods.base import Event
    from workbench.session.progress import Progress as Place
    from workbench.session.session import Session, Watch

app = typer.Typer(
    name="workbench",
    help="Learning-based quantization: from a float model to a proven low-bit ONNX file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
Tell = Callable[[str, float, float | None], None]

LONGEST = 100  # characters behind a progress bar
EVERY = 10.0  # seconds between lines where there is no bar
output = Console(soft_wrap=False)
errors = Console(stderr=True)


def positive_option(parameter: typer.CallbackParam, value: int) -> int:
    """Checks an option before any work begins."""
    return positive(str(parameter.name), value)


Model = Annotated[str, typer.Argument(help="An .onnx file, or a name that `models` lists.")]
RunName = Annotated[str, typer.Argument(help="A run directory, or a name that `runs` lists.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, nothing else.")]
Weights = Annotated[int, typer.Option(help="Bits of the weights, 1 to 8.")]
Activations = Annotated[str, typer.Option(help="Bits of the activations; 'float' or 0: none.")]
Edges = Annotated[str, typer.Option(help="Bits of the first and last layer; 'same': as others.")]
DataPath = Annotated[
    Path | None,
    typer.Option("--data", help="An .npz, a folder or zip of pictures, or a text file."),
]
Threads = Annotated[
    int, typer.Option(help="Threads of each timed session.", callback=positive_option)
]
Examples = Annotated[
    int, typer.Option(help="Held-out examples to compare on.", callback=positive_option)
]
Mean = Annotated[str, typer.Option(help="Of the pictures: '127' or '0.485,0.456,0.406'.")]
Std = Annotated[str, typer.Option(help="Of the pictures, in the same unit as the mean.")]
Size = Annotated[str, typer.Option(help="Of the pictures: '224' or '224x192' (height x width).")]

Transforms = Annotated[
    list[str] | None,
    typer.Option(
        "--transform",
        help="Such as equalize or smooth:alpha=0.7; again for more; see: methods --kind transform.",
    ),
]


def say(text: str) -> None:
    """A line for people, on standard error."""
    errors.print(Text(plain(text)))


def emit(value: Any) -> None:
    """A JSON value on standard output."""
    from workbench.session.store import finite

    sys.stdout.write(json.dumps(finite(value), indent=2, allow_nan=False) + "\n")


def show(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    console: Console = output,
) -> None:
    """A table on standard output, or another console; numbers to the right."""
    table = Table(title=title or None, title_justify="left", header_style="bold")
    cells = [[plain(str(cell)) for cell in row] for row in rows]  # names are a stranger's text
    for index, column in enumerate(columns):
        numeric = all(_is_number(row[index]) for row in cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def open_session(
    model: str, data: Path | None = None, mean: str = "", std: str = "", size: str = ""
) -> Session:
    """The model with the data and the preprocessing that were asked for."""
    import workbench
    from workbench.session import zoo
    from workbench.session.images import Preprocess

    preprocess: Preprocess | None = None
    if mean or std or size:
        base = zoo.preprocess_of(model)
        means = numbers(mean, "--mean") if mean else base.mean
        stds = numbers(std, "--std") if std else base.std
        shape = _shape(size) if size else base.size
        preprocess = Preprocess.guess_unit(means, stds, size=shape, resize=base.resize)
    return workbench.open(model, data=data, preprocess=preprocess)


def threads_of(count: int) -> str:
    """`1 thread`, `2 threads`."""
    return "1 thread" if count == 1 else f"{count} threads"


def numbers(text: str, option: str) -> tuple[float, ...]:
    """`'0.5,0.4'` as numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise DataError(f"{option} was '{text}'; give numbers such as 127 or 0.5,0.4,0.4") from None


def bits(text: str, option: str, none: str) -> int | None:
    """Bits as a number; None for `none`, and for 0 where that is float."""
    if text.lower() == none or (text == "0" and none == "float"):
        return None
    if text == "0":
        raise RecipeError(f"{option} was 0; give a number of bits, or '{none}'")
    try:
        return int(text)
    except ValueError:
        raise RecipeError(f"{option} was '{text}'; give a number of bits, or '{none}'") from None


def _bar() -> Progress:
    """A bar with the time that is left and what is being done, on standard error."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TextColumn("{task.fields[rest]}", markup=False),
        TextColumn("{task.fields[text]}", style="dim", markup=False),
    )
    return Progress(*columns, console=errors, transient=True)


@contextmanager
def telling(title: str) -> Iterator[Tell]:
    """A callback for what is done, the share of it and the seconds left, drawn as a bar."""
    with _bar() as bar:
        task = bar.add_task(title, total=1.0, text="", rest="")

        def tell(text: str, fraction: float, left: float | None) -> None:
            rest = "" if left is None else f"{left:.0f} s left"
            bar.update(task, completed=fraction, text=text[:LONGEST], rest=rest)

        yield tell


@contextmanager
def watching(title: str) -> Iterator[Watch]:
    """A callback that draws how far a run is, with the time it will take, on standard error."""
    from workbench.views.signals import line

    with _bar() as bar:
        task = bar.add_task(title, total=1.0, text="", rest="")
        spoken, last = set[str](), 0.0

        def watch(event: Event, place: Place) -> None:
            nonlocal last
            text = line([event.record()]) or place.text
            rest = "" if place.eta_seconds is None else f"{place.eta_seconds:.0f} s left"
            bar.update(task, completed=place.fraction, text=text[:LONGEST], rest=rest)
            due = place.phase not in spoken or place.seconds >= last + EVERY
            if not errors.is_terminal and due:
                spoken.add(place.phase)
                last = place.seconds
                say(f"{place.seconds:6.1f} s  {place.phase}: {place.text}{rest and f', {rest}'}")
            if event.concern:
                say(f"! {event.text}")

        yield watch


def _shape(text: str) -> tuple[int, int]:
    try:
        sides = [int(part) for part in text.lower().split("x")]
        height, width = sides if len(sides) == 2 else (sides[0], sides[0])
    except (ValueError, IndexError):
        raise DataError(f"--size was '{text}'; give 224 or 224x192") from None
    return height, width


def _is_number(text: str) -> bool:
    return text[:1] in "-–+0123456789" if text else True
