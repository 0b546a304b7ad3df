"""ONNX Runtime's fused operators (domain com.microsoft), as its optimizer writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.activation import hard_sigmoid, quick_gelu
from workbench.graph.ops.common import ints, resolved
from workbench.graph.ops.convolution import conv
from workbench.graph.ops.indexing import gather_nd
from workbench.graph.ops.linear import gemm
from workbench.graph.ops.normalization import rms_normalization
from workbench.graph.ops.registry import op, pick
from workbench.graph.ops.shape import pad, trilu, unsqueeze

DOMAIN = "com.microsoft"

# Activation by name, called with the parameters that the fused node carries, in ONNX's order.
_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "": lambda x: x,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
    "LeakyRelu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "Clip": lambda x, low=-3.4e38, high=3.4e38: x.clamp(low, high),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: hard_sigmoid(x, alpha=alpha, beta=beta),
    "HardSwish": F.hardswish,
    "QuickGelu": lambda x, alpha=1.702: quick_gelu(x, alpha=alpha),
    "Gelu": F.gelu,
}


def _refuse(attributes: Any) -> str | None:
    name = attributes.get("activation", "")
    if name in _ACTIVATIONS:
        return None
    return f"activation '{name}' is not known; use one of {', '.join(filter(None, _ACTIVATIONS))}"


@op("FastGelu", domain=DOMAIN)
def fast_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """FastGelu-1: the tanh approximation of `x + bias`."""
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@op("BiasGelu", domain=DOMAIN)
def bias_gelu(a: Tensor, b: Tensor) -> Tensor:
    """BiasGelu-1: the exact form of `a + b`."""
    return F.gelu(a + b)


@op("FusedConv", domain=DOMAIN, refuse=_refuse)
def fused_conv(
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    z: Tensor | None = None,
    *,
    activation: str = "",
    activation_params: Sequence[float] = (),
    auto_pad: str = "NOTSET",
    dilations: Sequence[int] | None = None,
    group: int = 1,
    kernel_shape: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """FusedConv-1: `activation(Conv(x, w, b) + z)`."""
    y = conv(
        x,
        w,
        b,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        pads=pads,
        strides=strides,
    )
    return _ACTIVATIONS[activation](y if z is None else y + z, *activation_params)


@op("FusedGemm", domain=DOMAIN, refuse=_refuse)
def fused_gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    activation: str = "",
    activation_alpha: float | None = None,
    activation_beta: float | None = None,
    activation_gamma: float | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    """FusedGemm-1: `activation(alpha A B + beta C)`."""
    y = gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    given = (activation_alpha, activation_beta, activation_gamma)
    return _ACTIVATIONS[activation](y, *(value for value in given if value is not None))


@op("FusedMatMul", domain=DOMAIN)
@op("TransposeMatMul", domain=DOMAIN)
def fused_matmul(
    a: Tensor,
    b: Tensor,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Tensor:
    """FusedMatMul-1: `alpha A B`, either one transposed.

    `transBatch` says that the matrix's first axis (after `trans`: its second) stands before the
    batch axes.
    """
    y = _operand(a, transA, transBatchA) @ _operand(b, transB, transBatchB)
    return y if alpha == 1.0 else alpha * y


def _operand(x: Tensor, transposed: int, batch: int) -> Tensor:
    x = x.movedim(0, -2) if batch else x
    return x.transpose(-1, -2) if transposed and x.ndim > 1 else x


@op("SimplifiedLayerNormalization")
def simplified_layer_normalization(
    x: Tensor, scale: Tensor, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Tensor:
    """SimplifiedLayerNormalization-1, which ONNX Runtime keeps in ONNX's own domain."""
    return rms_normalization(x, scale, axis=axis, epsilon=epsilon)


@op("SkipLayerNormalization", domain=DOMAIN)
def skip_layer_normalization(
    x: Tensor,
    skip: Tensor,
    gamma: Tensor,
    beta: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
    n_outputs: int = 1,
) -> Any:
    """SkipLayerNormalization-1: of `x + skip + bias`; outputs Y, -, -, the sum."""
    total = x + skip if bias is None else x + skip + bias
    y = F.layer_norm(total, gamma.shape, gamma, beta, epsilon)
    return pick((y, None, None, total), n_outputs)


@op("SkipSimplifiedLayerNormalization", domain=DOMAIN)
def skip_simplified_layer_normalization(
    x: Tensor,
    skip: Tensor,
    gamma: Tensor,
    bias: Tensor | None = None,
    *,
    epsilon: float = 1e-5,
    n_outputs: int = 1,
) -> Any:
    """SkipSimplifiedLayerNormalization-1: root mean square, without a mean; outputs as above."""
    total = x + skip if bias is None else x + skip + bias
    return pick((rms_normalization(total, gamma, epsilon=epsilon), None, None, total), n_outputs)


@op("EmbedLayerNormalization", domain=DOMAIN)
def embed_layer_normalization(
    input_ids: Tensor,
    segment_ids: Tensor | None,
    word_embedding: Tensor,
    position_embedding: Tensor,
    segment_embedding: Tensor | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    *,
    epsilon: float = 1e-12,
    mask_index_type: int = 0,
    n_outputs: int = 1,
) -> Any:
    """EmbedLayerNormalization-1: of word + position + segment embeddings, ids (N, L).

    Outputs: Y (N, L, H), how many tokens the mask lets through (N,), the sum.
    """
    assert gamma is not None
    assert beta is not None
    n, length = input_ids.shape
    places = torch.arange(length, device=input_ids.device).expand(n, -1)
    places = places if position_ids is None else position_ids.expand(n, -1)
    total = F.embedding(input_ids, word_embedding) + F.embedding(places, position_embedding)
    if segment_ids is not None and segment_embedding is not None:
        total = total + F.embedding(segment_ids, segment_embedding)
    y = F.layer_norm(total, gamma.shape, gamma, beta, epsilon)
    counts = torch.zeros(n) if mask is None else mask.sum(1)
    return pick((y, counts.to(torch.int32), total), n_outputs)


@op("Inverse", domain=DOMAIN)
def inverse(x: Tensor) -> Tensor:
    """Inverse-1: of square matrices in the last two axes."""
    return torch.linalg.inv(x)


@op("ExpandDims", domain=DOMAIN, host=("axis",))
def expand_dims(x: Tensor, axis: Tensor | Sequence[int] | int) -> Tensor:
    """ExpandDims-1: one new axis; a negative one counts from behind the last."""
    return unsqueeze(x, resolved(ints(axis), x.ndim + 1))


@op("CDist", domain=DOMAIN)
def cdist(a: Tensor, b: Tensor, *, metric: str = "sqeuclidean") -> Tensor:
    """CDist-1: distance of each row of a (m, k) to each of b (n, k), euclidean or squared."""
    squares = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(-1)
    return squares.sqrt() if metric == "euclidean" else squares


op("Trilu", domain=DOMAIN, host=("k",))(trilu)
op("GatherND", domain=DOMAIN)(gather_nd)
op("Pad", domain=DOMAIN, host=("pads", "value"))(pad)
