"""The store of moments: the same from memory, from files, and from the layers' own inputs."""

from __future__ import annotations

import torch

from tests.methods.nets import EXAMPLES, examples, network, task
from workbench.graph.taps import capture
from workbench.methods.moments import MomentStore


def test_moments_are_those_of_what_the_layers_read() -> None:
    graph = network()
    store = MomentStore(graph)
    assert list(store.gather(task())) == ["stem", "depth", "point", "mix", "head"]
    assert list(store.views) == ["stem.w", "depth.w", "point.w", "mix.w", "head.w"]
    x = examples()
    with torch.no_grad():
        flat = capture(graph.module, (x,), {"flat"})["flat"]
    moments = store["mix.w"]
    assert moments.count == EXAMPLES
    assert torch.allclose(moments.second[0].float(), flat.T @ flat, rtol=1e-4)


def test_what_does_not_fit_goes_to_files_and_comes_back() -> None:
    graph = network()
    held, spilled = MomentStore(graph), MomentStore(graph, budget_bytes=0)
    for store in (held, spilled):
        list(store.gather(task()))
    for name in held.views:
        assert torch.equal(held[name].second, spilled[name].second)
        assert held[name].count == spilled[name].count
