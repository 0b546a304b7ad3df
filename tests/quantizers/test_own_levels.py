"""Quantizers of activations whose levels are not equal steps."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.foundation.errors import RecipeError
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.base import Quantizer
from workbench.quantizers.log_sqrt2 import LogSqrt2
from workbench.quantizers.own_levels import OwnLevels
from workbench.quantizers.registry import QUANTIZERS
from workbench.quantizers.twin import Twin

ENTRIES = [entry for entry in QUANTIZERS if entry.make.form]
BITS = [2, 3, 4, 6, 8]


#: an entry and bits that may be asked of it
CASES = [(e, bits) for e in ENTRIES for bits in e.facts.get("bits", BITS)]


def grid(bits: int) -> Grid:
    return Grid(bits, signed=False, symmetric=False)


def probabilities(count: int = 400) -> torch.Tensor:
    logits = 3 * torch.randn(count, 33, generator=torch.Generator().manual_seed(1))
    return logits.softmax(-1)


def ready(kind: type[Quantizer], bits: int, x: torch.Tensor) -> Quantizer:
    quantizer = kind(grid(bits), tuple(x.shape))
    quantizer.set_range(x.min(), x.max())
    return quantizer


@pytest.mark.parametrize(
    ("entry", "bits"), CASES, ids=lambda v: str(v) if isinstance(v, int) else v.name
)
class TestContract:
    def test_values_are_levels_and_stay_where_they_are(self, entry, bits: int) -> None:
        x = probabilities()
        quantizer = ready(entry.make, bits, x)
        frozen = quantizer.frozen()
        codes, values = quantizer.codes(x), quantizer(x)
        assert frozen.levels is not None
        assert frozen.form == type(quantizer).form
        assert torch.equal(values, frozen.levels[codes.long()])
        assert torch.equal(quantizer.codes(values), codes)
        assert len(frozen.levels) <= 256

    def test_codes_follow_the_values(self, entry, bits: int) -> None:
        quantizer = ready(entry.make, bits, probabilities().flatten())
        codes = quantizer.codes(torch.linspace(0, 1, 5000)).diff()
        assert bool((codes >= 0).all()) or bool((codes <= 0).all())
        levels = quantizer.frozen().levels.diff()
        assert bool((levels > 0).all()) or bool((levels < 0).all())

    def test_serialisable(self, entry, bits: int) -> None:
        x = probabilities()
        first, second = ready(entry.make, bits, x), entry.make(grid(bits), tuple(x.shape))
        second.load_state_dict(first.state_dict())
        assert torch.equal(first(x), second(x))

    def test_differentiable_inside_its_range(self, entry, bits: int) -> None:
        quantizer = ready(entry.make, bits, torch.tensor([0.0, 0.5]))
        x = torch.tensor([0.31, 0.9], requires_grad=True)
        quantizer(x).sum().backward()
        assert 0.999 < float(x.grad[0]) < 2
        assert float(x.grad[1]) == 0

    def test_switched_off_passes_everything(self, entry, bits: int) -> None:
        x = probabilities()
        quantizer = ready(entry.make, bits, x)
        quantizer.enabled = False
        assert quantizer(x) is x

    def test_a_tie_is_where_the_code_changes(self, entry, bits: int) -> None:
        quantizer = ready(entry.make, bits, probabilities().flatten())
        x = torch.linspace(0.02, 0.98, 4001)
        changes = quantizer.codes(x).diff() != 0
        distance = torch.minimum(quantizer.tie_distance(x)[1:], quantizer.tie_distance(x)[:-1])
        assert bool(changes.any())
        assert float(distance[changes].max()) < 0.5
        assert float(distance[changes].mean()) < float(distance[~changes].mean())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_other_grids_and_weights_are_refused(entry) -> None:
    bits = entry.facts.get("bits", (4,))[-1]
    by_channel = Grid(bits, granularity=Granularity("channel", 0))
    for refused in (Grid(16, signed=False), by_channel):
        with pytest.raises(RecipeError, match=f"'{entry.name}' does not serve the grid"):
            entry.make(refused, (4, 4))
    with pytest.raises(RecipeError, match="holds activations only"):
        entry.make(grid(bits), (4, 4)).frozen(torch.ones(4, 4))


class TestLogSqrt2:
    def test_the_levels_of_four_bits(self) -> None:
        levels = LogSqrt2(grid(4), ()).code_levels()
        assert len(levels) == 17
        assert torch.equal(levels[:16].log2(), -torch.arange(16) / 2)
        assert levels[15].item() == pytest.approx(0.00552427, abs=1e-8)
        assert levels[16].item() == 0

    def test_they_are_the_shifts_of_the_paper(self) -> None:
        """2^-⌈q/2⌉, times √2 where q is odd."""
        levels = LogSqrt2(grid(4), ()).code_levels()
        for q, level in enumerate(levels[:-1].tolist()):
            odd = math.sqrt(2) if q % 2 else 1.0
            assert level == pytest.approx(2.0 ** -math.ceil(q / 2) * odd, rel=1e-7)

    def test_what_is_below_the_last_level_is_nothing(self) -> None:
        quantizer = LogSqrt2(grid(4), ())
        x = torch.tensor([0.0, 1e-30, 2**-7.76, 2**-7.74, 1.0, 7.0])
        assert quantizer.codes(x).tolist() == [16, 16, 16, 15, 0, 0]
        assert quantizer(x)[:3].tolist() == [0, 0, 0]

    def test_the_scale_is_the_highest_level(self) -> None:
        quantizer = ready(LogSqrt2, 4, torch.tensor([0.0, 0.6]))
        assert quantizer.code_levels()[0].item() == pytest.approx(0.6)
        assert quantizer(torch.tensor([0.6, 0.31])).tolist() == pytest.approx([0.6, 0.3])

    def test_it_is_closer_to_small_probabilities_than_equal_steps(self) -> None:
        x = probabilities()
        small = (x > 0.01) & (x < 0.05)
        log, even = ready(LogSqrt2, 4, x), ready(QUANTIZERS["uniform"].make, 4, x)
        relative = [float(((q(x) - x)[small] / x[small]).abs().mean()) for q in (log, even)]
        assert relative[0] < 0.5 * relative[1]


class TestTwin:
    @pytest.mark.parametrize("shift", [0, 1, 3, 5, 9])
    @pytest.mark.parametrize("bits", [2, 3, 4, 8])
    def test_each_probability_goes_to_its_nearest_level(self, bits: int, shift: int) -> None:
        x, quantizer = probabilities(), Twin(grid(bits), ())
        quantizer.set_shift(1.0, shift)
        assert quantizer.code_levels()[-1].item() == pytest.approx(1.0)
        distance = (x.flatten()[:, None] - quantizer.code_levels()).abs()
        assert torch.equal((quantizer(x) - x).abs().flatten(), distance.amin(dim=1))

    def test_without_a_shift_it_is_one_uniform_ladder(self) -> None:
        quantizer = Twin(grid(4), ())
        quantizer.set_shift(1.0, 0)
        assert torch.allclose(quantizer.code_levels(), torch.arange(16) / 15)

    def test_no_value_of_the_upper_ladder_carries_the_border(self) -> None:
        """Adding both ladders without a mask would leave a part of the lower one everywhere."""
        quantizer = Twin(grid(4), ())
        quantizer.set_steps(1 / 7 / 8, 1 / 7, negative=False)
        x = torch.tensor([2 / 7, 4 / 7, 1.0])
        assert quantizer(x).tolist() == pytest.approx(x.tolist(), rel=1e-6)
        assert quantizer(torch.tensor([0.05]))[0].item() == pytest.approx(3 / 56)

    def test_the_lower_ladder_is_that_of_the_paper(self) -> None:
        quantizer = Twin(grid(4), ())
        quantizer.set_steps(1 / 64, 1 / 8, negative=False)
        x = torch.linspace(0, 7.49 / 64, 200)
        assert torch.equal(quantizer(x), (x * 64).round() / 64)

    def test_a_gelu_has_its_negative_part_in_steps_of_their_own(self) -> None:
        x = torch.linspace(-4, 4, 100_001)
        y = torch.nn.functional.gelu(x)
        lowest = float(y.min())
        assert lowest == pytest.approx(-0.16997120748, abs=1e-8)
        assert x[y.argmin()].item() == pytest.approx(-0.751791535, abs=1e-3)
        quantizer = ready(Twin, 4, y)
        assert float(quantizer.low_scale) == pytest.approx(-lowest / 8)
        assert float(quantizer.scale) == pytest.approx(float(y.max()) / 7)
        levels = quantizer.code_levels()
        assert levels[0].item() == pytest.approx(lowest)
        assert levels[8].item() == 0
        distance = (y[:, None] - levels).abs().amin(dim=1)
        assert torch.equal((quantizer(y) - y).abs(), distance)

    def test_another_scale_keeps_the_proportion(self) -> None:
        quantizer = ready(Twin, 4, torch.tensor([-0.17, 3.0]))
        before = quantizer.code_levels()
        quantizer.set_affine(quantizer.scale * 2, quantizer.zero_point)
        assert torch.allclose(quantizer.code_levels(), before * 2)


def test_levels_of_their_own_belong_to_one_family() -> None:
    assert {e.make.form for e in ENTRIES} == {"log_sqrt2", "twin", "steps"}
    assert all(issubclass(entry.make, OwnLevels) for entry in ENTRIES)
    assert all(entry.facts["activations_only"] for entry in ENTRIES)
