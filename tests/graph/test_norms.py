"""What batch norms know, folded or not."""

from __future__ import annotations

import torch

from tests.synthesis.nets import convolutional, graph, pictures
from workbench.graph.norms import norms
from workbench.graph.taps import capture


def test_the_statistics_are_those_of_the_training_data():
    for leading in (False, True):
        built = graph(convolutional(leading))
        found = norms(built.model)
        assert [norm.axis for norm in found] == [1] * len(found)
        x = pictures(256, seed=1)
        values = capture(built.module, [x], [norm.value for norm in found])
        for norm in found:
            var, mean = torch.var_mean(values[norm.value], (0, 2, 3), unbiased=False)
            torch.testing.assert_close(mean, norm.mean, atol=2e-3, rtol=0)
            torch.testing.assert_close(var.sqrt(), norm.deviation, atol=2e-3, rtol=0)
        assert [norm.node for norm in found] == [""] * leading + ["first", "second"]


def test_of_some_nodes_alone():
    built = graph(convolutional())
    assert [norm.node for norm in norms(built.model, {"second"})] == ["second"]
    assert norms(built.model, set()) == []
