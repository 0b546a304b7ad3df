"""The registry of transformations: a file in this package with `@transformation(...)` is enough."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import onnx_ir as ir
from torch import Tensor

from workbench.foundation.options import Options
from workbench.foundation.registry import Registry
from workbench.graph.passes.base import FoldRecord

Batches = Callable[[], Iterator[tuple[Tensor, ...]]]
Measured = Mapping[str, Tensor]


class Transform(ABC):
    """The same network, easier to quantize. Subclasses set `name` by registration.

    One that looks at data does so in `measure`; what it saw is kept with the run and in the
    exported file, so that `apply` gives the same graph again without data.
    """

    name: ClassVar[str] = ""

    def __init__(self, options: Options) -> None:
        self.options = options

    @property
    def needs_data(self) -> bool:
        """It measures before it can be applied."""
        return type(self).measure is not Transform.measure

    def measure(self, model: ir.Model, batches: Batches) -> dict[str, Tensor]:
        """What `apply` needs to know of the data, as a few small tensors.

        Args:
            model: folded, and changed by the transformations that come before; left untouched.
            batches: makes a fresh iterator over calibration inputs.
        """
        return {}

    @abstractmethod
    def apply(self, model: ir.Model, measured: Measured) -> FoldRecord:
        """Change `model` in place.

        Args:
            measured: what `measure` gave, for this model.
        """


Made = TypeVar("Made", bound=type[Transform])

TRANSFORMS: Registry[type[Transform]] = Registry("transform", "workbench.graph.passes")


def transformation(
    name: str, *, title: str, citation: str, order: int, exact: bool, **facts: Any
) -> Callable[[Made], Made]:
    """Register a transformation class.

    Args:
        name: what a recipe calls it; title, citation: for people.
        order: where a form puts it among others that are chosen, smallest first.
        exact: the float output stays the same, but for rounding.
        facts: `options` (a class), and as for methods `signal`, `data`, `cost`, `use`, `cells` and
            `strategy` (see `workbench.foundation.taxonomy`).
    """

    def decorate(cls: Made) -> Made:
        cls.name = name
        common = {"order": order, "exact": exact}
        return TRANSFORMS.register(name, title=title, citation=citation, **common, **facts)(cls)

    return decorate
