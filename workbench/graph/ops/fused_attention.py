"""ONNX Runtime's attention operators (domain com.microsoft).

N samples, L queries, S keys, P keys of the past, T = P + S keys in all, heads of width d.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.graph.ops.attention import rotary_embedding as rotate
from workbench.graph.ops.common import ints
from workbench.graph.ops.convolution import centred
from workbench.graph.ops.registry import op, pick

DOMAIN = "com.microsoft"


def _no_rotary(attributes: Mapping[str, Any]) -> str | None:
    if attributes.get("do_rotary"):
        return "do_rotary is not supported here; export RotaryEmbedding as a node of its own"
    if attributes.get("past_present_share_buffer"):
        return "past_present_share_buffer is not supported; export a past of its own size"
    return None


def _split(x: Tensor, heads: int) -> Tensor:
    """(N, L, heads d) as (N, heads, L, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _attend(
    q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, scale: float | None, causal: int
) -> Tensor:
    """`softmax(q kᵀ scale + added) v` as (N, L, heads d); queries are the last of the keys."""
    scores = (q @ k.transpose(-1, -2)) * (scale or q.shape[-1] ** -0.5)
    scores = scores if added is None else scores + added
    if causal:
        rows, columns = scores.shape[-2:]
        seen = torch.ones(rows, columns, dtype=torch.bool, device=q.device)
        scores = scores.masked_fill(~seen.tril(columns - rows), torch.finfo(scores.dtype).min)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def _padding(mask: Tensor | None, total: int, batch: int, value: float) -> Tensor | None:
    """A padding mask as what is added to the scores, `value` where a key is left out.

    Forms: (N,) lengths; (2 N,) ends, then starts; (N, T) or (N, L, T), nonzero where seen.
    """
    if mask is None:
        return None
    if mask.ndim == 1:
        key = torch.arange(total, device=mask.device)
        seen = key < mask[:batch].unsqueeze(1)
        if len(mask) == 2 * batch:
            seen = seen & (key >= mask[batch:].unsqueeze(1))
    else:
        seen = mask != 0
    seen = seen.unsqueeze(1) if seen.ndim == 3 else seen[:, None, None, :]
    return torch.where(seen, 0.0, value)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return a if b is None else b
    return a + b


@op("Attention", domain=DOMAIN, refuse=_no_rotary)
def attention(
    x: Tensor,
    weights: Tensor,
    bias: Tensor | None = None,
    mask_index: Tensor | None = None,
    past: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_sequence_length: Tensor | None = None,
    *,
    num_heads: int,
    do_rotary: int = 0,
    mask_filter_value: float = -10000.0,
    past_present_share_buffer: int = 0,
    qkv_hidden_sizes: Sequence[int] | None = None,
    rotary_embedding_dim: int = 0,
    scale: float = 0.0,
    unidirectional: int = 0,
    n_outputs: int = 1,
) -> Any:
    """Attention-1: x (N, L, D) by weights (D, 3 H), then heads; past (2, N, heads, P, d).

    Outputs: Y (N, L, H), present (2, N, heads, T, d).
    """
    joint = x @ weights if bias is None else x @ weights + bias
    sizes = list(qkv_hidden_sizes or [joint.shape[-1] // 3] * 3)
    q, k, v = (_split(part, num_heads) for part in joint.split(sizes, -1))
    if past is not None:
        k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
    added = _padding(mask_index, k.shape[2], x.shape[0], mask_filter_value)
    y = _attend(q, k, v, _sum(added, attention_bias), scale, unidirectional)
    return (y, torch.stack((k, v))) if n_outputs > 1 else y


@op("QAttention", domain=DOMAIN, refuse=_no_rotary)
def qattention(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    input_scale: Tensor,
    weight_scale: Tensor,
    mask_index: Tensor | None = None,
    input_zero_point: Tensor | None = None,
    weight_zero_point: Tensor | None = None,
    past: Tensor | None = None,
    *,
    num_heads: int,
    do_rotary: int = 0,
    mask_filter_value: float = -10000.0,
    past_present_share_buffer: int = 0,
    scale: float = 0.0,
    unidirectional: int = 0,
    n_outputs: int = 1,
) -> Any:
    """QAttention-1: as Attention, with the projection in 8-bit integers, its result in float."""
    left = centred(x, input_zero_point)
    right = centred(weight, weight_zero_point, axis=1)
    joint = (left @ right).float() * (input_scale * weight_scale)
    eye = torch.eye(joint.shape[-1], dtype=joint.dtype, device=joint.device)
    return attention(
        joint,
        eye,
        bias,
        mask_index,
        past,
        num_heads=num_heads,
        mask_filter_value=mask_filter_value,
        scale=scale,
        unidirectional=unidirectional,
        n_outputs=n_outputs,
    )


@op("MultiHeadAttention", domain=DOMAIN)
def multi_head_attention(
    query: Tensor,
    key: Tensor | None = None,
    value: Tensor | None = None,
    bias: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    attention_bias: Tensor | None = None,
    past_key: Tensor | None = None,
    past_value: Tensor | None = None,
    *,
    num_heads: int,
    mask_filter_value: float = -10000.0,
    scale: float = 0.0,
    unidirectional: int = 0,
    n_outputs: int = 1,
) -> Any:
    """MultiHeadAttention-1: query (N, L, H), key and value (N, S, H), or packed into one tensor.

    Packed are (N, L, heads, 3, d) as query, or (N, S, heads, 2, d) as key; keys of 4 axes are
    (N, heads, S, d) already. Outputs: Y, present key, present value (N, heads, T, d).
    """
    q, k, v = _unpacked(query, key, value)
    if bias is not None:
        sizes = [q.shape[-1], q.shape[-1], bias.shape[0] - 2 * q.shape[-1]]
        parts = bias.split(sizes)
        q = q + parts[0]
        k, v = (t if t.ndim == 4 else t + p for t, p in zip((k, v), parts[1:], strict=True))
    q, k, v = (t if t.ndim == 4 else _split(t, num_heads) for t in (q, k, v))
    if past_key is not None and past_value is not None:
        k, v = torch.cat((past_key, k), 2), torch.cat((past_value, v), 2)
    added = _padding(key_padding_mask, k.shape[2], q.shape[0], mask_filter_value)
    y = _attend(q, k, v, _sum(added, attention_bias), scale, unidirectional)
    return pick((y, k, v), n_outputs)


def _unpacked(
    query: Tensor, key: Tensor | None, value: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    if query.ndim == 5:
        q, k, v = (t.flatten(2) for t in query.unbind(3))
        return q, k, v
    assert key is not None
    if key.ndim == 5:
        k, v = (t.flatten(2) for t in key.unbind(3))
        return query, k, v
    assert value is not None
    return query, key, value


def _refuse_group(attributes: Mapping[str, Any]) -> str | None:
    plain = {
        "smooth_softmax": (0,),
        "qk_output": (0,),
        "kv_cache_bit_width": (0, 8),
        "causal": (1,),
    }
    plain |= {"k_quant_type": ("", "NONE"), "v_quant_type": ("", "NONE")}
    plain |= {"sliding_window_cache": (0,)}
    odd = [key for key, allowed in plain.items() if attributes.get(key, allowed[0]) not in allowed]
    return f"{odd[0]} '{attributes[odd[0]]}' is not supported; export without it" if odd else None


@op("GroupQueryAttention", domain=DOMAIN, refuse=_refuse_group, host=("total_sequence_length",))
def group_query_attention(
    query: Tensor,
    key: Tensor | None,
    value: Tensor | None,
    past_key: Tensor | None,
    past_value: Tensor | None,
    seqlens_k: Tensor,
    total_sequence_length: Tensor | Sequence[int] | int,
    cos_cache: Tensor | None = None,
    sin_cache: Tensor | None = None,
    position_ids: Tensor | None = None,
    attention_bias: Tensor | None = None,
    *,
    num_heads: int,
    kv_num_heads: int,
    causal: int = 1,
    do_rotary: int = 0,
    k_quant_type: str = "NONE",
    kv_cache_bit_width: int = 0,
    local_window_size: int = -1,
    qk_output: int = 0,
    rotary_interleaved: int = 0,
    scale: float = 0.0,
    sliding_window_cache: int = 0,
    smooth_softmax: int = 0,
    softcap: float = 0.0,
    v_quant_type: str = "NONE",
    n_outputs: int = 1,
) -> Any:
    """GroupQueryAttention-1: causal, with fewer key heads than query heads, over a cache of keys.

    `seqlens_k` (N,) is the number of valid keys less one; new keys are written behind the valid
    past of each sample. Query and key are turned by their positions with `do_rotary`. Outputs: Y,
    present key, present value (N, kv heads, T or cache size, d).
    """
    q, k, v = _grouped(query, key, value, num_heads, kv_num_heads)
    length, total = q.shape[2], ints(total_sequence_length)[0]
    valid = seqlens_k.reshape(-1, 1).long().to(q.device) + 1
    past = torch.zeros_like(valid) if total == length else valid - length  # a prompt has no past
    places = past + torch.arange(length, device=q.device)  # (N, L)
    if do_rotary:
        turned = places if position_ids is None else position_ids
        q, k = (_turned(t, cos_cache, sin_cache, turned, rotary_interleaved) for t in (q, k))
    k, v = _cached(past_key, k, places, total), _cached(past_value, v, places, total)
    options = (scale, softcap, local_window_size)
    y = _windowed(q, k[:, :, :total], v[:, :, :total], places, attention_bias, options)
    return pick((y, k, v), n_outputs)


def _turned(
    x: Tensor, cos: Tensor | None, sin: Tensor | None, places: Tensor, interleaved: int
) -> Tensor:
    assert cos is not None
    assert sin is not None
    width = 2 * cos.shape[1]
    return rotate(x, cos, sin, places, interleaved=interleaved, rotary_embedding_dim=width)


def _grouped(
    query: Tensor, key: Tensor | None, value: Tensor | None, heads: int, kv_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    if key is None or value is None:
        width = query.shape[-1] // (heads + 2 * kv_heads)
        query, key, value = query.split([heads * width, kv_heads * width, kv_heads * width], -1)
    return _split(query, heads), _split(key, kv_heads), _split(value, kv_heads)


def _cached(past: Tensor | None, new: Tensor, places: Tensor, total: int) -> Tensor:
    """The valid past with the new rows behind it, then zeros: (N, heads, max(total, P), d)."""
    n, heads, _, width = new.shape
    held = 0 if past is None else past.shape[2]
    cache = new.new_zeros(n, heads, max(total, held), width)
    if past is not None:
        valid = torch.arange(held, device=new.device) < places[:, :1]  # (N, P)
        cache = torch.cat((past * valid[:, None, :, None], cache[:, :, held:]), 2)
    index = places[:, None, :, None].expand_as(new)
    return cache.scatter(2, index, new)


def _windowed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    places: Tensor,
    added: Tensor | None,
    options: tuple[float, float, int],
) -> Tensor:
    """Attention of queries at `places` (N, L) to the keys before them, within a window."""
    scale, cap, reach = options
    repeats = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    scores = (q @ k.transpose(-1, -2)) * (scale or q.shape[-1] ** -0.5)
    scores = cap * torch.tanh(scores / cap) if cap else scores
    scores = scores if added is None else scores + added[..., : scores.shape[-1]]
    key, place = torch.arange(k.shape[2], device=q.device), places[:, None, :, None]
    hidden = key > place
    hidden = hidden | (key <= place - reach) if reach > 0 else hidden
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


@op("RotaryEmbedding", domain=DOMAIN)
def rotary_embedding(
    x: Tensor,
    position_ids: Tensor,
    cos_cache: Tensor,
    sin_cache: Tensor,
    *,
    interleaved: int = 0,
    is_packed_batching: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
    scale: float = 1.0,
) -> Tensor:
    """RotaryEmbedding-1: as ONNX's own, ids second; one id is the place of the first token.

    x is (N, heads, L, d) or (N, L, heads d); without a number of heads they are as wide as what is
    turned.
    """
    length = x.shape[-2]
    if position_ids.numel() == 1:
        steps = torch.arange(length, device=x.device) + position_ids.reshape(())
        position_ids = steps.expand(x.shape[0], -1)
    width = 2 * cos_cache.shape[1]
    return rotate(
        x,
        cos_cache,
        sin_cache,
        position_ids,
        interleaved=interleaved,
        num_heads=num_heads or x.shape[-1] // width,
        rotary_embedding_dim=rotary_embedding_dim or width,
    )
