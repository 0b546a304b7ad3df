"""Sensitivities against the network run by hand, against each other, and against known Hessians."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples, network, quantized, recurrent
from workbench.analysis.bits import sensitivity, ties, trace
from workbench.analysis.bits.candidates import Candidates, MixedNetwork
from workbench.analysis.bits.problem import problem
from workbench.analysis.layer_errors import layer_errors
from workbench.graph.costs import open_widths
from workbench.maths.metrics import kl_divergence, spearman

BITS = (2, 3, 4, 6)


def batches():
    x = examples(seed=3, count=64)
    return [(x[:32],), (x[32:],)]


@pytest.fixture(scope="module")
def candidates():
    model = quantized(network(), bits=4)
    return Candidates(model, dict.fromkeys(open_widths(model, 2, 8), BITS))


@pytest.fixture(scope="module")
def exact(candidates):
    return sensitivity.exact(candidates, batches())


@pytest.fixture(scope="module")
def fisher(candidates):
    return sensitivity.fisher(candidates, batches(), draws=16)


def test_exact_is_the_damage_of_the_layer_alone(candidates, exact):
    model = quantized(network(), bits=4)
    for name in candidates.widths:
        model.set_quantizer(name, candidates.quantizer(name, 4))
    found = {e.layer: e.damage_weights_kl for e in layer_errors(model, batches())}
    for name, row in exact.items():
        layer = model.sites[name].layer
        assert row[4] == pytest.approx(found[layer], rel=1e-4, abs=1e-10)


def test_fewer_bits_hurt_more(exact):
    for row in exact.values():
        assert row[2] > row[6] > 0
        assert row[3] > row[6]


def test_the_estimate_from_gradients_is_near_for_small_errors(exact, fisher):
    for name, row in exact.items():
        assert fisher.harm[name][6] == pytest.approx(row[6], rel=0.5)
    pair = [torch.tensor([t[n][b] for n in exact for b in BITS]) for t in (exact, fisher.harm)]
    assert spearman(*pair) >= 0.95


def test_joint_terms_add_up_to_the_square_of_the_sum(candidates, fisher):
    """½E[(s1 + s2)²] is both alone and the term of the pair, and never negative."""
    names = list(candidates.widths)[:2]
    task = problem({n: fisher.harm[n] for n in names}, {})
    (pair,) = fisher.pairs(task, [(names[0], names[1])])
    for a, one in enumerate(BITS):
        for b, other in enumerate(BITS):
            both = fisher.harm[names[0]][one] + fisher.harm[names[1]][other] + pair.harm[a][b]
            assert both >= -1e-12
    assert torch.allclose(fisher.joint, fisher.joint.T)


def test_a_recurrence_has_two_weights_and_is_estimated_too():
    model = quantized(recurrent(), bits=4)
    candidates = Candidates(model, dict.fromkeys(open_widths(model, 2, 8), (3, 6)))
    exact = sensitivity.exact(candidates, batches())
    fisher = sensitivity.fisher(candidates, batches(), draws=32)
    assert {"gru.w", "gru.r"} <= set(exact)
    for name, row in exact.items():
        assert fisher.harm[name][6] == pytest.approx(row[6], rel=0.6)


def test_hutchinson_is_exact_for_a_diagonal_hessian():
    weights = torch.tensor([1.0, 2.0, 3.0])
    loss = lambda own: 0.5 * (weights * own[0].square()).sum() + own[1].sum()  # noqa: E731
    found = trace.hutchinson(loss, [torch.ones(3), torch.ones(2)], 3, torch.Generator())
    assert list(found) == [[6.0, 0.0]] * 3


def test_hutchinson_finds_the_trace_of_a_full_hessian():
    torch.manual_seed(0)
    root = torch.randn(6, 6)
    hessian = root @ root.T
    loss = lambda own: 0.5 * own[0] @ hessian @ own[0]  # noqa: E731
    probes = list(trace.hutchinson(loss, [torch.randn(6)], 400, torch.Generator().manual_seed(1)))
    mean = sum(p[0] for p in probes) / len(probes)
    assert mean == pytest.approx(float(hessian.trace()), rel=0.1)


def test_traces_are_those_of_the_gauss_newton_matrix(candidates):
    """Tr(H) = E‖∂ log p(y)‖² over labels from the prediction, by weight."""
    x = batches()[0]
    found = list(trace.traces(candidates, [x], probes=200))[-1]
    graph = candidates.model.graph
    weight = graph.module.get_parameter(graph.attribute_of["head.w"])
    logs = torch.log_softmax(graph.module(*x)[0], dim=-1)
    total = 0.0
    for n in range(len(logs)):
        for label in range(logs.shape[1]):
            (g,) = torch.autograd.grad(logs[n, label], weight, retain_graph=True)
            total += float(logs[n, label].detach().exp() * g.square().sum())
    assert found.values["head.w"] == pytest.approx(total / len(logs), rel=0.15)
    harm = trace.harm(candidates, found)
    assert harm["head.w"][2] > harm["head.w"][6] > 0


def test_whole_choices_are_run_as_the_network_would(candidates):
    model = quantized(network(), bits=4, activations=None)
    network_ = MixedNetwork(model, candidates, [(b, None) for b in batches()])
    bits = dict.fromkeys(candidates.widths, 3)
    bits["head.w"] = 6
    for name, width in bits.items():
        model.set_quantizer(name, candidates.quantizer(name, width))
    with torch.no_grad():
        pairs = [(model.graph.module(*b)[0], model(*b)[0]) for b in batches()]
    expected = sum(kl_divergence(*pair) for pair in pairs) / 2
    assert network_.kl(bits) == pytest.approx(expected, rel=1e-6)
    assert network_.percent(None) == 100


def test_what_meets_in_a_sum_is_found():
    graph = network()
    assert ties.residual_pairs(graph) == [("point", "stem")]
    assert ties.residual_groups(graph) == [("point", "stem")]
    assert ties.common_inputs(graph) == []
    assert ties.of_weights(graph, [("point", "stem")], {"point.w"}) == []
    pairs = ties.pairs_of_weights(graph, [("point", "stem")], {"point.w", "stem.w"})
    assert pairs == [("point.w", "stem.w")]
