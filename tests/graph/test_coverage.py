"""Coverage: what the table says of a node is what ONNX Runtime does with it."""

from __future__ import annotations

from collections import Counter

import pytest

import workbench
from tests.graph import mixed
from workbench.deploy.export import export
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, Coverage, Override, WeightGrid, coverage, target
from workbench.methods.base import Task
from workbench.methods.registry import make

#: operator -> the kernels that take its place on integers
INTEGER_KERNELS = {
    "Conv": ("QLinearConv",),
    "Gemm": ("QGemm",),
    "MatMul": ("MatMulIntegerToFloat", "QLinearMatMul"),
    "Add": ("QLinearAdd",),
    "Mul": ("QLinearMul",),
    "Concat": ("QLinearConcat",),
    "Sigmoid": ("QLinearSigmoid",),
    "GlobalAveragePool": ("QLinearGlobalAveragePool",),
}


@pytest.fixture(scope="module")
def graph():
    return mixed.mixed()


def plan_of(graph, name="ort-cpu", bits=8, active=8, **fields):
    grid = None if active is None else ActivationGrid(bits=active)
    return target(name).plan(graph, WeightGrid(bits=bits), grid, **fields)


def cover(graph, name="ort-cpu", store="packed", **fields) -> Coverage:
    return coverage(graph, plan_of(graph, name, **fields), target(name), store)


def rows(found: Coverage) -> dict:
    return {row.node: row for row in found.rows}


def assert_true_in_runtime(found: Coverage, ran: Counter[str]) -> None:
    """As many integer kernels of each kind as the table has rows on integers."""
    said = Counter(row.op for row in found.rows if row.arithmetic == "integer")
    for op, names in INTEGER_KERNELS.items():
        assert sum(ran[name] for name in names) == said[op], (op, ran)


@pytest.mark.parametrize("active", [8, 5])
def test_the_runtime_agrees_with_the_table(graph, active, tmp_path) -> None:
    plan = plan_of(graph, active=active)
    found = coverage(graph, plan, target("ort-cpu"))
    model = mixed.calibrated(QuantizedGraph(graph, plan.sites))
    ran = mixed.kernels(export(model, tmp_path / "m.onnx").path)
    assert_true_in_runtime(found, ran)
    assert ran["DequantizeLinear"] == 0  # pools and movers stayed on codes
    assert ran["QuantizeLinear"] == 1
    floats = {row.node for row in found.rows if row.arithmetic == "float"}
    assert floats == {"softmax"}


@pytest.mark.parametrize(
    ("fields", "node", "why"),
    [
        ({"active": 16}, "stem", "no integer kernel for Conv on 16-bit activations"),
        ({"bits": 4, "edges": None}, "left", "store = 'int8' avoids it"),
        ({"overrides": (Override(pattern="mean", activations=0),)}, "mean", "override 'mean'"),
    ],
    ids=["16-bit", "packed", "override"],
)
def test_what_keeps_a_node_in_float_is_true(graph, fields, node, why, tmp_path) -> None:
    plan = plan_of(graph, **fields)
    found = coverage(graph, plan, target("ort-cpu"))
    assert rows(found)[node].arithmetic == "float"
    assert why in rows(found)[node].why
    model = mixed.calibrated(QuantizedGraph(graph, plan.sites))
    assert_true_in_runtime(found, mixed.kernels(export(model, tmp_path / "m.onnx").path))


def test_a_grid_without_zero_point_keeps_a_relu_in_float(graph, tmp_path) -> None:
    place = target("ort-cpu")
    plan = place.plan(graph, WeightGrid(bits=8), ActivationGrid(symmetric=True))
    found = coverage(graph, plan, place)
    assert "keeps the Relu" in rows(found)["stem"].why
    assert rows(found)["stem.relu"].why == "stays with 'stem'"
    model = mixed.calibrated(QuantizedGraph(graph, plan.sites))
    assert_true_in_runtime(found, mixed.kernels(export(model, tmp_path / "m.onnx").path))


def test_totals_count_multiply_adds_and_parameters(graph) -> None:
    found = cover(graph)
    macs = {row.node: row.macs for row in found.rows if row.macs}
    assert macs == {
        "stem": 4 * 9 * 64,
        "left": 16 * 16,
        "right": 16 * 16,
        "gate": 64,
        "depth": 8 * 9 * 16,
        "head": 5 * 512,
    }
    assert found.integer_macs == found.quantized_macs == 1
    assert found.integer_nodes == (15, 16)
    assert found.stored_parameters == pytest.approx(1, abs=2e-3)  # all but the Resize's scales
    assert cover(graph, bits=4, store="int8").integer_macs == 1


def test_weights_alone_leave_the_arithmetic_float(graph) -> None:
    found = cover(graph, "weight-only", bits=4, active=None)
    assert found.integer_macs == 0
    assert found.quantized_macs == 1
    assert "stored small" in rows(found)["stem"].why


def test_an_integer_accelerator_runs_everything(graph) -> None:
    found = cover(graph, "npu-int")
    assert all(row.arithmetic == "integer" for row in found.rows)
    assert rows(found)["softmax"].input_bits == 8
    assert rows(found)["cat"].group == rows(found)["left"].group or rows(found)["cat"].group


def test_records_are_plain_values(graph) -> None:
    import json

    record = cover(graph).record()
    assert json.loads(json.dumps(record)) == record
    assert record["integer_nodes"] == 15


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["digits-resnet", "digits-mobilenet", "digits-vit", "digits-gru", "bytegpt"]
)
def test_the_runtime_agrees_on_sample_models(name, tmp_path) -> None:
    session = workbench.open(name)
    plan = plan_of(session.graph)
    found = coverage(session.graph, plan, target("ort-cpu"))
    data = session.data.calibrate_on(16)
    batches = [batch for batch, _ in data.batches("calibration", session.batch_size)]
    model = QuantizedGraph(session.graph, plan.sites)
    for _ in make("rtn").learn(model, Task(lambda: iter(batches), 16)):
        pass
    assert_true_in_runtime(found, mixed.kernels(export(model, tmp_path / "m.onnx").path))
