"""Folding: the same function with fewer nodes, each step on record.

The passes lie in `workbench.graph.passes`, one to a file. Each changes a model in place and returns
what it did; `fold` runs them, in the order of this page, on a copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import onnx_ir as ir

from workbench.graph.branches import inline_known_branches
from workbench.graph.passes.base import FoldRecord, Pass
from workbench.graph.passes.batch_norm import fold_batch_norms, fold_leading_batch_norms
from workbench.graph.passes.constants import fold_constants, fold_shapes, lift_constants
from workbench.graph.passes.identities import remove_identities
from workbench.graph.passes.pads import fold_pads
from workbench.graph.passes.shapes import infer_shapes
from workbench.graph.passes.unused import remove_unused
from workbench.graph.trial import blaming

#: repeated until none of them finds anything
SIMPLIFY: tuple[Pass, ...] = (
    lift_constants,
    remove_identities,
    fold_shapes,
    fold_constants,
    inline_known_branches,
)
#: then once
ABSORB: tuple[Pass, ...] = (
    fold_batch_norms,
    fold_leading_batch_norms,
    fold_pads,
    remove_unused,
)
MAX_ROUNDS = 8


def fold(model: ir.Model) -> tuple[ir.Model, list[FoldRecord]]:
    """A folded copy of `model`, and a record of each pass. The float output is unchanged."""
    with blaming("folding"):
        folded = model.clone()
        return folded, merged(fold_steps(folded))


def fold_steps(model: ir.Model) -> Iterator[FoldRecord]:
    """Fold `model` in place, one pass for each record that is taken."""
    for _ in range(MAX_ROUNDS):
        found = [counted(infer_shapes, model)]
        yield found[0]
        for step in SIMPLIFY:
            found.append(counted(step, model))
            yield found[-1]
        if not any(record.count for record in found[1:]):
            break
    for step in ABSORB:
        yield counted(step, model)
    yield counted(infer_shapes, model)


def counted(step: Pass, model: ir.Model) -> FoldRecord:
    """The record of one pass, with the number of nodes before and after where that changed."""
    before = len(model.graph)
    found = step(model)
    after = len(model.graph)
    nodes = {"nodes": (float(before), float(after))} if before != after else {}
    return replace(found, measures={**nodes, **found.measures})


def merged(records: Iterable[FoldRecord]) -> list[FoldRecord]:
    """One record for each pass, in the order of their first runs."""
    table: dict[str, FoldRecord] = {}
    for record in records:
        known = table.get(record.name)
        table[record.name] = record if known is None else _joined(known, record)
    return list(table.values())


def _joined(first: FoldRecord, later: FoldRecord) -> FoldRecord:
    differences = [d for d in (first.max_difference, later.max_difference) if d is not None]
    measures = dict(first.measures)
    for name, (before, after) in later.measures.items():
        measures[name] = (measures[name][0] if name in measures else before, after)
    details = (first.detail, later.detail) if first.count and later.count else ()
    return FoldRecord(
        first.name,
        first.count + later.count,
        "; ".join(filter(None, details)) or (first if first.count else later).detail,
        measures,
        max(differences, default=None),
    )
