"""What a data maker is: from a float model it makes examples, batch after batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from workbench.foundation.errors import DataError
from workbench.foundation.options import Options
from workbench.foundation.seeds import seed_of
from workbench.graph.batching import batch_axis
from workbench.graph.build import Graph, TensorSpec

Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Order:
    """What is to be made.

    Attributes:
        graph: the float model; its statistics are read, its weights are left alone.
        examples: how many.
        seed: makes it repeatable.
        limits: smallest and largest value that an input can take, each with the input's axes but
            the first; None where nothing is known of them.
        size: height and width for inputs that leave them open.
    """

    graph: Graph
    examples: int
    seed: int = 0
    limits: tuple[Tensor, Tensor] | None = None
    size: tuple[int, int] | None = None

    def noun(self) -> str:
        """What the examples are: "pictures", "texts" or "examples"."""
        first = self.graph.inputs[0]
        if not first.dtype.is_floating_point:
            return "texts"
        return "pictures" if len(first.shape) == 4 else "examples"

    def shape(self, spec: TensorSpec, count: int, length: int = 0) -> tuple[int, ...]:
        """The shape of an input for `count` examples.

        Args:
            spec: of the input.
            count: of examples.
            length: for axes that the model leaves open; 0 where none may be.

        Raises:
            DataError: an axis is open.
        """
        along = batch_axis(spec, self.graph.inputs[0])
        open_sizes: dict[int, int] = dict(zip((2, 3), self.size or (), strict=False))
        sizes = [
            count
            if axis == along
            else dim
            if isinstance(dim, int)
            else open_sizes.get(axis, length)
            for axis, dim in enumerate(spec.shape)
        ]
        if 0 in sizes:
            shown = tuple(dim if isinstance(dim, int) else str(dim or "?") for dim in spec.shape)
            raise DataError(
                f"input '{spec.name}' has the open shape {shown}; state the size of pictures with"
                " --size, or export the model with fixed sizes"
            )
        return tuple(sizes)


@dataclass(frozen=True)
class Step:
    """How far a maker is.

    Attributes:
        step, total: of the whole order once `Maker.run` hands it on; of a batch before.
        values: such as the loss.
        batch: examples that are finished, one tensor for each input.
        labels: the classes that these examples were made for, int64 (N,); None without any.
    """

    step: int
    total: int
    values: dict[str, float] = field(default_factory=dict)
    batch: Batch | None = None
    labels: Tensor | None = None


class Maker(ABC):
    """Makes examples. Subclasses get `name` by registration."""

    name: ClassVar[str] = ""

    def __init__(self, options: Options) -> None:
        self.options = options

    @abstractmethod
    def check(self, order: Order) -> None:
        """Refuse what cannot be made.

        Raises:
            DataError: why not, and what to do instead.
        """

    @abstractmethod
    def batch_size(self, order: Order) -> int:
        """Examples that are made at once."""

    @abstractmethod
    def make(self, order: Order, count: int, chance: torch.Generator) -> Iterator[Step]:
        """One batch of `count` examples; the last step holds it."""

    def run(self, order: Order, finished: int = 0) -> Iterator[Step]:
        """All batches of an order.

        A batch depends on the seed and on its place alone, so an order that was stopped goes on
        behind the batches that are `finished`.

        Raises:
            DataError: it cannot be made.
        """
        self.check(order)
        counts = self.counts(order)
        for index in range(finished, len(counts)):
            text = f"{order.seed}/{index}"
            chance = torch.Generator().manual_seed(seed_of(text))
            for step in self.make(order, counts[index], chance):
                place = index * step.total + step.step
                yield replace(step, step=place, total=len(counts) * step.total)

    def counts(self, order: Order) -> list[int]:
        """Examples in each batch; a model with a fixed batch gets whole ones."""
        first = order.graph.inputs[0].shape[0] if order.graph.inputs[0].shape else 1
        size = first if isinstance(first, int) else self.batch_size(order)
        whole, rest = divmod(order.examples, size)
        if rest and isinstance(first, int):
            whole, rest = whole + 1, 0
        return [size] * whole + ([rest] if rest else [])


def joined(order: Order, batches: Sequence[Batch]) -> Batch:
    """Batches in one piece, one tensor for each input."""
    first = order.graph.inputs[0]
    return tuple(
        torch.cat(parts, batch_axis(spec, first))
        for spec, parts in zip(order.graph.inputs, zip(*batches, strict=True), strict=True)
    )
