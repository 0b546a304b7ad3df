"""The verdict: equal, ties, or a difference with its place and its cause."""

from __future__ import annotations

import json

import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import numpy_helper

from tests.deploy import small
from workbench.deploy import verify as verification
from workbench.deploy.compare import SiteRow, SiteTally, watched
from workbench.deploy.export import export
from workbench.deploy.runtime import FLOAT_MATMUL, open_session
from workbench.deploy.verification import Mode
from workbench.deploy.verify import Setting, verify
from workbench.foundation.errors import ExportError
from workbench.graph.build import build
from workbench.graph.targets import Override
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.rounding import Rounding


@pytest.fixture(scope="module")
def graph():
    return build(small.two_convolutions())


def batches_of(graph, sizes=(4, 3)):
    return [small.inputs_of(graph, size, seed=i) for i, size in enumerate(sizes)]


def edit(path, name, change):
    """Change one initializer of a file."""
    proto = onnx.load(path)
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))
    onnx.save(proto, path)


@pytest.mark.usefixtures("any_processor")
@pytest.mark.parametrize("store", ["packed", "int8"])
@pytest.mark.parametrize("activations", [4, 8])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_an_export_behaves_as_simulated(bits, activations, store, graph, tmp_path):
    model = small.quantize(graph, bits, activations)
    path = export(model, tmp_path / "m.onnx", store=store).path
    found = verify(path, model, batches_of(graph))
    assert found.ok
    assert found.modes[0].max_steps == 0, found.sentence()
    assert found.verdict == "equal"
    assert found.modes[1].max_steps <= 1
    assert found.batch_sizes == (1, 3, 4)
    assert found.examples == 7
    assert found.stored == 10
    assert found.top1_agreement == 1.0
    assert [row.name for row in found.modes[0].sites] == ["x", "a1", "a2", "pooled"]
    assert "equals the simulation" in found.sentence()


@pytest.mark.parametrize("kind", ["conv", "depthwise", "transposed", "gemm", "gemm-b", "matmul"])
def test_every_kind_of_layer(kind, tmp_path):
    graph = small.graph_of(kind)
    model = small.quantize(graph, 8, 8)
    found = verify(export(model, tmp_path / "m.onnx").path, model, batches_of(graph))
    assert found.verdict == "equal", found.sentence()


@pytest.mark.parametrize("name", ["uniform", "lsq"])
def test_every_quantizer(name, graph, tmp_path):
    model = small.quantize(graph, 4, 8)
    for site in model.of_kind("weight"):
        old = model.quantizer(site.name)
        new = QUANTIZERS[name].make(site.grid, site.shape)
        new.set_affine(*old.affine())
        model.set_quantizer(site.name, new)
    found = verify(export(model, tmp_path / "m.onnx").path, model, batches_of(graph))
    assert found.verdict == "equal", found.sentence()


@pytest.mark.usefixtures("any_processor")
def test_records_are_json(graph, tmp_path):
    model = small.quantize(graph, 8, 8)
    found = verify(export(model, tmp_path / "m.onnx").path, model, batches_of(graph))
    record = json.loads(json.dumps(found.record(), allow_nan=False))
    assert record["ok"] is True
    assert record["modes"][2]["kernels"] == "exact"
    assert {"max_abs", "sqnr_db"} <= set(record["outputs"])
    assert {"name", "max_steps", "share_over_half", "share_over_one_and_half"} <= set(
        record["modes"][0]["sites"][0]
    )


def test_a_wrong_scale_is_found_where_it_is(graph, tmp_path):
    model = small.quantize(graph, 8, 8)
    path = export(model, tmp_path / "m.onnx").path
    edit(path, "a1__scale", lambda scale: scale * 1.1)
    found = verify(path, model, batches_of(graph))
    assert not found.ok
    assert found.first_departure == "a1"
    assert found.differing_stored == ("a1",)
    assert found.cause == "the file stores other codes or scales"
    assert "differs from the simulation, first at 'a1'" in found.sentence()


def test_a_wrong_weight_is_named(graph, tmp_path):
    model = small.quantize(graph, 8, 8)
    path = export(model, tmp_path / "m.onnx").path
    edit(path, "w2__scale", lambda scale: scale * 1.01)
    found = verify(path, model, batches_of(graph))
    assert found.differing_stored == ("w2",)
    assert found.first_departure == "w2"


