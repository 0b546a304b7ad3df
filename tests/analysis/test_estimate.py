"""The estimate against what it stands for: a quadratic form, and the measured damage."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch.nn import functional

import workbench
from tests.methods.nets import examples, network, quantized, recurrent, task
from workbench.analysis.damage import Answer, curvature_root
from workbench.analysis.estimate import Estimator
from workbench.analysis.exact import Exact
from workbench.analysis.gradients import example_axes
from workbench.analysis.units import units
from workbench.graph import build, fold
from workbench.graph.taps import value_nodes
from workbench.maths.metrics import spearman
from workbench.methods.base import Task
from workbench.methods.registry import make

SIZE, CLASSES, COUNT = 6, 4, 64


def linear(bits: int):
    """x (N, 6) → logits (N, 4) through one matrix, its weights rounded to nearest."""
    text = """<ir_version: 10, opset_import: ["" : 21]>
    net (float[n, 6] x) => (float[n, 4] logits) <float[6, 4] w = {%s}>
    { logits = MatMul (x, w) }"""
    values = np.random.default_rng(5).standard_normal(SIZE * CLASSES)
    model = onnx.parser.parse_model(text % ", ".join(f"{v:.6f}" for v in values))
    model.graph.node[0].name = "head"
    found = quantized(build(fold(ir.from_proto(model))[0]), bits, None)
    data = torch.randn(COUNT, SIZE, generator=torch.Generator().manual_seed(2))
    for _ in make("rtn").learn(found, Task(lambda: iter([(data,)]), COUNT)):
        pass
    return found, data


def estimate(model, batches, answer: Answer, draws: int):
    return Estimator(model, units(model), batches, answer, draws).run()


def test_the_root_has_the_fisher_information_as_its_square() -> None:
    scores = torch.tensor([[1.0, 0.0, -2.0, 3.0]], dtype=torch.float64).expand(200_000, 4)
    u = curvature_root(scores, Answer(), torch.Generator().manual_seed(0))
    p = functional.softmax(scores[0], -1)
    assert torch.allclose(u.mean(dim=0), torch.zeros(4).double(), atol=5e-3)
    assert torch.allclose(u.T @ u / len(u), p.diag() - p.outer(p), atol=5e-3)


def test_of_a_linear_softmax_it_is_the_fisher_form() -> None:
    model, x = linear(bits=6)
    found = estimate(model, [((x,), None)], Answer(), draws=600)
    logits = x @ model.original("w").detach()
    error = x @ model.quantizer("w").fake_quantize(model.weight("w").detach()) - logits
    p = functional.softmax(logits, -1)
    form = 0.5 * ((p * error.square()).sum(-1) - (p * error).sum(-1).square()).mean()
    measured = functional.kl_div(
        functional.log_softmax(logits + error, -1), functional.log_softmax(logits, -1),
        log_target=True, reduction="batchmean",
    )  # fmt: skip
    assert found.kl({"w"}) == pytest.approx(float(form), rel=0.03)
    assert found.kl({"w"}) == pytest.approx(float(measured), rel=0.06)
    # with one site alone and all are the same; the slope at the quantized network is e F e
    assert found.gains["w"] == pytest.approx(float(measured), rel=0.12)


def test_of_values_it_is_half_the_squared_error() -> None:
    model, x = linear(bits=3)
    found = estimate(model, [((x[:40],), None), ((x[40:],), None)], Answer("values"), draws=400)
    error = found.output.noise / COUNT
    assert found.output.kl / COUNT == pytest.approx(0.5 * error)
    assert found.kl({"w"}) == pytest.approx(0.5 * error, rel=0.03)


def test_shares_of_channels_sum_to_one() -> None:
    model, x = linear(bits=3)
    shares = estimate(model, [((x,), None)], Answer(), draws=8).channels["w"]
    assert shares.shape == (CLASSES,)
    assert float(shares.sum()) == pytest.approx(1.0)


def test_float_sites_and_errors_at_their_place() -> None:
    model = quantized(network(), bits=3)
    for _ in make("rtn").learn(model, task()):
        pass
    found = estimate(model, [((examples(),), None)], Answer(), draws=2)
    assert set(found.names) == set(found.alone) == set(found.gathered)
    depth = value_nodes(model.module)["depth"]
    assert depth in {unit.place for unit in units(model)}
    assert 0 < found.gathered["depth.w"].db < found.alone["depth.w"].db
    assert found.kl(found.names) == pytest.approx(float(found.together.sum()))


def test_examples_are_told_apart_wherever_their_axis_lies() -> None:
    model = quantized(recurrent(), bits=3)
    axes = {n.meta["onnx_value"]: a for n, a in example_axes(model, (examples(),)).items()
            if "onnx_value" in n.meta}  # fmt: skip
    assert axes["frames"] == 0
    assert axes["time"] == 1
    assert axes["logits"] == 0


@pytest.mark.parametrize("name", ["digits-resnet", "digits-gru"])
def test_ranks_sites_as_measuring_does(name: str) -> None:
    session = workbench.open(name)
    recipe = session.recipe(4, 4, "rtn", edges=None, calibration_examples=64)
    from workbench.session.execute import quantized as learned

    model = learned(session, recipe)
    batches = list(session.data.judged("test", 64, 64))
    found = estimate(model, batches, Answer(), draws=8)
    settings = {unit.name: unit.setting for unit in units(model)}
    exact = Exact(model, settings, batches, Answer()).run()
    measured = torch.tensor([exact.alone[name].kl for name in found.names])
    assert spearman(found.together.diagonal(), measured) >= 0.9
