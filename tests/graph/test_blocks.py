"""Blocks are where people would draw them."""

from __future__ import annotations

from functools import cache

import pytest

from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, normal
from workbench.graph import Graph, build, fold, load
from workbench.graph.blocks import Block, blocks
from workbench.graph.sites import layers
from workbench.session.paths import samples_dir

SAMPLES = ("bytegpt", "digits-gru", "digits-mobilenet", "digits-resnet", "digits-vit")


@cache
def sample(name: str) -> Graph:
    return build(fold(load(samples_dir() / f"{name}.onnx"))[0])


def brief(found: list[Block], level: int = 0) -> list[tuple[str, str, int]]:
    """(name, kind, layers) of the blocks at one level."""
    return [(b.name, b.kind, len(b.layers)) for b in found if b.level == level]


@pytest.mark.parametrize("name", SAMPLES)
def test_top_blocks_hold_every_layer_once_and_join_end_to_end(name: str):
    graph = sample(name)
    top = [block for block in blocks(graph) if block.level == 0]
    held = [layer for block in top for layer in block.layers]
    assert sorted(held) == sorted(layer.name for layer in layers(graph))
    assert [block.inputs[0] for block in top[1:]] == [block.output for block in top[:-1]]
    assert top[-1].output == graph.outputs[0].name
    assert all(len(block.inputs) == 1 for block in top)


def test_residual_blocks_of_the_resnet():
    found = blocks(sample("digits-resnet"))
    assert brief(found) == [
        ("stem", "layer", 1),
        ("blocks.0", "residual", 2),
        ("blocks.1", "residual", 3),
        ("blocks.2", "residual", 3),
        ("head", "layer", 1),
    ]
    assert not brief(found, 1)
    assert found[2].layers == ("blocks.1.conv1", "blocks.1.conv2", "blocks.1.shortcut.0")
    assert (found[2].inputs, found[2].output) == (("blocks.0.relu_2",), "blocks.1.relu_2")


def test_inverted_residuals_of_the_mobilenet():
    expected = [("stem", "layer", 1)]
    expected += [(f"blocks.{i}", "separable" if i % 2 else "residual", 3) for i in range(7)]
    expected += [("last", "layer", 1), ("head", "layer", 1)]
    assert brief(blocks(sample("digits-mobilenet"))) == expected


@pytest.mark.parametrize(("name", "depth"), [("digits-vit", 4), ("bytegpt", 3)])
def test_attention_and_mlp_halves_of_transformers(name: str, depth: int):
    found = blocks(sample(name))
    halves = [block for block in found if block.level == 0 and block.kind == "residual"]
    assert len(halves) == 2 * depth
    for index in range(depth):
        attention, mlp = halves[2 * index : 2 * index + 2]
        at = f"blocks.{index}"
        names = ("query", "key", "value", "project")
        assert attention.layers == tuple(f"{at}.attention.{part}" for part in names)
        assert mlp.layers == (f"{at}.expand", f"{at}.shrink")
        (inner,) = [b for b in found if b.level == 1 and set(b.nodes) < set(attention.nodes)]
        assert inner.layers == tuple(f"{at}.attention.{part}" for part in names[:3])
        assert inner.inputs == (f"{at}.norm1",)


def test_recurrent_layers_are_blocks_of_their_own():
    found = blocks(sample("digits-gru"))
    assert brief(found) == [("gru1", "layer", 1), ("gru2", "layer", 1), ("head", "layer", 1)]


def text(body: str, outputs: str = "float[1,4,6,6] y", inputs: str = "float[1,4,6,6] x") -> Graph:
    """A network of 1×1 convolutions with the weights that `body` names."""
    model = from_text(f"{HEADER} g ({inputs}) => ({outputs}) {{ {body} }}")
    names = [f"w{i}" for i in range(9) if f"w{i})" in body]
    fill(model, **{name: normal(4, 4, 1, 1) for name in names})
    for node in model.graph:
        node.name = node.outputs[0].name
    return build(fold(model)[0])


def test_a_gate_inside_a_residual_block():
    found = blocks(
        text(
            "a = Conv(x, w0) b = Conv(a, w1) p = GlobalAveragePool(b) c = Conv(p, w2) "
            "r = Relu(c) d = Conv(r, w3) s = Sigmoid(d) m = Mul(b, s) e = Conv(m, w4) "
            "t = Add(e, a) y = Relu(t)"
        )
    )
    residual, gate = found[1:]
    assert (residual.kind, residual.level, residual.layers) == ("residual", 0, tuple("bcde"))
    assert (gate.kind, gate.level, gate.layers) == ("gate", 1, tuple("cd"))
    assert (residual.inputs, residual.output) == (("a",), "y")
    assert (gate.inputs, gate.output) == (("b",), "m")


def test_nested_skips_of_a_unet():
    found = blocks(
        text(
            "a = Conv(x, w0) b = Conv(a, w1) c = Conv(b, w2) d = Conv(c, w3) "
            "e = Concat <axis = 2> (b, d) f = Conv(e, w4) g = Concat <axis = 2> (a, f) "
            "y = Conv(g, w5)",
            "float[1,4,a,b] y",
        )
    )
    assert [(b.kind, b.level, b.layers) for b in found] == [
        ("layer", 0, ("a",)),
        ("branch", 0, tuple("bcdf")),
        ("branch", 1, tuple("cd")),
        ("layer", 0, ("y",)),
    ]


def test_a_mask_that_all_blocks_read_does_not_tie_them():
    found = blocks(
        text(
            "n = Neg(mask) a = Conv(x, w0) b = Conv(a, w1) c = Add(b, n) d = Add(a, c) "
            "e = Conv(d, w2) f = Add(e, n) y = Add(d, f)",
            inputs="float[1,4,6,6] x, float[1,1,6,6] mask",
        )
    )
    assert brief(found) == [("a", "layer", 1), ("b", "residual", 1), ("e", "residual", 1)]
    assert [block.inputs for block in found[1:]] == [("a", "n"), ("d", "n")]


def test_regions_without_layers_are_no_blocks():
    found = blocks(text("a = Conv(x, w0) s = Sigmoid(a) m = Mul(a, s) y = Conv(m, w1)"))
    assert brief(found) == [("a", "layer", 1), ("y", "layer", 1)]


def test_records_are_plain():
    record = blocks(sample("digits-resnet"))[1].record()
    assert record["layers"] == ["blocks.0.conv1", "blocks.0.conv2"]
    assert record["level"] == 0
