"""`digits-gru`: a recurrent network that reads an image row by row, from the top."""

from __future__ import annotations

from torch import Tensor, nn

from sample_models.train import common
from sample_models.train.card import About

ABOUT = About(
    name="digits-gru",
    title="Digits, recurrent network",
    architecture="two GRU layers of width 96 over the 28 rows, linear on the last state",
    script="sample_models/train/digits_gru.py",
)
PLAN = common.Plan(epochs=20, batch=64, rate=4e-3, smoothing=0.05, seed=4)


class DigitsGru(nn.Module):
    """image (N, 1, 28, 28), read as 28 steps of 28 pixels, to logits (N, 10)."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.gru1 = nn.GRU(28, width)
        self.gru2 = nn.GRU(width, width)
        self.head = nn.Linear(width, 10)

    def forward(self, image: Tensor) -> Tensor:
        rows = image.squeeze(1).transpose(0, 1)
        states, _ = self.gru1(rows)
        _, last = self.gru2(states)
        return self.head(last.squeeze(0))


def main() -> None:
    """Train, export and write the card."""
    common.make_digit_model(ABOUT, DigitsGru, PLAN)


if __name__ == "__main__":
    main()
