"""The command that opens an exported file again: `open`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.console import AsJson, DataPath, Examples, app, emit, errors, output, show
from workbench.cli.verify import DIFFERS
from workbench.foundation.errors import ModelError

if TYPE_CHECKING:
    from workbench.session.restored import RestoredSession

EXAMPLES = 128


@app.command("open")
def open_file(
    file: Annotated[Path, typer.Argument(help="An .onnx file that the workbench exported.")],
    source: Annotated[
        str | None, typer.Option("--source", help="The float model it was made from.")
    ] = None,
    data: DataPath = None,
    verify: Annotated[bool, typer.Option("--verify", help="Prove it in ONNX Runtime.")] = False,
    diagnose: Annotated[bool, typer.Option("--diagnose", help="Look at each layer.")] = False,
    export: Annotated[Path | None, typer.Option("--export", help="Write it anew, here.")] = None,
    examples: Examples = EXAMPLES,
    as_json: AsJson = False,
) -> None:
    """Restore the session from an exported file: its recipe, its quantizers, and its scores."""
    session = _restored(file, source, data)
    found: dict[str, Any] = session.about()
    proof = None
    if diagnose:
        with errors.status("looking at each layer"):
            looked = session.diagnose_file(examples)
        found["layer_errors"], found["guilty"] = looked.records, looked.guilty
    if verify:
        with errors.status("comparing with ONNX Runtime"):
            proof = session.verify_file(examples)
        found["verification"] = proof.record()
    if export is not None:
        found["exported"] = session.export_file(export).record()
    if as_json:
        emit(found)
    else:
        _print(found, file, "" if proof is None else proof.sentence())
    raise typer.Exit(0 if proof is None or proof.ok else DIFFERS)


def _restored(file: Path, source: str | None, data: Path | None) -> RestoredSession:
    import workbench
    from workbench.session.restored import RestoredSession

    session = workbench.open(file, data=data, original=source)
    if not isinstance(session, RestoredSession):
        raise ModelError(
            f"'{file.name}' was not exported by the workbench; look at it with: workbench inspect"
        )
    return session


def _print(found: dict[str, Any], file: Path, sentence: str) -> None:
    held = found["file"]
    weights = (
        "the float model was found, and its hash is right"
        if held["original"]
        else "the float model is not at hand (--source): dequantized weights stand for it"
    )
    version = held["versions"]["workbench.version"]
    output.print(f"{found['name']}, exported by workbench {version}; {weights}", markup=False)
    show("", ("quantizers", "sites"), [(grid, count) for grid, count in held["grids"].items()])
    if held["scores"]:
        rows = [(name, f"{score['score']:.2f}") for name, score in held["scores"].items()]
        show("", ("as recorded", "score"), rows)
    if held["recipe"]:
        output.print(held["recipe"].strip(), markup=False)
    if "guilty" in found:
        output.print("hurt most: " + ", ".join(found["guilty"]), markup=False)
    if sentence:
        output.print(sentence, markup=False)
    if "exported" in found:
        output.print(f"wrote {found['exported']['path']} ({file.name} anew)", markup=False)
