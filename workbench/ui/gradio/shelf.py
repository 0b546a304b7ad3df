"""A store with a budget in bytes: what was used longest ago goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """Values by key, made when first asked for.

    Args:
        budget: bytes kept; one value may be larger, then it is the only one.
        size: bytes of a value.
    """

    def __init__(self, budget: int, size: Callable[[T], int]) -> None:
        self._budget = budget
        self._size = size
        self._held: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value under `key`; `make` is called, outside the lock, where there is none."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key][0]
        value = make()
        with self._lock:
            self._held[key] = (value, self._size(value))
            self._held.move_to_end(key)
            while len(self._held) > 1 and self.bytes > self._budget:
                self._held.popitem(last=False)
        return value

    @property
    def bytes(self) -> int:
        """Bytes held now."""
        return sum(size for _, size in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._held
