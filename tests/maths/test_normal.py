"""Normal distributions behind functions, against samples and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.maths.normal import ChannelStatistics, clipped_normal, mapped_normal

SAMPLES = 400_000


@pytest.mark.parametrize(("low", "high"), [(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0)])
def test_a_clipped_normal_has_the_moments_of_its_samples(low: float, high: float) -> None:
    mean, deviation = torch.tensor([0.0, 1.5, -2.0, 7.0]), torch.tensor([1.0, 2.0, 1.0, 3.0])
    noise = torch.randn(SAMPLES, 4, generator=torch.Generator().manual_seed(0))
    seen = (mean + deviation * noise).clamp(low, high)
    got = clipped_normal(mean, deviation, low, high)
    assert torch.allclose(got[0], seen.mean(0), atol=0.015)
    assert torch.allclose(got[1], seen.std(0), atol=0.015)


def test_known_moments_of_a_half_normal() -> None:
    mean, deviation = clipped_normal(torch.zeros(1), torch.ones(1), low=0.0)
    assert float(mean) == pytest.approx(1 / math.sqrt(2 * math.pi), abs=1e-6)
    assert float(deviation) == pytest.approx(math.sqrt(0.5 - 1 / (2 * math.pi)), abs=1e-6)


def test_no_limits_and_no_deviation_change_nothing() -> None:
    mean, deviation = torch.tensor([2.0, -1.0]), torch.tensor([3.0, 0.0])
    got = clipped_normal(mean, deviation)
    assert torch.allclose(got[0], mean)
    assert torch.allclose(got[1], deviation, atol=1e-6)
    assert clipped_normal(mean, torch.zeros(2), low=0.0)[0].tolist() == [2.0, 0.0]


def test_a_function_of_a_normal_has_the_moments_of_its_samples() -> None:
    mean, deviation = torch.tensor([0.0, -1.0, 2.0]), torch.tensor([1.0, 0.5, 2.0])
    noise = torch.randn(SAMPLES, 3, generator=torch.Generator().manual_seed(0))
    seen = torch.nn.functional.gelu(mean + deviation * noise)
    got = mapped_normal(torch.nn.functional.gelu, mean, deviation)
    assert torch.allclose(got[0], seen.mean(0), atol=0.01)
    assert torch.allclose(got[1], seen.std(0), atol=0.01)


def test_statistics_in_batches_are_those_of_the_whole() -> None:
    x = 100 + torch.randn(12, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    found = ChannelStatistics()
    for part in x.split(5):
        found.add(part, 1)
    assert found.count == 12 * 25
    assert torch.allclose(found.mean, x.double().mean((0, 2, 3)))
    assert torch.allclose(found.deviation, x.double().std((0, 2, 3), correction=0))
