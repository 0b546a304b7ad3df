"""Which operators a model uses, and whether the workbench knows each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import onnx_ir as ir

from workbench.foundation.errors import OperatorError
from workbench.graph.ops import lookup


@dataclass(frozen=True)
class OperatorUse:
    """One operator of a model.

    Attributes:
        name: the operator; domain: "" for the standard one.
        count: nodes that use it, those in bodies of If, Loop and Scan included.
        supported: the workbench has a meaning for it at the model's opset.
        example: the first node that uses it.
    """

    name: str
    domain: str
    count: int
    supported: bool
    example: str

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def operators(model: ir.Model) -> list[OperatorUse]:
    """The operators of `model`, the most frequent first."""
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for node in _nodes(model):
        key = ("" if node.domain == "ai.onnx" else node.domain, node.op_type)
        counts[key] += 1
        examples.setdefault(key, str(node.name))
    opsets = dict(model.opset_imports)
    return [
        OperatorUse(name, domain, count, _known(domain, name, opsets), examples[domain, name])
        for (domain, name), count in counts.most_common()
    ]


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    return iter(model.graph.all_nodes())


def _known(domain: str, name: str, opsets: dict[str, int]) -> bool:
    if (domain, name) == ("", "Constant"):
        return True
    try:
        lookup(domain, name, opsets.get(domain, 1))
    except OperatorError:
        return False
    return True