def test_an_error_after_the_last_site_is_found(graph, tmp_path):
    """The head's output is no site; its floats are compared instead."""
    overrides = (Override(pattern="head", weights=0),)
    model = small.quantize(graph, 8, 8, overrides=overrides)
    path = export(model, tmp_path / "m.onnx").path
    edit(path, "b3", lambda bias: bias + 0.1)
    found = verify(path, model, batches_of(graph))
    assert (found.verdict, found.first_departure) == ("differs", "y")


@pytest.mark.parametrize("bits", [4, 8])
def test_weight_only_matmuls_name_the_fused_kernel(bits, tmp_path):
    graph = build(small.two_matmuls())
    model = small.quantize(graph, bits)
    found = verify(export(model, tmp_path / "m.onnx").path, model, batches_of(graph, (64,)))
    assert found.modes[0].verdict == "equal"
    if found.verdict == "differs":  # where ONNX Runtime has this kernel
        assert "MatMulNBits" in found.cause
        assert next(iter(FLOAT_MATMUL)) in found.cure


@pytest.mark.parametrize("kind", ["conv", "gru"])
def test_weight_only_layers_are_compared_in_float(kind, tmp_path):
    graph = small.graph_of(kind)
    model = small.quantize(graph, 4)
    found = verify(export(model, tmp_path / "m.onnx").path, model, batches_of(graph))
    assert found.verdict == "equal"
    assert [row.name for row in found.modes[0].floats] == ["y", "h"]
    assert found.outputs.sqnr_db > 80


def test_a_layer_whose_first_output_has_no_name(tmp_path):
    graph = build(small.last_state())
    model = small.quantize(graph, 4)
    path = export(model, tmp_path / "m.onnx").path
    assert verify(path, model, [small.inputs_of(graph, 1)]).verdict == "equal"


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ([Setting("on")], "saturating int8 kernels"),
        ([Setting("on"), Setting("on", "exact")], "MatMulNBits"),
        ([Setting("on"), Setting("on", "exact"), "matmul"], "fusion into integer kernels"),
        ([Setting("on"), Setting("on", "exact"), "matmul", "integer"], "graph optimisation"),
    ],
)
def test_causes_are_established_by_experiment(broken, cause, graph, tmp_path, monkeypatch):
    """Stand in for a processor or runtime that goes wrong in some settings and not in others."""
    model = small.quantize(graph, 8, 8)
    path = export(model, tmp_path / "m.onnx").path
    bad = export(model, tmp_path / "bad.onnx").path
    edit(bad, "pooled__scale", lambda scale: scale * 1.5)
    named = {
        "matmul": verification.EXPERIMENTS[1].setting,
        "integer": verification.EXPERIMENTS[2].setting,
    }
    wrong = [named.get(setting, setting) for setting in broken]
    outputs = ["x__q", "a1__q", "a2__q", "pooled__q"]

    def open_one(setting, data):
        source = verification.with_outputs(bad, outputs) if setting in wrong else data
        return open_session(source, optimise=setting.optimisations == "on", exact=True)

    monkeypatch.setattr(Setting, "open", open_one)
    found = verify(path, model, batches_of(graph))
    assert found.verdict == "differs"
    assert found.first_departure == "pooled"
    assert cause in found.cause
    assert found.cure


def test_early_differences_do_not_blame_later_layers(graph, tmp_path):
    """End to end everything after a wrong node differs; locally only what it writes does."""
    model = small.quantize(graph, 8, 8)
    path = export(model, tmp_path / "m.onnx").path
    edit(path, "high", lambda limit: limit / 2)
    found = verify(path, model, batches_of(graph))
    rows = found.modes[0].sites
    assert [row.max_steps > 0 for row in rows] == [False, True, True, True]
    assert [row.local_max_steps > 0 for row in rows] == [False, True, False, False]
    assert (found.first_departure, found.cause) == ("a1", "not established")


