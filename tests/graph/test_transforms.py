"""Transformations by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, kinds, normal, outputs, same, uneven
from workbench.foundation.errors import RecipeError
from workbench.foundation.options import controls
from workbench.foundation.taxonomy import STRATEGIES, cells
from workbench.graph import fold
from workbench.graph.passes.channels import clip_limits
from workbench.graph.passes.registry import TRANSFORMS
from workbench.graph.transforms import (
    check_transforms,
    filled,
    in_order,
    measure,
    parse,
    spelled,
    transform,
)

CLIPS = {
    "relu6": ("Clip(x, low, high)", {"low": 0.0, "high": 6.0}, (0.0, 6.0)),
    "relu": ("Clip(x, low)", {"low": 0.0}, (0.0, math.inf)),
    "both signs": ("Clip(x, low, high)", {"low": -1.0, "high": 1.0}, (-1.0, 1.0)),
}


@pytest.mark.parametrize("case", CLIPS)
def test_relu6_loses_its_limit_and_nothing_else_does(case: str):
    call, limits, wanted = CLIPS[case]
    model = from_text(f"{HEADER} g (float[n] x) => (float[n] y) {{ y = {call} }}")
    fill(model, **{name: np.array(value, np.float32) for name, value in limits.items()})
    assert clip_limits(model.graph.node(0)) == wanted
    changed, (record,) = transform(model, ["relu6-to-relu"])
    assert record.count == (case == "relu6")
    assert kinds(changed) == ["Relu" if case == "relu6" else "Clip"]
    assert kinds(model) == ["Clip"]
    if case == "relu6":
        x = np.array([-1, 3, 9], np.float32)
        assert outputs(changed, x=x)[0].tolist() == [0, 3, 9]


def test_unknown_and_repeated_names_are_refused():
    with pytest.raises(RecipeError, match="unknown transform 'equalise'; did you mean 'equalize'"):
        check_transforms(["equalise"])
    with pytest.raises(RecipeError, match="'equalize' is asked for twice"):
        check_transforms(["equalize", "equalize"])
    check_transforms(in_order())


@pytest.mark.parametrize("entry", list(TRANSFORMS), ids=lambda e: e.name)
def test_says_what_it_is(entry):
    assert entry.title
    assert entry.description
    assert entry.citation
    assert set(entry.facts) >= {"signal", "data", "cost", "use", "order", "exact"}
    assert cells(entry.facts["cells"])
    assert entry.facts["strategy"] in STRATEGIES
    assert all(control.help for control in controls(entry.options))
    assert parse(entry.name).needs_data == (entry.facts["data"] != "none")


def test_options_follow_the_name():
    assert parse("smooth:alpha=0.7").options.model_dump(exclude_unset=True) == {"alpha": 0.7}
    assert spelled("smooth: insert = true") == "smooth:insert=true"
    assert spelled("smooth:alpha=0.70,examples=8") == "smooth:alpha=0.7,examples=8"
    assert spelled({"name": "awq", "bits": 3}) == "awq:bits=3"
    assert spelled("equalize") == "equalize"


def test_what_was_left_unsaid_is_filled_in():
    grid = {"bits": 3, "group_size": 32, "symmetric": True}
    assert filled(["equalize", "awq:bits=2", "smooth"], grid) == (
        "equalize",
        "awq:bits=2,group_size=32,symmetric=true",
        "smooth",
    )


FAULTS = {
    "smooth:alpha": "has 'alpha'; write options as smooth:option=value",
    "smooth:alpha=2": "transform 'smooth': option 'alpha' was 2",
    "smooth:beta=1": "transform 'smooth' has no option 'beta'; its options are: alpha, examples",
    "equalize:alpha=1": "has no option 'alpha'; its options are: none",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_fault_is_named_with_its_cure(text: str):
    with pytest.raises(RecipeError, match=FAULTS[text]):
        parse(text)


@pytest.mark.parametrize("asked", [3, {"alpha": 0.5}, {"name": "smoth"}])
def test_what_is_no_transformation_is_refused(asked: object):
    with pytest.raises(RecipeError, match=r"name one of|unknown transform"):
        spelled(asked)


def test_each_looks_at_what_those_before_it_left():
    model = from_text(
        f"{HEADER} g (float[n,4] x) => (float[n,2] y) {{ h = Gemm(x, w1, b1) r = Relu(h) "
        "y = Gemm(r, w2, b2) }"
    )
    arrays = {"w1": uneven(4, 6, axis=1), "b1": normal(6), "w2": normal(6, 2), "b2": normal(2)}
    folded, rows = fold(fill(model, **arrays))[0], torch.from_numpy(normal(50, 4, seed=3))
    alone = measure(folded, ["smooth"], lambda: iter([(rows,)]))
    after = measure(folded, ["equalize", "smooth"], lambda: iter([(rows,)]))
    assert alone.keys() == after.keys() == {"smooth/r"}
    assert not torch.allclose(alone["smooth/r"], after["smooth/r"])
    changed, records = transform(folded, ["equalize", "smooth"], after)
    assert [record.count for record in records] == [1, 1]
    assert same(folded, changed, x=rows.numpy()) < 1e-5
