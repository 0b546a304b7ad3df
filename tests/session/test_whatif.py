"""What moments say of a layer is what running the examples gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import workbench
from workbench.cli import main
from workbench.foundation.errors import RecipeError
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.taps import capture
from workbench.graph.targets import WeightGrid, target
from workbench.maths.metrics import sqnr_db
from workbench.methods.calibrate import calibrate_weight
from workbench.session.whatif import gathered

EXAMPLES = 32


@pytest.fixture(scope="module")
def session():
    return workbench.open("digits-mobilenet")


@pytest.fixture(scope="module")
def layer(session) -> str:
    from workbench.graph.sites import layers

    return next(found.name for found in layers(session.graph) if found.op == "Conv")


def test_nearest_is_what_the_layer_loses_when_it_is_run(session, layer: str) -> None:
    request = WeightGrid(bits=3)
    (answer,) = session.what_if(layer, request, examples=EXAMPLES)
    sites = [
        site
        for site in target("weight-only").sites(session.graph, request, None, edges=None)
        if site.name == answer.weight
    ]
    model = QuantizedGraph(session.graph, sites)
    calibrate_weight(model, sites[0], "mse")
    name = gathered(session, EXAMPLES).views[answer.weight].layer.output
    x = session.data.calibrate_on(EXAMPLES).split("calibration", EXAMPLES)
    with torch.no_grad():
        floats = capture(session.graph.module, x, {name})[name]
        rounded = capture(model.module, x, {name})[name]
    assert answer.sqnr_db == pytest.approx(sqnr_db(floats, rounded), abs=0.2)
    assert answer.scale == pytest.approx(model.frozen()[answer.weight].scale.flatten().tolist())
    assert len(answer.errors) == floats.shape[1]


def test_moments_are_gathered_once_for_all_questions(session, layer: str) -> None:
    told: list[float] = []
    session.moments.clear()
    session.what_if(layer, examples=EXAMPLES, progress=lambda share, _: told.append(share))
    assert told[-1] == 1.0
    assert told == sorted(told)
    held = session.moments[EXAMPLES]
    for bits in (2, 3, 4):
        session.what_if(layer, WeightGrid(bits=bits), examples=EXAMPLES, progress=pytest.fail)
    assert session.moments[EXAMPLES] is held


def test_bits_and_methods_come_in_their_order(session, layer: str) -> None:
    def sqnr(bits: int, method: str = "nearest") -> float:
        return session.what_if(layer, WeightGrid(bits=bits), method=method, examples=EXAMPLES)[
            0
        ].sqnr_db

    by_bits = [sqnr(bits) for bits in (2, 4, 6, 8)]
    assert np.all(np.diff(by_bits) > 6)
    assert sqnr(3, "gram") > sqnr(3) + 1


def test_all_layers_are_answered_for_at_once(session) -> None:
    found = session.what_if("", WeightGrid(bits=4), examples=EXAMPLES)
    assert len(found) == len(gathered(session, EXAMPLES).views) > 5
    assert {answer.op for answer in found} >= {"Conv", "Gemm"}


def test_bits_alone_are_a_grid(session, layer: str) -> None:
    (short,) = session.what_if(layer, 3, examples=EXAMPLES)
    assert [short] == session.what_if(layer, WeightGrid(bits=3), examples=EXAMPLES)
    for wrong in (0, -1, 64, 1.5):
        with pytest.raises(RecipeError, match="bits"):
            session.what_if(layer, wrong, examples=EXAMPLES)


def test_what_is_not_there_is_said(session) -> None:
    with pytest.raises(RecipeError, match="unknown layer 'stemm'"):
        session.what_if("stemm", examples=EXAMPLES)
    with pytest.raises(RecipeError, match="unknown method 'gramm'; did you mean 'gram'"):
        session.what_if(method="gramm", examples=EXAMPLES)


def test_command_prints_json(layer: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        ["whatif", "digits-mobilenet", layer, "--weights", "3", "--examples", "16", "--json"]
    )
    assert code == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["layer"] == layer
    assert answer["grid"] == "int3 channel"
    assert 0 < answer["sqnr_db"] < 60
