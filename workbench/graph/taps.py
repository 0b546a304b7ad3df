"""Intermediate tensors by their ONNX names."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor, fx

from workbench.foundation.errors import ModelError


def value_nodes(module: fx.GraphModule) -> dict[str, fx.Node]:
    """The fx node that computes each ONNX value, in order; graph inputs included."""
    nodes = module.graph.nodes
    return {node.meta["onnx_value"]: node for node in nodes if "onnx_value" in node.meta}


def capture(
    module: fx.GraphModule, inputs: Sequence[Tensor], names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Run `module` and keep the named values, or all of them.

    Values that nothing needs any more are freed on the way, and the run ends with the last value
    asked for.

    Raises:
        ModelError: a name that the graph does not compute.
    """
    known = value_nodes(module)
    wanted = set(known) if names is None else set(names)
    for name in wanted - set(known):
        near = difflib.get_close_matches(name, known, 1) or list(known)[:1]
        raise ModelError(f"the graph computes no value '{name}'; the nearest name is '{near[0]}'")
    tap = _Tap(module, wanted)
    if wanted:
        with contextlib.suppress(_Complete):
            tap.run(*inputs)
    return tap.seen


class _Complete(Exception):  # noqa: N818 - it is good news
    """All wanted values are there."""


class _Tap(fx.Interpreter):
    def __init__(self, module: fx.GraphModule, wanted: set[str]) -> None:
        super().__init__(module, garbage_collect_values=True)
        self.extra_traceback = False
        self.wanted = wanted
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        name = n.meta.get("onnx_value")
        if name in self.wanted:
            self.seen[name] = result
            if len(self.seen) == len(self.wanted):
                raise _Complete
        return result
