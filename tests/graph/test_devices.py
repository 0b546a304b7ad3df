"""Where tensors live: data follows the model to its device, sizes stay on the CPU.

The meta device stands for an accelerator: tensors there have shapes and no values, and do not mix
with the CPU's.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import torch

from scripts import operators
from workbench.foundation.errors import WorkbenchError
from workbench.graph.build import assemble
from workbench.graph.load import _to_ir
from workbench.graph.ops import known, lookup

# Their results, or the way there, depend on values, which meta tensors do not have.
BY_VALUE = {
    "Compress",
    "If",
    "Loop",
    "NonMaxSuppression",
    "NonZero",
    "Range",
    "RoiAlign",
    "Unique",
}
NO_GENERATOR = {"Bernoulli"}  # the meta device draws nothing
SIZES = {"OptionalHasElement", "SequenceLength", "Shape", "Size"}
# Made of plain numbers alone; where the data is, `aligned` moves them to it.
FROM_NUMBERS = {"BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"}
ON_THE_CPU = SIZES | FROM_NUMBERS


def moved(value: Any) -> Any:
    if isinstance(value, list):
        return [moved(element) for element in value]
    return value.to("meta") if isinstance(value, torch.Tensor) else value


def host_inputs(case: Any) -> set[str]:
    """Graph inputs that some node wants as plain numbers."""
    opsets = {entry.domain: entry.version for entry in case.model.opset_import}
    found = set()
    for node in case.model.graph.node:
        if node.op_type == "Constant":
            continue
        meaning = lookup(node.domain, node.op_type, opsets.get(node.domain, 1))
        found |= {
            n for n, p in zip(node.input, meaning.parameters, strict=False) if p in meaning.host
        }
    return found


def placed(case: Any) -> str | None:
    """What went wrong on the meta device, or None."""
    module, _ = assemble(_to_ir(case.model, operators.PAGE))
    host = host_inputs(case)
    given = []
    for value, spec in zip(case.data_sets[0][0], case.model.graph.input, strict=False):
        tensor = operators._value(value, spec.type)
        given.append(tensor if spec.name in host else moved(tensor))
    try:
        results = module.to("meta")(*given)
    except (RuntimeError, NotImplementedError) as error:
        return f"{case.name}: {' '.join(str(error).split())[:150]}"
    here = {node.op_type for node in case.model.graph.node} & ON_THE_CPU
    wanted = "cpu" if here else "meta"
    if any(isinstance(y, torch.Tensor) and y.device.type != wanted for y in results):
        return f"{case.name}: a result is not on {wanted}"
    return None


def cases() -> list[Any]:
    table = set(known()) | {("", "Constant")}
    return [
        case
        for case in operators.cases()
        if "_expanded" not in case.name and set(operators._used(case.model.graph)) <= table
    ]


def problems(chosen: list[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for case in chosen:
        names = {node.op_type for node in case.model.graph.node}
        try:
            problem = None if names & (BY_VALUE | NO_GENERATOR) else placed(case)
        except WorkbenchError:
            continue  # refused on every device
        if problem:
            found[", ".join(sorted(names))].append(problem)
    return found


def test_a_sample_of_operators_keeps_to_its_device():
    assert not problems(cases()[::15])


@pytest.mark.slow
def test_operators_keep_to_their_device():
    assert not problems(cases())


def test_values_decide_where_meta_tensors_fail():
    failing = {
        name for case in cases() for name in [case.model.graph.node[0].op_type] if name in BY_VALUE
    }
    assert failing == BY_VALUE
