"""N2UQ: thresholds with widths of their own under equal steps, and its weights."""

from __future__ import annotations

import pytest
import torch

from tests.quantizers.stairs import gradients, set_to, started, uniform
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.n2uq import N2UQ
from workbench.quantizers.n2uq_weight import N2UQWeight


def learner() -> N2UQ:
    """Widths ½, 1 and 2 from 0 on, doubled; steps of 3."""
    found = started("n2uq", uniform(2, 0.0, 3.0))
    assert isinstance(found, N2UQ)
    set_to(found.widths, [0.5, 1.0, 2.0])
    set_to(found.input_scale, 2.0)
    set_to(found.scale, 3.0)
    return found


class TestActivations:
    def test_thresholds_lie_in_the_middle_of_segments(self) -> None:
        found = learner()
        assert found.knots().tolist() == [0, 1, 3, 7]
        assert found.thresholds_in_use().tolist() == [0.5, 2, 5]
        x = torch.tensor([-1.0, 0.4, 0.6, 1.9, 2.1, 4.9, 5.1, 99.0])
        assert found(x).tolist() == [0, 0, 3, 3, 6, 6, 9, 9]

    def test_the_slope_of_a_segment_is_a_step_over_its_width(self) -> None:
        x = torch.tensor([-1.0, 0.4, 1.9, 4.9, 8.0])
        assert gradients(learner(), x)["x"].tolist() == pytest.approx([0, 3, 1.5, 0.75, 0])

    def test_gradients_derived_by_hand(self) -> None:
        """At x = 4.9 the line is 2 + (x/2 - 1.5) / 2 in steps of 3; at 8 it stays at 3."""
        found = gradients(learner(), torch.tensor([4.9]))
        place = 4.9 / 2 - 1.5
        assert found["widths"].tolist() == pytest.approx([-1.5, -1.5, -3 * place / 4])
        assert float(found["start"]) == pytest.approx(-1.5)
        assert float(found["scale"]) == pytest.approx(2)  # the code, not the line
        assert float(found["input_scale"]) == pytest.approx(-1.5 * 4.9 / 4)
        beyond = gradients(learner(), torch.tensor([8.0]))
        assert float(beyond["scale"]) == pytest.approx(3)
        assert beyond["widths"].tolist() == [0, 0, 0]
        assert float(beyond["start"]) == 0

    def test_widths_stay_positive(self) -> None:
        found = learner()
        set_to(found.widths, [-4.0, 1.0, 0.0])
        assert found.knots().diff().tolist() == pytest.approx([0.002, 2, 0.002], rel=1e-3)
        assert gradients(found, torch.tensor([1.0]))["widths"].tolist()[0] == 0

    def test_the_authors_first_staircase(self) -> None:
        """Range 2, 2 bits: steps of 2/3, thresholds at 1/3, 1 and 5/3."""
        found = started("n2uq", uniform(2, 0.0, 2.0))
        assert found.thresholds_in_use().tolist() == pytest.approx([1 / 3, 1, 5 / 3])
        assert found.code_levels().tolist() == pytest.approx([0, 2 / 3, 4 / 3, 2])


class TestWeights:
    w = torch.tensor([[-1.4, -0.2, 0.1, 0.7], [0.04, -0.01, 0.02, -0.05]])

    def ready(self, bits: int = 2) -> N2UQWeight:
        found = N2UQWeight(Grid(bits, granularity=Granularity("channel", 0)), (2, 4))
        found.start(self.w)
        set_to(found.clip, 1.0)
        return found

    def test_levels_are_odd_multiples(self) -> None:
        """γ = 3/2 and E|w| = 0.6: σ = 0.9, and levels ±0.3 and ±0.9."""
        found = self.ready()
        assert found(self.w)[0].tolist() == pytest.approx([-0.9, -0.3, 0.3, 0.9])
        assert found.grid.label == "odd2"
        assert found.codes(self.w)[0].tolist() == [-3, -1, 1, 3]
        assert float(found.size[1]) == pytest.approx(1.5 * 0.03)

    @pytest.mark.parametrize("bits", [2, 3, 4, 5])
    def test_codes_are_used_evenly_by_laplace_weights(self, bits: int) -> None:
        w = torch.distributions.Laplace(0.0, 1.0).icdf(torch.linspace(0.01, 0.99, 4000))[None]
        found = N2UQWeight(Grid(bits), tuple(w.shape))
        found.start(w)
        set_to(found.clip, 1.0)
        codes = found.codes(w)
        assert set(codes.flatten().tolist()) == set(range(1 - 2**bits, 2**bits, 2))

    def test_gradients_derived_by_hand(self) -> None:
        found = self.ready()
        got = gradients(found, self.w)
        assert torch.equal(got["x"], torch.ones(2, 4))
        inside = (-0.3 + 0.2) + (0.3 - 0.1) + (0.9 - 0.7)
        assert float(got["clip"][0]) == pytest.approx(-0.9 + inside, rel=1e-5)

    def test_it_keeps_a_calibrated_step(self) -> None:
        before = uniform(4, -1.0, 1.0, signed=True)
        found = N2UQWeight(before.grid, (2, 4))
        found.take(before)
        found.start(self.w)
        assert 2 * found.affine()[0].item() == pytest.approx(float(before.affine()[0]))
        assert torch.equal(found(self.w), found.frozen(self.w).values())
