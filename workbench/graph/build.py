"""The ONNX graph as a `torch.fx.GraphModule`: one call per node, under the ONNX names."""

from __future__ import annotations

import contextlib
import copy
import keyword
import operator
import re
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, fx, nn

from workbench.foundation.errors import ModelError, OperatorError
from workbench.graph.nodes import attributes, is_default, require_outputs
from workbench.graph.ops import Meaning, lookup
from workbench.graph.ops.common import SMALL
from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.ops.generator import constant
from workbench.graph.tensors import is_constant_node, known_tensor, to_torch, unique
from workbench.graph.trial import blaming

MAX_DEPTH = 32  # of subgraphs within subgraphs


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

    def parameter(self, initializer: str) -> nn.Parameter:
        """The float parameter that an ONNX initializer became."""
        return self.module.get_parameter(self.attribute_of[initializer])


def build(model: ir.Model) -> Graph:
    """Build the fx module of `model`, whose functions are inlined already.

    Raises:
        OperatorError: an operator, or one of its options, is not known.
        ModelError: an input or output is no tensor, or subgraphs lie too deep.
    """
    inputs = tuple(_spec(value) for value in model.graph.inputs)
    outputs = tuple(_spec(value) for value in model.graph.outputs)
    with blaming("building"):
        module, attribute_of = assemble(model)
    return Graph(model, module, inputs, outputs, model.opset_imports.get("", 1), attribute_of)


def assemble(model: ir.Model) -> tuple[fx.GraphModule, dict[str, str]]:
    """The fx module alone, and where it holds each initializer.

    Sequences may come and go as Python lists, and absent optional values as None, which `build`
    leaves to the operators inside.
    """
    builder = _Builder(model.graph, dict(model.opset_imports))
    return builder.module(), builder.attribute_of


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


class Network(fx.GraphModule):
    """The fx module of a model or subgraph; unlike its base it can be pickled, metadata and all."""

    def __reduce__(self) -> tuple[Any, ...]:
        root = nn.Module()
        for kind in ("_parameters", "_buffers", "_modules"):
            getattr(root, kind).update(getattr(self, kind))
        return _restored, (root, copy.deepcopy(self.graph), self.training)


def _restored(root: nn.Module, graph: fx.Graph, training: bool) -> Network:
    module = Network(root, graph)
    module.training = training
    return module


