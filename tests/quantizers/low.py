"""What tests of quantizers with few levels share."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import QUANTIZERS

SIZES = [Granularity(), Granularity("channel", 0), Granularity("group", 1, 4)]
COUNT = 200_000


def normal() -> Tensor:
    """Quantiles of N(0, 1), which stand for the distribution itself; none of them is zero."""
    shares = (torch.arange(COUNT, dtype=torch.float64) + 0.5) / COUNT
    return torch.special.ndtri(shares).float()


def made(name: str, bits: int, w: Tensor, size: Granularity = SIZES[0], **options) -> Quantizer:
    """A quantizer started on a weight."""
    given = QUANTIZERS.parsed(name, options)
    quantizer = QUANTIZERS[name].make(Grid(bits, granularity=size), tuple(w.shape), given)
    quantizer.fit(w, "mse")
    return quantizer


def gradient(quantizer: Quantizer, w: Tensor, upstream: Tensor | None = None) -> list[float]:
    """∂L/∂w for L = Σ upstream ŵ."""
    x = w.clone().requires_grad_()
    y = quantizer(x)
    (y * (1 if upstream is None else upstream)).sum().backward()
    assert x.grad is not None
    return x.grad.flatten().tolist()


@st.composite
def weights(draw: st.DrawFn) -> Tensor:
    """Weights of 3 rows, of any size and spread, with zeros among them."""
    seed, columns = draw(st.integers(0, 2**31)), draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(3, columns, generator=generator) ** draw(st.sampled_from([1, 3]))
    w[torch.rand(w.shape, generator=generator) < draw(st.sampled_from([0.0, 0.5]))] = 0.0
    return w * 10.0 ** draw(st.integers(-4, 3))


def holds(quantizer: Quantizer, w: Tensor) -> None:
    """On its levels, the same as what is exported, and the same again for the mirrored weight."""
    frozen = quantizer.frozen(w)
    value = quantizer(w).detach()
    assert torch.equal(value, frozen.values())
    assert frozen.grid == quantizer.grid
    assert bool((frozen.scale > 0).all())
    assert frozen.codes is not None
    allowed = {"binary": [-1, 1], "ternary": [-1, 0, 1], "odd2": [-3, -1, 1, 3]}
    if quantizer.grid.label:
        assert set(frozen.codes.flatten().tolist()) <= set(allowed[quantizer.grid.label])
    away = w != 0
    assert torch.equal(quantizer(-w).detach()[away], -value[away])
