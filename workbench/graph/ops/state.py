"""Layers that carry a state from step to step without a recurrent weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.registry import op, pick

_RULES = ("linear", "gated", "delta", "gated_delta")


@op("CausalConvWithState", since=27)
def causal_conv_with_state(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    past_state: Tensor | None = None,
    *,
    activation: str = "none",
    n_outputs: int = 1,
) -> Any:
    """CausalConvWithState-27: depthwise over the past; x (N, C, L), weight (C, 1, k).

    The state holds the last k - 1 inputs, zeros at first. Outputs: Y, present state.
    """
    reach = weight.shape[2] - 1
    before = x.new_zeros(*x.shape[:2], reach) if past_state is None else past_state
    padded = torch.cat((before, x), 2)
    y = F.conv1d(padded, weight, bias, groups=x.shape[1])
    y = y if activation == "none" else F.silu(y)
    return pick((y, padded[:, :, padded.shape[2] - reach :]), n_outputs)


def _refuse(attributes: Mapping[str, Any]) -> str | None:
    rule = attributes.get("update_rule", "gated_delta")
    return None if rule in _RULES else f"update_rule '{rule}' is not known; use one of {_RULES}"


@op("LinearAttention", since=27, refuse=_refuse)
def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_state: Tensor | None = None,
    decay: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    kv_num_heads: int,
    q_num_heads: int,
    chunk_size: int = 64,
    scale: float = 0.0,
    update_rule: str = "gated_delta",
    n_outputs: int = 1,
) -> Any:
    """LinearAttention-27: query, key, value (N, L, heads d) through a state S (N, heads, dk, dv).

        gated:  S <- exp(decay) S         delta:  v <- beta (v - Sᵀ k)
        S <- S + k vᵀ                     y = scale Sᵀ q

    Key heads serve several query heads where there are fewer of them. Computed in float32. Outputs:
    Y (N, L, heads dv), present state.
    """
    q = _steps(query, q_num_heads)
    k, v = _steps(key, kv_num_heads), _steps(value, kv_num_heads)
    gates = None if decay is None else _steps(decay, kv_num_heads).exp().unsqueeze(-1)
    betas = None if beta is None else beta.float().movedim(1, 0).unsqueeze(-1)
    shape = (query.shape[0], kv_num_heads, k.shape[-1], v.shape[-1])
    state = query.new_zeros(shape).float() if past_state is None else past_state.float()
    repeats = q_num_heads // kv_num_heads
    rows = []
    for t in range(query.shape[1]):
        new = v[t]
        if gates is not None:
            state = state * gates[t]
        if betas is not None:
            new = betas[t] * (new - (k[t].unsqueeze(-2) @ state).squeeze(-2))
        state = state + k[t].unsqueeze(-1) * new.unsqueeze(-2)
        rows.append((q[t].unsqueeze(-2) @ state.repeat_interleave(repeats, 1)).squeeze(-2))
    y = torch.stack(rows, 1).flatten(2) * (scale or k.shape[-1] ** -0.5)
    kept = query.dtype if past_state is None else past_state.dtype
    return pick((y.to(query.dtype), state.to(kept)), n_outputs)


def _steps(x: Tensor, heads: int) -> Tensor:
    """(N, L, heads d) as (L, N, heads, d), in float32."""
    return x.float().unflatten(-1, (heads, -1)).movedim(1, 0)
