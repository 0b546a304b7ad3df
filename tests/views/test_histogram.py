from __future__ import annotations

import json
from types import ModuleType

import pytest
import torch

from workbench.analysis.distributions import channel_record, counted, grid_record, weight_record
from workbench.maths.grid import Granularity, Grid, fake_quantize, quantize
from workbench.maths.metrics import sqnr_db
from workbench.quantizers.base import Frozen
from workbench.views import exact, histogram


def affine(values: torch.Tensor, scale: float = 0.1, zero: int = 0, bits: int = 8) -> dict:
    grid = Grid(bits)
    return {**counted(values), "grid": grid_record(grid), "scale": scale, "zero_point": zero}


def test_every_value_is_counted():
    values = torch.randn(10_000)
    view = histogram.view(affine(values), title="w", site="w")
    assert sum(view["counts"]) == 10_000
    json.dumps(view, allow_nan=False)


def test_one_outlier_does_not_squeeze_the_picture():
    values = torch.cat([torch.randn(20_000), torch.tensor([500.0])])
    record = {**counted(values), "grid": None}
    view = histogram.view(record, title="w", site="w")
    assert view["view"][1] < 20
    assert view["outside"][1]["extreme"] == 500.0
    assert 1 <= view["outside"][1]["count"] < 20
    assert view["outside"][0]["count"] < 20


def test_without_outliers_the_whole_range_is_drawn():
    values = torch.linspace(-1, 1, 5000)
    view = histogram.view({**counted(values), "grid": None}, title="w", site="w")
    assert view["view"][0] <= -1
    assert view["view"][1] >= 1
    assert view["outside"][0]["count"] == view["outside"][1]["count"] == 0


def test_the_ends_of_the_grid_are_always_in_the_picture():
    view = histogram.view(affine(torch.randn(1000) * 0.01, scale=0.1), title="w", site="w")
    assert view["view"][0] < -12.8
    assert view["view"][1] > 12.7


def test_nothing_recorded_is_said():
    assert histogram.view({}, title="w", site="w")["message"]
    constant = histogram.view(affine(torch.zeros(10)), title="w", site="w")
    assert sum(constant["counts"]) == 10


def test_channels_are_counted_in_their_own_steps(examples: ModuleType):
    weight = examples.weight((16, 8, 3, 3), 0)
    frozen = examples.frozen(weight, 4)
    record = weight_record(weight, frozen)
    assert record["unit"] == "steps"
    assert (record["scale"], record["zero_point"]) == (1.0, 0.0)
    assert -8 <= record["low"] <= record["high"] <= 8
    # the energy-weighted bins know the SQNR of the whole tensor
    edges = record["start"] + record["width"] * (torch.arange(2048) + 0.5).double()
    energy = torch.tensor(record["energy"])
    error = (edges.clamp(-8, 7).round() - edges).square() * energy
    found = 10 * torch.log10((edges.square() * energy).sum() / error.sum())
    assert float(found) == pytest.approx(float(sqnr_db(weight, frozen.values())), abs=0.05)


def test_shares_of_the_error_add_up(examples: ModuleType):
    weight = examples.weight((16, 8, 3, 3), 0)
    channels = weight_record(weight, examples.frozen(weight, 4))["channels"]
    assert sum(channels["share"]) == pytest.approx(1, abs=1e-3)
    assert channels["ranges"][3] == pytest.approx(float(weight[3].abs().max()), rel=1e-4)


def test_one_channel_has_its_own_units(examples: ModuleType):
    weight = examples.weight((16, 8, 3, 3), 0)
    frozen = examples.frozen(weight, 4)
    record = channel_record(weight, frozen, 5)
    assert record["total"] == 72
    assert record["scale"] == pytest.approx(float(frozen.scale[5]))


@pytest.mark.parametrize("granularity", [Granularity(), Granularity("group", 0, 4)])
def test_a_channel_of_a_shared_grid_is_looked_at_and_not_dragged(granularity: Granularity):
    weight = torch.randn(12, 6, generator=torch.Generator().manual_seed(0))  # (inputs, outputs)
    grid = Grid(4, granularity=granularity)
    scale = 0.2 + 0.1 * torch.rand(granularity.shape(weight.shape))
    zero = torch.zeros(scale.shape, dtype=torch.int32)
    held = Frozen(grid, scale, zero, quantize(weight, scale, zero.float(), grid))
    record = channel_record(weight, held, 4, axis=1)
    assert (record["total"], record["draggable"]) == (12, False)
    assert len(record["channels"]["ranges"]) == 6
    assert record["channels"]["ranges"][4] == pytest.approx(float(weight[:, 4].abs().max()), 1e-4)
    steps = granularity.expand(scale, weight)[:, 4] if scale.ndim else torch.ones(12)
    assert record["high"] == pytest.approx(float((weight[:, 4] / steps).max()), rel=1e-4)


@pytest.mark.parametrize("channel", [None, 3])
def test_exact_numbers_are_those_of_the_formula(examples: ModuleType, channel: int | None):
    weight = examples.weight((16, 8, 3, 3), 0)
    frozen = examples.frozen(weight, 4)
    factor = 0.8
    scale = factor if channel is None else factor * float(frozen.scale[channel])
    found = exact.measure(weight, frozen, channel, scale, 0)
    scaled = fake_quantize(weight, frozen.scale * factor, frozen.zero_point.float(), frozen.grid)
    part = slice(None) if channel is None else channel
    assert found is not None
    assert found["sqnr_db"] == pytest.approx(float(sqnr_db(weight[part], scaled[part])), abs=1e-4)
    assert 0 < found["clipped"] < 0.5


def test_exact_numbers_refuse_a_channel_that_is_not_there(examples: ModuleType):
    weight = examples.weight((16, 8, 3, 3), 0)
    assert exact.measure(weight, examples.frozen(weight, 4), 16, 1.0, 0) is None
