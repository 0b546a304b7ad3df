"""The pre-norm transformer block that the vision transformer and the byte model share.

Attention is written out in matrix products, so that the exported graph shows each of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Added to the scores of later tokens. Finite, so that ranges of tensors stay finite.
_HIDDEN = -1e4


class Attention(nn.Module):
    """Multi-head self-attention: (N, T, width) to (N, T, width)."""

    mask: Tensor | None

    def __init__(self, width: int, heads: int, tokens: int, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1.0 / math.sqrt(width // heads)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        mask = torch.full((tokens, tokens), _HIDDEN).triu(1) if causal else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        query = self._split(self.query(x) * self.scale)
        key = self._split(self.key(x)).transpose(2, 3)
        scores = query @ key
        if self.mask is not None:
            scores = scores + self.mask
        mixed = scores.softmax(-1) @ self._split(self.value(x))
        return self.project(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(N, T, width) to (N, heads, T, width / heads)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each normalised before and added to its input."""

    def __init__(self, width: int, heads: int, tokens: int, causal: bool, ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, tokens, causal)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, ratio * width)
        self.gelu = nn.GELU()
        self.shrink = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.shrink(self.gelu(self.expand(self.norm2(x))))


def initialise(model: nn.Module, layers: int, std: float = 0.02) -> None:
    """Small normal weights; those that write to the residual stream smaller with depth."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            writes = name.endswith(("project", "shrink"))
            scale = 1.0 / math.sqrt(2 * layers) if writes else 1.0
            nn.init.normal_(module.weight, std=std * scale)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
