"""`digits-mobilenet`: inverted residuals with depthwise filters and ReLU6.

A depthwise filter has nine weights and sees one channel. With batch normalisation folded in, its
channels have ranges of their own, which one scale for the whole tensor serves badly. Nothing but
the architecture makes it so: the weights are as training left them.
"""

from __future__ import annotations

from torch import Tensor, nn

from sample_models.train import common
from sample_models.train.card import About

ABOUT = About(
    name="digits-mobilenet",
    title="Digits, depthwise network",
    architecture=(
        "3x3 convolution, seven inverted residuals of 16 to 64 channels with depthwise "
        "3x3, batch norm and ReLU6, average pool, linear"
    ),
    script="sample_models/train/digits_mobilenet.py",
)
PLAN = common.Plan(epochs=20, batch=64, rate=4e-3, smoothing=0.05, seed=2)
# Channels and stride of each block.
BLOCKS = ((16, 1), (24, 1), (24, 1), (40, 2), (40, 1), (64, 1), (64, 1))


class Inverted(nn.Module):
    """Widen, filter each channel, narrow: (N, C, H, W) to (N, C', H/stride, W/stride)."""

    def __init__(self, before: int, after: int, stride: int, ratio: int = 4) -> None:
        super().__init__()
        width = ratio * before
        self.expand = nn.Conv2d(before, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU6()
        self.depthwise = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU6()
        self.project = nn.Conv2d(width, after, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(after)
        self.keeps = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.norm1(self.expand(x)))
        y = self.relu2(self.norm2(self.depthwise(y)))
        y = self.norm3(self.project(y))
        return x + y if self.keeps else y


class DigitsMobileNet(nn.Module):
    """image (N, 1, 28, 28) to logits (N, 10)."""

    def __init__(self, stem: int = 16, last: int = 128) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, stem, 3, 2, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(stem)
        self.relu1 = nn.ReLU6()
        widths = [stem, *(width for width, _ in BLOCKS)]
        self.blocks = nn.Sequential(
            *(Inverted(widths[i], width, stride) for i, (width, stride) in enumerate(BLOCKS))
        )
        self.last = nn.Conv2d(widths[-1], last, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(last)
        self.relu2 = nn.ReLU6()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(last, 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.blocks(self.relu1(self.norm1(self.stem(image))))
        x = self.relu2(self.norm2(self.last(x)))
        return self.head(self.pool(x).flatten(1))


def main() -> None:
    """Train, export and write the card."""
    common.make_digit_model(ABOUT, DigitsMobileNet, PLAN)


if __name__ == "__main__":
    main()
