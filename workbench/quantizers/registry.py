"""The quantizer registry: a file in this package with `@quantizer(...)` is all it takes."""

from __future__ import annotations

from workbench.foundation.errors import RunError
from workbench.foundation.registry import Registry
from workbench.foundation.spelling import joined, split
from workbench.maths.grid import Grid
from workbench.quantizers.base import Quantizer

QUANTIZERS: Registry[type[Quantizer]] = Registry("quantizer", "workbench.quantizers")
quantizer = QUANTIZERS.register


def make(spelled: str, grid: Grid, shape: tuple[int, ...]) -> Quantizer:
    """A quantizer from its name, with options behind a colon: `seq:levels=ternary`.

    Raises:
        RecipeError: an unknown name, an unknown option, a value out of range, or a grid that it
            does not serve.
    """
    name, given = split(spelled, "quantizer")
    options = QUANTIZERS.parsed(name, given) if given else None
    return QUANTIZERS[name].make(grid, shape, options)


def spelling(quantizer: Quantizer) -> str:
    """What `make` takes for such a quantizer: its name, with the options that are not the defaults.

    Raises:
        RunError: its class is in no registry.
    """
    for entry in QUANTIZERS:
        if entry.make is type(quantizer):
            options = quantizer.options
            return joined(entry.name, options.model_dump(exclude_defaults=True) if options else {})
    raise RunError(f"quantizer '{type(quantizer).__name__}' is not registered; add @quantizer")
