"""Quantizers with levels of their own, put where a transformer wants them and the target allows."""

from __future__ import annotations

import onnx_ir as ir

from workbench.foundation.errors import TargetError
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.quantizers.own_levels import MOST_BITS, OwnLevels

SOFTMAX = frozenset({"Softmax"})
GELU = frozenset({"Gelu", "FastGelu", "QuickGelu", "BiasGelu"})
#: what may stand behind them: a row without any score is set to 0 after a softmax
PASSING = frozenset({"Where", "Identity", "Dropout"})
#: functions that a GELU is written with where it is not one node
_GELU_PARTS = frozenset({"Erf", "Tanh"})
MOST_STEPS = 6


def behind(model: QuantizedGraph, operators: frozenset[str]) -> list[Site]:
    """Activation sites that one of these operators makes; a GELU may be written out."""
    makers = {str(out.name): node for node in model.graph.model.graph for out in node.outputs}
    found = []
    for site in model.of_kind("activation"):
        maker = makers.get(site.tensor)
        if maker is not None and _made_by(maker, operators):
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


def _made_by(maker: ir.Node, operators: frozenset[str]) -> bool:
    if maker.op_type in operators or (operators is GELU and _is_gelu(maker)):
        return True
    sources = maker.inputs if maker.op_type in PASSING else ()
    makers = (value.producer() for value in sources if value is not None)
    return any(source is not None and source.op_type in operators for source in makers)


def _is_gelu(node: ir.Node) -> bool:
    """A product of products and sums that goes back to an Erf or Tanh in a few steps."""
    if node.op_type != "Mul":
        return False
    waiting, steps = [node], 0
    while waiting and steps < MOST_STEPS:
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
