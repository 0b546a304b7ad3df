"""The benchmark of training: which cases there are, and what each of them asks for."""

from __future__ import annotations

import argparse

import pytest

import workbench
from benchmarks.training import FEW, METHODS, SETTINGS, USUAL, Case, cases, recipe, serves
from workbench.methods.base import Task
from workbench.methods.installing import install
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import make
from workbench.session.execute import build

LEVELS = [("TA8", method, 3) for method in FEW["TA8"]] + [("BA8", m, 2) for m in FEW["BA8"]]


def asked(**fields) -> list[Case]:
    usual = {"model": ["digits-gru"], "setting": USUAL, "method": METHODS, "no_labels": False}
    return list(cases(argparse.Namespace(**{**usual, "seed": 0, **fields})))


@pytest.fixture(scope="module")
def session():
    return workbench.open("digits-gru")


@pytest.mark.parametrize("setting", FEW)
def test_few_levels_are_for_the_methods_that_have_them(setting: str) -> None:
    assert {case.method for case in asked(setting=[setting])} == set(FEW[setting])


def test_no_method_that_becomes_another_is_measured() -> None:
    found = {case.method for case in asked(setting=["W4A4"])}
    assert {"lsq", "dorefa", "paretoq"} <= found
    assert not found & {"twn", "ttq", "bitnet", "binaryconnect", "xnor", "reactnet"}
    assert not serves("qil", "BA8")
    with pytest.raises(AssertionError, match="'gram' trains no network"):
        serves("gram", "W4A4")


@pytest.mark.parametrize(("setting", "method", "levels"), LEVELS)
def test_weights_have_as_many_levels_as_the_setting_says(
    session, setting: str, method: str, levels: int
) -> None:
    asked = recipe(Case("digits-gru", setting, method, labels=True, seed=0))
    model = build(session, asked)
    data = session.data.calibrate_on(32)
    batches = [inputs for inputs, _ in data.batches("calibration", 32)]
    list(make("rtn").learn(model, Task(lambda: iter(batches), 32)))
    training = make(method, asked.stages[0].options)
    assert isinstance(training, NetworkTraining)
    install(model, training.plan())
    bits, active = SETTINGS[setting]
    inner = [s.name for s in model.of_kind("weight") if model.asked[s.name].bits == bits]
    assert inner == ["gru2.weight_ih", "gru2.weight_hh"]  # between the first layer and the last
    for name in inner:
        codes = model.quantizer(name).codes(model.weight(name).detach())
        assert len(codes.unique()) == levels
    grids = [s.grid for s in model.of_kind("activation") if s.shares is None]
    assert {grid.bits for grid in grids if grid.bits < 32} == {active}
