"""Padding into the convolution that follows."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from workbench.graph.passes.base import FoldRecord, only_reader, record
from workbench.graph.tensors import constant_of


def fold_pads(model: ir.Model) -> FoldRecord:
    """Zero padding before a convolution becomes its own: `conv(pad(x, p), q) = conv(x, p + q)`."""
    done = []
    for node in list(model.graph):
        amounts = _zero_padding(node)
        reader = only_reader(node.outputs[0]) if amounts else None
        if amounts is None or reader is None or reader[1] or not _can_pad(reader[0], amounts):
            continue
        host = reader[0]
        rank = len(amounts) // 2
        spatial = [*amounts[2:rank], *amounts[rank + 2 :]]
        own = host.attributes.get_ints("pads") or [0] * len(spatial)
        total = [a + b for a, b in zip(spatial, own, strict=True)]
        host.attributes.add(ir.AttrInt64s("pads", total))
        host.replace_input_with(0, node.inputs[0])
        model.graph.remove(node, safe=True)
        done.append(str(node.name))
    return record("paddings folded", done)


def _zero_padding(node: ir.Node) -> list[int] | None:
    """Begins and ends of all axes, where `node` is a Pad with constant zeros."""
    if node.op_type != "Pad" or node.domain:
        return None
    if node.attributes.get_string("mode", "") not in ("", "constant"):
        return None
    inputs = [*node.inputs, None, None, None, None][:4]
    amounts, fill, axes = (constant_of(value) for value in inputs[1:])
    plain = inputs[3] is None and axes is None and amounts is not None
    zero = inputs[2] is None or (fill is not None and not np.any(fill.numpy()))
    return [int(n) for n in amounts.numpy()] if plain and zero else None  # type: ignore[union-attr]


def _can_pad(host: ir.Node, amounts: list[int]) -> bool:
    """A plain convolution, padded on spatial axes only."""
    rank = len(amounts) // 2
    outside = (*amounts[:2], *amounts[rank : rank + 2])
    automatic = host.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"
    right = host.op_type == "Conv" and not host.domain and not automatic
    return right and rank > 2 and not any(outside) and min(amounts) >= 0
