"""A small network that turns latents into pictures, and what its training shares."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Generator(nn.Module):
    """Latents `(N, latent)` to pictures `(N, C, H, W)` of mean 0 and variance 1.

    Args:
        shape: of the pictures; width: channels of the first convolution.
        latent: numbers behind a picture.
        classes: that pictures are asked for, each a factor on the latents; 0 for none.
    """

    def __init__(self, shape: tuple[int, ...], width: int, latent: int, classes: int = 0) -> None:
        super().__init__()
        self._shape = shape
        self._start = (width, -(-shape[2] // 4), -(-shape[3] // 4))
        self.spread = nn.Linear(latent, width * self._start[1] * self._start[2])
        self.first = nn.BatchNorm2d(width)
        self.middle = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.BatchNorm2d(width // 2),
            nn.LeakyReLU(0.2),
        )
        self.last = nn.Sequential(
            nn.Conv2d(width // 2, shape[1], 3, padding=1),
            nn.Tanh(),
            nn.BatchNorm2d(shape[1], affine=False),
        )
        self.meant = nn.Embedding(classes, latent) if classes else None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Pictures of the classes `y` (N,), where they are asked for."""
        if self.meant is not None:
            z = self.meant(y) * z
        height, width = self._shape[2:]
        x = self.first(self.spread(z).unflatten(1, self._start))
        x = self.middle(F.interpolate(x, size=(-(-height // 2), -(-width // 2))))
        return self.last(F.interpolate(x, size=(height, width)))


def fresh(
    chance: torch.Generator, shape: tuple[int, ...], width: int, latent: int, classes: int = 0
) -> Generator:
    """A generator whose first weights come from `chance`; the global seed is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=chance)))
        return Generator(shape, width, latent, classes)


def set_gradients(loss: Tensor, learned: Sequence[Tensor]) -> None:
    """Gradients of `learned` alone: the network that is asked gets none."""
    for held, found in zip(learned, torch.autograd.grad(loss, learned), strict=True):
        held.grad = found
