"""The outline of a network: what a drawing of it needs, and no more.

Vertices are the inputs, the layers, the places where branches meet, and the outputs. An operator
without weights that reads one vertex alone (a Relu, a Reshape, the whole of a LayerNorm) belongs to
that vertex. What is made without data (positions, masks of constants) is no vertex, and a mask of
whole numbers that everything reads draws no edges.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import onnx_ir as ir

from workbench.graph.blocks import Block, blocks, reads
from workbench.graph.build import Graph
from workbench.graph.sites import layers

Role = Literal["input", "layer", "joint", "output"]

_SHAPES = ("Shape", "Size")
_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


@dataclass(frozen=True)
class Vertex:
    """A part of the drawing.

    Attributes:
        name: of the node, or of the tensor of an input or output; op: its operator, "" for those.
        role: "input", "layer" (it has weights), "joint" (branches meet) or "output".
        after: operators without weights that follow and belong to it, in order.
    """

    name: str
    role: Role
    op: str = ""
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outline:
    """A network as vertices and edges, with its blocks.

    Attributes:
        vertices: in the order of the network.
        edges: (from, to) by position in `vertices`, each once, always forwards.
        blocks: the nested parts with one way in and one way out; see `workbench.graph.blocks`.
    """

    vertices: tuple[Vertex, ...]
    edges: tuple[tuple[int, int], ...]
    blocks: tuple[Block, ...]

    def record(self) -> dict[str, Any]:
        """As plain JSON values; a block has its name, kind, level and the names of its nodes."""
        return {
            "vertices": [
                asdict(vertex) | {"after": list(vertex.after)} for vertex in self.vertices
            ],
            "edges": [list(edge) for edge in self.edges],
            "blocks": [
                {"name": b.name, "kind": b.kind, "level": b.level, "nodes": list(b.nodes)}
                for b in self.blocks
            ],
        }


def outline(graph: Graph) -> Outline:
    """The outline of a network that was built."""
    found = _Outline({layer.name for layer in layers(graph)})
    model = graph.model.graph
    for value in model.inputs:
        if not value.is_initializer():
            found.add(str(value.name), "input", [], [value])
    for node in model:
        found.visit(node)
    for value in model.outputs:
        source = found.owner.get(value)
        found.add(str(value.name), "output", [] if source is None else [source], [])
    return found.finished(blocks(graph))


@dataclass
class _Outline:
    """Vertices and edges so far; `owner` is the vertex that a tensor comes out of."""

    weighted: set[str]
    owner: dict[ir.Value, int] = field(default_factory=dict)
    vertices: list[Vertex] = field(default_factory=list)
    after: list[list[str]] = field(default_factory=list)
    edges: dict[tuple[int, int], None] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)  # inputs of whole numbers

    def add(
        self, name: str, role: Role, sources: Iterable[int], made: Iterable[ir.Value], op: str = ""
    ) -> None:
        """One more vertex."""
        at = len(self.vertices)
        self.vertices.append(Vertex(name, role, op))
        self.after.append([])
        self.edges.update(dict.fromkeys((source, at) for source in sources))
        for value in made:
            self.owner[value] = at
            if role == "input" and value.dtype not in _FLOATS:
                self.whole.add(at)

    def visit(self, node: ir.Node) -> None:
        """A node becomes a vertex, or part of the one that it reads."""
        if node.op_type in _SHAPES:
            return
        name, sources = str(node.name), self._sources(node)
        if name in self.weighted:
            self.add(name, "layer", sources, node.outputs, node.op_type)
        elif len(sources) > 1:
            self.add(name, "joint", sources, node.outputs, node.op_type)
        elif sources:
            self.after[sources[0]].append(node.op_type)
            self.owner.update(dict.fromkeys(node.outputs, sources[0]))

    def _sources(self, node: ir.Node) -> list[int]:
        """The vertices that a node reads; masks of whole numbers only where nothing else is."""
        found = dict.fromkeys(self.owner[value] for value in reads(node) if value in self.owner)
        return [source for source in found if source not in self.whole] or list(found)

    def finished(self, parts: Iterable[Block]) -> Outline:
        """Everything, frozen."""
        vertices = (
            Vertex(v.name, v.role, v.op, tuple(after))
            for v, after in zip(self.vertices, self.after, strict=True)
        )
        return Outline(tuple(vertices), tuple(self.edges), tuple(parts))
