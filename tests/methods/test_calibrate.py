"""Calibration: a stream of batches gives what all of them at once give, in memory that is fixed."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from benchmarks.memory import measured
from tests.methods.nets import examples, network, quantized, task
from workbench.foundation.errors import DataError, ModelError
from workbench.graph import build, capture, fold
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.taps import watch
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.maths.grid import affine_range
from workbench.maths.histogram import Histogram
from workbench.maths.ranges import histogram_range
from workbench.methods.calibrate import Observers, calibrate_activation, holds_classes
from workbench.methods.registry import make
from workbench.methods.shelf import Column, Shelf
from workbench.methods.walk import ActivationStop, Walk

POSITIONS = 6


@pytest.fixture(scope="module")
def graph():
    return network()


def joined(axis: int = -1):
    """Two branches that meet in a Concat, then a softmax over `axis`, which Gemm reads."""
    rng = torch.Generator().manual_seed(0)
    node = helper.make_node
    nodes = [
        node("Gemm", ["x", "left.w"], ["left"], "left", transB=1),
        node("Gemm", ["x", "right.w"], ["right"], "right", transB=1),
        node("Concat", ["left", "right"], ["both"], "both", axis=1),
        node("Softmax", ["both"], ["chances"], "chances", axis=axis),
        node("Gemm", ["chances", "head.w"], ["logits"], "head", transB=1),
    ]
    shapes = {"left.w": (5, POSITIONS), "right.w": (7, POSITIONS), "head.w": (4, 12)}
    held = {n: torch.randn(s, generator=rng).numpy() for n, s in shapes.items()}
    held["right.w"] *= 4  # so that the two branches have unlike ranges
    model = helper.make_graph(
        nodes,
        "joined",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", POSITIONS])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    proto = helper.make_model(model, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(proto)
    return build(fold(ir.from_proto(proto))[0])


def sites(graph, place: str = "npu-int") -> QuantizedGraph:
    asked = WeightGrid(bits=8), ActivationGrid(bits=8)
    return QuantizedGraph(graph, target(place).sites(graph, *asked, edges=None))


@pytest.mark.parametrize("calibrator", ["mse", "moving_average", "percentile"])
def test_a_stream_gives_what_a_walk_gives(graph, calibrator: str) -> None:
    walked, streamed = quantized(graph), quantized(graph)
    for stop in Walk(walked, task().batches(), prefix="float"):
        if isinstance(stop, ActivationStop):
            calibrate_activation(walked, stop, calibrator)
    observers = Observers(streamed, calibrator)
    for batch in task().batches():
        observers.see(batch)
    assert len(list(observers.settle())) == len(observers)
    for site in streamed.of_kind("activation"):
        ours, theirs = streamed.quantizer(site.name), walked.quantizer(site.name)
        assert torch.equal(ours.affine()[0], theirs.affine()[0])
        assert torch.equal(ours.affine()[1], theirs.affine()[1])


@pytest.mark.parametrize("calibrator", ["minmax", "moving_average"])
def test_tensors_that_share_a_scale_are_observed_together(calibrator: str) -> None:
    graph = joined()
    model = sites(graph)
    assert set(model.joined()) == {"left"}
    x = torch.randn(40, POSITIONS, generator=torch.Generator().manual_seed(1))
    observers = Observers(model, calibrator)
    histogram = Histogram()
    for part in x.split(10):
        observers.see((part,))
        values = capture(graph.module, (part,), ["left", "right"])
        histogram.add(values["left"], values["right"])
    list(observers.settle())
    grid = model.sites["left"].grid
    scale, zero = affine_range(*histogram_range(histogram, grid, calibrator), grid)
    assert torch.equal(model.quantizer("left").affine()[0], scale)
    assert torch.equal(model.quantizer("left").affine()[1], zero)


def test_classes_are_what_a_softmax_over_the_last_axis_reads() -> None:
    last, first = sites(joined(-1)), sites(joined(0))
    reading = {name for name, site in last.sites.items() if holds_classes(last, site)}
    assert reading == {"both"}
    assert not any(holds_classes(first, site) for site in first.sites.values())


def test_a_name_that_is_not_computed_is_answered_with_the_nearest(graph) -> None:
    with pytest.raises(ModelError, match=r"no value 'stem.rel'; the nearest name is 'stem.relu'"):
        watch(graph.module, (examples(),), ["stem.rel"], lambda name, value: None)


def test_watched_values_come_once_and_nothing_after_the_last_is_run(graph) -> None:
    seen = []
    watch(graph.module, (examples(),), ["pool", "stem"], lambda name, _: seen.append(name))
    assert seen == ["stem", "pool"]


def test_late_batches_go_to_disk_once_a_little_is_held(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("workbench.methods.shelf.SMALL_BYTES", 1000)
    shelf = Shelf(budget_bytes=1 << 20, held_batches=2)
    column = Column(shelf)
    values = [torch.full((200,), float(index)) for index in range(6)]
    for value in values:
        column.append(value, value)
    assert len(list(tmp_path.rglob("*.pt"))) == 4
    assert all(torch.equal(column.get(i)[0], value) for i, value in enumerate(values))
    shelf.close()


def test_a_part_of_a_large_tensor_is_stored_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shelf = Shelf(budget_bytes=0)
    handle = shelf.put((torch.zeros(1 << 20)[:10], torch.ones(3)))
    assert handle.stat().st_size < 10_000
    assert torch.equal(shelf.get(handle)[1], torch.ones(3))
    shelf.close()


def test_a_full_disk_is_said_with_the_cure(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("workbench.methods.shelf.SPARE_BYTES", 1 << 62)
    with pytest.raises(DataError, match="calibrate on fewer examples, or set TMPDIR"):
        Shelf(budget_bytes=0).put(torch.zeros(5))


def test_cross_entropy_is_asked_of_no_site_without_classes(graph) -> None:
    ours, theirs = quantized(graph), quantized(graph)
    list(make("rtn", {"calibrator": "cross_entropy"}).learn(ours, task()))
    list(make("rtn", {"calibrator": "mse"}).learn(theirs, task()))
    for name in ours.sites:
        assert torch.equal(ours.quantizer(name).affine()[0], theirs.quantizer(name).affine()[0])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", ["rtn", "gram"])
def test_many_examples_take_no_more_memory_than_few(method: str) -> None:
    few, many = (measured("digits-mobilenet", method, count) for count in (100, 2000))
    assert many["peak_mib"] < 1.15 * few["peak_mib"]
