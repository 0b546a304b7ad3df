"""One ONNX node as a call: its attributes in plain Python, checked against the operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
from torch import Tensor, fx

from workbench.foundation.errors import OperatorError
from workbench.graph.ops import Meaning, lookup
from workbench.graph.ops.dtypes import is_sub_byte
from workbench.graph.tensors import to_torch

_OURS = frozenset({"n_outputs", "empty"})  # parameters that `build` fills in


def attributes(node: ir.Node, meaning: Meaning, name: str) -> dict[str, Any]:
    """The node's attributes as plain Python, known to the operator and supported."""
    keywords = {key: _decoded(attr, name) for key, attr in node.attributes.items()}
    _require_known(keywords, meaning, node, name)
    keywords.update(_implied_type(node, keywords))
    return keywords


def evaluate(node: ir.Node, inputs: Sequence[Tensor | None], opsets: Mapping[str, int]) -> Any:
    """The value of one node, for inputs given as tensors."""
    name = str(node.name)
    meaning = lookup(node.domain, node.op_type, opsets.get(node.domain, 1), name)
    keywords = attributes(node, meaning, name)
    if any(isinstance(value, ir.Graph) for value in keywords.values()):
        raise OperatorError(f"node '{name}' holds a subgraph; build the model to run it")
    return meaning.function(*inputs, **keywords)


def require_outputs(meaning: Meaning, op_type: str, name: str) -> None:
    """Refuse a node that wants several outputs of an operator that gives one."""
    if "n_outputs" not in meaning.parameters:
        raise OperatorError(
            f"node '{name}' asks for several outputs of operator '{op_type}', which has one here; "
            "export the model in evaluation mode"
        )


def _require_known(keywords: Mapping[str, Any], meaning: Meaning, node: ir.Node, name: str) -> None:
    inputs = [p.name for p in meaning.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    ours = {*_OURS, *inputs[: len(node.inputs)]}
    unknown = sorted(set(keywords) - (set(meaning.parameters) - ours))
    if unknown:
        raise OperatorError(
            f"node '{name}' gives operator '{node.op_type}' the attribute '{unknown[0]}', which "
            f"version '{meaning.since}' does not have; check the file with onnx.checker"
        )
    _require_complete(keywords, inputs, meaning, node, name)
    reason = meaning.refuse(keywords) if meaning.refuse else None
    if reason:
        raise OperatorError(f"node '{name}', operator '{node.op_type}': {reason}")


def _require_complete(
    keywords: Mapping[str, Any], inputs: Sequence[str], meaning: Meaning, node: ir.Node, name: str
) -> None:
    given = {*keywords, *_OURS, *inputs[: len(node.inputs)]}
    for key, parameter in meaning.parameters.items():
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not variadic and key not in given:
            kind = "input" if key in inputs else "attribute"
            raise OperatorError(
                f"node '{name}' lacks the {kind} '{key}' that operator '{node.op_type}' needs; "
                "check the file with onnx.checker"
            )


def is_default(meaning: Meaning, key: str, value: Any) -> bool:
    """Whether an argument may be left out of the call."""
    if isinstance(value, (fx.Node, Tensor)) or (isinstance(value, tuple) and value):
        return False
    default = meaning.parameters[key].default
    return value == (list(default) if isinstance(default, tuple) else default)


def _implied_type(node: ir.Node, keywords: Mapping[str, Any]) -> dict[str, int]:
    """The type of the result where another input decides it and torch cannot tell below a byte."""
    places = {"QuantizeLinear": (2, "output_dtype"), "CastLike": (1, "to")}
    index, key = places.get(node.op_type, (0, ""))
    like = node.inputs[index] if key and index < len(node.inputs) else None
    if like is None or like.dtype is None or keywords.get(key):
        return {}
    return {key: int(like.dtype)} if is_sub_byte(int(like.dtype)) else {}


def _decoded(attribute: ir.Attr, node: str) -> Any:
    """An attribute as plain Python: numbers, text, lists, or a torch tensor."""
    kind = attribute.type
    if kind == ir.AttributeType.GRAPH:
        return attribute.as_graph()
    if kind == ir.AttributeType.TYPE_PROTO:
        return None  # the type of an absent value, which has no bearing on others
    if kind == ir.AttributeType.TENSOR:
        return to_torch(attribute.as_tensor())
    if kind in (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS):
        return list(attribute.value)
    if kind in (ir.AttributeType.INT, ir.AttributeType.FLOAT, ir.AttributeType.STRING):
        return attribute.value
    raise OperatorError(
        f"node '{node}' has the attribute '{attribute.name}' of kind '{kind}', which is not "
        "supported; export the model with standard operators"
    )
