"""ACIQ: published constants from the equations, and the clip that is best in truth."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.maths.calibrators.aciq import aciq, gauss_clip, laplace_clip
from workbench.maths.calibrators.base import Samples, power_error
from workbench.maths.grid import Grid

LAPLACE = [1.862817, 2.830683, 3.897229, 5.028640, 6.204766, 7.413126, 8.645620, 9.896760]
GAUSS = [1.239905, 1.710635, 2.151593, 2.559136, 2.936201, 3.286915, 3.615114, 3.924036]
HALF_LAPLACE = [*LAPLACE[1:], 11.162685]


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_published_constants(bits: int) -> None:
    assert laplace_clip(bits) == pytest.approx(LAPLACE[bits - 1], abs=2e-6)
    assert gauss_clip(bits) == pytest.approx(GAUSS[bits - 1], abs=2e-6)
    assert laplace_clip(bits + 1) == pytest.approx(HALF_LAPLACE[bits - 1], abs=2e-6)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_clips_are_minima_of_the_paper_s_errors(bits: int) -> None:
    def laplace(a: float) -> float:
        return 2 * math.exp(-a) + a * a / (3 * 4**bits)

    def gauss(a: float) -> float:
        tail = (1 + a * a) * math.erfc(a / math.sqrt(2))
        return tail - math.sqrt(2 / math.pi) * a * math.exp(-a * a / 2) + a * a / (3 * 4**bits)

    for error, clip in ((laplace, laplace_clip(bits)), (gauss, gauss_clip(bits))):
        assert error(clip) < min(error(clip * 1.01), error(clip * 0.99))


def drawn(kind: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    if kind == "gauss":
        return torch.randn(200_000, generator=generator)
    sign = torch.rand(200_000, generator=generator).sub(0.5).sign()
    return torch.empty(200_000).exponential_(generator=generator) * sign


@pytest.mark.parametrize(("kind", "clip"), [("gauss", GAUSS[3]), ("laplace", LAPLACE[3])])
def test_the_likelier_distribution_is_taken(kind: str, clip: float) -> None:
    x = drawn(kind)
    unit = float(x.abs().mean()) if kind == "laplace" else float(x.std())
    _, high = aciq(Samples(x[None]), Grid(4))
    assert float(high) == pytest.approx(clip * unit, rel=1e-2)


@pytest.mark.parametrize(("kind", "clip"), [("gauss", GAUSS[4]), ("laplace", HALF_LAPLACE[3])])
def test_behind_a_relu_one_side_has_all_the_levels(kind: str, clip: float) -> None:
    x = drawn(kind).relu()
    low, high = aciq(Samples(x[None]), Grid(4, signed=False, symmetric=False))
    kept = x[x > 0]
    unit = float(kept.mean()) if kind == "laplace" else float(kept.square().mean().sqrt())
    assert float(low) == 0
    assert float(high) == pytest.approx(clip * unit, rel=1e-2)


@pytest.mark.parametrize("kind", ["gauss", "laplace"])
def test_little_is_lost_against_a_search(kind: str) -> None:
    x, grid = drawn(kind)[None], Grid(4)
    samples = Samples(x)
    found = power_error(samples, grid, 2.0, *aciq(samples, grid))
    limits = torch.linspace(1.5, 9.0, 40)
    tried = [power_error(samples, grid, 2.0, -limit[None], limit[None]) for limit in limits]
    assert float(found) < 1.02 * float(torch.stack(tried).min())
