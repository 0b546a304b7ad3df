"""Another basis between linear layers: the same function, and only where nothing else looks in."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, normal, same, uneven
from workbench.graph import fold
from workbench.graph.passes.channels import layers_of
from workbench.graph.passes.incoherence import Incoherence, IncoherenceOptions, junctions
from workbench.graph.transforms import transform

WIDTH = 6
#: a thin layer, a block around which the stream runs, and two readers, one with a padded kernel
BLOCKS = (
    "a = Conv<kernel_shape = [1, 1]>(x, wa, ba) "
    "e = Conv<kernel_shape = [1, 1]>(a, we, be) r = Relu(e) "
    "p = Conv<kernel_shape = [1, 1]>(r, wp) s = Add(a, p) "
    "l = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(s, wl, bl) f = Relu(l) "
)
HELD = {
    "wa": normal(WIDTH, 3, 1, 1),
    "ba": normal(WIDTH),
    "we": uneven(10, WIDTH, 1, 1, axis=1),
    "be": normal(10),
    "wp": normal(WIDTH, 10, 1, 1, seed=2),
    "wl": uneven(4, WIDTH, 3, 3, axis=1, seed=3),
    "bl": normal(4, seed=1),
}
PICTURE = normal(2, 3, 5, 5)


def network(more: str = "y = Relu(f)") -> ir.Model:
    """The blocks, and what else there is."""
    text = f"{HEADER} g (float[n, 3, 5, 5] x) => (float[n, c, h, w] y) {{ {BLOCKS} {more} }}"
    model = fill(from_text(text), **HELD)
    for node in model.graph:
        node.name = node.outputs[0].name
    return fold(model)[0]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 99), whiten=st.floats(0, 1))
def test_the_function_stays(seed: int, whiten: float) -> None:
    model = network()
    changed, (record,) = transform(model, [f"incoherence:seed={seed},whiten={whiten}"])
    assert record.count == 1
    assert same(model, changed, x=PICTURE) < 1e-4


def test_readers_of_zeros_alone_stay_numbers() -> None:
    model = network()
    for name in ("we", "wl"):
        value = model.graph.initializers[name]
        value.const_value = ir.tensor(np.zeros_like(HELD[name]), name=name)
    changed, _ = transform(model, ["incoherence"])
    assert same(model, changed, x=PICTURE) < 1e-4


def test_the_stream_and_who_touches_it() -> None:
    (stream,) = junctions(network().graph)
    assert stream.width == WIDTH
    assert {layer.node.name for layer in stream.writers} == {"a", "p"}
    assert {layer.node.name for layer in stream.readers} == {"e", "l"}


def test_columns_of_the_readers_become_alike() -> None:
    model = network()
    columns = []
    for texts in ([], ["incoherence:whiten=1"]):
        graph = transform(model, texts)[0].graph
        layers = {node.name: layer for node, layer in layers_of(graph).items()}
        rows = [layers[name].weight[0].movedim(1, -1).reshape(-1, WIDTH) for name in "el"]
        columns.append(torch.linalg.cond(torch.cat(rows)))
    assert columns[1] < columns[0] / 10


@pytest.mark.parametrize(
    "more",
    ["y = Sigmoid(s)", "y = Identity(s)", "m = Mul(s, s) y = Relu(m)"],
    ids=["function", "output", "product"],
)
def test_what_something_else_reads_stays(more: str) -> None:
    model = network(more)
    _, (record,) = transform(model, ["incoherence"])
    assert record.count == 0
    assert "no linear layers meet" in record.detail


def test_a_sum_with_a_broadcast_operand_stays() -> None:
    held = {name: HELD[name] for name in ("wa", "ba", "we", "be")}
    text = (
        f"{HEADER} g (float[n, 3, 5, 5] x) => (float[n, c, h, w] y) {{ "
        "a = Conv<kernel_shape = [1, 1]>(x, wa, ba) m = GlobalAveragePool(a) t = Add(a, m) "
        "y = Conv<kernel_shape = [1, 1]>(t, we, be) }"
    )
    model = fill(
        from_text(text), **{k: v for k, v in held.items() if k in ("wa", "ba", "we", "be")}
    )
    assert not list(junctions(fold(model)[0].graph))


def test_a_layer_that_writes_what_it_reads() -> None:
    held = {"wa": HELD["wa"], "ba": HELD["ba"], "wm": normal(WIDTH, WIDTH, 1, 1, seed=5)}
    held |= {"we": HELD["we"], "be": HELD["be"]}
    text = (
        f"{HEADER} g (float[n, 3, 5, 5] x) => (float[n, c, h, w] y) {{ "
        "a = Conv<kernel_shape = [1, 1]>(x, wa, ba) m = Conv<kernel_shape = [1, 1]>(a, wm) "
        "t = Add(a, m) y = Conv<kernel_shape = [1, 1]>(t, we, be) }"
    )
    model = fold(fill(from_text(text), **held))[0]
    changed, (record,) = transform(model, ["incoherence"])
    assert record.count == 1
    assert same(model, changed, x=PICTURE) < 1e-4


def test_the_seed_decides() -> None:
    def weights(seed: int) -> np.ndarray:
        model = network()
        Incoherence(IncoherenceOptions(seed=seed)).apply(model, {})
        return next(iter(layers_of(model.graph).values())).weight.numpy()

    assert np.array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))
