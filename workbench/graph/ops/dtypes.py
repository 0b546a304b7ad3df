"""ONNX element types as torch types; those below a byte are held in a whole one."""

from __future__ import annotations

import torch

from workbench.foundation.errors import OperatorError

FLOAT8 = frozenset({17, 18, 19, 20})
FLOAT4 = 23  # held in float8 e4m3, which has all of its values
EXPONENT = 24  # float8 e8m0: powers of two

_TORCH = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    4: torch.uint16,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    12: torch.uint32,
    13: torch.uint64,
    14: torch.complex64,
    15: torch.complex128,
    16: torch.bfloat16,
    17: torch.float8_e4m3fn,
    18: torch.float8_e4m3fnuz,
    19: torch.float8_e5m2,
    20: torch.float8_e5m2fnuz,
    21: torch.uint8,
    22: torch.int8,
    FLOAT4: torch.float8_e4m3fn,
    EXPONENT: torch.float8_e8m0fnu,
    25: torch.uint8,
    26: torch.int8,
}

_RANGES = {
    2: (0, 255),
    3: (-128, 127),
    4: (0, 65535),
    5: (-32768, 32767),
    21: (0, 15),
    22: (-8, 7),
    25: (0, 3),
    26: (-2, 1),
}

_BY_TORCH = {dtype: code for code, dtype in reversed(_TORCH.items())}


def torch_dtype(code: int) -> torch.dtype:
    """The torch type of an ONNX element type number, or `OperatorError`."""
    if code not in _TORCH:
        raise OperatorError(
            f"element type '{code}' has no torch equivalent; cast it to float32 before export"
        )
    return _TORCH[code]


def onnx_code(dtype: torch.dtype) -> int:
    """The ONNX element type number of a torch type (the whole-byte one of several)."""
    return _BY_TORCH[dtype]


def integer_range(code: int) -> tuple[int, int]:
    """Smallest and largest value of a quantized ONNX integer type, or `OperatorError`."""
    if code not in _RANGES:
        raise OperatorError(f"element type '{code}' is no quantized integer; use int8 or uint8")
    return _RANGES[code]


def is_sub_byte(code: int) -> bool:
    """Whether torch holds the type in a wider container."""
    return code in (21, 22, FLOAT4, 25, 26)
