"""LLT: the place of each step among nine candidates."""

from __future__ import annotations

import pytest
import torch

from tests.quantizers.stairs import gradients, set_to, started, uniform
from workbench.maths.grid import Granularity, Grid
from workbench.maths.lookup_steps import BINS, first_logits, places, table
from workbench.quantizers.llt import LLT
from workbench.quantizers.llt_weight import LLTWeight
from workbench.quantizers.registry import QUANTIZERS


def chosen(*where: int) -> torch.Tensor:
    """Logits that prefer these candidates, one for each step."""
    return 4 * torch.nn.functional.one_hot(torch.tensor(where), BINS).float()


class TestTable:
    def test_the_middle_is_ordinary_rounding(self) -> None:
        assert places(first_logits(3)).tolist() == pytest.approx([0.5, 1.5, 2.5])

    def test_entries_rise_by_one_at_the_chosen_bins(self) -> None:
        found = table(chosen(0, 8), 1.0)
        assert found.tolist() == [0, *[1] * 9, *[1] * 8, 2]

    def test_its_gradient_is_that_of_the_softmax(self) -> None:
        """∂ cumsum(softmax θ/τ)_p / ∂θ_j = π_j (1[j <= p] - Π_p) / τ."""
        logits = torch.randn(1, BINS, generator=torch.Generator().manual_seed(2)).requires_grad_()
        found = table(logits, 0.7)
        (got,) = torch.autograd.grad(found[1 + 4], logits)
        shares = (logits[0] / 0.7).softmax(0).detach()
        wanted = shares * ((torch.arange(BINS) <= 4).float() - shares[:5].sum()) / 0.7
        assert torch.allclose(got[0], wanted, atol=1e-7)


class TestActivations:
    def ready(self) -> LLT:
        found = started("llt", uniform(2, 0.0, 6.0))  # steps of 2
        assert isinstance(found, LLT)
        set_to(found.logits, chosen(0, 4, 8))
        return found

    def test_steps_are_where_they_were_chosen(self) -> None:
        found = self.ready()
        wanted = [2 * 0.5 / 9, 2 * 1.5, 2 * (2 + 8.5 / 9)]
        assert found.thresholds_in_use().tolist() == pytest.approx(wanted)
        assert found(torch.tensor([0.1, 0.2, 2.9, 3.1, 5.8, 5.9])).tolist() == [0, 2, 2, 4, 4, 6]

    def test_gradients_derived_by_hand(self) -> None:
        found = self.ready()
        x = torch.tensor([-1.0, 0.8, 3.1, 9.0])
        got = gradients(found, x)
        assert got["x"].tolist() == [0, 1, 1, 0]
        inside = (1 - 0.4) + (2 - 1.55)
        assert float(got["scale"]) == pytest.approx(0 + inside + 3)
        assert bool((got["logits"][0] != 0).all())  # x = 0.8 lies in the bins of the first step
        assert float(got["logits"][0].sum()) == pytest.approx(0, abs=1e-6)

    def test_pushing_values_up_moves_a_step_down(self) -> None:
        """The loss falls if x = 0.8 gets the higher code, so earlier candidates are preferred."""
        found = started("llt", uniform(2, 0.0, 6.0))
        assert isinstance(found, LLT)
        x = torch.tensor([0.8])
        assert found(x).item() == 0
        for _ in range(40):
            found.zero_grad()
            (2 - found(x)).square().sum().backward()
            assert found.logits.grad is not None
            set_to(found.logits, found.logits.detach() - 0.5 * found.logits.grad)
        assert found(x).item() == 2
        assert places(found.logits)[1:].tolist() == pytest.approx([1.5, 2.5])


class TestWeights:
    def test_it_starts_as_the_quantizer_before(self) -> None:
        grid = Grid(3, granularity=Granularity("channel", 0))
        w = torch.randn(4, 20, generator=torch.Generator().manual_seed(1))
        before = QUANTIZERS["uniform"].make(grid, (4, 20))
        before.fit(w, "mse")
        found = LLTWeight(grid, (4, 20))
        found.take(before)
        assert torch.equal(found.codes(w), before.codes(w))
        assert torch.equal(found(w), before(w))

    def test_codes_change_where_they_were_chosen(self) -> None:
        found = LLTWeight(Grid(2), (4,))
        found.set_affine(torch.tensor(1.0), torch.tensor(0.0))
        set_to(found.logits, chosen(0, 4, 8))
        w = torch.tensor([-1.96, -1.9, -0.51, -0.49, 0.93, 0.95])
        assert found.codes(w).tolist() == [-2, -1, -1, 0, 0, 1]
        assert torch.equal(found(w), found.frozen(w).values())
        got = gradients(found, w)
        assert bool((got["logits"].abs().sum(1) > 0).all())
