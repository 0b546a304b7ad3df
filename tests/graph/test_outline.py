"""The outline keeps the real edges, and only them."""

from __future__ import annotations

import pytest

from workbench.graph.outline import Outline, outline
from workbench.session.session import open as open_session


def edges(found: Outline) -> set[tuple[str, str]]:
    names = [vertex.name for vertex in found.vertices]
    return {(names[a], names[b]) for a, b in found.edges}


def test_a_residual_branch_is_an_edge_of_its_own():
    found = outline(open_session("digits-mobilenet").graph)
    joint = next(vertex for vertex in found.vertices if vertex.role == "joint")
    sources = {a for a, b in edges(found) if b == joint.name}
    assert joint.op == "Add"
    assert sources == {"stem", "blocks.0.project"}


@pytest.mark.parametrize("name", ["digits-vit", "digits-gru", "bytegpt", "digits-resnet"])
def test_every_layer_lies_on_a_way_from_input_to_output(name: str):
    found = outline(open_session(name).graph)
    assert all(source < target for source, target in found.edges)
    reached = {at for at, vertex in enumerate(found.vertices) if vertex.role == "input"}
    for source, target in sorted(found.edges):
        if source in reached:
            reached.add(target)
    layers = [at for at, vertex in enumerate(found.vertices) if vertex.role == "layer"]
    fed = [at for at in layers if any(target == at for _, target in found.edges)]
    assert set(fed) <= reached
    assert found.vertices[-1].role == "output"


def test_operators_without_weights_belong_to_what_they_read():
    found = outline(open_session("digits-mobilenet").graph)
    stem = next(vertex for vertex in found.vertices if vertex.name == "stem")
    assert stem.after
    assert not {vertex.op for vertex in found.vertices} & {"Relu", "Clip", "Reshape"}
