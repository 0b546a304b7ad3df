"""Targets: which sites exist, with which grids, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.deploy import small
from tests.graph import mixed
from tests.methods.nets import network
from workbench.foundation.errors import RecipeError, TargetError
from workbench.graph.build import build
from workbench.graph.sites import Site, layers
from workbench.graph.targets import (
    TARGETS,
    ActivationGrid,
    Override,
    WeightGrid,
    coverage,
    target,
    why_nothing,
)


@pytest.fixture(scope="module")
def graph():
    return network()


@pytest.fixture(scope="module")
def branches():
    return mixed.mixed()


def sites(graph, weights=None, activations=None, name="ort-cpu-vnni", **fields) -> dict[str, Site]:
    asked = weights or WeightGrid(bits=4 if name != "tensorrt" else 8)
    active = activations if name == "weight-only" else activations or ActivationGrid(bits=8)
    return {s.name: s for s in target(name).sites(graph, asked, active, **fields)}


def bits(found: dict[str, Site]) -> dict[str, int]:
    return {name: site.grid.bits for name, site in found.items() if site.kind != "bias"}


def test_layers_know_their_shapes_and_costs(graph) -> None:
    found = {layer.name: layer for layer in layers(graph)}
    assert list(found) == ["stem", "depth", "point", "mix", "head"]
    assert found["stem"].macs == 8 * 9 * 25
    assert found["depth"].macs == 8 * 9 * 25
    assert found["head"].macs == 5 * 12
    assert found["mix"].offset == "mix.b"
    assert found["mix"].bias is None
    assert found["head"].bias == found["head"].offset == "head.b"


def test_integer_kernels_read_and_write_integers(graph) -> None:
    found = sites(graph)
    active = {name for name, site in found.items() if site.kind == "activation"}
    assert active == {"x", "stem.relu", "depth.relu", "point", "sum", "pool", "flat", "gelu"}
    assert set(found["stem.relu"].edges) == {("depth", 0), ("sum", 1)}
    assert {n for n, s in found.items() if s.kind == "bias"} == {
        "stem.b",
        "depth.b",
        "point.b",
        "head.b",
    }


def test_pools_and_movers_keep_one_scale(graph, branches) -> None:
    assert sites(graph)["flat"].shares == "pool"
    found = sites(branches)
    shared = {name: site.shares for name, site in found.items() if site.shares}
    assert shared == {"pool": "stem.relu", "up": "depth", "turned": "depth", "flat": "depth"}


@pytest.mark.parametrize("name", ["tensorrt", "npu-int"])
def test_both_sides_of_a_concat_share_where_the_target_asks(branches, name) -> None:
    found = sites(branches, WeightGrid(bits=8), name=name)
    leader = found["left"].name
    assert found["right"].shares == found["cat"].shares == leader
    assert found["right"].grid == found["left"].grid


def test_an_integer_accelerator_quantizes_every_float_tensor(branches) -> None:
    found = sites(branches, WeightGrid(bits=8), ActivationGrid(bits=16), "npu-int")
    values = {out.name for node in branches.model.graph for out in node.outputs} - {"stem", "y"}
    active = {name: site for name, site in found.items() if site.kind == "activation"}
    assert set(active) == values | {"x"}  # "stem" goes through its Relu, "y" leaves the graph
    assert {site.grid.bits for site in active.values()} == {16}


def test_tensorrt_has_no_zero_points_and_float_biases(branches) -> None:
    found = sites(branches, name="tensorrt")
    assert all(site.grid.symmetric and site.grid.signed for site in found.values())
    assert not [site for site in found.values() if site.kind == "bias"]
    assert "gate" not in found  # what a layer writes is TensorRT's own affair


def test_residual_sums_of_tensorrt_read_the_skip_side(graph) -> None:
    found = sites(graph, name="tensorrt")
    assert "point" not in found
    assert ("sum", 1) in found["stem.relu"].edges


def test_weights_whose_products_could_saturate_get_seven_bits(graph) -> None:
    found = sites(graph, WeightGrid(bits=8), name="ort-cpu")
    assert bits(found)["stem.w"] == bits(found)["point.w"] == bits(found)["mix.w"] == 7
    assert bits(found)["depth.w"] == 8
    assert found["stem.w"].note.startswith("7 bits instead of 8: without VNNI")
    assert found["depth.w"].note == ""
    assert bits(sites(graph, WeightGrid(bits=8)))["stem.w"] == 8


@pytest.mark.parametrize(
    ("weights", "active"),
    [(WeightGrid(bits=8, symmetric=False), 8), (WeightGrid(bits=8), 16), (WeightGrid(bits=8), 0)],
    ids=["unsigned", "16-bit", "float"],
)
def test_other_kernels_do_not_saturate(graph, weights, active) -> None:
    grid = ActivationGrid(bits=active) if active else None
    found = target("ort-cpu").sites(graph, weights, grid)
    assert {s.grid.bits for s in found if s.kind == "weight"} == {8}


def test_first_and_last_layer_have_bits_of_their_own(graph) -> None:
    found = bits(sites(graph, activations=ActivationGrid(bits=4)))
    assert found["stem.w"] == found["head.w"] == found["x"] == found["gelu"] == 8
    assert found["depth.w"] == found["mix.w"] == found["flat"] == 4
    assert bits(sites(graph, edges=None))["stem.w"] == 4
    fewer = bits(sites(graph, edges=2))
    assert (fewer["stem.w"], fewer["depth.w"], fewer["x"]) == (2, 4, 8)


def test_overrides_by_pattern_and_float(graph) -> None:
    overrides = (Override(pattern="dep*", weights=6), Override(pattern="point", weights=0))
    found = sites(graph, overrides=overrides)
    assert found["depth.w"].grid.bits == 6
    assert "point.w" not in found
    assert "point.b" not in found


@pytest.mark.parametrize(
    ("pattern", "changed"),
    [
        ("op:Conv", {"stem.w", "depth.w", "point.w"}),
        ("after:sum", {"mix.w", "head.w"}),
        ("before:sum", {"stem.w", "depth.w", "point.w"}),
        ("layer:first", {"stem.w"}),
        ("layer:last", {"head.w"}),
        ("tensor:mix.w", {"mix.w"}),
        ("mix.w", {"mix.w"}),
        ("*", {"stem.w", "depth.w", "point.w", "mix.w", "head.w"}),
    ],
)
def test_patterns_name_layers(graph, pattern, changed) -> None:
    found = bits(sites(graph, edges=None, overrides=(Override(pattern=pattern, weights=3),)))
    assert {name for name, width in found.items() if width == 3} == changed


def test_activations_are_switched_by_node_and_tensor(graph) -> None:
    off = sites(graph, overrides=(Override(pattern="tensor:gelu", activations=0),))
    assert "gelu" not in off
    assert "head.b" not in off
    wide = sites(graph, overrides=(Override(pattern="mix", activations=16),))
    assert bits(wide)["flat"] == bits(wide)["pool"] == 16  # they share
    rest = sites(graph, overrides=(Override(pattern="after:sum", activations=0),))
    assert {"x", "stem.relu"} <= set(rest)
    assert not {"pool", "flat", "gelu"} & set(rest)


def test_recurrent_weights_have_bits_of_their_own() -> None:
    override = Override(pattern="op:GRU", weights=3)
    found = sites(small.graph_of("gru"), WeightGrid(bits=8), overrides=(override,))
    assert bits(found) == {"w": 3, "r": 3}


def test_later_overrides_win(graph) -> None:
    overrides = (Override(pattern="op:Conv", weights=2), Override(pattern="depth", weights=5))
    found = bits(sites(graph, edges=None, overrides=overrides))
    assert (found["depth.w"], found["stem.w"]) == (5, 2)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (Override(pattern="conv9*", weights=8), r"'conv9\*' matches no layer or tensor; .*stem"),
        (Override(pattern="stemm", weights=8), "the nearest name is 'stem'"),
        (Override(pattern="after:nowhere", weights=8), "'after:nowhere' matches no node"),
        (Override(pattern="after:head", weights=8), "nothing comes after 'head'"),
        (Override(pattern="op:Convv", weights=8), "no operator; the nearest is 'Conv'"),
        (Override(pattern="tensor:fla", weights=8), "no tensor; the nearest is 'flat'"),
        (Override(pattern="layer:middle", weights=8), "use 'layer:first' or 'layer:last'"),
        (Override(pattern="sum", weights=8), "'sum' asks for 8-bit weights, but names no layer"),
        (Override(pattern="stem", weights=16), "layer 'stem' asked for 16-bit weights; .* use 8"),
        (Override(pattern="tensor:flat", weights=4), "names activations only"),
        (Override(pattern="op:Gelu", activations=8), "has no integer kernel for Gelu"),
        (Override(pattern="gelu", activations=8), "8-bit activations at 'gelu', but ONNX Runtime"),
        (Override(pattern="stem", activations=32), "'stem' asked for 32-bit activations; .*use 16"),
    ],
)
def test_overrides_that_cannot_be(graph, override, sentence) -> None:
    with pytest.raises(TargetError, match=sentence):
        sites(graph, overrides=(override,))


@pytest.mark.parametrize(
    ("name", "weights", "activations", "sentence"),
    [
        ("weight-only", WeightGrid(), ActivationGrid(), "keeps activations float"),
        ("tensorrt", WeightGrid(bits=4), ActivationGrid(), "use 8, or float activations"),
        ("tensorrt", WeightGrid(bits=5), None, "weights of 4 or 8 bits, not 5; use 4"),
        ("tensorrt", WeightGrid(bits=8), ActivationGrid(symmetric=False), "has no zero-points"),
        ("tensorrt", WeightGrid(bits=8, symmetric=False), None, "no zero-points of weights"),
        ("npu-int", WeightGrid(bits=8), ActivationGrid(bits=10), "8 or 16 bits, not 10; use 8"),
        ("npu-int", WeightGrid(bits=8, granularity="group"), None, "no scales per group"),
        ("npu-int", WeightGrid(table="nf4"), None, "cannot look up the levels of 'nf4'"),
        ("ort-cpu", WeightGrid(bits=8, granularity="group"), ActivationGrid(), "use 4 bits"),
        ("ort-cpu", WeightGrid(table="nf4"), ActivationGrid(), "'depth' asked for the levels"),
    ],
)
def test_illegal_grids_name_the_nearest_legal(graph, name, weights, activations, sentence) -> None:
    with pytest.raises(TargetError, match=sentence):
        target(name).sites(graph, weights, activations)


def test_groups_are_for_matrices_and_the_note_says_so(graph) -> None:
    found = sites(graph, WeightGrid(granularity="group", group_size=4))
    assert found["mix.w"].grid.granularity.kind == "group"
    assert found["depth.w"].note == "a scale for each channel: Conv weights have no groups here"
    assert found["head.w"].note == "a scale for each channel: 8-bit groups do not run here"


def test_tables_stay_where_they_have_levels(graph) -> None:
    found = sites(graph, WeightGrid(table="nf4"), name="weight-only")
    assert found["mix.w"].grid.table == "nf4"
    assert found["head.w"].grid.table == "uniform"
    assert found["head.w"].note == "uniform: 'nf4' has no 8 bits"


def test_embeddings_are_weights_where_everything_is_stored_small() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], "ids", to=7),
        helper.make_node("Gather", ["table", "ids"], ["rows"], "embed"),
        helper.make_node("MatMul", ["rows", "w"], ["y"], "mix"),
    ]
    held = {"table": rng.random((9, 6), np.float32), "w": rng.random((6, 4), np.float32)}
    found = mixed.graph_of(nodes, held, ["batch", 3], "y")
    by_name = sites(found, name="weight-only", edges=None)
    assert list(by_name) == ["table", "w"]
    assert by_name["table"].grid.granularity.axis == 0
    assert "table" not in sites(found)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("kind", [*small.KINDS])
def test_every_kind_of_layer_has_its_weight_on_every_target(name, kind) -> None:
    place = target(name)
    active = ActivationGrid() if place.quantizes_activations else None
    found = place.sites(small.graph_of(kind), WeightGrid(bits=8), active)
    held = {site.tensor for site in found if site.kind == "weight"}
    assert ("w" in held) == (kind != "embedding" or "Gather" in place.weight_ops)


def test_stacked_matrices_have_one_scale_beside_integers() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "mix")]
    held = {"w": np.ones((2, 4, 3), np.float32)}
    found = sites(mixed.graph_of(nodes, held, ["batch", 2, 5, 4], "y"))
    assert found["w"].grid.per_tensor
    assert "stack of matrices" in found["w"].note


def test_scores_with_a_mask_stay_float_up_to_their_softmax() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"], "scores"),
        helper.make_node("Add", ["scores", "mask"], ["masked"], "mask"),
        helper.make_node("Transpose", ["masked"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("Softmax", ["turned"], ["weights"], "softmax"),
        helper.make_node("MatMul", ["weights", "w"], ["y"], "mix"),
    ]
    mask = np.triu(np.full((4, 4), -1e4, np.float32), 1)
    found = mixed.graph_of(nodes, {"w": np.eye(4, dtype=np.float32), "mask": mask}, [2, 4, 4], "y")
    plan = target("npu-int").plan(found, WeightGrid(bits=8), ActivationGrid())
    assert {s.name for s in plan.sites if s.kind == "activation"} == {"x", "scores", "weights"}
    assert plan.tensors is not None
    assert "a mask is among its values" in plan.tensors.why["softmax"]


def test_a_low_constant_without_a_softmax_is_no_mask() -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["scores"], "scores"),
        helper.make_node("Add", ["scores", "low"], ["shifted"], "shift"),
        helper.make_node("Gemm", ["shifted", "w"], ["y"], "mix"),
    ]
    held = {"w": np.eye(4, dtype=np.float32), "low": np.full(4, -5e3, np.float32)}
    found = mixed.graph_of(nodes, held, [2, 4], "y")
    plan = target("npu-int").plan(found, WeightGrid(bits=8), ActivationGrid())
    assert {s.name for s in plan.sites if s.kind == "activation"} == {"x", "scores", "shifted"}


def test_a_layer_that_computes_in_float_keeps_its_eighth_bit() -> None:
    found = target("ort-cpu").plan(
        build(small.one_layer("conv")), WeightGrid(bits=8), ActivationGrid(), (), None
    )
    weight = next(site for site in found.sites if site.kind == "weight")
    assert (weight.grid.bits, weight.note) == (8, "")
    assert any(site.kind == "activation" for site in found.sites)


@pytest.mark.parametrize(
    ("dtype", "name"), [(np.float16, "float16"), (np.float64, "double"), (None, "Relu")]
)
def test_nothing_to_quantize_has_a_reason(dtype, name) -> None:
    relu = [helper.make_node("Relu", ["x"], ["y"], "only")]
    product = [
        helper.make_node("Cast", ["x"], ["cast"], "cast", to=10 if dtype is np.float16 else 11),
        helper.make_node("MatMul", ["cast", "w"], ["product"], "only"),
        helper.make_node("Cast", ["product"], ["y"], "back", to=1),
    ]
    held = {"w": np.eye(4, dtype=dtype)} if dtype else {}
    found = mixed.graph_of(product if dtype else relu, held, [2, 4], "y")
    place = target("weight-only")
    plan = place.plan(found, WeightGrid(), None)
    assert name in why_nothing(found, plan, place)
    if dtype:
        row = next(row for row in coverage(found, plan, place).rows if row.node == "only")
        assert (row.arithmetic, name in row.why) == ("float", True)


def test_what_leaves_the_graph_stays_float() -> None:
    graph = build(small.one_layer("conv"))
    found = target("ort-cpu").plan(graph, WeightGrid(bits=8), ActivationGrid())
    assert found.tensors is not None
    assert found.tensors.why["layer"] == "its output leaves the graph in float"


def test_unknown_target_lists_the_known() -> None:
    with pytest.raises(TargetError, match=r"unknown target 'tpu'; known are: ort-cpu, .*npu-int"):
        target("tpu")


def test_impossible_bits_are_one_sentence() -> None:
    with pytest.raises(RecipeError, match="bits"):
        WeightGrid.parse({"bits": 9}, "weights")


@pytest.mark.parametrize("name", TARGETS)
def test_records_are_plain_values(name) -> None:
    import json

    record = target(name).record()
    assert json.loads(json.dumps(record)) == record
