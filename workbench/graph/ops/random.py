"""Operators that draw at random.

With a `seed` every call draws the same values, those of torch's generator; without one they follow
torch's global generator. Other runtimes draw other values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.ops.registry import op


def _generator(seed: float | None, device: torch.device | str = "cpu") -> torch.Generator | None:
    if seed is None:
        return None
    return torch.Generator(device).manual_seed(int.from_bytes(_bits(seed), "little"))


def _bits(seed: float) -> bytes:
    """Seeds are floats in ONNX; their bits keep 0.1 and 0.2 apart."""
    return torch.tensor(seed, dtype=torch.float32).numpy().tobytes()


@op("RandomNormal")
def random_normal(
    *,
    shape: Sequence[int],
    dtype: int = 1,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
) -> Tensor:
    """RandomNormal-22: normal, of given mean and standard deviation."""
    noise = torch.randn(list(shape), generator=_generator(seed))
    return (noise * scale + mean).to(torch_dtype(dtype))


@op("RandomNormalLike")
def random_normal_like(
    x: Tensor,
    *,
    dtype: int | None = None,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
) -> Tensor:
    """RandomNormalLike-22: as RandomNormal, in the shape and type of `x`."""
    noise = torch.randn(x.shape, generator=_generator(seed, x.device), device=x.device)
    return (noise * scale + mean).to(x.dtype if dtype is None else torch_dtype(dtype))


@op("RandomUniform")
def random_uniform(
    *,
    shape: Sequence[int],
    dtype: int = 1,
    high: float = 1.0,
    low: float = 0.0,
    seed: float | None = None,
) -> Tensor:
    """RandomUniform-22: uniform between `low` and `high`."""
    noise = torch.rand(list(shape), generator=_generator(seed))
    return (noise * (high - low) + low).to(torch_dtype(dtype))


@op("RandomUniformLike")
def random_uniform_like(
    x: Tensor,
    *,
    dtype: int | None = None,
    high: float = 1.0,
    low: float = 0.0,
    seed: float | None = None,
) -> Tensor:
    """RandomUniformLike-22: as RandomUniform, in the shape and type of `x`."""
    noise = torch.rand(x.shape, generator=_generator(seed, x.device), device=x.device)
    return (noise * (high - low) + low).to(x.dtype if dtype is None else torch_dtype(dtype))


@op("Bernoulli", since=15)
def bernoulli(x: Tensor, *, dtype: int | None = None, seed: float | None = None) -> Tensor:
    """Bernoulli-22: one with probability `x`, else zero."""
    noise = torch.rand(x.shape, generator=_generator(seed, x.device), device=x.device)
    return (noise < x).to(x.dtype if dtype is None else torch_dtype(dtype))


@op("Multinomial", since=7)
def multinomial(
    x: Tensor, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None
) -> Tensor:
    """Multinomial-22: classes drawn from logits (N, classes), with replacement: (N, samples)."""
    generator = _generator(seed, x.device)
    drawn = torch.multinomial(x.float().softmax(-1), sample_size, True, generator=generator)
    return drawn.to(torch_dtype(dtype))
