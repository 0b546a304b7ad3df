"""Arithmetic, element by element, with numpy's broadcasting."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from workbench.graph.ops.common import aligned, ints, widened
from workbench.graph.ops.dtypes import integer_range, is_sub_byte, onnx_code, torch_dtype
from workbench.graph.ops.narrow import narrowed
from workbench.graph.ops.registry import op

Binary = Callable[[Tensor, Tensor], Tensor]


def binary(function: Binary, a: Tensor, b: Tensor) -> Tensor:
    """`function(a, b)` on one device, in the type of `a`."""
    a, b = aligned(a, b)
    wide = widened(a)
    y = function(wide, widened(b))
    return y if wide is a else y.to(a.dtype)


@op("Add", since=7)
def add(a: Tensor, b: Tensor) -> Tensor:
    """Add-14."""
    return binary(torch.add, a, b)


@op("Sub", since=7)
def sub(a: Tensor, b: Tensor) -> Tensor:
    """Sub-14."""
    return binary(torch.sub, a, b)


@op("Mul", since=7)
def mul(a: Tensor, b: Tensor) -> Tensor:
    """Mul-14."""
    return binary(torch.mul, a, b)


@op("Div", since=7)
def div(a: Tensor, b: Tensor) -> Tensor:
    """Div-14: integers are divided towards zero."""
    rounding = None if a.is_floating_point() or a.is_complex() else "trunc"
    return binary(functools.partial(torch.div, rounding_mode=rounding), a, b)


@op("Mod", since=10)
def mod(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """Mod-28: the sign of the divisor, or with `fmod` that of the dividend (as in C)."""
    return binary(torch.fmod if fmod else torch.remainder, a, b)


@op("Pow", since=7)
def power(a: Tensor, b: Tensor) -> Tensor:
    """Pow-15: the result has the type of the base."""
    a, b = aligned(a, b)
    return torch.pow(widened(a), widened(b)).to(a.dtype)


@op("BitShift", since=11)
def bit_shift(a: Tensor, b: Tensor, *, direction: str) -> Tensor:
    """BitShift-28: unsigned integers, LEFT or RIGHT."""
    shift = torch.bitwise_left_shift if direction == "LEFT" else torch.bitwise_right_shift
    return binary(shift, a, b)


def _fold(function: Binary, tensors: tuple[Tensor, ...]) -> Tensor:
    return functools.reduce(lambda a, b: binary(function, a, b), tensors)


@op("Max", since=6)
def maximum(*tensors: Tensor) -> Tensor:
    """Max-13: of any number of tensors, broadcast."""
    return _fold(torch.maximum, tensors)


@op("Min", since=6)
def minimum(*tensors: Tensor) -> Tensor:
    """Min-13: of any number of tensors, broadcast."""
    return _fold(torch.minimum, tensors)


@op("Sum", since=6)
def total(*tensors: Tensor) -> Tensor:
    """Sum-13: of any number of tensors, broadcast."""
    return _fold(torch.add, tensors)


@op("Mean", since=6)
def mean(*tensors: Tensor) -> Tensor:
    """Mean-13: of any number of tensors, broadcast."""
    return _fold(torch.add, tensors) / len(tensors)


@op("Neg")
def neg(x: Tensor) -> Tensor:
    """Neg-13."""
    return -x


@op("Abs")
def absolute(x: Tensor) -> Tensor:
    """Abs-13."""
    return x if x.dtype == torch.uint8 else widened(x).abs().to(x.dtype)


@op("Sign", since=9)
def sign(x: Tensor) -> Tensor:
    """Sign-13."""
    return widened(x).sign().to(x.dtype)


@op("Sqrt")
def sqrt(x: Tensor) -> Tensor:
    """Sqrt-13."""
    return x.sqrt()


@op("Reciprocal")
def reciprocal(x: Tensor) -> Tensor:
    """Reciprocal-13."""
    return x.reciprocal()


@op("Exp")
def exp(x: Tensor) -> Tensor:
    """Exp-13."""
    return x.exp()


@op("Log")
def log(x: Tensor) -> Tensor:
    """Log-13: natural logarithm."""
    return x.log()


@op("Erf", since=9)
def erf(x: Tensor) -> Tensor:
    """Erf-13."""
    return torch.erf(x)


@op("Floor")
def floor(x: Tensor) -> Tensor:
    """Floor-13."""
    return x.floor()


@op("Ceil")
def ceil(x: Tensor) -> Tensor:
    """Ceil-13."""
    return x.ceil()


@op("Round", since=11)
def round_half_even(x: Tensor) -> Tensor:
    """Round-22: halves go to the even neighbour."""
    return x.round()


@op("Sin", since=7)
def sin(x: Tensor) -> Tensor:
    """Sin-22."""
    return x.sin()


@op("Cos", since=7)
def cos(x: Tensor) -> Tensor:
    """Cos-22."""
    return x.cos()


@op("Tan", since=7)
def tan(x: Tensor) -> Tensor:
    """Tan-22."""
    return x.tan()


@op("Asin", since=7)
def asin(x: Tensor) -> Tensor:
    """Asin-22."""
    return x.asin()


@op("Acos", since=7)
def acos(x: Tensor) -> Tensor:
    """Acos-22."""
    return x.acos()


@op("Atan", since=7)
def atan(x: Tensor) -> Tensor:
    """Atan-22."""
    return x.atan()


@op("Sinh", since=9)
def sinh(x: Tensor) -> Tensor:
    """Sinh-22."""
    return x.sinh()


@op("Cosh", since=9)
def cosh(x: Tensor) -> Tensor:
    """Cosh-22."""
    return x.cosh()


@op("Asinh", since=9)
def asinh(x: Tensor) -> Tensor:
    """Asinh-22."""
    return x.asinh()


@op("Acosh", since=9)
def acosh(x: Tensor) -> Tensor:
    """Acosh-22."""
    return x.acosh()


@op("Atanh", since=9)
def atanh(x: Tensor) -> Tensor:
    """Atanh-22."""
    return x.atanh()


@op("CumSum", since=11, host=("axis",))
def cumsum(
    x: Tensor, axis: Tensor | list[int] | int, *, exclusive: int = 0, reverse: int = 0
) -> Tensor:
    """CumSum-14: running sums along `axis`; `exclusive` leaves the element itself out."""
    dim = ints(axis)[0]
    x = x.flip(dim) if reverse else x
    y = x.cumsum(dim).to(x.dtype)
    y = y - x if exclusive else y
    return y.flip(dim) if reverse else y


@op("CumProd", since=26, host=("axis",))
def cumprod(
    x: Tensor, axis: Tensor | list[int] | int, *, exclusive: int = 0, reverse: int = 0
) -> Tensor:
    """CumProd-26: running products along `axis`; `exclusive` leaves the element itself out."""
    dim = ints(axis)[0]
    y = x.flip(dim) if reverse else x
    if exclusive:
        y = torch.cat((torch.ones_like(y.narrow(dim, 0, 1)), y), dim).narrow(dim, 0, x.shape[dim])
    y = y.cumprod(dim).to(x.dtype)
    return y.flip(dim) if reverse else y


@op("BitCast", since=26)
def bitcast(x: Tensor, *, to: int) -> Tensor:
    """BitCast-26: the same bits as another type of the same width."""
    return x.contiguous().view(torch_dtype(to))


@op("Cast", since=6)
def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """Cast-28: float to integer drops the fraction; sub-byte integers wrap; float8 saturates."""
    dtype = torch_dtype(to)
    if dtype.is_floating_point and dtype.itemsize == 1:
        return narrowed(x, to, bool(saturate), round_mode)
    if is_sub_byte(to):
        return _wrapped(x.to(torch.int64), *integer_range(to)).to(dtype)
    return x.to(dtype)


def _wrapped(x: Tensor, low: int, high: int) -> Tensor:
    return (x - low).remainder(high - low + 1) + low


@op("CastLike", since=15)
def cast_like(
    x: Tensor, like: Tensor, *, to: int = 0, saturate: int = 1, round_mode: str = "up"
) -> Tensor:
    """CastLike-25: to the type of `like`, which is `to` where torch cannot tell."""
    code = to or onnx_code(like.dtype)
    return cast(x, to=code, saturate=saturate, round_mode=round_mode)


@op("Identity")
def identity(x: Tensor) -> Tensor:
    """Identity-25."""
    return x


@op("IsNaN", since=9)
def isnan(x: Tensor) -> Tensor:
    """IsNaN-20."""
    return x.float().isnan() if x.dtype.itemsize == 1 else x.isnan()


@op("IsInf", since=10)
def isinf(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """IsInf-20: either sign, or only one."""
    x = x.float() if x.dtype.itemsize == 1 else x
    wanted = ([math.inf] if detect_positive else []) + ([-math.inf] if detect_negative else [])
    found = torch.zeros_like(x, dtype=torch.bool)
    for value in wanted:
        found = found | (x == value)
    return found
