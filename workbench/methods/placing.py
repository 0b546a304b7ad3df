"""Quantizers with levels of their own, put where a transformer wants them and the target allows."""

from __future__ import annotations

import onnx_ir as ir

from workbench.foundation.errors import TargetError
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.quantizers.own_levels import MOST_BITS, OwnLevels

SOFTMAX = frozenset({"Softmax"})
GELU = frozenset({"Gelu", "FastGelu", "QuickGelu", "BiasGelu"})
#: functions that a GELU is written with where it is not one node
_GELU_PARTS = frozenset({"Erf", "Tanh"})


def behind(model: QuantizedGraph, operators: frozenset[str]) -> list[Site]:
    """Activation sites that one of these operators makes; a GELU may be written out."""
    makers = {str(out.name): node for node in model.graph.model.graph for out in node.outputs}
    found = []
    for site in model.of_kind("activation"):
        maker = makers.get(site.tensor)
        written = operators is GELU and maker is not None and _is_gelu(maker)
        if maker is not None and (maker.op_type in operators or written):
            found.append(site)
    return found


def place(model: QuantizedGraph, sites: list[Site], kind: type[OwnLevels]) -> list[str]:
    """Put a quantizer of `kind` on these sites; names of those that took one.

    Wider grids, and tensors that share their codes with others, keep equal steps.

    Raises:
        TargetError: the target runs equal steps only.
    """
    leaders = {site.shares for site in model.sites.values()}
    alone = [s for s in sites if s.shares is None and s.name not in leaders]
    fitting = [site for site in alone if site.grid.bits <= MOST_BITS]
    for site in fitting:
        if not site.own_levels:
            raise TargetError(
                f"'{kind.form}' levels were asked for at '{site.name}', but the target runs equal"
                " steps only; use 'uniform' instead, or target 'ort-cpu'"
            )
        model.set_quantizer(site.name, kind(site.grid, site.shape))
    return [site.name for site in fitting]


def _is_gelu(node: ir.Node) -> bool:
    """x times one plus a function of x, times a half, in one of the orders in which it is written.

    From the last product up to the Erf or Tanh there are products, sums and one tensor x.
    """
    if node.op_type != "Mul":
        return False
    waiting, steps = [node], 0
    while waiting and steps < 6:
        current = waiting.pop()
        steps += 1
        for value in current.inputs:
            maker = None if value is None else value.producer()
            if maker is None:
                continue
            if maker.op_type in _GELU_PARTS:
                return True
            if maker.op_type in ("Mul", "Add"):
                waiting.append(maker)
    return False
