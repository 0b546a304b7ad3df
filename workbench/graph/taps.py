"""Intermediate tensors by their ONNX names."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from torch import Tensor, fx

from workbench.foundation.errors import ModelError


def value_nodes(module: fx.GraphModule) -> dict[str, fx.Node]:
    """The fx node that computes each ONNX value, in order; graph inputs included."""
    nodes = module.graph.nodes
    return {node.meta["onnx_value"]: node for node in nodes if "onnx_value" in node.meta}


def calls(module: fx.GraphModule) -> dict[str, fx.Node]:
    """ONNX node name -> the fx call that computes it."""
    found: dict[str, fx.Node] = {}
    for node in module.graph.nodes:
        name = node.meta.get("onnx_node")
        if name is not None and node.op == "call_function":
            found.setdefault(name, node)
    return found


def named_nodes(module: fx.GraphModule, names: Iterable[str]) -> list[fx.Node]:
    """The fx nodes that compute the named values, in the order of the names.

    Raises:
        ModelError: a name that the graph does not compute.
    """
    known = value_nodes(module)
    names = list(names)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1) or list(known)[:1]
            raise ModelError(
                f"the graph computes no value '{name}'; the nearest name is '{near[0]}'"
            )
    return [known[name] for name in names]


def channel_axis(node: fx.Node, dimensions: int) -> int:
    """The axis of features in what `node` gives: the second of maps, the last of tokens."""
    made = str(node.meta.get("op_type"))
    source = str(node.all_input_nodes[0].meta.get("op_type")) if node.all_input_nodes else ""
    convolved = made.startswith("Conv") or source.startswith("Conv")
    return 1 if dimensions > 3 or (dimensions == 3 and convolved) else dimensions - 1


def watch(
    module: fx.GraphModule,
    inputs: Sequence[Tensor],
    names: Collection[str],
    see: Callable[[str, Tensor], None],
) -> None:
    """Run `module` and hand each named value over when it is computed; nothing is kept.

    Values that nothing needs any more are freed on the way, and the run ends with the last value
    asked for.

    Raises:
        ModelError: a name that the graph does not compute.
    """
    named_nodes(module, names)
    if names:
        with contextlib.suppress(_Complete):
            _Tap(module, set(names), see).run(*inputs)


def capture(
    module: fx.GraphModule, inputs: Sequence[Tensor], names: Collection[str] | None = None
) -> dict[str, Tensor]:
    """Run `module` and keep the named values, or all of them; see `watch`."""
    seen: dict[str, Tensor] = {}
    watch(module, inputs, value_nodes(module) if names is None else names, seen.__setitem__)
    return seen


class _Complete(Exception):  # noqa: N818 - it is good news
    """All wanted values are there."""


class _Tap(fx.Interpreter):
    def __init__(
        self, module: fx.GraphModule, wanted: set[str], see: Callable[[str, Tensor], None]
    ) -> None:
        super().__init__(module, garbage_collect_values=True)
        self.extra_traceback = False
        self.wanted = wanted
        self.see = see

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        name = n.meta.get("onnx_value")
        if name in self.wanted:
            self.wanted.remove(name)
            self.see(name, result)
            if not self.wanted:
                raise _Complete
        return result
