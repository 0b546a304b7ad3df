"""`digits-resnet`: a small residual network of 3x3 convolutions with batch norm and ReLU."""

from __future__ import annotations

from torch import Tensor, nn

from sample_models.train import common
from sample_models.train.card import About

ABOUT = About(
    name="digits-resnet",
    title="Digits, residual network",
    architecture=(
        "3x3 convolution, three residual blocks of 16, 32 and 64 channels with batch "
        "norm and ReLU, average pool, linear"
    ),
    script="sample_models/train/digits_resnet.py",
)
PLAN = common.Plan(epochs=14, batch=64, rate=4e-3, smoothing=0.05, seed=1)


class Residual(nn.Module):
    """Two 3x3 convolutions added to a shortcut: (N, C, H, W) to (N, C', H/stride, W/stride)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1(x)).relu()
        y = self.norm2(self.conv2(y))
        return (y + self.shortcut(x)).relu()


class DigitsResNet(nn.Module):
    """image (N, 1, 28, 28) to logits (N, 10)."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, widths[0], 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        ends = zip((widths[0], *widths), widths, strict=False)
        self.blocks = nn.Sequential(
            *(Residual(before, after, 1 + (i > 0)) for i, (before, after) in enumerate(ends))
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, image: Tensor) -> Tensor:
        x = self.blocks(self.norm(self.stem(image)).relu())
        return self.head(self.pool(x).flatten(1))


def main() -> None:
    """Train, export and write the card."""
    common.make_digit_model(ABOUT, DigitsResNet, PLAN)


if __name__ == "__main__":
    main()
