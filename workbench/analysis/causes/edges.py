"""First or last layer in few bits. Counterfactual: that layer in 8 bits."""

from __future__ import annotations

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.changes import WIDE, decibel
from workbench.analysis.causes.finding import Cure, Finding
from workbench.analysis.causes.registry import cause
from workbench.analysis.units import Unit
from workbench.graph.sites import layers


@cause(
    "edge-layer",
    title="First or last layer in few bits",
    order=60,
    serves=("weight", "activation"),
    where="the layer that reads the input, and the one that gives the answer",
    changes="8 bits there",
    more_bits=True,
)
def edge_layer(case: Case, unit: Unit) -> Finding | None:
    """The layers at both ends bear least."""
    every = layers(case.model.graph)
    grid, ends = unit.site.grid, {every[0].name: "first", every[-1].name: "last"}
    if case.name not in ends or grid.bits >= WIDE or not grid.uniform:
        return None
    made = case.refitted(unit, grid.with_bits(WIDE))
    after = case.damage({unit.name: made})
    before_db, after_db = case.db(unit), case.db(unit, made)
    sentence = (
        f"the {ends[case.name]} layer has {grid.bits} bits; 8 would raise SQNR from"
        f" {before_db:.1f} to {decibel(after_db)}"
    )
    cure = Cure("edges", "8 bits in the first and last layer", {"edges": WIDE}, after)
    return Finding(
        unit.name, sentence, before_db, after_db, case.own_damage, after, (cure,),
        {"end": ends[case.name]},
    )  # fmt: skip
