"""Staircase activations and weights on grids of their own: written, run, verified and read back."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import numpy_helper

from tests.methods.nets import examples, network, task
from workbench.deploy.export import export
from workbench.deploy.restore import restore
from workbench.deploy.runtime import open_session, run, with_outputs
from workbench.deploy.verify import verify
from workbench.foundation.errors import ModelError
from workbench.graph import build
from workbench.graph.load import load
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import ActivationGrid, WeightGrid, target
from workbench.methods.registry import make
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.steps import FORM, Steps

ACTIVATIONS = [e for e in QUANTIZERS if getattr(e.make, "form", "") == FORM]
WEIGHTS = ["apot_weight", "llt_weight", "n2uq_weight"]
CASES = [(e.name, bits) for e in ACTIVATIONS for bits in e.facts["bits"]]


@pytest.fixture(scope="module")
def graph():
    return network()


def calibrated(graph, bits: int, weight_bits: int = 8, *, symmetric=None) -> QuantizedGraph:
    grids = WeightGrid(bits=weight_bits), ActivationGrid(bits=bits, symmetric=symmetric)
    found = QuantizedGraph(graph, target("ort-cpu").sites(graph, *grids, edges=None)).eval()
    list(make("rtn", {"calibrator": "minmax"}).learn(found, task()))
    return found


def at_older(model: ir.Model) -> ir.Model:
    """At opset 13, where Gelu is no operator yet: a Relu in its place."""
    proto = ir.to_proto(model)
    for node in proto.graph.node:
        if node.op_type == "Gelu":
            node.op_type = "Relu"
    del proto.opset_import[:]
    proto.opset_import.append(onnx.helper.make_opsetid("", 13))
    return ir.from_proto(proto)


def put(model: QuantizedGraph, name: str) -> list[str]:
    """The quantizer on all sites that take it, with what it learns moved a little."""
    places = [site for site in model.of_kind("activation") if site.own_levels]
    draw = torch.Generator().manual_seed(5)
    for site in places:
        learner = QUANTIZERS[name].make(model.asked[site.name], site.shape)
        learner.take(model.quantizer(site.name))
        with torch.no_grad():
            for parameter in learner.parameters():
                parameter.mul_(1 + 0.1 * torch.rand(parameter.shape, generator=draw))
                parameter.add_(0.02 * torch.rand(parameter.shape, generator=draw))
        model.set_quantizer(site.name, learner)
    return [site.name for site in places]


@pytest.mark.parametrize(("name", "bits"), CASES)
@pytest.mark.parametrize("symmetric", [None, True])
def test_codes_are_those_of_the_simulation(graph, tmp_path, name, bits, symmetric) -> None:
    found = calibrated(graph, bits, symmetric=symmetric)
    places, x = put(found, name), examples(seed=7, count=8)
    path = export(found, tmp_path / "m.onnx").path
    verification = verify(path, found, [(x,)])
    assert places
    assert verification.verdict in ("equal", "within one step"), verification.cause
    assert verification.modes[0].verdict == "equal" or verification.cause == "rounding ties"
    assert not verification.differing_stored
    for place in places:
        names = [f"{place}__q", f"{place}__dq"]
        got = run(open_session(with_outputs(path, names), optimise=False), [x], names)
        levels = found.quantizer(place).frozen().levels
        assert levels is not None
        codes = torch.from_numpy(got[names[0]]).long()
        assert torch.equal(levels[codes], torch.from_numpy(got[names[1]]))
    restored = restore(load(path)).quantized()
    with torch.no_grad():
        assert torch.equal(found(x)[0], restored(x)[0])
    assert isinstance(restored.quantizer(places[0]), Steps)
    assert export(restored, tmp_path / "again.onnx").path.read_bytes() == path.read_bytes()


def test_thresholds_may_differ_by_channel(graph, tmp_path) -> None:
    found = calibrated(graph, 2)
    site = found.sites["depth.relu"]
    steps = Steps(site.grid, site.shape)
    thresholds = torch.tensor([0.2, 0.9, 1.7])[:, None, None, None] * torch.linspace(
        0.5, 2, 8
    ).reshape(8, 1, 1)
    steps.set_steps(thresholds, torch.tensor([0.0, 0.31, 0.9, 2.0]))
    found.set_quantizer(site.name, steps)
    x = examples(seed=7, count=8)
    written = export(found, tmp_path / "m.onnx")
    assert "'steps' activations are read in float arithmetic (1)" in written.notes
    verification = verify(written.path, found, [(x,)])
    assert verification.modes[0].verdict == "equal"
    restored = restore(load(written.path)).quantized()
    with torch.no_grad():
        assert torch.equal(found(x)[0], restored(x)[0])


@pytest.mark.parametrize("bits", [1, 3])
def test_before_opset_14_sums_are_of_floats(tmp_path, bits) -> None:
    older = build(at_older(network().model))
    found = calibrated(older, bits)
    put(found, "steps")
    path = export(found, tmp_path / "m.onnx").path
    proto = onnx.load(path)
    assert [entry.version for entry in proto.opset_import if not entry.domain] == [13]
    onnx.checker.check_model(proto, full_check=True)
    verification = verify(path, found, [(examples(seed=7, count=8),)])
    assert verification.modes[0].verdict == "equal"
    restored = restore(load(path)).quantized()
    assert export(restored, tmp_path / "again.onnx").path.read_bytes() == path.read_bytes()


def test_whole_multiples_are_dequantized(graph, tmp_path) -> None:
    found = calibrated(graph, 4)
    place = put(found, "apot")[0]
    written = export(found, tmp_path / "m.onnx")
    assert not any("float arithmetic" in note for note in written.notes)
    nodes = {node.output[0]: node for node in onnx.load(written.path).graph.node}
    assert nodes[f"{place}__dq"].op_type == "DequantizeLinear"
    assert nodes[f"{place}__dq"].input[0] == f"{place}__place"


@pytest.mark.parametrize("wrong", [[3.0, 2.0, 1.0], [1.0, float("nan"), 2.0], 1.0])
def test_damaged_thresholds_are_refused(graph, tmp_path, wrong) -> None:
    found = calibrated(graph, 2)
    place = put(found, "llt")[0]
    proto = onnx.load(export(found, tmp_path / "m.onnx").path)
    for tensor in proto.graph.initializer:
        if tensor.name == f"{place}__thresholds":
            array = numpy_helper.from_array(torch.tensor(wrong).numpy(), tensor.name)
            tensor.CopyFrom(array)
    onnx.save(proto, tmp_path / "bad.onnx")
    with pytest.raises(ModelError, match="not understood"):
        restore(load(tmp_path / "bad.onnx"))


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_plain_integers_in_the_file(graph, tmp_path, name) -> None:
    found = calibrated(graph, 8, weight_bits=4)
    for site in found.of_kind("weight"):
        learner = QUANTIZERS[name].make(found.asked[site.name], site.shape)
        learner.take(found.quantizer(site.name))
        if hasattr(learner, "start"):
            learner.start(found.weight(site.name).detach())
        found.set_quantizer(site.name, learner)
    x = examples(seed=7, count=8)
    path = export(found, tmp_path / "m.onnx", store="int8").path
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert "Gather" not in operators
    verification = verify(path, found, [(x,)])
    assert verification.verdict in ("equal", "within one step"), verification.cause
    restored = restore(load(path)).quantized()
    with torch.no_grad():
        assert torch.equal(found(x)[0], restored(x)[0])


def test_tensors_that_share_codes_keep_equal_steps(graph) -> None:
    sites = target("ort-cpu").sites(graph, WeightGrid(), ActivationGrid())
    leaders = {site.shares for site in sites} - {None}
    assert leaders
    sharing = [s for s in sites if s.shares is not None or s.name in leaders]
    assert not any(site.own_levels for site in sharing)
    assert any(site.own_levels for site in sites)
