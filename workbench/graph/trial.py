"""Strangers' graphs may fail in ways that no check foresees; here that becomes one sentence.

`blaming` surrounds what is made from a graph, and `trial` runs it once, node by node, so that the
node at fault is known before long work begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
import torch
from torch import Tensor, fx

from workbench.foundation.errors import ModelError, WorkbenchError

if TYPE_CHECKING:
    from workbench.graph.build import Graph

MAX_NUMBERS = 2**30  # in one tensor; an expanded one takes no memory, but no end of time

_LONGEST = 300


@contextmanager
def blaming(doing: str) -> Iterator[None]:
    """Any error inside that is not a `WorkbenchError` becomes a `ModelError` naming the node.

    Args:
        doing: begins the sentence, as in "folding".

    Raises:
        ModelError: with the unforeseen error as its cause.
    """
    try:
        yield
    except WorkbenchError:
        raise
    except Exception as error:
        words = (str(error).splitlines() or [""])[0][:_LONGEST]
        raise ModelError(
            f"{doing} failed{_where(error)} ({type(error).__name__}: {words}); check the file with "
            "onnx.checker"
        ) from error


def _where(error: Exception) -> str:
    """The node in the hands of the innermost function that had one."""
    found, trace = "", error.__traceback__
    while trace is not None:
        node = trace.tb_frame.f_locals.get("node")
        if isinstance(node, ir.Node):
            found = f" at node '{node.name}', operator '{node.op_type}'"
        trace = trace.tb_next
    return found


@torch.no_grad()
def trial(graph: Graph, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Run the float graph once, node by node.

    Args:
        graph: as built.
        inputs: one tensor for each input of the graph.

    Raises:
        ModelError: the node that failed or whose result is absurdly large, its operator and why.
    """
    return _Trial(graph.module).run(*inputs)


class _Trial(fx.Interpreter):
    """Runs each node under its ONNX name."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False  # it would write fx code into our sentence

    def run_node(self, n: fx.Node) -> Any:
        name, operator = n.meta.get("onnx_node", n.name), n.meta.get("op_type", n.op)
        with blaming(f"node '{name}', operator '{operator}',"):
            result = super().run_node(n)
        if isinstance(result, Tensor) and result.numel() > MAX_NUMBERS:
            raise ModelError(
                f"node '{name}', operator '{operator}', makes a tensor of '{result.numel()}'"
                f" numbers, above the limit of '{MAX_NUMBERS}'; give smaller inputs"
            )
        return result
