"""How a target treats one operator, and what rides along with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from workbench.graph.sites import Site

#: functions that ONNX quantizers take in: they only limit, and so do the codes behind them
LIMITERS = frozenset({"Relu", "Clip"})
#: operators that move values or pick among them, so that codes go through as they are
MOVERS = frozenset(
    {
        "Reshape",
        "Transpose",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Slice",
        "Split",
        "Expand",
        "Tile",
        "Gather",
    }
)


def always(node: ir.Node) -> str:  # noqa: ARG001
    """No condition."""
    return ""


@dataclass(frozen=True)
class Meeting:
    """What meets at a node that reads or writes integers.

    Attributes:
        inputs: sites of the activations it reads; weights: of its weights; outputs: of what it
            writes, seen behind a limiter.
        limited: a Relu or Clip lies between the node and its output's site.
        store: how weight codes are held in the file, "packed" or "int8".
    """

    node: ir.Node
    inputs: tuple[Site, ...]
    weights: tuple[Site, ...]
    outputs: tuple[Site, ...]
    limited: bool
    store: str


def no_doubt(meeting: Meeting) -> str:  # noqa: ARG001
    """Whatever the rules let through computes on integers."""
    return ""


@dataclass(frozen=True)
class Rule:
    """How an operator computes on integers.

    Attributes:
        inputs: indices of the data inputs that are quantized; None for all that are float.
        starts: its inputs are quantized on its own account; otherwise the operator follows where
            its inputs are integers already.
        writes: it gives integers, so its output is quantized for all who read it.
        shares: inputs and outputs have one scale.
        skips_made: leave alone the inputs that a layer makes (the other side of a residual sum).
        unless: node -> why this one cannot, or "".
    """

    inputs: tuple[int, ...] | None = (0,)
    starts: bool = False
    writes: bool = True
    shares: bool = False
    skips_made: bool = False
    unless: Callable[[ir.Node], str] = always


#: operators through which a mask comes in; those that hand it on; those behind which it is gone
MASKING = frozenset({"Add", "Mul", "Sub", "Where"})
CARRYING = MASKING | MOVERS | {"Cast", "Concat", "Identity", "Max", "Min"}
UNMASKING = frozenset({"Softmax", "LogSoftmax"})
#: a score to which such a number is added is nothing after a Softmax
MASK = -1e3


def is_mask(node: ir.Node) -> bool:
    """True where a constant operand is so far below zero that no grid holds other values too.

    It masks only what goes on to a Softmax; elsewhere such a number is a value like others.
    """
    if node.op_type not in MASKING:
        return False
    held = (value.const_value for value in node.inputs if value is not None)
    arrays = [t.numpy() for t in held if t is not None and t.dtype == ir.DataType.FLOAT]
    sign = -1 if node.op_type == "Sub" else 1
    low = any(array.size and float((sign * array).min()) <= MASK for array in arrays)
    return low and _reaches_softmax(node)


def _reaches_softmax(node: ir.Node) -> bool:
    """True where the node's values are handed on to a Softmax."""
    waiting, seen = [node], {node}
    while waiting:
        for reader in waiting.pop().successors():
            if reader.op_type in UNMASKING:
                return True
            if reader.op_type in CARRYING and reader not in seen:
                seen.add(reader)
                waiting.append(reader)
    return False


def has_body(node: ir.Node) -> bool:
    """True for If, Loop, Scan: they hold graphs of their own."""
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())


def follow_limiters(value: ir.Value) -> tuple[ir.Value, tuple[ir.Node, ...]]:
    """(the value behind the Relu and Clip that alone read `value`, those nodes)."""
    passed: list[ir.Node] = []
    while not value.is_graph_output():
        uses = list(value.uses())
        if len(uses) != 1 or uses[0].idx != 0 or uses[0].node.op_type not in LIMITERS:
            break
        if uses[0].node.graph is not _graph_of(value) or not _limits_are_known(uses[0].node):
            break
        passed.append(uses[0].node)
        value = uses[0].node.outputs[0]
    return value, tuple(passed)


def _limits_are_known(limiter: ir.Node) -> bool:
    return all(value is None or value.is_initializer() for value in limiter.inputs[1:])


def _graph_of(value: ir.Value) -> object:
    producer = value.producer()
    return None if producer is None else producer.graph
