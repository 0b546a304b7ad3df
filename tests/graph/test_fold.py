"""Folding changes the graph and not the function."""

from __future__ import annotations

import numpy as np
import torch

from tests.graph.nets import NETS, from_text, settled
from tests.graph.passes.helpers import HEADER
from workbench.graph import FoldRecord, build, fold, from_module
from workbench.graph.fold import merged


def test_identity_between_input_and_output_stays():
    model = from_text(f"{HEADER} g (float[n] x) => (float[n] y) {{ y = Identity(x) }}")
    folded, _ = fold(model)
    assert [node.op_type for node in folded.graph] == ["Identity"]


def test_the_given_model_is_left_alone():
    model = from_module(settled(NETS["conv"][0]()), (torch.randn(1, 3, 16, 16),))
    before = [(node.name, node.op_type) for node in model.graph]
    weight = model.graph.initializers["stem.weight"].const_value.numpy().copy()
    fold(model)
    assert [(node.name, node.op_type) for node in model.graph] == before
    assert np.array_equal(model.graph.initializers["stem.weight"].const_value.numpy(), weight)
    build(model)


def test_records_tell_the_nodes_before_and_after():
    model = from_module(settled(NETS["conv"][0]()), (torch.randn(1, 3, 16, 16),))
    folded, records = fold(model)
    first = next(record for record in records if record.name == "batch norms folded")
    assert first.measures["nodes"] == (len(model.graph), len(model.graph) - 4)
    spans = [record.measures["nodes"] for record in records if "nodes" in record.measures]
    assert spans[0][0] == len(model.graph)
    assert spans[-1][1] == len(folded.graph)


def test_shape_inference_says_how_many_values_it_reached():
    model = from_text(f"{HEADER} g (float[n,4] x) => (float[n,4] y) {{ a = Relu(x) y = Abs(a) }}")
    _, records = fold(model)
    assert records[0].name == "shapes inferred"
    assert records[0].measures["values without a shape"] == (1, 0)


def test_rounds_of_one_pass_become_one_record():
    rounds = [
        FoldRecord("a", 2, "x, y", {"nodes": (9, 7)}, 1e-7),
        FoldRecord("b", 0, ""),
        FoldRecord("a", 1, "z", {"nodes": (7, 6)}, 3e-7),
    ]
    joined = [FoldRecord("a", 3, "x, y; z", {"nodes": (9, 6)}, 3e-7), rounds[1]]
    assert merged(rounds) == joined
    assert joined[0].record()["measures"] == {"nodes": [9, 6]}
