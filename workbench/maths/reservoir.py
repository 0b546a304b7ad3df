"""A fair sample of the rows of a stream, in bounded memory (Vitter 1985, by random keys)."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_VALUES = 1 << 22
MOST_ROWS = 4096


class Reservoir:
    """Some rows of all tensors seen, each row with the same chance.

    Args:
        most_rows: rows kept; fewer where they would hold more than `MOST_VALUES` values.
        seed: of the choice.
    """

    def __init__(self, most_rows: int = MOST_ROWS, seed: int = 0) -> None:
        self._most = most_rows
        self._generator = torch.Generator().manual_seed(seed)
        self._keys = torch.empty(0)
        self._rows: Tensor | None = None

    @property
    def rows(self) -> Tensor:
        """(rows, last axis) in the order seen.

        Raises:
            ValueError: nothing was added.
        """
        if self._rows is None:
            raise ValueError("nothing was added to the reservoir; add a tensor first")
        return self._rows

    def add(self, x: Tensor) -> None:
        """Offer every row along the last axis of `x`; all tensors have the same last axis."""
        rows = x.detach().reshape(-1, x.shape[-1]).float().cpu()
        keys = torch.cat([self._keys, torch.rand(len(rows), generator=self._generator)])
        rows = rows if self._rows is None else torch.cat([self._rows, rows])
        most = max(1, min(self._most, MOST_VALUES // max(1, rows.shape[1])))
        kept = keys.topk(min(most, len(keys))).indices.sort().values
        self._keys, self._rows = keys[kept], rows[kept]
