"""More pictures from few: mirrored and shifted copies of calibration inputs.

A hundred pictures are few to learn from. Their mirror images, moved by some pixels, are new inputs
to which the float network still gives a reference, so nothing is assumed about their labels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from workbench.foundation.errors import RecipeError
from workbench.methods.base import Batch

#: farthest shift, as a share of the picture's side
SHIFT = 1 / 14


def augmented(batches: Iterator[Batch], copies: int, seed: int) -> Iterator[Batch]:
    """Each batch, followed by `copies - 1` changed versions of it.

    Args:
        batches: inputs; tensors of four axes are taken for pictures (N, C, H, W), others stay.
        copies: versions of each batch in all.
        seed: decides the changes; the first version is the batch itself.

    Raises:
        RecipeError: more versions are asked for where there is no picture.
    """
    chance = torch.Generator().manual_seed(seed)
    for batch in batches:
        if copies > 1 and not any(_is_picture(x) for x in batch):
            raise RecipeError(
                f"augment was '{copies}', but the model reads no pictures; set it to 1"
            )
        yield batch
        for _ in range(copies - 1):
            yield tuple(_changed(x, chance) if _is_picture(x) else x for x in batch)


def _is_picture(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_floating_point()


def _changed(x: Tensor, chance: torch.Generator) -> Tensor:
    """Each picture mirrored with an even chance, and moved; borders are filled by reflection."""
    height, width = x.shape[-2:]
    down, across = int(height * SHIFT), int(width * SHIFT)
    wide = functional.pad(x, (across, across, down, down), mode="reflect")
    pictures = []
    for picture in wide:
        mirrored, top, left = (
            int(torch.randint(most, (1,), generator=chance))
            for most in (2, 2 * down + 1, 2 * across + 1)
        )
        part = picture[:, top : top + height, left : left + width]
        pictures.append(part.flip(-1) if mirrored else part)
    return torch.stack(pictures)