def test_unfinished_rounding_is_the_cause(graph, tmp_path):
    """A simulation that still computes with soft weights is not what the file holds."""
    model = small.quantize(graph, 4, 8)
    site = model.sites["w1"]
    rounding = Rounding(site.grid, site.shape)
    rounding.set_affine(*model.quantizer("w1").affine())
    rounding.start(model.weight("w1").detach())
    model.set_quantizer("w1", rounding)
    found = verify(export(model, tmp_path / "m.onnx").path, model, batches_of(graph))
    assert (found.verdict, found.first_departure) == ("differs", "a1")
    assert "unfinished rounding" in found.cause


def test_nothing_to_compare_is_an_error(graph, tmp_path):
    model = small.quantize(graph, 8, 8)
    path = export(model, tmp_path / "m.onnx").path
    with pytest.raises(ExportError, match="nothing to compare"):
        verify(path, model, [])
    with pytest.raises(ExportError, match="nothing to compare"):
        verify(path, model, [(torch.zeros(0, 3, 9, 9),)])


def test_comparing_zeros_is_an_error(tmp_path):
    graph = build(small.two_convolutions(zero=True))
    model = small.quantize(graph, 8, 8)
    path = export(model, tmp_path / "m.onnx").path
    with pytest.raises(ExportError, match="all simulated outputs are zero"):
        verify(path, model, batches_of(graph))


def test_a_fixed_batch_is_said(tmp_path):
    graph = build(small.one_layer("gemm", batch=4))
    model = small.quantize(graph, 8, 8)
    path = export(model, tmp_path / "m.onnx").path
    found = verify(path, model, [small.inputs_of(graph, 4)])
    assert found.batch_sizes == (4,)
    assert "fixed" in found.notes[0]


def test_the_simulation_is_left_as_it_was(graph, tmp_path):
    model = small.quantize(graph, 8, 8).train()
    path = export(model, tmp_path / "m.onnx").path
    before = {key: value.clone() for key, value in model.state_dict().items()}
    verify(path, model, batches_of(graph))
    assert model.training
    assert all("forward" not in vars(module) for module in model.modules())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_forced_values_replace_the_quantizers(graph):
    model = small.quantize(graph, 8, 8)
    (x,) = small.inputs_of(graph, 2)
    with torch.no_grad():
        with watched(model) as returned:
            model(x)
        forced = {name: torch.zeros_like(value) for name, value in returned.items()}
        with watched(model, forced) as received:
            (y,) = model(x)
    torch.testing.assert_close(y[0], y[1])
    assert received["x"] is x
    assert not received["a2"].equal(forced["a2"])


def test_ties_are_told_from_errors():
    grid = small.quantize(small.graph_of("gemm"), 8, 8).sites["x"].grid
    quantizer = QUANTIZERS["uniform"].make(grid, (0, 3))
    quantizer.set_affine(torch.tensor(1.0), torch.tensor(0.0))
    at_tie, beyond = SiteTally(), SiteTally()
    at_tie.add_local(torch.tensor([2.499, 1.0]), quantizer, torch.tensor([3, 1], dtype=torch.int32))
    beyond.add_local(torch.tensor([2.1, 1.0]), quantizer, torch.tensor([3, 1], dtype=torch.int32))
    assert at_tie.row("x", grid).ties
    assert not beyond.row("x", grid).ties
    assert beyond.row("x", grid).tie_distance == pytest.approx(0.4)


def test_a_file_of_another_model_is_refused(graph, tmp_path):
    path = tmp_path / "float.onnx"
    onnx.save(ir.to_proto(graph.model), path)
    with pytest.raises(ExportError, match="no node of the file writes"):
        verify(path, small.quantize(graph, 8, 8), batches_of(graph))


@pytest.mark.parametrize(
    ("off", "on", "ties", "verdict"),
    [
        ("equal", "equal", True, "equal"),
        ("equal", "within one step", True, "equal"),
        ("equal", "within one step", False, "within one step"),
        ("within one step", "equal", True, "within one step"),
        ("differs", "within one step", True, "differs"),
        ("equal", "differs", True, "differs"),
    ],
)
def test_the_verdict_is_the_worse_one_unless_codes_only_tie(off, on, ties, verdict):
    site = SiteRow("x", 1, 0.01, 0.0, 1, 0.01, 0.0, ties, 100)
    modes = [Mode(name, "default", word, (site,), (), None, None)
             for name, word in (("off", off), ("on", on))]  # fmt: skip
    assert verification._overall(modes) == verdict
