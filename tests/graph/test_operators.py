"""Which operators a model uses."""

from __future__ import annotations

from tests.graph.nets import from_text
from workbench.graph.operators import operators


def test_unknown_operators_are_told_and_bodies_are_counted():
    model = from_text(
        '<ir_version: 10, opset_import: ["" : 21, "strange" : 1]> '
        "g (float[n] x, bool c) => (float[n] y) { a = Relu(x) b = strange.Wobble(a) "
        "k = Constant <value_float = 1.0> () d = Add(b, k) "
        "y = If (c) <then_branch = t () => (float[n] u) { u = Relu(d) }, "
        "else_branch = e () => (float[n] v) { v = Neg(d) }> }"
    )
    found = {(use.domain, use.name): use for use in operators(model)}
    assert found["", "Relu"].count == 2
    assert found["", "Constant"].supported
    assert not found["strange", "Wobble"].supported
    assert [use.name for use in operators(model) if not use.supported] == ["Wobble"]
    assert operators(model)[0].record()["name"] == "Relu"
