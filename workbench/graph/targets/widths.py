"""Bits of every layer, node and tensor, after edges and overrides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workbench.foundation.errors import TargetError
from workbench.graph.build import Graph
from workbench.graph.sites import Layer
from workbench.graph.targets.requests import ActivationGrid, Override, WeightGrid
from workbench.graph.targets.select import Selection, select


@dataclass(frozen=True)
class Widths:
    """Bits that were asked for; 0 is float.

    Attributes:
        weights: by layer.
        activations: by node, for what the node reads and, where nobody else says, writes.
        tensors: of single tensors, by name; they win over the others.
        overrides: by node or tensor, the pattern that had the last word.
        insisted: pattern -> the nodes whose activations it wants quantized.
    """

    weights: dict[str, int]
    activations: dict[str, int]
    tensors: dict[str, int]
    overrides: dict[str, str]
    insisted: dict[str, tuple[str, ...]]

    def of_weight(self, layer: str, tensor: str) -> int:
        """Bits of one weight tensor of a layer."""
        return self.tensors.get(tensor, self.weights[layer])


def widths(
    graph: Graph,
    found: Sequence[Layer],
    weights: WeightGrid,
    activations: ActivationGrid | None,
    overrides: Sequence[Override],
    edges: int | None,
) -> Widths:
    """The global bits, then those of the first and last layer, then overrides in order.

    `edges` is taken as it is for weights; activations there keep at least as many bits.

    Raises:
        TargetError: an override that names nothing, or asks for weights where there are none.
    """
    active = activations.bits if activations is not None else 0
    table = Widths(
        {layer.name: weights.bits for layer in found},
        {str(node.name): active for node in graph.model.graph},
        {},
        {},
        {},
    )
    for layer in (found[0], found[-1]) if edges and found else ():
        table.weights[layer.name] = edges or 0
        table.activations[layer.name] = max(edges or 0, active) if active else 0
    for override in overrides:
        _apply(table, override, select(graph, found, override.pattern), found)
    return table


def _apply(table: Widths, override: Override, selection: Selection, found: Sequence[Layer]) -> None:
    table.overrides.update(dict.fromkeys(selection.names, override.pattern))
    if selection.tensors:
        _apply_to_tensors(table, override, selection, found)
        return
    named = [name for name in selection.names if name in table.weights]
    if override.weights is not None:
        if not named:
            raise TargetError(
                f"override '{override.pattern}' asks for {override.weights}-bit weights, but names "
                "no layer whose weights this target quantizes; drop 'weights' from it"
            )
        table.weights.update(dict.fromkeys(named, override.weights))
    if override.activations is not None:
        table.activations.update(dict.fromkeys(selection.names, override.activations))
        if override.activations:
            table.insisted[override.pattern] = selection.names


def _apply_to_tensors(
    table: Widths, override: Override, selection: Selection, found: Sequence[Layer]
) -> None:
    held = {weight.name for layer in found for weight in layer.weights}
    for name in selection.names:
        width = override.weights if name in held else override.activations
        if width is not None:
            table.tensors[name] = width
    if not any(name in table.tensors for name in selection.names):
        kind, other = ("weights", "activations")
        if override.weights is not None:
            kind, other = other, kind
        raise TargetError(
            f"override '{override.pattern}' names {kind} only, but gives bits of {other}; "
            f"give '{kind}' instead"
        )
