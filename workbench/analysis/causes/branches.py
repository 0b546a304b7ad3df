"""Branches of very different size on one scale: in a residual sum, or where a Concat joins them.

The step that the larger branch sets is too coarse for the smaller one (Yao et al. 2021,
arXiv:2011.10680, give both branches of a residual sum a scale of their own). Counterfactual: each
branch is rounded on a scale of its own, with the same bits, before they meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from workbench.analysis.causes.case import Case, Swaps
from workbench.analysis.causes.changes import decibel, wider
from workbench.analysis.causes.finding import Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.partial import Setting
from workbench.analysis.units import Unit
from workbench.graph.sites import is_constant

#: one branch reaches so many times as far as the other
TIMES = 4.0
LIMITERS = frozenset({"Relu", "Clip", "Identity"})


@dataclass(frozen=True)
class _Meeting:
    """Branches, and the sites at which they have one scale."""

    branches: tuple[Unit, ...]
    joined: frozenset[str]


@cause(
    "branches",
    title="Residual branches that differ in size",
    order=33,
    serves=("activation",),
    where="sums of residual networks, and tensors that a Concat gives one scale",
    changes="a scale for each branch",
)
def branches(case: Case, unit: Unit) -> Finding | None:
    """One scale serves branches of very different size."""
    met = _joined(case, unit) or _summed(case, unit)
    if met is None:
        return None
    reach = {b.name: max(float(v.abs().max()) for v in case.values(b)) for b in met.branches}
    small, large = min(reach, key=lambda n: reach[n]), max(reach, key=lambda n: reach[n])
    if reach[large] < TIMES * reach[small]:
        return None
    swaps: Swaps = {b.name: case.refitted(b, unit.site.grid) for b in met.branches}
    together = case.setting | Setting(met.joined)
    apart = together - Setting(met.joined) | Setting(frozenset(swaps))
    before, after = case.network.damage(together), case.network.damage(apart, swaps)
    before_db, after_db = case.sums(unit, together).db, case.sums(unit, apart, swaps).db
    sentence = (
        f"'{large}' reaches {reach[large]:.3g} and '{small}' {reach[small]:.3g} on one scale, which"
        f" the larger sets; a scale for each would raise SQNR from {before_db:.1f} to"
        f" {decibel(after_db)}"
    )
    return Finding(
        unit.name, sentence, before_db, after_db, before, after, wider(case, unit),
        {"reach": reach},
    )  # fmt: skip


def _summed(case: Case, unit: Unit) -> _Meeting | None:
    """The two branches of the sum that the site rounds, where the target rounds them too."""
    maker = _maker(case, unit.site.tensor)
    while maker is not None and maker.op_type in LIMITERS:
        value = maker.inputs[0]
        maker = None if value is None else value.producer()
    if maker is None or maker.op_type != "Add" or any(is_constant(v) for v in maker.inputs):
        return None
    read = [(str(maker.name), index) for index in (0, 1)]
    found = tuple(u for u in case.network.units if any(edge in u.site.edges for edge in read))
    return _Meeting(found, frozenset({unit.name})) if len(found) == len(read) else None


def _joined(case: Case, unit: Unit) -> _Meeting | None:
    """The tensors that a Concat brings together, and all that has their scale."""
    leader = unit.site.shares or unit.name
    if leader not in case.model.joined():
        return None
    members = [u for u in case.network.units if leader in (u.name, u.site.shares)]
    tensors = {u.site.tensor for u in members}
    first = tuple(u for u in members if not _made_of(_maker(case, u.site.tensor), tensors))
    return _Meeting(first, frozenset(u.name for u in members)) if len(first) > 1 else None


def _made_of(maker: ir.Node | None, tensors: set[str]) -> bool:
    values = maker.inputs if maker is not None else ()
    return any(value is not None and value.name in tensors for value in values)


def _maker(case: Case, tensor: str) -> ir.Node | None:
    nodes = case.model.graph.model.graph
    return next((n for n in nodes if any(out.name == tensor for out in n.outputs)), None)
