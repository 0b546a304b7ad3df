"""Activation functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.common import number
from workbench.graph.ops.registry import op


@op("Relu")
def relu(x: Tensor) -> Tensor:
    """Relu-14."""
    return torch.relu(x)


@op("LeakyRelu")
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """LeakyRelu-16."""
    return F.leaky_relu(x, alpha)


@op("PRelu", since=7)
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """PRelu-16: `x` where x >= 0, `slope x` elsewhere; slope broadcasts one way."""
    return torch.where(x < 0, x * slope, x)


@op("Elu")
def elu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Elu-22."""
    return F.elu(x, alpha)


@op("Celu", since=12)
def celu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Celu-28."""
    return F.celu(x, alpha)


@op("Selu")
def selu(
    x: Tensor,
    *,
    alpha: float = 1.67326319217681884765625,
    gamma: float = 1.05070102214813232421875,
) -> Tensor:
    """Selu-22: `gamma (alpha e^x - alpha)` below zero, `gamma x` above."""
    return gamma * F.elu(x, alpha)


@op("ThresholdedRelu", since=10)
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """ThresholdedRelu-22: `x` above alpha, else 0."""
    return torch.where(x > alpha, x, torch.zeros_like(x))


@op("Sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    """Sigmoid-13."""
    return torch.sigmoid(x)


@op("HardSigmoid")
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """HardSigmoid-22: `clip(alpha x + beta, 0, 1)`."""
    return (alpha * x + beta).clamp(0, 1)


@op("HardSwish", since=14)
def hard_swish(x: Tensor) -> Tensor:
    """HardSwish-22: `x clip(x / 6 + 1/2, 0, 1)`."""
    return F.hardswish(x)


@op("Swish", since=24)
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Swish-24: `x sigmoid(alpha x)`."""
    return x * torch.sigmoid(alpha * x)


@op("SwiGLU", since=28)
def swiglu(a: Tensor, b: Tensor, *, alpha: float = 1.0) -> Tensor:
    """SwiGLU-28: `a sigmoid(alpha a) b`."""
    return a * torch.sigmoid(alpha * a) * b


@op("Mish", since=18)
def mish(x: Tensor) -> Tensor:
    """Mish-22: `x tanh(softplus(x))`."""
    return F.mish(x)


@op("Tanh")
def tanh(x: Tensor) -> Tensor:
    """Tanh-13."""
    return torch.tanh(x)


@op("Softplus")
def softplus(x: Tensor) -> Tensor:
    """Softplus-22: `log(1 + e^x)`."""
    return F.softplus(x)


@op("Softsign")
def softsign(x: Tensor) -> Tensor:
    """Softsign-22: `x / (1 + |x|)`."""
    return F.softsign(x)


@op("Gelu", since=20)
def gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    """Gelu-20: exact, or the tanh approximation."""
    return F.gelu(x, approximate=approximate)


@op("Gelu", domain="com.microsoft")
def microsoft_gelu(x: Tensor) -> Tensor:
    """Gelu of ONNX Runtime's own domain: the exact form."""
    return F.gelu(x)


@op("QuickGelu", domain="com.microsoft")
def quick_gelu(x: Tensor, *, alpha: float = 1.702) -> Tensor:
    """QuickGelu of ONNX Runtime's own domain: `x sigmoid(alpha x)`."""
    return x * torch.sigmoid(alpha * x)


@op("Shrink", since=9)
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """Shrink-9: moves values outside [-lambd, lambd] by `bias` towards zero, the rest to zero."""
    moved = torch.where(x < -lambd, x + bias, x - bias)
    return torch.where(x.abs() > lambd, moved, torch.zeros_like(x)).to(x.dtype)


@op("Softmax", since=1)
def softmax_flat(x: Tensor, *, axis: int = 1) -> Tensor:
    """Softmax-11: over all axes from `axis` on, seen as one."""
    return _flat(x, axis).softmax(-1).reshape(x.shape)


@op("Softmax", since=13)
def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Softmax-13: over one axis."""
    return torch.softmax(x, axis)


@op("LogSoftmax", since=1)
def log_softmax_flat(x: Tensor, *, axis: int = 1) -> Tensor:
    """LogSoftmax-11: over all axes from `axis` on, seen as one."""
    return _flat(x, axis).log_softmax(-1).reshape(x.shape)


@op("LogSoftmax", since=13)
def log_softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """LogSoftmax-13: over one axis."""
    return torch.log_softmax(x, axis)


def _flat(x: Tensor, axis: int) -> Tensor:
    axis = axis + x.ndim if axis < 0 else axis
    return x.flatten(axis) if axis < x.ndim else x.unsqueeze(-1)


@op("Hardmax", since=1)
def hardmax_flat(x: Tensor, *, axis: int = 1) -> Tensor:
    """Hardmax-11: one at the first maximum over all axes from `axis` on, seen as one."""
    return hardmax(_flat(x, axis)).reshape(x.shape)


@op("Hardmax", since=13)
def hardmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Hardmax-13: one at the first maximum along `axis`, zero elsewhere."""
    first = x.argmax(axis, keepdim=True)
    return torch.zeros_like(x).scatter(axis, first, 1)


@op("Clip", host=("min", "max"))
def clip(x: Tensor, min: Tensor | float | None = None, max: Tensor | float | None = None) -> Tensor:
    """Clip-13: attributes before opset 11, scalar inputs after; the upper bound wins."""
    low = None if min is None else number(min)
    high = None if max is None else number(max)
    if low is None and high is None:
        return x
    return x.clamp(low, high)
