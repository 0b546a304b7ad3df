"""Low-rank corrections: nothing changes until they learn, and targets leave them in float."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, kinds, normal, outputs
from tests.methods.nets import examples
from tests.methods.transformer import transformer
from workbench.graph import fold
from workbench.graph.build import build
from workbench.graph.corrections import DOWN, UP, WHY_FLOAT, is_correction
from workbench.graph.targets import ActivationGrid, WeightGrid, coverage, target
from workbench.graph.transforms import transform

#: a layer in the text format, its weight, and the matrices (A, B) as stored
FORMS = {
    "MatMul": ("h = MatMul(x, w) y = Add(h, b)", (6, 5), (6, 2), (2, 5)),
    "MatMul without a bias": ("y = MatMul(x, w)", (6, 5), (6, 2), (2, 5)),
    "Gemm": ("y = Gemm(x, w, b)", (6, 5), (6, 2), (2, 5)),
    "Gemm, turned": ("y = Gemm<transB=1>(x, w, b)", (5, 6), (6, 2), (2, 5)),
    "weight first": ("t = Transpose(x) h = MatMul(w, t) y = Transpose(h)", (5, 6), (2, 6), (5, 2)),
}


def layer(form: str) -> ir.Model:
    body, shape, *_ = FORMS[form]
    model = from_text(f"{HEADER} g (float[n,6] x) => (float[n,5] y) {{ {body} }}")
    held = {"w": normal(*shape), **({"b": normal(5, seed=1)} if "b)" in body else {})}
    return fold(fill(model, **held))[0]


def constant(model: ir.Model, name: str) -> np.ndarray:
    value = model.graph.initializers[name].const_value
    assert value is not None
    return value.numpy()


@pytest.mark.parametrize("form", FORMS)
def test_b_a_x_is_added_and_is_nothing_at_first(form: str) -> None:
    model, x = layer(form), normal(4, 6, seed=2)
    changed, (record,) = transform(model, ["low_rank:rank=2"])
    assert record.count == 1
    assert record.detail.endswith("22 numbers")
    assert np.array_equal(outputs(model, x=x)[0], outputs(changed, x=x)[0])
    down, up = constant(changed, f"w{DOWN}"), constant(changed, f"w{UP}")
    assert (down.shape, up.shape) == FORMS[form][2:]
    assert not up.any()
    learned = normal(*up.shape, seed=3)
    changed.graph.initializers[f"w{UP}"].const_value = ir.tensor(learned)
    more = learned @ (down @ x.T) if form == "weight first" else (x @ down @ learned).T
    wanted = outputs(model, x=x)[0] + more.T
    np.testing.assert_allclose(outputs(changed, x=x)[0], wanted, rtol=1e-5, atol=1e-5)
    built = build(changed)
    np.testing.assert_allclose(built.module(torch.from_numpy(x))[0].detach(), wanted, atol=1e-5)


def test_a_starts_evenly_and_the_same_each_time() -> None:
    model = layer("MatMul")
    found = [
        constant(transform(model, [f"low_rank:rank=2,alpha={alpha}"])[0], f"w{DOWN}")
        for alpha in (1, 1, 4)
    ]
    assert np.array_equal(found[0], found[1])
    np.testing.assert_allclose(found[2], 4 * found[0], rtol=1e-6)
    assert 0.7 < np.abs(found[0]).max() / (0.5 / 6**0.5) <= 1


def test_a_rank_is_no_larger_than_the_layer() -> None:
    changed, _ = transform(layer("Gemm"), ["low_rank:rank=64"])
    assert constant(changed, f"w{DOWN}").shape == (6, 5)


def test_layers_that_share_a_weight_get_corrections_of_their_own() -> None:
    text = "h = MatMul(x, w) y = MatMul(h, w)"
    model = from_text(f"{HEADER} g (float[n,5] x) => (float[n,5] y) {{ {text} }}")
    changed, _ = transform(fold(fill(model, w=normal(5, 5)))[0], ["low_rank:rank=2"])
    names = sorted(name for name in changed.graph.initializers if is_correction(name))
    assert names == [f"w{DOWN}", f"w{UP}", f"w_1{DOWN}", f"w_1{UP}"]


@pytest.fixture(scope="module")
def corrected():
    return build(transform(transformer().model, ["low_rank:rank=2"])[0])


def test_names_choose_the_layers(corrected) -> None:
    graph = transformer()
    x = examples()
    assert torch.equal(graph.module(x)[0], corrected.module(x)[0])
    chosen, (record,) = transform(graph.model, ["low_rank:rank=2,pattern=*h*"])
    assert record.count == 2  # shrink and head, not patch, which is a convolution
    assert kinds(chosen).count("MatMul") == kinds(graph.model).count("MatMul") + 4
    _, (none,) = transform(graph.model, ["low_rank:pattern=nothing"])
    assert none.count == 0
    assert none.detail == "no matrix product is called 'nothing'"


@pytest.mark.parametrize("name", ["weight-only", "ort-cpu", "npu-int"])
def test_targets_leave_them_in_float_and_say_so(name: str, corrected) -> None:
    place = target(name)
    active = ActivationGrid(bits=8) if place.quantizes_activations else None
    plan = place.plan(corrected, WeightGrid(bits=4), active, (), None)
    before = place.plan(transformer(), WeightGrid(bits=4), active, (), None)
    weights = [site.name for site in plan.sites if site.kind == "weight"]
    assert weights == [site.name for site in before.sites if site.kind == "weight"]
    rows = {row.node: row for row in coverage(corrected, plan, place).rows}
    for matrix in (f"query.w{DOWN}", f"query.w{UP}"):
        assert rows[matrix].arithmetic == "float"
        assert rows[matrix].why == WHY_FLOAT
        assert rows[matrix].stored == 0
