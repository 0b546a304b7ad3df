"""Matrix products."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.convolution import centred
from workbench.graph.ops.registry import op


@op("MatMul")
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """MatMul-13: numpy's `a @ b`, a (..., m, k), b (..., k, n) to (..., m, n)."""
    return a @ b


@op("Gemm", since=7)
def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """Gemm-13: `alpha A B + beta C`, C broadcast to (m, n)."""
    a = a.T if transA else a
    if alpha == 1.0 and beta == 1.0 and transB and (c is None or c.ndim == 1):
        return F.linear(a, b, c)
    y = a @ (b.T if transB else b)
    y = y if alpha == 1.0 else (alpha * y).to(y.dtype)
    if c is None:
        return y
    return y + (c if beta == 1.0 else (beta * c).to(y.dtype))


@op("Einsum", since=12)
def einsum(*inputs: Tensor, equation: str) -> Tensor:
    """Einsum-28: numpy's notation, upper and lower case letters and the ellipsis."""
    return torch.einsum(equation.replace(" ", ""), *inputs)


@op("MatMulInteger", since=10)
def matmul_integer(
    a: Tensor,
    b: Tensor,
    a_zero_point: Tensor | None = None,
    b_zero_point: Tensor | None = None,
) -> Tensor:
    """MatMulInteger-10: exact int32 sums of (a - za)(b - zb), computed in float64."""
    left = centred(a, a_zero_point, axis=max(a.ndim - 2, 0))
    right = centred(b, b_zero_point, axis=b.ndim - 1)
    return (left @ right).to(torch.int32)


@op("Det", since=11)
def det(x: Tensor) -> Tensor:
    """Det-22: determinant over the last two axes, (..., m, m) to (...)."""
    return torch.linalg.det(x)
