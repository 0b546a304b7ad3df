"""The ONNX graph as a `torch.fx.GraphModule`: one call per node, under the ONNX names."""

from __future__ import annotations

import keyword
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, fx, nn

from workbench.foundation.errors import ModelError, OperatorError
from workbench.graph.ops import Meaning, lookup
from workbench.graph.ops.common import SMALL
from workbench.graph.ops.dtypes import is_sub_byte, torch_dtype
from workbench.graph.ops.generator import constant
from workbench.graph.tensors import constant_node_tensor, constant_of, to_torch, unique


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and type of a graph input or output; unknown sizes are a name or None."""

    name: str
    shape: tuple[int | str | None, ...]
    dtype: torch.dtype


@dataclass
class Graph:
    """A model in its two forms.

    Attributes:
        model: the ONNX graph that was built.
        module: the same as an fx module; `module(*tensors)` gives a tuple in output order.
        inputs: what it takes, initializers excluded.
        outputs: what it gives.
        opset: version of the standard operator set.
        attribute_of: initializer name to the module's attribute that holds it. Small integer
            constants that only shape the computation are written into the code instead.
    """

    model: ir.Model
    module: fx.GraphModule
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    attribute_of: dict[str, str] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """`module.code` with operators under their short names."""
        return re.sub(r"\bworkbench_graph_ops_[a-z]+_", "", self.module.code)


def build(model: ir.Model) -> Graph:
    """Build the fx module of `model`; an unknown operator raises `OperatorError`."""
    builder = _Builder(model)
    module = builder.module()
    return Graph(
        model=model,
        module=module,
        inputs=tuple(_spec(value) for value in model.graph.inputs),
        outputs=tuple(_spec(value) for value in model.graph.outputs),
        opset=builder.opsets.get("", 1),
        attribute_of=builder.attribute_of,
    )


def _spec(value: ir.Value) -> TensorSpec:
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        raise ModelError(
            f"'{value.name}' is of type '{value.type}', not a tensor; export a model whose inputs "
            "and outputs are tensors"
        )
    shape = value.shape if value.shape is not None else ()
    sizes = tuple(size if isinstance(size, int) else size.value for size in shape)
    dtype = torch.float32 if value.dtype is None else torch_dtype(int(value.dtype))
    return TensorSpec(str(value.name), sizes, dtype)


def python_name(text: str) -> str:
    """A Python identifier made from any text, recognisable where the text allows it."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")[:120] or "value"
    return f"n{name}" if name[0].isdigit() or keyword.iskeyword(name) else name


