"""ResNet-20 for 32x32 pictures (He et al. 2015, arXiv:1512.03385, section 4.2).

A 3x3 convolution, three stages of three basic blocks with 16, 32 and 64 channels, global average
pooling and a linear layer. Shortcuts have no parameters (the paper's option A): where a stage
begins, every second row and column of the input is kept and the new channels are zero.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64)


class Shortcut(nn.Module):
    """Option A: (N, C, H, W) to (N, 2C, H/2, W/2), the new channels zero, half on each side."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.every_second = nn.MaxPool2d(1, 2)  # a maximum of one: one node instead of three slices
        self.side = (after - before) // 2

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(self.every_second(x), (0, 0, 0, 0, self.side, self.side))


class Basic(nn.Module):
    """Two 3x3 convolutions added to a shortcut: (N, C, H, W) to (N, C', H/stride, W/stride)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        stride = 1 if before == after else 2
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity() if before == after else Shortcut(before, after)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1(x)).relu()
        y = self.norm2(self.conv2(y))
        return (y + self.shortcut(x)).relu()


class ResNet20(nn.Module):
    """image (N, 3, 32, 32) to logits (N, 10)."""

    def __init__(self, depth: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(WIDTHS[0])
        widths = [WIDTHS[0], *(width for width in WIDTHS for _ in range(depth))]
        self.blocks = nn.Sequential(*(Basic(before, after) for before, after in pairwise(widths)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(WIDTHS[-1], classes)
        _initialise(self)

    def forward(self, image: Tensor) -> Tensor:
        x = self.blocks(self.norm(self.stem(image)).relu())
        return self.head(self.pool(x).flatten(1))


def _initialise(model: nn.Module) -> None:
    """Normal kernels that keep the variance through ReLU (He et al. 2015, arXiv:1502.01852)."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
