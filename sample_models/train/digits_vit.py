"""`digits-vit`: a vision transformer over 49 overlapping patches, embedded by two convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sample_models.train import common
from sample_models.train.card import About
from sample_models.train.transformer import Block, initialise

ABOUT = About(
    name="digits-vit",
    title="Digits, vision transformer",
    architecture=(
        "two strided 3x3 convolutions to 49 tokens of width 64, four pre-norm blocks with four "
        "heads and GELU, mean pool, linear"
    ),
    script="sample_models/train/digits_vit.py",
)
PLAN = common.Plan(epochs=32, batch=64, rate=2e-3, half=True, smoothing=0.05, seed=3)
PATCHES = 49


class DigitsVit(nn.Module):
    """image (N, 1, 28, 28) to logits (N, 10)."""

    def __init__(self, width: int = 64, layers: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.edges = nn.Conv2d(1, width // 2, 3, 2, 1)
        self.gelu = nn.GELU()
        self.patches = nn.Conv2d(width // 2, width, 3, 2, 1)
        self.position = nn.Parameter(torch.randn(PATCHES, width) * 0.02)
        self.blocks = nn.Sequential(
            *(Block(width, heads, PATCHES, False, 2) for _ in range(layers))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)
        initialise(self, layers, std=0.08)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patches(self.gelu(self.edges(image)))
        x = self.blocks(patches.flatten(2).transpose(1, 2) + self.position)
        return self.head(self.norm(x).mean(1))


def main() -> None:
    """Train, export and write the card."""
    common.make_digit_model(ABOUT, DigitsVit, PLAN)


if __name__ == "__main__":
    main()
