"""Transformations by name."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.graph.nets import from_text
from tests.graph.passes.helpers import HEADER, fill, kinds, outputs
from workbench.foundation.errors import RecipeError
from workbench.graph.passes.channels import clip_limits
from workbench.graph.transforms import TRANSFORMS, check_transforms, transform

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
    check_transforms(list(TRANSFORMS))
