"""Pairing: the ends of blocks, by name or in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench
from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, normal
from tests.methods.nets import network, recurrent
from workbench.foundation.errors import ModelError
from workbench.graph import Graph, build, fold
from workbench.graph.pairing import MOST, Pair, _spread, pairs
from workbench.graph.taps import value_nodes

SAMPLES = ("bytegpt", "digits-gru", "digits-mobilenet", "digits-resnet", "digits-vit")


def residual(widths: list[int], depth: int, prefix: str = "", size: int = 8) -> Graph:
    """A stem, then for each width a stage of `depth` residual blocks; each halves the size."""
    lines, arrays, last, channels = [], {}, "x", 1

    def conv(source: str, name: str, outputs: int, inputs: int, stride: int = 1) -> None:
        step = f"<strides = [{stride}, {stride}]>"
        lines.append(f"{prefix}{name} = Conv {step} ({source}, w{name})")
        arrays[f"w{name}"] = normal(outputs, inputs, 1, 1)

    for stage, width in enumerate(widths):
        conv(last, f"s{stage}", width, channels, 2)
        last, channels = f"{prefix}s{stage}", width
        for block in range(depth):
            name = f"b{stage}{block}"
            conv(last, name, width, width)
            lines.append(f"{prefix}a{name} = Add({prefix}{name}, {last})")
            last = f"{prefix}a{name}"
    lines.append(f"p = GlobalAveragePool({last})")
    lines.append("y = Conv(p, wy)")
    arrays["wy"] = normal(3, channels, 1, 1)
    text = f"{HEADER} g (float[N,1,{size},{size}] x) => (float[N,3,a,b] y) {{ {' '.join(lines)} }}"
    model = fill(from_text(text), **arrays)
    for node in model.graph:
        node.name = node.outputs[0].name
    return build(fold(model)[0])


@pytest.mark.parametrize("name", SAMPLES)
def test_a_network_and_itself(name: str) -> None:
    graph = workbench.open(name).graph
    found = pairs(graph, graph)
    order = list(value_nodes(graph.module))
    places = [order.index(pair.student) for pair in found]
    assert 1 < len(found) <= MOST
    assert places == sorted(set(places))
    assert all(pair.student == pair.teacher and pair.same_shape for pair in found)
    assert not {pair.student for pair in found} & {spec.name for spec in graph.outputs}


def test_axes_of_maps_and_of_tokens() -> None:
    graph = workbench.open("digits-vit").graph
    axes = {pair.student: pair.channel_axis for pair in pairs(graph, graph)}
    assert (axes["gelu"], axes["blocks.1.add"], axes["reducemean"]) == (1, 2, 1)


def test_few_are_spread_over_the_depth() -> None:
    graph = workbench.open("digits-mobilenet").graph
    found = [pair.student for pair in pairs(graph, graph, 3)]
    assert found == ["blocks.1.norm3", "blocks.4.add", "reshape"]


def test_the_small_network_with_every_kind_of_layer() -> None:
    graph = network()
    assert pairs(graph, graph) == tuple(Pair(n, n, 1, True) for n in ("stem.relu", "flat", "gelu"))


def test_the_same_blocks_in_another_width_pair_by_name() -> None:
    found = pairs(residual([4, 8], 1), residual([8, 16], 1))
    assert [pair.student for pair in found] == [pair.teacher for pair in found]
    assert not any(pair.same_shape for pair in found)


def test_a_deeper_network_stage_by_stage_and_last_with_last() -> None:
    found = pairs(residual([4, 8], 1), residual([4, 8], 3, "t"))
    assert [(pair.student, pair.teacher) for pair in found] == [
        ("s0", "tab00"),
        ("ab00", "tab02"),
        ("s1", "tab11"),
        ("p", "p"),
    ]
    assert all(pair.same_shape for pair in found)


def test_the_same_names_in_a_deeper_network_are_no_pairs() -> None:
    student, teacher = residual([4], 2), residual([4], 5)
    found = pairs(student, teacher)
    assert {pair.student: pair.teacher for pair in found}["ab00"] != "ab00"


def test_a_shallower_teacher_leaves_some_alone() -> None:
    found = pairs(residual([4], 5), residual([4], 2, "t"))
    teachers = [pair.teacher for pair in found]
    assert len(set(teachers)) == len(teachers) < 6


def test_maps_of_another_size_are_no_pairs() -> None:
    with pytest.raises(ModelError, match="same input size"):
        pairs(residual([4], 2), workbench.open("digits-vit").graph)


def test_networks_without_inner_tensors_say_so() -> None:
    with pytest.raises(ModelError, match="learn from its logits alone"):
        pairs(workbench.open("bytegpt").graph, network())


def test_a_recurrent_network_and_itself() -> None:
    graph = recurrent()
    assert all(pair.same_shape for pair in pairs(graph, graph))


@given(st.integers(1, 100), st.integers(1, 100))
def test_spread_places(count: int, most: int) -> None:
    places = _spread(count, most)
    assert len(places) == min(count, most)
    assert places == sorted(set(places))
    assert places[-1] == count - 1
    assert places[0] >= 0
