"""Targets: which sites exist, with which grids, and what is refused."""

from __future__ import annotations

import pytest

from tests.methods.nets import network
from workbench.foundation.errors import RecipeError, TargetError
from workbench.graph.sites import Site, layers
from workbench.graph.targets import ActivationGrid, Override, WeightGrid, target


@pytest.fixture(scope="module")
def graph():
    return network()


def sites(graph, weights=None, activations=None, name="ort-cpu", **fields) -> dict[str, Site]:
    asked = weights or WeightGrid(bits=4)
    active = activations if name == "weight-only" else activations or ActivationGrid(bits=8)
    return {s.name: s for s in target(name).sites(graph, asked, active, **fields)}


def test_layers_know_their_shapes_and_costs(graph) -> None:
    found = {layer.name: layer for layer in layers(graph)}
    assert list(found) == ["stem", "depth", "point", "mix", "head"]
    assert found["stem"].macs == 8 * 9 * 25
    assert found["depth"].macs == 8 * 9 * 25
    assert found["head"].macs == 5 * 12
    assert found["mix"].offset == "mix.b"
    assert found["mix"].bias is None
    assert found["head"].bias == found["head"].offset == "head.b"


def test_integer_target_quantizes_inputs_of_layers_and_additions(graph) -> None:
    found = sites(graph)
    active = {name for name, site in found.items() if site.kind == "activation"}
    assert active == {"x", "stem.relu", "depth.relu", "point", "flat", "gelu"}
    assert set(found["stem.relu"].edges) == {("depth", 0), ("sum", 1)}
    assert {n for n, s in found.items() if s.kind == "bias"} == {
        "stem.b",
        "depth.b",
        "point.b",
        "head.b",
    }


def test_first_and_last_layer_keep_eight_bits(graph) -> None:
    found = sites(graph, activations=ActivationGrid(bits=4))
    bits = {n: s.grid.bits for n, s in found.items() if s.kind != "bias"}
    assert bits["stem.w"] == bits["head.w"] == bits["x"] == bits["gelu"] == 8
    assert bits["depth.w"] == bits["mix.w"] == bits["flat"] == 4
    assert sites(graph, edges=None)["stem.w"].grid.bits == 4


def test_overrides_by_pattern_and_float(graph) -> None:
    overrides = (Override(pattern="dep*", weights=6), Override(pattern="point", weights=0))
    found = sites(graph, overrides=overrides)
    assert found["depth.w"].grid.bits == 6
    assert "point.w" not in found
    assert "point.b" not in found


def test_a_pattern_that_matches_nothing_is_refused(graph) -> None:
    with pytest.raises(TargetError, match=r"'conv9\*' matches no layer; layers are.*stem"):
        sites(graph, overrides=(Override(pattern="conv9*", weights=8),))


def test_weight_only_refuses_activations(graph) -> None:
    with pytest.raises(TargetError, match="keeps activations float"):
        sites(graph, activations=ActivationGrid(), name="weight-only")


def test_group_wise_with_integer_activations_is_refused(graph) -> None:
    with pytest.raises(TargetError, match="group-wise"):
        sites(graph, WeightGrid(granularity="group"))


def test_unknown_target_lists_the_known() -> None:
    with pytest.raises(TargetError, match=r"unknown target 'tpu'.*ort-cpu"):
        target("tpu")


def test_impossible_bits_are_one_sentence() -> None:
    with pytest.raises(RecipeError, match="bits"):
        WeightGrid.parse({"bits": 9}, "weights")