class _Builder:
    """Walks the nodes in order and writes the fx graph."""

    def __init__(self, source: ir.Graph, opsets: dict[str, int], depth: int = 0) -> None:
        self.source = source
        self.opsets = opsets
        self.depth = depth
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.values: dict[ir.Value, fx.Node] = {}
        self.captured: list[ir.Value] = []
        self.attribute_of: dict[str, str] = {}
        self._attributes: set[str] = set(dir(fx.GraphModule)) | set(dir(self.root))

    def module(self) -> fx.GraphModule:
        for value in self.source.inputs:
            node = self.graph.placeholder(python_name(str(value.name)))
            node.meta["onnx_value"] = value.name
            self.values[value] = node
        for node in self.source:
            self._node(node)
        outputs = tuple(self._input(value, None, False) for value in self.source.outputs)
        self.graph.output(outputs)
        module = Network(self.root, self.graph)
        module.eval()
        return module

    def _node(self, node: ir.Node) -> None:
        if is_constant_node(node):
            return  # held where it is first read
        name = node.name or node.op_type
        meaning = lookup(node.domain, node.op_type, self.opsets.get(node.domain, 1), name)
        arguments = self._arguments(node, meaning)
        keywords = self._keywords(node, meaning, name)
        count = _used_outputs(node)
        if count > 1:
            require_outputs(meaning, node.op_type, name)
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
        variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        inputs = list(node.inputs)
        while inputs and inputs[-1] is None:
            inputs.pop()
        if not variadic and len(inputs) > len(positional):
            raise OperatorError(
                f"node '{node.name}' gives operator '{node.op_type}' '{len(inputs)}' inputs, more "
                f"than the '{len(positional)}' it has; check the file with onnx.checker"
            )
        names = [*positional, *[""] * len(inputs)]
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
        tensor = known_tensor(value)
        host = meaning is not None and parameter in meaning.host
        if host and tensor is not None and tensor.size <= SMALL:
            plain = to_torch(tensor)
            return plain.tolist() if plain.ndim else plain.item()
        if value not in self.values:
            own = tensor is not None and (value.graph is self.source or not self.depth)
            if own or _is_sizes(tensor):
                assert tensor is not None
                held = to_torch(tensor, share=True)
                self.values[value] = self._hold(str(value.name), held, fixed)
            else:
                self.values[value] = self._capture(value)
        return self.values[value]

    def _capture(self, value: ir.Value) -> fx.Node:
        """A value of a graph around this one comes in as one more argument."""
        if not self.depth:
            raise ModelError(
                f"the value '{value.name}' is read, and nothing makes it; check the file with "
                "onnx.checker"
            )
        body = next((node for node in self.graph.nodes if node.op != "placeholder"), None)
        with self.graph.inserting_before(body) if body else contextlib.nullcontext():
            node = self.graph.placeholder(python_name(str(value.name)))
        node.meta["onnx_captured"] = value.name
        self.captured.append(value)
        return node

    def _hold(self, name: str, tensor: Tensor, fixed: bool = False) -> fx.Node:
        """Keep a constant: weights as parameters, scalars and integers as buffers."""
        if _is_sizes(tensor):
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
        for key, value in list(keywords.items()):
            if isinstance(value, Tensor):
                keywords[key] = self._hold(f"{name}.{key}", value, fixed=True)
            elif isinstance(value, ir.Graph):
                keywords[key] = self._branch(value, name, key)
                keywords |= _empty_rows(node, value, meaning)
        return {k: v for k, v in keywords.items() if not is_default(meaning, k, v)}

    def _branch(self, source: ir.Graph, name: str, key: str) -> tuple[fx.Node, ...]:
        """A subgraph as a submodule, followed by the values it captures."""
        if self.depth >= MAX_DEPTH:
            raise ModelError(
                f"the subgraphs around node '{name}' lie more than '{MAX_DEPTH}' deep; export the "
                "model with less nested control flow"
            )
        inner = _Builder(source, self.opsets, self.depth + 1)
        module = inner.module()
        attribute = unique(python_name(f"{name}_{key}"), self._attributes)
        self.root.add_module(attribute, module)
        for initializer, path in inner.attribute_of.items():
            self.attribute_of.setdefault(initializer, f"{attribute}.{path}")
        captured = [self._input(value, None, False) for value in inner.captured]
        return (self.graph.get_attr(attribute), *captured)


def _is_sizes(tensor: Tensor | ir.TensorProtocol | None) -> bool:
    """Whether a constant belongs to shape arithmetic: few int64 on at most one axis."""
    if tensor is None or str(tensor.dtype) not in ("torch.int64", "INT64"):
        return False
    count = tensor.numel() if isinstance(tensor, Tensor) else tensor.size
    return len(tensor.shape) <= 1 and count <= SMALL


def _empty_rows(node: ir.Node, body: ir.Graph, meaning: Meaning) -> dict[str, list[list[int]]]:
    """Type and sizes of the rows that a loop stacks, for one that never runs."""
    if "empty" not in meaning.parameters:
        return {}
    plain = 2 if node.op_type == "Loop" else node.attributes["num_scan_inputs"].as_int()
    states = len(body.inputs) - plain
    rows = len(body.outputs) - states - (node.op_type == "Loop")
    return {"empty": [_empty(value) for value in body.outputs[len(body.outputs) - rows :]]}


def _empty(value: ir.Value) -> list[int]:
    code = int(value.dtype) if value.dtype is not None else 1
    sizes = value.shape if value.shape is not None else ()
    return [code, *(size if isinstance(size, int) else 0 for size in sizes)]


def _used_outputs(node: ir.Node) -> int:
    named = [index for index, value in enumerate(node.outputs) if value.name]
    return named[-1] + 1 if named else 1
