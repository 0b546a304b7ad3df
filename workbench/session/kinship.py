"""Whether a quantized file was made from a model: by what both take and give, and by its hash."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from workbench.deploy.batches import fits, written
from workbench.deploy.metadata import SOURCE
from workbench.foundation.errors import ModelError, RunError
from workbench.graph.load import load

if TYPE_CHECKING:
    from workbench.session.session import Session

STRANGE = "the float model is probably not this file's"


def doubts(session: Session, path: str | Path) -> tuple[str, ...]:
    """What speaks against the file having been made from the session's model; () for nothing.

    Raises:
        ModelError: it cannot be read, or it takes other inputs than the model.
    """
    model = load(path)
    ours, theirs = ([*_shapes(m.graph.inputs)] for m in (session.source, model))
    if len(ours) != len(theirs) or not all(
        fits(one, other) for (_, one), (_, other) in zip(ours, theirs, strict=True)
    ):
        raise ModelError(
            f"'{Path(path).name}' takes {_listed(theirs)}, but the float model takes "
            f"{_listed(ours)}; give the float model that the file was made from"
        )
    found = ()
    if [name for name, _ in ours] != [name for name, _ in theirs]:
        found = (f"the file's inputs have other names than the float model's; {STRANGE}",)
    if _other_source(session, model):
        found = (*found, f"the file records the hash of another float model; {STRANGE}")
    return found


def require_own(session: Session, path: str | Path, run: str) -> None:
    """Refuse a file that was not made from a run's model.

    Raises:
        ModelError: it cannot be read. RunError: it records another model, or takes or gives other
            tensors.
    """
    model, own = load(path), session.source
    names = [[value.name for value in (*m.graph.inputs, *m.graph.outputs)] for m in (own, model)]
    if _other_source(session, model) or names[0] != names[1]:
        name = Path(path).name
        raise RunError(
            f"'{name}' is not a file of run '{run}'; compare it with its own float model: "
            f"workbench verify FLOAT.onnx {name}"
        )


def _other_source(session: Session, model: ir.Model) -> bool:
    return model.metadata_props.get(SOURCE, session.sha256) != session.sha256


def _shapes(values: Sequence[ir.Value]) -> list[tuple[str, tuple[int | str | None, ...]]]:
    """Names and shapes; sizes that are not fixed as a name or None."""
    return [
        (str(v.name), tuple(s if isinstance(s, int) else s.value for s in v.shape or ()))
        for v in values
    ]


def _listed(shapes: list[tuple[str, tuple[int | str | None, ...]]]) -> str:
    return ", ".join(f"'{name}' {written(shape)}" for name, shape in shapes) or "nothing"
