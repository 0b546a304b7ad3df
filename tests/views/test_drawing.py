"""The drawing of the network: blocks open and close, every layer is found, names stay text."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from workbench.graph.outline import outline
from workbench.session.session import open as open_session
from workbench.views.drawing import around, drawing, everything

Record = dict[str, Any]


@pytest.fixture(scope="module")
def mobile() -> Record:
    return outline(open_session("digits-mobilenet").graph).record()


def shown(view: Record) -> list[str]:
    """Names of the layers, those in closed blocks included."""
    own = [node["name"] for node in view["nodes"] if node["role"] == "layer"]
    return own + [name for b in view["blocks"] if not b["open"] for name in b["layers"]]


@pytest.mark.parametrize("name", ["digits-mobilenet", "digits-vit", "digits-gru", "bytegpt"])
@pytest.mark.parametrize("opened", [False, True])
def test_each_layer_is_drawn_once(name: str, opened: bool):
    found = outline(open_session(name).graph).record()
    view = drawing(found, everything(found, opened))
    layers = [vertex["name"] for vertex in found["vertices"] if vertex["role"] == "layer"]
    assert sorted(shown(view)) == sorted(layers)
    assert view["open"] is (opened or not view["blocks"])
    json.dumps(view, allow_nan=False)


def test_a_block_opens_alone_and_holds_its_layers(mobile: Record):
    closed, view = drawing(mobile), drawing(mobile, ["blocks.3"])
    assert [b["name"] for b in view["blocks"] if b["open"]] == ["blocks.3"]
    box = next(b for b in view["blocks"] if b["open"])
    inside = [node for node in view["nodes"] if node["name"].startswith("blocks.3.")]
    assert [node["label"] for node in inside] == ["expand", "depthwise", "project"]
    for node in inside:
        assert box["x"] <= node["x"]
        assert node["x"] + node["w"] <= box["x"] + box["w"] + 0.1
        assert box["y"] < node["y"] < box["y"] + box["h"]
    assert view["height"] > closed["height"]


def test_the_blocks_around_a_hidden_layer_are_known(mobile: Record):
    assert around(mobile, "blocks.5.project") == ["blocks.5"]
    assert around(mobile, "blocks.5.project", ["blocks.5"]) == []
    assert around(mobile, "stem") == []
    assert around(mobile, "no such layer") == []


def test_unknown_toggles_are_ignored(mobile: Record):
    assert drawing(mobile, ["<script>", "stem"]) == drawing(mobile)


def test_many_parts_of_one_name_become_one():
    names = [f"encoder.{k // 2}.{'ab'[k % 2]}" for k in range(64)]
    vertices = [{"name": name, "role": "layer", "op": "MatMul", "after": []} for name in names]
    found = {"vertices": vertices, "edges": [[k, k + 1] for k in range(63)], "blocks": []}
    view = drawing(found)
    assert [block["name"] for block in view["blocks"]][:2] == ["encoder.0", "encoder.1"]
    assert len(view["blocks"]) == 32
    assert sorted(shown(view)) == sorted(names)


def test_a_foreign_network_of_four_hundred_layers_is_drawn_in_time():
    names = ["${hit}<img>" * 9 + str(k) for k in range(400)]
    vertices = [{"name": name, "role": "layer", "op": "Conv", "after": []} for name in names]
    edges = [[k, k + 1] for k in range(399)] + [[k, k + 3] for k in range(0, 396, 4)]
    started = time.process_time()
    view = drawing({"vertices": vertices, "edges": edges, "blocks": []})
    assert time.process_time() - started < 2.0
    assert sorted(shown(view)) == sorted(names)
    assert max(len(node["label"]) for node in view["nodes"]) <= 20
