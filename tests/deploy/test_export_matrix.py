"""The export matrix: every kind of layer, grid, granularity, store and opset in ONNX Runtime."""

from __future__ import annotations

import re

import pytest

from tests.deploy import matrix, small
from workbench.deploy.export import export
from workbench.deploy.runtime import open_session, run
from workbench.maths.grid import Grid

#: a sample of the matrix is judged even where slow tests are left out
EVERY = 16


@pytest.mark.parametrize("kind", small.KINDS)
def test_a_sample_of_the_matrix(kind, tmp_path):
    first = small.KINDS.index(kind) % EVERY
    check(list(matrix.cases(kind))[first::EVERY], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", small.KINDS)
def test_the_whole_matrix(kind, tmp_path):
    check(list(matrix.cases(kind)), tmp_path)


def check(cases, folder):
    """Each case is equal, or is refused exactly where that is due and in the words that are due."""
    assert cases
    for case in cases:
        verdict, due = matrix.judge(case, folder), matrix.refusal(case)
        if due:
            assert verdict.startswith("refused"), f"{case}: {verdict}"
            assert re.search(due, verdict), f"{case}: {verdict}"
        else:
            assert verdict == "equal", f"{case}: {verdict}"


def test_the_matrix_covers_what_it_should():
    every = [case for kind in small.KINDS for case in matrix.cases(kind)]
    assert len(every) > 2000
    assert len(set(every)) > 0.97 * len(every)
    refused = [case for case in every if matrix.refusal(case)]
    assert 0 < len(refused) < 0.1 * len(every)


@pytest.mark.parametrize("activations", [4, 8, 16])
def test_optimised_sessions_load_with_two_bit_weights(activations, tmp_path):
    """int2 beside 8-bit data would make ONNX Runtime build a kernel that refuses it."""
    graph = small.graph_of("conv")
    exported = export(small.quantize(graph, 2, activations), tmp_path / "m.onnx", opset=25)
    assert run(open_session(exported.path), small.inputs_of(graph, 2))["y"].any()
    assert any("2-bit weights lie in 4-bit" in note for note in exported.notes)


@pytest.mark.parametrize(("kind", "container"), [("conv", "INT2"), ("matmul", "INT4")])
def test_two_bits_are_used_where_the_runtime_computes_with_them(kind, container, tmp_path):
    """The matrix has 6 columns, for which MatMulNBits of 2 bits gives wrong numbers."""
    case = matrix.Case(kind, Grid(2))
    written = export(matrix.quantized(case), tmp_path / "m.onnx")
    from onnx import TensorProto, load

    held = {t.name: t.data_type for t in load(written.path).graph.initializer}
    assert held["w__q"] == TensorProto.DataType.Value(container)
    assert written.opset == (25 if container == "INT2" else 21)
