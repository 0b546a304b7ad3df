"""Activations with levels of their own: written, run in ONNX Runtime, verified and read back."""

from __future__ import annotations

import json

import onnx
import pytest
import torch
from onnx import numpy_helper

from tests.methods.nets import examples, task
from tests.methods.transformer import transformer
from workbench.deploy.export import export
from workbench.deploy.restore import restore
from workbench.deploy.runtime import open_session, run, with_outputs
from workbench.deploy.verify import ROUNDED_INPUT, verify
from workbench.foundation.errors import ExportError, ModelError, TargetError
from workbench.graph.load import load
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import TARGETS, ActivationGrid, WeightGrid, target
from workbench.methods.registry import make
from workbench.quantizers.log_sqrt2 import LogSqrt2
from workbench.quantizers.twin import Twin

PLACES = {"log_sqrt2": {"attention": LogSqrt2}, "twin": {"attention": Twin, "gelu": Twin}}


@pytest.fixture(scope="module")
def graph():
    return transformer()


def model(graph, bits: int, form: str, place: str = "ort-cpu") -> QuantizedGraph:
    grids = WeightGrid(bits=8), ActivationGrid(bits=bits)
    found = QuantizedGraph(graph, target(place).sites(graph, *grids, edges=None)).eval()
    for name, kind in PLACES[form].items():
        found.set_quantizer(name, kind(found.sites[name].grid, found.sites[name].shape))
    list(make("rtn", {"calibrator": "minmax"}).learn(found, task()))
    return found


@pytest.mark.usefixtures("any_processor")
@pytest.mark.parametrize("form", PLACES)
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_codes_and_values_are_those_of_the_simulation(graph, tmp_path, form: str, bits: int):
    found = model(graph, bits, form)
    x = examples(seed=7, count=8)
    path = export(found, tmp_path / "m.onnx").path
    verification = verify(path, found, [(x,)])
    off = verification.modes[0]
    assert off.verdict == "equal" or all(row.ties for row in off.sites)  # exp differs in a last bit
    assert {row.name for row in off.sites} >= set(PLACES[form])
    own = [row for mode in verification.modes for row in mode.sites if row.name in PLACES[form]]
    assert all(row.ties for row in own)
    # a product whose data is float again may round it in a kernel of ONNX Runtime's own
    assert verification.cause in ("", "rounding ties", ROUNDED_INPUT)
    for name in PLACES[form]:
        names = [f"{name}__q", f"{name}__dq"]
        got = run(open_session(with_outputs(path, names), optimise=False), [x], names)
        frozen = found.quantizer(name).frozen()
        levels = frozen.levels[torch.from_numpy(got[names[0]]).long()]
        assert torch.equal(levels, torch.from_numpy(got[names[1]]))
        assert len(set(got[names[0]].flatten().tolist())) > bits


@pytest.mark.parametrize("form", PLACES)
def test_a_file_gives_the_same_quantizers_again(graph, tmp_path, form: str):
    found, x = model(graph, 4, form), examples(seed=7, count=8)
    first = export(found, tmp_path / "first.onnx").path
    restored = restore(load(first)).quantized()
    with torch.no_grad():
        assert torch.equal(found(x)[0], restored(x)[0])
    assert type(restored.quantizer("attention")) is PLACES[form]["attention"]
    second = export(restored, tmp_path / "second.onnx").path
    assert first.read_bytes() == second.read_bytes()


def test_the_file_says_which_and_that_they_run_in_float(graph, tmp_path):
    written = export(model(graph, 4, "twin"), tmp_path / "m.onnx")
    assert "'twin' activations are read in float arithmetic (2)" in written.notes
    entries = {e.key: e.value for e in onnx.load(written.path).metadata_props}
    assert json.loads(entries["workbench.forms"]) == {"attention": "twin", "gelu": "twin"}


def test_another_border_in_the_file_is_found(graph, tmp_path):
    found = model(graph, 4, "twin")
    path = export(found, tmp_path / "m.onnx").path
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if tensor.name == "attention__border":
            value = numpy_helper.to_array(tensor) * 2
            tensor.CopyFrom(numpy_helper.from_array(value.astype("float32"), tensor.name))
    onnx.save(proto, path)
    verification = verify(path, found, [(examples(seed=7, count=8),)])
    assert verification.verdict == "differs"
    assert "attention" in verification.differing_stored


def test_an_unknown_kind_in_a_file_is_refused(graph, tmp_path):
    path = export(model(graph, 4, "twin"), tmp_path / "m.onnx").path
    proto = onnx.load(path)
    for entry in proto.metadata_props:
        if entry.key == "workbench.forms":
            entry.value = '{"attention":"triplet"}'
    onnx.save(proto, path)
    with pytest.raises(ModelError, match="quantizer 'attention' is not understood"):
        restore(load(path))


@pytest.mark.parametrize("name", ["tensorrt", "npu-int"])
def test_targets_with_equal_steps_alone_refuse_them(graph, tmp_path, name: str):
    with pytest.raises(ExportError, match="runs equal steps only"):
        export(model(graph, 8, "twin", name), tmp_path / "m.onnx")
    plain = target(name).sites(graph, WeightGrid(bits=8), ActivationGrid(bits=8), edges=None)
    for method, options in (("repq_vit", {"log_bits": 8}), ("ptq4vit", {})):
        fresh = QuantizedGraph(graph, plain)
        with pytest.raises(TargetError, match="levels were asked for at 'attention'"):
            next(make(method, options).learn(fresh, task()))


def test_targets_say_so() -> None:
    takes = {name for name, found in TARGETS.items() if found.record()["activation_levels"]}
    assert takes == {"ort-cpu", "ort-cpu-vnni"}
