"""Relu and Clip belong to the layer that they follow."""

from __future__ import annotations

from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, normal
from workbench.graph import build, fold
from workbench.graph.fusion import fused_activations


def test_only_what_alone_reads_a_layer_is_part_of_it():
    model = from_text(
        f"{HEADER} g (float[n,4] x) => (float[n,4] y) {{ a = Gemm(x, w) b = Relu(a) "
        "c = MatMul(b, w) d = Add(c, bias) e = Relu(d) f = Gemm(e, w) g = Relu(f) h = Add(f, g) "
        "i = Gemm(h, w) y = Sigmoid(i) }"
    )
    fill(model, w=normal(4, 4), bias=normal(4))
    for node in model.graph:
        node.name = node.outputs[0].name
    graph = build(fold(model)[0])
    assert fused_activations(graph) == {"a": ("b",), "c": ("e",)}
