"""Normalizations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.common import along
from workbench.graph.ops.registry import op, pick


def _no_training(attributes: Mapping[str, Any]) -> str | None:
    if attributes.get("training_mode"):
        return "training mode is on; export the model in evaluation mode"
    return None


@op("BatchNormalization", since=7, fixed=("mean", "var"), refuse=_no_training)
def batch_normalization(
    x: Tensor,
    scale: Tensor,
    b: Tensor,
    mean: Tensor,
    var: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> Tensor:
    """BatchNormalization-15 at inference, axis 1: `scale (x - mean) / sqrt(var + epsilon) + b`."""
    return F.batch_norm(x, mean, var, scale, b, False, 0.0, epsilon)


@op("LayerNormalization", since=17)
def layer_normalization(
    x: Tensor,
    scale: Tensor,
    b: Tensor | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    n_outputs: int = 1,
) -> Any:
    """LayerNormalization-17: over the axes from `axis` on; may also give mean and 1 / deviation."""
    axis = axis + x.ndim if axis < 0 else axis
    shape = x.shape[axis:]
    if n_outputs == 1 and scale.shape == shape:
        return F.layer_norm(x, shape, scale, b, epsilon)
    dims = list(range(axis, x.ndim))
    wide = x.float() if x.dtype != torch.float64 else x
    mean = wide.mean(dims, keepdim=True)
    inverse = (wide - mean).square().mean(dims, keepdim=True).add(epsilon).rsqrt()
    y = ((wide - mean) * inverse).to(x.dtype) * scale
    return pick((y if b is None else y + b, mean, inverse), n_outputs)


@op("RMSNormalization", since=23)
def rms_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """RMSNormalization-23: `x / sqrt(mean(x^2) + epsilon) * scale` over the axes from `axis` on."""
    axis = axis + x.ndim if axis < 0 else axis
    wide = x.float() if x.dtype != torch.float64 else x
    square = wide.square().mean(list(range(axis, x.ndim)), keepdim=True)
    return (wide * (square + epsilon).rsqrt()).to(x.dtype) * scale


@op("InstanceNormalization", since=6)
def instance_normalization(x: Tensor, scale: Tensor, b: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    """InstanceNormalization-22: each channel of each sample over its spatial axes."""
    dims = list(range(2, x.ndim))
    mean = x.mean(dims, keepdim=True)
    var = (x - mean).square().mean(dims, keepdim=True)
    normal = (x - mean) * (var + epsilon).rsqrt()
    return normal * along(scale, 1, x.ndim) + along(b, 1, x.ndim)


@op("GroupNormalization", since=18)
def group_normalization_by_group(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    """GroupNormalization-18: scale and bias (num_groups,)."""
    repeats = x.shape[1] // num_groups
    wide_scale, wide_bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
    return F.group_norm(x, num_groups, wide_scale, wide_bias, epsilon)


@op("GroupNormalization", since=21)
def group_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    """GroupNormalization-21: scale and bias (C,)."""
    return F.group_norm(x, num_groups, scale, bias, epsilon)


@op("LpNormalization")
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """LpNormalization-22: divided by its p-norm along `axis`; zero where the norm is zero."""
    norm = x.norm(p, axis, keepdim=True)
    return torch.where(norm == 0, torch.zeros_like(x), x / norm)


@op("MeanVarianceNormalization", since=9)
def mean_variance_normalization(x: Tensor, *, axes: Sequence[int] = (0, 2, 3)) -> Tensor:
    """MeanVarianceNormalization-13: `(x - mean) / deviation` over `axes`."""
    mean = x.mean(list(axes), keepdim=True)
    deviation = (x.square().mean(list(axes), keepdim=True) - mean.square()).sqrt()
    return (x - mean) / (deviation + 1e-9)


@op("LRN")
def lrn(
    x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Tensor:
    """LRN-13: local response over `size` neighbouring channels."""
    before = (size - 1) // 2
    squares = x.square().movedim(1, -1)
    padded = F.pad(squares, (before, size - 1 - before))
    sums = padded.unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    return x / (bias + alpha / size * sums) ** beta
