"""The table of operator meanings: (domain, operator) and opset version to a torch function.

A meaning is called as `function(*inputs, **attributes)`: inputs in ONNX order (omitted ones are
None), attributes under their ONNX names. Where a version moved an attribute to an input (axes,
split, pads ...), one function takes it either way, positionally or by keyword.

A function with several ONNX outputs takes `n_outputs`; it returns a bare value when that is 1 and
a tuple otherwise.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from workbench.foundation.errors import OperatorError

Refusal = Callable[[Mapping[str, Any]], str | None]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Meaning:
    """One operator version.

    Attributes:
        function: the torch function.
        since: the opset version that introduced this meaning.
        host: parameters wanted as plain Python values (shapes, axes, bounds) when constant.
        fixed: parameters that are never learned (running statistics).
        refuse: looks at the attributes and says what is not supported, or None.
    """

    domain: str
    op_type: str
    since: int
    function: Callable[..., Any]
    host: frozenset[str] = frozenset()
    fixed: frozenset[str] = frozenset()
    refuse: Refusal | None = None
    parameters: Mapping[str, inspect.Parameter] = field(default_factory=dict, repr=False)


_TABLE: dict[tuple[str, str], list[Meaning]] = {}


def op(
    op_type: str,
    since: int = 1,
    *,
    domain: str = "",
    host: tuple[str, ...] = (),
    fixed: tuple[str, ...] = (),
    refuse: Refusal | None = None,
) -> Callable[[F], F]:
    """Register the decorated function as the meaning of `op_type` from opset `since` on."""

    def register(function: F) -> F:
        versions = _TABLE.setdefault((domain, op_type), [])
        if any(meaning.since == since for meaning in versions):
            raise OperatorError(f"operator '{op_type}' version '{since}' is registered twice")
        parameters = dict(inspect.signature(function).parameters)
        names = frozenset(host), frozenset(fixed)
        versions.append(Meaning(domain, op_type, since, function, *names, refuse, parameters))
        versions.sort(key=lambda meaning: meaning.since)
        return function

    return register


def lookup(domain: str, op_type: str, opset: int, node: str = "") -> Meaning:
    """The meaning with the highest `since` that is not above `opset`, or `OperatorError`."""
    fitting = [m for m in _TABLE.get((domain, op_type), []) if m.since <= opset]
    if fitting:
        return fitting[-1]
    raise OperatorError(
        f"node '{node}' uses operator '{op_type}' of domain '{domain or 'ai.onnx'}', opset "
        f"'{opset}', which the workbench does not know; register it with "
        "workbench.graph.ops.op, or export the model with standard operators"
    )


def known() -> tuple[tuple[str, str], ...]:
    """Every (domain, operator) that has a meaning."""
    return tuple(sorted(_TABLE))


def pick(values: tuple[Any, ...], n_outputs: int) -> Any:
    """The first value alone, or a tuple of the first `n_outputs`."""
    return values[0] if n_outputs == 1 else values[:n_outputs]
