"""Error that arrives from layers before. Counterfactual: everything before this layer in float.

What that takes away is damage of the whole network, so it is not weighed against what changes of
the layer itself take away; see `finding.ranked`.
"""

from __future__ import annotations

from torch import fx

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.changes import decibel
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.partial import Setting
from workbench.analysis.units import Unit

#: what arrives is so many times the layer's own error
TIMES = 2.0


@cause(
    "upstream",
    title="Error from layers before",
    order=80,
    serves=("weight",),
    where="deep layers",
    changes="all layers before in float",
)
def upstream(case: Case, unit: Unit) -> Finding | None:
    """The layer is fine; what it is given is not."""
    every = case.network.everything
    before = _before(case, unit)
    if not before:
        return None
    own, all_on = case.sums(unit, case.setting), case.sums(unit, every)
    if all_on.noise < TIMES * own.noise:
        return None
    damage = case.network.damage(every)
    after = case.network.damage(every - Setting(before))
    sentence = (
        f"the layer's output has {decibel(all_on.db)} when all is quantized, {decibel(own.db)} when"
        f" it alone is: {len(before)} sites before it bring the rest"
    )
    cures = (
        Cure("bias-correction", "means of the error taken off", {"append": "bias_correction"}),
        Cure("gram", "weights that make up for what arrives", {"method": "gram"}),
    )
    return Finding(
        unit.name, sentence, all_on.db, own.db, damage, after, cures, own=case.own_damage
    )


def _before(case: Case, unit: Unit) -> frozenset[str]:
    """Sites of other places on the way from the inputs to this layer's output."""
    found, waiting, seen = set(), [unit.place], set[fx.Node]()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op == "call_module":
            found.add(node.meta["site"])
        waiting += node.all_input_nodes
    return frozenset(found) - case.setting.sites
