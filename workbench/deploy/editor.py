"""Small edits of an ONNX graph under names that must stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from workbench.foundation.errors import ExportError
from workbench.graph.sites import Site


class Editor:
    """Adds initializers and nodes to a graph, and lets nodes read other values.

    Attributes:
        graph: changed in place.
        tensors: every value by name, those added included.
        opset: of the standard operators.
        added_bytes: of the initializers added so far.
    """

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self.opset: int = model.opset_imports[""]
        self.tensors = {str(value.name): value for value in _values(self.graph)}
        self.added_bytes = 0
        self._nodes = {node.name: node for node in self.graph}

    def operator(self, node: str) -> str:
        """The operator of a node of the original graph; "" if there is no such node."""
        found = self._nodes.get(node)
        return "" if found is None else found.op_type

    def initializer(self, tensor: ir.TensorProtocol) -> ir.Value:
        """A new initializer; its name must be free."""
        name = self._fresh(str(tensor.name))
        value = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(tensor.shape.numpy()),
            const_value=tensor,
        )
        self.graph.register_initializer(value)
        self.tensors[name] = value
        self.added_bytes += tensor.nbytes
        return value

    def node(
        self,
        op: str,
        inputs: list[ir.Value],
        output: str,
        dtype: ir.DataType = ir.DataType.FLOAT,
        attributes: Mapping[str, int] | None = None,
    ) -> ir.Node:
        """A node named after its one output, whose shape is that of its first input."""
        name = self._fresh(output)
        node = ir.node(op, inputs, attributes or {}, name=f"{name}/{op}")
        node.outputs[0].name = name
        node.outputs[0].type = ir.TensorType(dtype)
        node.outputs[0].shape = inputs[0].shape
        self.tensors[name] = node.outputs[0]
        return node

    def split(self, value: ir.Value, sizes: ir.Value, outputs: list[str]) -> ir.Node:
        """A Split along the first axis into values of one element each, named after the first."""
        names = [self._fresh(output) for output in outputs]
        node = ir.node("Split", [value, sizes], {"axis": 0}, num_outputs=len(names))
        node.name = f"{names[0]}/Split"
        assert value.shape is not None
        for name, made in zip(names, node.outputs, strict=True):
            made.name, made.type = name, value.type
            made.shape = ir.Shape([1, *list(value.shape)[1:]])
            self.tensors[name] = made
        return node

    def insert(self, chain: list[ir.Node], source: ir.Value) -> None:
        """Put nodes right behind what makes `source`, so that the order stays topological."""
        producer = source.producer()
        if producer is not None:
            self.graph.insert_after(producer, chain)
        else:
            self.graph.insert_before(self.graph[0], chain)

    def rewire(self, site: Site, value: ir.Value) -> None:
        """Let the readers that a site lists read `value` instead of the site's tensor."""
        for name, index in site.edges:
            node = self._nodes.get(name)
            held = node.inputs[index] if node is not None and index < len(node.inputs) else None
            if node is None or held is not self.tensors[site.tensor]:
                raise ExportError(
                    f"input {index} of node '{name}' is not '{site.tensor}', as site "
                    f"'{site.name}' has it; build the sites from this graph"
                )
            node.replace_input_with(index, value)

    def drop_if_unread(self, name: str) -> bool:
        """Remove an initializer that nobody reads any more; False if somebody does."""
        value = self.tensors[name]
        if value.uses() or value.is_graph_output():
            return False
        if value in self.graph.inputs:
            self.graph.inputs.remove(value)
        self.graph.initializers.pop(name)
        return True

    def _fresh(self, name: str) -> str:
        if name in self.tensors:
            raise ExportError(f"the model already has a tensor '{name}'; rename it")
        return name


def _values(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs
