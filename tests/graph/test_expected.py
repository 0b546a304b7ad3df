"""Expectations without data, against what examples give."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import examples
from tests.methods.normed import normed
from workbench.graph.expected import Expected, expectations
from workbench.graph.taps import capture
from workbench.maths.normal import ChannelStatistics


@pytest.fixture(scope="module")
def seen() -> dict[str, tuple[Expected, ChannelStatistics]]:
    graph = normed()
    known = expectations(graph)
    values = capture(graph.module, (examples(seed=7, count=400),), set(known))
    found = {name: ChannelStatistics() for name in known}
    for name, value in values.items():
        found[name].add(value, 1)
    return {name: (known[name], found[name]) for name in known}


def test_norms_say_what_their_values_look_like(seen) -> None:
    for name in ("stem.norm", "depth.norm", "point.norm"):
        stated, measured = seen[name]
        assert torch.allclose(stated.mean.double(), measured.mean, atol=1e-4), name
        assert stated.deviation is not None
        assert torch.allclose(stated.deviation.double(), measured.deviation, rtol=1e-3), name


@pytest.mark.parametrize("name", ["stem.out", "depth.out", "point.out", "flat"])
def test_functions_and_pools_of_them_are_followed(seen, name: str) -> None:
    stated, measured = seen[name]
    apart = (stated.mean - measured.mean).norm() / measured.mean.norm()
    assert float(apart) < 0.1  # the values are only nearly normal


def test_what_depends_on_no_norm_is_not_known(seen) -> None:
    assert "x" not in seen
    assert "logits" not in seen
    assert seen["flat"][0].deviation is None
