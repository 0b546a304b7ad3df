"""Attention and rotary embedding as single operators (opset 23)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.common import aligned
from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.ops.registry import op, pick


def _heads(x: Tensor, heads: int) -> Tensor:
    """(N, L, heads d) as (N, heads, L, d); 4-D stays."""
    return x if x.ndim == 4 else x.unflatten(-1, (heads, -1)).transpose(1, 2)


@op("Attention", since=23)
def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    nonpad_kv_seqlen: Tensor | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int = 0,
    q_num_heads: int = 0,
    qk_matmul_output_mode: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
    softmax_precision: int = 0,
    left_window_size: int = -1,
    right_window_size: int = -1,
    n_outputs: int = 1,
) -> Any:
    """Attention-25: `softmax(cap(q kᵀ scale) + mask) v`, q (N, heads, L, d) or (N, L, heads d).

    Key heads are repeated where there are fewer of them than query heads. A query that may look at
    nothing gives zeros. Outputs: Y, present key, present value, scores.
    """
    flat = q.ndim == 3
    q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    past = 0 if past_key is None else past_key.shape[2]
    if past_key is not None and past_value is not None:
        k, v = torch.cat((past_key, k), 2), torch.cat((past_value, v), 2)
    repeats = q.shape[1] // k.shape[1]
    keys, values = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    root = (scale if scale is not None else q.shape[-1] ** -0.5) ** 0.5
    scores = (q * root) @ (keys * root).transpose(-1, -2)  # (N, heads, L, past + S)
    capped = softcap * torch.tanh(scores / softcap) if softcap else scores
    right = 0 if is_causal else right_window_size
    allowed = _allowed(scores, nonpad_kv_seqlen, past, left_window_size, right)
    masked = _masked(capped, attn_mask, allowed)
    weights = _softmax(masked, softmax_precision)
    y = weights @ values
    seen = (scores, capped, masked, weights)[qk_matmul_output_mode]
    return pick((y.transpose(1, 2).flatten(2) if flat else y, k, v, seen), n_outputs)


def _allowed(scores: Tensor, lens: Tensor | None, past: int, left: int, right: int) -> Tensor:
    """Which keys each query may look at, by position: broadcastable to the scores.

    Query i stands at `i + offset`, the offset being the keys that came before; a window of -1 is
    open to its side.
    """
    rows, columns = scores.shape[-2:]
    key = torch.arange(columns, device=scores.device)
    query = torch.arange(rows, device=scores.device).unsqueeze(1) + past
    allowed = torch.ones(rows, columns, dtype=torch.bool, device=scores.device)
    if lens is not None:
        valid = lens.to(scores.device).reshape(-1, 1, 1, 1)
        query = query + valid - rows
        allowed = allowed & (key < valid)
    if right >= 0:
        allowed = allowed & (key <= query + right)
    return allowed & (key >= query - left) if left >= 0 else allowed


def _masked(scores: Tensor, mask: Tensor | None, allowed: Tensor) -> Tensor:
    """Scores with the mask added, and minus infinity where a query may not look."""
    minus = float("-inf")
    if mask is not None:
        mask, scores = aligned(mask, scores)
        missing = scores.shape[-1] - mask.shape[-1]
        if mask.dtype == torch.bool:
            allowed = allowed & F.pad(mask, (0, missing), value=False)
        else:
            scores = scores + F.pad(mask, (0, missing), value=minus)
    return scores.masked_fill(~allowed, minus)


def _softmax(scores: Tensor, precision: int) -> Tensor:
    """Softmax over keys; a row of minus infinities gives zeros."""
    wide = scores.to(torch_dtype(precision)) if precision else scores
    nothing = (wide == float("-inf")).all(-1, keepdim=True)
    return wide.masked_fill(nothing, 0).softmax(-1).masked_fill(nothing, 0).to(scores.dtype)


@op("RotaryEmbedding", since=23)
def rotary_embedding(
    x: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    position_ids: Tensor | None = None,
    *,
    interleaved: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
) -> Tensor:
    """RotaryEmbedding-23: the first `rotary_embedding_dim` features of each head turned in pairs.

    x is (N, heads, L, d) or (N, L, heads d); caches are (positions, d / 2), or
    (N, L, d / 2) without ids.
    """
    heads = _heads(x, num_heads)
    if position_ids is not None:
        cos_cache, sin_cache = cos_cache[position_ids], sin_cache[position_ids]
    width = rotary_embedding_dim or heads.shape[-1]
    turned, kept = heads[..., :width], heads[..., width:]
    cos, sin = (t[..., : width // 2].unsqueeze(1) for t in (cos_cache, sin_cache))
    if interleaved:
        a, b = turned[..., 0::2], turned[..., 1::2]
    else:
        a, b = turned.chunk(2, -1)
    pair = (a * cos - b * sin, a * sin + b * cos)
    joined = torch.stack(pair, -1).flatten(-2) if interleaved else torch.cat(pair, -1)
    y = torch.cat((joined, kept), -1)
    return y if x.ndim == 4 else y.transpose(1, 2).flatten(2)
