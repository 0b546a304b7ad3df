"""Single weights: what they are, and which way they were rounded."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from workbench.analysis.weights import PAGE, channel_weights
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.base import Frozen
from workbench.views.cells import cells, detail


def frozen(codes: torch.Tensor, scale: float = 0.5) -> Frozen:
    grid = Grid(4, granularity=Granularity("channel", 0))
    scales = torch.full((codes.shape[0],), scale)
    return Frozen(grid, scales, torch.zeros(codes.shape[0], dtype=torch.int32), codes.int())


WEIGHT = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.6, 0.6, 0.6, 9.0]])
CODES = torch.tensor([[0, 0, 0, 0], [1, 2, 0, 7]])


def test_up_down_nearest_and_clipped_are_told_apart():
    view = cells(channel_weights(WEIGHT, frozen(CODES), 1).record(), 1)
    assert view["ways"] == ["nearest", "up", "down", "clipped"]
    assert view["codes"] == [1, 2, 0, 7]
    assert view["errors"][:3] == pytest.approx([-0.2, 0.8, -1.2], abs=1e-3)
    assert "2 rounded against" in view["text"]
    assert view["detail"] is None


def test_one_weight_in_full():
    found = detail(channel_weights(WEIGHT, frozen(CODES), 1).record(), 1)
    rows = {row["label"]: row["text"] for row in found["rows"]}
    assert rows["place"] == "input 1"
    assert rows["value"] == "0.6"
    assert rows["code"] == "2 of −8 … 7"
    assert rows["stands for"] == "1"
    assert rows["rounded"] == "up, against the nearest (1)"
    assert rows["error"] == "+0.80 steps of 0.5"
    assert found["line"] == {"low": 1, "place": 1.2, "code": 2}


def test_a_weight_elsewhere_in_a_wide_channel_has_its_page():
    weight = torch.arange(2.0 * (PAGE + 10)).reshape(2, -1) / 1e4
    held = replace(frozen(torch.zeros(2, PAGE + 10)))
    found = channel_weights(weight, held, 1, PAGE + 3).record()
    view = cells(found, 1, PAGE + 3)
    assert (view["start"], view["weight"], view["total"]) == (PAGE, PAGE + 3, PAGE + 10)
    assert view["pages"] == {"before": PAGE - 1, "after": None}
    assert found["values"][3] == pytest.approx(float(weight[1, PAGE + 3]), rel=1e-5)


@pytest.mark.parametrize("granularity", [Granularity(), Granularity("group", 1, 2)])
def test_other_grids_have_the_step_of_each_weight(granularity: Granularity):
    grid = Grid(4, granularity=granularity)
    shape = granularity.shape(WEIGHT.shape)
    scale = 0.25 * (1 + torch.arange(max(1, torch.tensor(shape).prod())).float()).reshape(shape)
    held = Frozen(grid, scale, torch.zeros(shape, dtype=torch.int32), CODES.int())
    found = channel_weights(WEIGHT, held, 1)
    assert torch.equal(found.restored, held.values()[1])


@pytest.mark.parametrize(("channel", "weight"), [(2, 0), (-1, 0), (0, 4)])
def test_what_is_not_there_is_refused(channel: int, weight: int):
    with pytest.raises(IndexError):
        channel_weights(WEIGHT, frozen(CODES), channel, weight)
