"""`bytegpt`: a small causal transformer over bytes, taught Python by Python's own library."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from sample_models.train import common
from sample_models.train.card import About, write_byte_card
from sample_models.train.export import export
from sample_models.train.transformer import Block, initialise
from workbench.session import stdlib_bytes

ABOUT = About(
    name="bytegpt",
    title="Bytes of Python, causal transformer",
    architecture=(
        "byte and position embedding of width 128, three pre-norm causal blocks with "
        "four heads and GELU, linear; context 128"
    ),
    script="sample_models/train/bytegpt.py",
)
LENGTH = stdlib_bytes.LENGTH
PLAN = common.Plan(epochs=24, batch=64, rate=3e-3, decay=0.1, warm_up=0.05, half=True, seed=5)
# Batches in what the log calls an epoch: about a tenth of the training text.
STEPS = 100


class ByteGpt(nn.Module):
    """tokens int64 (N, 128) to logits (N, 128, 256) for the byte after each."""

    def __init__(self, width: int = 128, layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(stdlib_bytes.VOCABULARY, width)
        self.position = nn.Parameter(torch.randn(LENGTH, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, LENGTH, True, 4) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, stdlib_bytes.VOCABULARY)
        initialise(self, layers)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(tokens) + self.position)))


def batches(epoch: int) -> Iterator[common.Batch]:
    """Random windows of the training text: tokens (N, 128) and the bytes after them (N, 128)."""
    text = np.frombuffer(stdlib_bytes.read("train"), np.uint8)
    rng = np.random.default_rng([PLAN.seed, epoch])
    for _ in range(STEPS):
        starts = rng.integers(0, len(text) - LENGTH - 1, (PLAN.batch, 1))
        windows = torch.from_numpy(text[starts + np.arange(LENGTH + 1)].astype(np.int64))
        yield windows[:, :-1], windows[:, 1:]


def main() -> None:
    """Train, export and write the card."""
    device = common.begin(PLAN.seed)
    model = ByteGpt()
    trained = common.fit(model, batches, STEPS, PLAN, device)
    tokens = torch.from_numpy(stdlib_bytes.load("calibration", limit=5))
    path = export(model, ABOUT.name, "tokens", tokens)
    write_byte_card(path, ABOUT, trained)


if __name__ == "__main__":
    main()
