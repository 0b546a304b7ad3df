"""Powell's method: it finds minima without gradients, and can be stored on the way."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save

from workbench.maths import powell


def bowl(size: int) -> tuple[powell.Objective, torch.Tensor]:
    """A quadratic whose axes are not the coordinates, and where it is least."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    matrix = matrix @ matrix.T / size + 0.3 * torch.eye(size)
    centre = torch.randn(size, generator=generator, dtype=torch.float64)
    return lambda x: float((x - centre) @ matrix @ (x - centre)), centre


def test_a_coupled_bowl_is_descended() -> None:
    objective, centre = bowl(6)
    state = powell.start(6, objective(torch.zeros(6).double()), 0.5)
    *_, last = powell.search(objective, state, 12)
    assert last.loss < 2e-3 * state.loss
    assert torch.allclose(last.point, centre, atol=0.2)
    assert last.loss == pytest.approx(objective(last.point))


def test_the_loss_never_rises_and_evaluations_are_bounded() -> None:
    calls = []

    def objective(x: torch.Tensor) -> float:
        calls.append(x)
        return float((x**4).sum() + (x[0] * x[1] - 0.5).abs())

    states = list(powell.search(objective, powell.start(3, 0.5, 0.3), 4))
    losses = [state.loss for state in states]
    assert losses == sorted(losses, reverse=True)
    assert states[-1].evaluations == len(calls) <= (3 * 3 + 1) * 4


def test_a_line_through_its_parabola_s_minimum_is_solved_at_once() -> None:
    def objective(x: torch.Tensor) -> float:
        return float((x - 0.37).square().sum())

    (state,) = powell.search(objective, powell.start(1, 0.37**2, 0.5), 1)
    assert float(state.point) == pytest.approx(0.37)


def test_a_stored_search_goes_on_as_if_it_had_not_stopped() -> None:
    objective, _ = bowl(4)
    state = powell.start(4, objective(torch.zeros(4).double()), 0.5)
    whole = list(powell.search(objective, state, 3))
    half = powell.unpacked({**powell.packed(whole[5]), "norm": torch.tensor(2.0)})
    again = list(powell.search(objective, half, 3))
    assert len(again) == len(whole) - 6
    assert torch.equal(again[-1].point, whole[-1].point)
    assert again[-1].loss == whole[-1].loss


def test_a_search_can_be_stored_wherever_it_is() -> None:
    objective, _ = bowl(3)
    state = powell.start(3, objective(torch.zeros(3).double()), 0.5)
    for each in (state, *powell.search(objective, state, 2)):
        assert save(powell.packed(each)), "tensors that share memory are refused"