class _Builder:
    """Walks the nodes in order and writes the fx graph."""

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self.opsets: dict[str, int] = dict(model.opset_imports)
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.values: dict[ir.Value, fx.Node] = {}
        self.attribute_of: dict[str, str] = {}
        self._attributes: set[str] = set(dir(fx.GraphModule)) | set(dir(self.root))

    def module(self) -> fx.GraphModule:
        for value in self.model.graph.inputs:
            node = self.graph.placeholder(python_name(str(value.name)))
            node.meta["onnx_value"] = value.name
            self.values[value] = node
        for node in self.model.graph:
            self._node(node)
        outputs = tuple(self._input(value, None, False) for value in self.model.graph.outputs)
        self.graph.output(outputs)
        module = fx.GraphModule(self.root, self.graph, "Network")
        module.eval()
        return module

    def _node(self, node: ir.Node) -> None:
        name = node.name or node.op_type
        if node.op_type == "Constant" and not node.domain:
            value = node.outputs[0]
            self.values[value] = self._hold(str(value.name), to_torch(constant_node_tensor(node)))
            return
        meaning = lookup(node.domain, node.op_type, self.opsets.get(node.domain, 1), name)
        arguments = self._arguments(node, meaning)
        keywords = self._keywords(node, meaning, name)
        count = _used_outputs(node)
        if count > 1:
            _require_outputs(meaning, node.op_type, name)
            keywords["n_outputs"] = count
        call = self.graph.create_node(
            "call_function", meaning.function, arguments, keywords, name=python_name(name)
        )
        call.meta.update(onnx_node=node.name, op_type=node.op_type)
        self._outputs(node, call, count)

    def _outputs(self, node: ir.Node, call: fx.Node, count: int) -> None:
        if count == 1:
            call.meta["onnx_value"] = node.outputs[0].name
            self.values[node.outputs[0]] = call
            return
        for index, value in enumerate(node.outputs[:count]):
            if not value.name:
                continue
            item = self.graph.create_node(
                "call_function", operator.getitem, (call, index), name=python_name(value.name)
            )
            item.meta.update(onnx_value=value.name, onnx_node=node.name, op_type=node.op_type)
            self.values[value] = item

    def _arguments(self, node: ir.Node, meaning: Meaning) -> tuple[Any, ...]:
        parameters = list(meaning.parameters.values())
        variadic = bool(parameters) and parameters[0].kind is parameters[0].VAR_POSITIONAL
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        inputs = list(node.inputs)
        while inputs and inputs[-1] is None:
            inputs.pop()
        if not variadic and len(inputs) > len(positional):
            raise OperatorError(
                f"node '{node.name}' gives operator '{node.op_type}' '{len(inputs)}' inputs, more "
                f"than the '{len(positional)}' it has; check the file with onnx.checker"
            )
        names = [""] * len(inputs) if variadic else positional
        return tuple(
            self._input(value, meaning, name in meaning.fixed, name)
            for value, name in zip(inputs, names, strict=False)
        )

    def _input(
        self, value: ir.Value | None, meaning: Meaning | None, fixed: bool, parameter: str = ""
    ) -> Any:
        """An fx node, a plain Python value for constant host parameters, or None."""
        if value is None:
            return None
        tensor = constant_of(value)
        if tensor is None:
            return self.values[value]
        if meaning is not None and parameter in meaning.host and tensor.size <= SMALL:
            plain = to_torch(tensor)
            return plain.tolist() if plain.ndim else plain.item()
        if value not in self.values:
            self.values[value] = self._hold(str(value.name), to_torch(tensor), fixed)
        return self.values[value]

    def _hold(self, name: str, tensor: Tensor, fixed: bool = False) -> fx.Node:
        """Keep a constant: weights as parameters, scalars and integers as buffers."""
        if tensor.dtype == torch.int64 and tensor.ndim <= 1 and tensor.numel() <= SMALL:
            call = self.graph.call_function(constant, (tensor.tolist(),))
            call.meta["onnx_initializer"] = name
            return call
        attribute = unique(python_name(name), self._attributes)
        self.attribute_of[name] = attribute
        learnable = tensor.is_floating_point() and tensor.dtype.itemsize > 1
        if learnable and tensor.ndim and not fixed:
            self.root.register_parameter(attribute, nn.Parameter(tensor))
        else:
            self.root.register_buffer(attribute, tensor)
        node = self.graph.get_attr(attribute)
        node.meta["onnx_initializer"] = name
        return node

    def _keywords(self, node: ir.Node, meaning: Meaning, name: str) -> dict[str, Any]:
        keywords = attributes(node, meaning, name)
        for key, value in keywords.items():
            if isinstance(value, Tensor):
                keywords[key] = self._hold(f"{name}.{key}", value, fixed=True)
        return {k: v for k, v in keywords.items() if not _is_default(meaning, k, v)}


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
    return meaning.function(*inputs, **attributes(node, meaning, name))


def _used_outputs(node: ir.Node) -> int:
    named = [index for index, value in enumerate(node.outputs) if value.name]
    return named[-1] + 1 if named else 1


def _require_outputs(meaning: Meaning, op_type: str, name: str) -> None:
    if "n_outputs" not in meaning.parameters:
        raise OperatorError(
            f"node '{name}' asks for several outputs of operator '{op_type}', which has one here; "
            "export the model in evaluation mode"
        )


def _require_known(keywords: Mapping[str, Any], meaning: Meaning, node: ir.Node, name: str) -> None:
    unknown = sorted(set(keywords) - set(meaning.parameters))
    if unknown:
        raise OperatorError(
            f"node '{name}' gives operator '{node.op_type}' the attribute '{unknown[0]}', which "
            f"version '{meaning.since}' does not have; check the file with onnx.checker"
        )
    reason = meaning.refuse(keywords) if meaning.refuse else None
    if reason:
        raise OperatorError(f"node '{name}', operator '{node.op_type}': {reason}")


def _is_default(meaning: Meaning, key: str, value: Any) -> bool:
    if isinstance(value, (fx.Node, Tensor)):
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
    if kind in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        raise OperatorError(
            f"node '{node}' holds a subgraph in '{attribute.name}', and control flow is not "
            "supported; export the model without If, Loop and Scan"
        )
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
