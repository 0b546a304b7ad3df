"""The store of moments: the same from memory, from files, and from the layers' own inputs."""

from __future__ import annotations

import pytest
import torch

from tests.methods.nets import EXAMPLES, examples, network, recurrent, task
from workbench.graph.taps import capture
from workbench.methods.base import Task
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


@pytest.mark.parametrize("make", [network, recurrent])
def test_moments_do_not_depend_on_how_examples_are_batched(make) -> None:
    graph, inputs = make(), examples(count=64)
    found = []
    for size in (64, 5, 7):
        store = MomentStore(graph)
        list(store.gather(Task(lambda n=size: ((part,) for part in inputs.split(n)), 64), most=256))
        found.append(store)
    for name in found[0].views:
        whole, *others = (store[name] for store in found)
        for other in others:
            assert other.count == whole.count
            assert torch.allclose(other.second, whole.second, rtol=1e-4, atol=1e-4)
            assert torch.allclose(other.sum_float, whole.sum_float, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_goes_to_files_and_comes_back() -> None:
    graph = network()
    held, spilled = MomentStore(graph), MomentStore(graph, budget_bytes=0)
    for store in (held, spilled):
        list(store.gather(task()))
    for name in held.views:
        assert torch.equal(held[name].second, spilled[name].second)
        assert held[name].count == spilled[name].count
