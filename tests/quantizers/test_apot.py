"""APoT: sums of powers of two, with a learned clip."""

from __future__ import annotations

import pytest
import torch

from tests.quantizers.stairs import gradients, set_to, started, uniform
from workbench.maths.grid import Granularity, Grid
from workbench.maths.levels import apot_multiples, levels
from workbench.quantizers.apot import APoT
from workbench.quantizers.apot_weight import APoTOptions, APoTWeight

SIXTEEN = [0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48]


class TestLevels:
    def test_published_ones(self) -> None:
        assert apot_multiples(2).tolist() == [0, 1, 2, 4]
        assert apot_multiples(3).tolist() == [0, 1, 2, 3, 4, 6, 8, 10]
        assert apot_multiples(4).tolist() == SIXTEEN

    @pytest.mark.parametrize("bits", [3, 4, 5, 6, 7])
    def test_they_are_those_of_the_table(self, bits: int) -> None:
        above = apot_multiples(bits - 1).float()
        assert torch.equal(levels("apot", bits)[2 ** (bits - 1) - 1 :], above / above.max())

    @pytest.mark.parametrize(("bits", "width"), [(2, 2), (3, 4), (4, 5), (5, 7), (6, 8)])
    def test_they_fit_eight_bits(self, bits: int, width: int) -> None:
        own = APoTWeight.own_grid(Grid(bits))
        assert (own.bits, own.label) == (width, f"apot{bits}")
        assert own.qmax >= int(apot_multiples(bits - 1).max())
        assert APoTWeight.own_grid(own) == own


class TestActivations:
    def test_levels_reach_the_learned_clip(self) -> None:
        found = started("apot", uniform(4, 0.0, 6.0))
        assert found.code_levels().tolist() == pytest.approx([6 * k / 48 for k in SIXTEEN])
        x = torch.tensor([-1.0, 0.05, 0.07, 5.2, 5.3, 7.0])
        assert found.codes(x).tolist() == [0, 0, 1, 14, 15, 15]

    def test_negative_values_have_levels_of_their_own(self) -> None:
        found = started("apot", uniform(3, -2.0, 1.0))
        ends = found.code_levels().detach()
        assert len(ends) == 7
        assert torch.equal(ends, -ends.flip(0))
        assert float(ends[-1]) == pytest.approx(2, rel=0.2)

    def test_gradients_derived_by_hand(self) -> None:
        """Levels of two bits: 0, ¼, ½ and 1, times α = 4."""
        found = started("apot", uniform(2, 0.0, 4.0))
        assert isinstance(found, APoT)
        for value, level, by_alpha, by_x in [
            (-1.0, 0, 0, 0),
            (1.3, 1, 0.25 - 1.3 / 4, 1),
            (3.5, 4, 1 - 3.5 / 4, 1),
            (5.0, 4, 1, 0),
        ]:
            x = torch.tensor([value])
            got = gradients(found, x)
            assert found(x).item() == level
            assert float(got["scale"]) == pytest.approx(by_alpha, abs=1e-6)
            assert float(got["x"]) == by_x


class TestWeights:
    w = torch.tensor([[-1.5, -0.2, 0.1, 0.6], [0.04, -0.01, 0.02, -0.05]])

    def ready(self, bits: int, options: APoTOptions | None = None) -> APoTWeight:
        found = APoTWeight(Grid(bits, granularity=Granularity("channel", 0)), (2, 4), options)
        found.start(self.w)
        return found

    def test_codes_are_multiples_of_the_least_term(self) -> None:
        found = self.ready(3)
        set_to(found.clip, 1.0)
        size = self.w.std(1, correction=0)
        assert torch.allclose(found.size, size)
        steps = (self.w / size[:, None]).clamp(-1, 1) * 4
        options = torch.tensor([-4.0, -2, -1, 0, 1, 2, 4])
        wanted = options[(steps[..., None] - options).abs().argmin(-1)]
        assert torch.equal(found.codes(self.w), wanted)
        assert torch.equal(found(self.w), found.frozen(self.w).values())

    def test_gradients_derived_by_hand(self) -> None:
        """RCF: the end of the range beyond α, the rounding error inside; that of w is one."""
        found = self.ready(4)
        set_to(found.clip, 1.5)
        got = gradients(found, self.w)
        size, shares = found.size[:, None], self.w / (found.size[:, None] * 1.5)
        error = found(self.w) / (size * 1.5) - shares
        wanted = (size * torch.where(shares.abs() >= 1, shares.sign(), error)).sum(1)
        assert bool((shares.abs() > 1).any())
        assert torch.allclose(got["clip"], wanted.detach(), atol=1e-6)
        assert torch.equal(got["x"], torch.ones(2, 4))

    def test_two_bits_are_ternary(self) -> None:
        assert set(self.ready(2).codes(self.w).flatten().tolist()) <= {-1, 0, 1}

    def test_the_mean_may_be_taken_away(self) -> None:
        found = self.ready(4, APoTOptions(centre=True))
        shifted = self.w + 5
        assert torch.allclose(found(shifted), found(self.w), atol=1e-5)
        assert torch.equal(found(shifted), found.frozen(shifted).values())

    def test_the_range_is_kept(self) -> None:
        before = uniform(4, -1.0, 1.0, signed=True)
        found = APoTWeight(before.grid, (2, 4))
        found.take(before)
        found.start(self.w)
        top = found.affine()[0].item() * 10
        assert top == pytest.approx(float(before.affine()[0]) * 7.5)
