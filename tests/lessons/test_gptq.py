"""What the demo says is handed on is what the engine's GPTQ rounds next."""

from __future__ import annotations

import pytest
import torch

from workbench.lessons import material
from workbench.lessons.demos import gptq


@pytest.mark.parametrize("order", ["largest H first", "as they lie"])
@pytest.mark.parametrize("layer", gptq.LAYERS)
def test_each_column_is_rounded_from_where_it_was_moved(layer: str, order: str):
    name = gptq.LAYERS[layer].replace(".", "_")
    weight = material.parameter(gptq.MODEL, f"{name}_weight").flatten(1)
    found = gptq.course(layer, 4, order, 0.01)
    for k, column in enumerate(found.order):
        moved, landed = (
            (weight + found.gaps[i])[:, column] / found.scale[:, 0] for i in (k, k + 1)
        )
        expected = moved.round().clamp(-8, 7)
        near = (moved - moved.round()).abs() < 0.499  # a tie may fall either way
        assert near.any()
        torch.testing.assert_close(landed[near], expected[near], atol=1e-3, rtol=0)
