"""Folding: the same function with fewer nodes, each step on record.

Every pass changes a model in place and returns what it did; `fold` runs them on a copy. A value
that survives keeps the name under which its content was known before.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes import common
from torch import Tensor

from workbench.foundation.errors import WorkbenchError
from workbench.graph.build import evaluate
from workbench.graph.tensors import (
    add_initializer,
    constant_node_tensor,
    constant_of,
    to_torch,
    unique,
    value_names,
)

logger = logging.getLogger(__name__)

SMALL_RESULT = 1 << 16  # elements a folded constant may have beyond those of its inputs
_NEVER_FOLDED = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "Shape",
        "Size",
    }
)
_REARRANGED = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast"})
_BN_HOSTS = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True)
class FoldRecord:
    """What one pass did: its name, how many nodes it removed, and the first few by name."""

    name: str
    count: int
    detail: str


def fold(model: ir.Model) -> tuple[ir.Model, list[FoldRecord]]:
    """A folded copy of `model`, and a record of each pass. The float output is unchanged."""
    folded = model.clone()
    infer_shapes(folded)
    records = [
        lift_constants(folded),
        remove_identities(folded),
        fold_shapes(folded),
        fold_constants(folded),
        fold_batch_norms(folded),
        fold_pads(folded),
        remove_unused(folded),
    ]
    infer_shapes(folded)
    return folded, records


def _record(name: str, nodes: list[str]) -> FoldRecord:
    shown = ", ".join(nodes[:5]) + (" ..." if len(nodes) > 5 else "")
    return FoldRecord(name, len(nodes), shown)


def lift_constants(model: ir.Model) -> FoldRecord:
    """Constant nodes become initializers of the same name."""
    done = []
    for node in list(model.graph):
        value = node.outputs[0]
        if node.op_type != "Constant" or node.domain or value.is_graph_output():
            continue
        done.append(str(node.name))
        _replace_by_constant(model.graph, node, value, to_torch(constant_node_tensor(node)))
    return _record("constant nodes to initializers", done)


def _replace_by_constant(
    graph: ir.Graph, node: ir.Node, value: ir.Value, tensor: Tensor, name: str | None = None
) -> ir.Value:
    """Readers of `value` get an initializer instead, and its one-output node goes."""
    wanted = name or str(value.name)
    value.name = f"{wanted}\0old"
    constant = add_initializer(graph, wanted, tensor)
    value.replace_all_uses_with(constant)
    graph.remove(node, safe=True)
    return constant


def remove_identities(model: ir.Model) -> FoldRecord:
    """Identity, Dropout at inference and Cast to the type at hand: `y = x`."""
    done = []
    for node in list(model.graph):
        source = node.inputs[0] if node.inputs else None
        if source is None or not _is_identity(node, source):
            continue
        if not _bypass(node, source):
            continue
        done.append(str(node.name))
        model.graph.remove(node, safe=True)
    return _record("identities removed", done)


def _is_identity(node: ir.Node, source: ir.Value) -> bool:
    if node.domain:
        return False
    if node.op_type == "Dropout":
        mode = node.inputs[2] if len(node.inputs) > 2 else None
        training = constant_of(mode)
        inference = mode is None or (training is not None and not training.numpy().any())
        return inference and not any(value.uses() for value in node.outputs[1:])
    if node.op_type == "Cast":
        return source.dtype is not None and int(source.dtype) == node.attributes["to"].as_int()
    if node.op_type == "CastLike":
        like = node.inputs[1]
        return source.dtype is not None and like is not None and like.dtype == source.dtype
    return node.op_type == "Identity"


def _bypass(node: ir.Node, source: ir.Value) -> bool:
    """Readers of the node read `source`; a graph output hands its name to the source."""
    result = node.outputs[0]
    if result.is_graph_output():
        inner = source.producer() is not None and not source.is_graph_output()
        if not inner:
            return False
        name, result.name = result.name, f"{result.name}\0old"
        source.name = name
        source.shape = source.shape or result.shape
        source.type = source.type or result.type
    result.replace_all_uses_with(source, replace_graph_outputs=True)
    return True


def fold_shapes(model: ir.Model) -> FoldRecord:
    """Shape of a tensor whose asked-for sizes are known becomes a constant."""
    done = []
    for node in list(model.graph):
        source = node.inputs[0] if node.inputs else None
        if node.op_type != "Shape" or node.domain or source is None or source.shape is None:
            continue
        start = node.attributes.get_int("start", 0)
        end = node.attributes.get_int("end", len(source.shape))
        sizes = list(source.shape)[start:end]
        if node.outputs[0].is_graph_output() or not all(isinstance(n, int) for n in sizes):
            continue
        done.append(str(node.name))
        _replace_by_constant(model.graph, node, node.outputs[0], torch.tensor(sizes).long())
    return _record("known shapes", done)


def fold_constants(model: ir.Model) -> FoldRecord:
    """Nodes that read constants alone are computed now, where the result is no great burden.

    A rearranged weight (Transpose, Reshape ...) that nothing else reads keeps its name. Quantizers
    are left, for their integers are the point.
    """
    done = []
    for node in list(model.graph):
        if not _foldable(node):
            continue
        result = _folded_value(node, model.opset_imports)
        if result is None:
            continue
        done.append(str(node.name))
        _put_result(model.graph, node, result)
    return _record("constants folded", done)


def _foldable(node: ir.Node) -> bool:
    inputs = [value for value in node.inputs if value is not None]
    return (
        node.op_type not in _NEVER_FOLDED
        and bool(inputs)
        and len(node.outputs) == 1
        and not node.outputs[0].is_graph_output()
        and all(constant_of(value) is not None for value in inputs)
    )


def _folded_value(node: ir.Node, opsets: dict[str, int]) -> Tensor | None:
    """The node's value, or None where it cannot or should not be folded."""
    constants = [constant_of(value) for value in node.inputs]
    if any(c is not None and c.dtype.itemsize < 1 for c in constants):
        return None
    burden = SMALL_RESULT + sum(c.size for c in constants if c is not None)
    shape = node.outputs[0].shape
    if shape is not None and shape.is_static() and math.prod(shape.numpy()) > burden:
        return None
    try:
        result = evaluate(node, [None if c is None else to_torch(c) for c in constants], opsets)
    except (WorkbenchError, RuntimeError, ValueError, TypeError, IndexError) as error:
        logger.debug("node %r was not folded: %s", node.name, error)
        return None
    return result if isinstance(result, Tensor) and result.numel() <= burden else None


def _put_result(graph: ir.Graph, node: ir.Node, result: Tensor) -> None:
    source = node.inputs[0]
    assert source is not None
    keeps = node.op_type in _REARRANGED and len(source.uses()) == 1 and source.name
    name = str(source.name) if keeps and not source.is_graph_output() else None
    if name is not None:
        node.replace_input_with(0, None)
        del graph.initializers[name]
    _replace_by_constant(graph, node, node.outputs[0], result, name)


def fold_batch_norms(model: ir.Model) -> FoldRecord:
    """BatchNormalization into the linear node before it.

    With `a = gamma / sqrt(var + epsilon)` per output channel,

        a (W x + b - mean) + beta  =  (a W) x + (a (b - mean) + beta)

    A missing bias is made, as `<weight stem>.bias`. The host's output takes the name of the
    normalized value, which is what it now holds. What the training data looked like there stays on
    the value, as `meta["batch_norm"] = (beta, |gamma|)`: the mean and deviation per channel.
    """
    done = []
    for node in list(model.graph):
        host = _bn_host(node)
        if host is None:
            continue
        done.append(str(node.name))
        _fold_batch_norm(model.graph, host, node)
    return _record("batch norms folded", done)


def _bn_host(node: ir.Node) -> ir.Node | None:
    """The linear node that `node`, a BatchNormalization, can go into."""
    if node.op_type != "BatchNormalization" or node.domain or node.inputs[0] is None:
        return None
    source = node.inputs[0]
    host = source.producer()
    if host is None or host.op_type not in _BN_HOSTS or host.domain:
        return None
    lonely = len(source.uses()) == 1 and not source.is_graph_output()
    single = not any(value.uses() or value.is_graph_output() for value in node.outputs[1:])
    constants = [*host.inputs[1:], *node.inputs[1:]]
    known = all(value is None or constant_of(value) is not None for value in constants)
    training = node.attributes.get_int("training_mode", 0)
    return host if lonely and single and known and not training else None


def _fold_batch_norm(graph: ir.Graph, host: ir.Node, norm: ir.Node) -> None:
    gamma, beta, mean, var = (_wide(value) for value in norm.inputs[1:5])
    a = gamma / (var + norm.attributes.get_float("epsilon", 1e-5)).sqrt()
    weight_value = host.inputs[1]
    assert weight_value is not None
    bias_value = host.inputs[2] if len(host.inputs) > 2 else None
    weight = _wide(weight_value)
    bias = torch.zeros_like(mean) if bias_value is None else _wide(bias_value).reshape(-1)
    if host.op_type == "Gemm":
        bias = bias * host.attributes.get_float("beta", 1.0)
        host.attributes.pop("beta", None)
    dtype = to_torch(weight_value.const_value).dtype  # type: ignore[arg-type]
    new_weight = (weight * _channel_factors(host, weight, a)).to(dtype)
    new_bias = (a * (bias - mean) + beta).to(dtype)
    _swap(graph, host, 1, new_weight, str(weight_value.name))
    _swap(graph, host, 2, new_bias, str(bias_value.name) if bias_value else _bias_name(host))
    host.outputs[0].meta["batch_norm"] = (beta.float(), gamma.abs().float())
    _take_over(graph, host, norm)


def _wide(value: ir.Value | None) -> Tensor:
    constant = constant_of(value)
    assert constant is not None
    return to_torch(constant).double()


def _channel_factors(host: ir.Node, weight: Tensor, a: Tensor) -> Tensor:
    """`a` shaped to multiply the host's weight per output channel."""
    if host.op_type == "Conv":
        return a.reshape(-1, *[1] * (weight.ndim - 1))
    if host.op_type == "Gemm":
        return a.reshape(-1, 1) if host.attributes.get_int("transB", 0) else a.reshape(1, -1)
    groups = host.attributes.get_int("group", 1)
    rows = a.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
    return rows.reshape(*rows.shape, *[1] * (weight.ndim - 2))


def _bias_name(host: ir.Node) -> str:
    weight = str(host.inputs[1].name) if host.inputs[1] is not None else ""
    stem = weight.removesuffix(".weight")
    return f"{host.name if stem == weight else stem}.bias"


def _swap(graph: ir.Graph, node: ir.Node, index: int, tensor: Tensor, name: str) -> None:
    """Input `index` becomes a constant called `name`, or nearly so where others read the old."""
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is not None and len(old.uses()) == 1:
        node.replace_input_with(index, None)
        del graph.initializers[str(old.name)]
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    value = add_initializer(graph, unique(name, value_names(graph)), tensor)
    node.replace_input_with(index, value)


def _take_over(graph: ir.Graph, host: ir.Node, norm: ir.Node) -> None:
    """The host's output stands in for the norm's, under its name."""
    kept, gone = host.outputs[0], norm.outputs[0]
    name, gone.name = gone.name, f"{gone.name}\0old"
    kept.name = name
    gone.replace_all_uses_with(kept, replace_graph_outputs=True)
    graph.remove(norm, safe=True)


def fold_pads(model: ir.Model) -> FoldRecord:
    """Zero padding before a convolution becomes its own: `conv(pad(x, p), q) = conv(x, p + q)`."""
    done = []
    for node in list(model.graph):
        amounts = _zero_padding(node)
        host = _only_reader(node) if amounts else None
        if amounts is None or host is None or not _can_pad(host, amounts):
            continue
        rank = len(amounts) // 2
        spatial = [*amounts[2:rank], *amounts[rank + 2 :]]
        own = host.attributes.get_ints("pads") or [0] * len(spatial)
        total = [a + b for a, b in zip(spatial, own, strict=True)]
        host.attributes.add(ir.AttrInt64s("pads", total))
        host.replace_input_with(0, node.inputs[0])
        model.graph.remove(node, safe=True)
        done.append(str(node.name))
    return _record("paddings folded", done)


def _zero_padding(node: ir.Node) -> list[int] | None:
    """Begins and ends of all axes, where `node` is a Pad with constant zeros."""
    if (
        node.op_type != "Pad"
        or node.domain
        or node.attributes.get_string("mode", "")
        not in (
            "",
            "constant",
        )
    ):
        return None
    inputs = [*node.inputs, None, None, None, None][:4]
    amounts, fill, axes = (constant_of(value) for value in inputs[1:])
    plain = inputs[3] is None and axes is None and amounts is not None
    zero = inputs[2] is None or (fill is not None and not np.any(fill.numpy()))
    return [int(n) for n in amounts.numpy()] if plain and zero else None  # type: ignore[union-attr]


def _only_reader(node: ir.Node) -> ir.Node | None:
    """The node that alone reads the first output of `node`, as its first input."""
    value = node.outputs[0]
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    reader, index = next(iter(uses))
    return reader if index == 0 else None


def _can_pad(host: ir.Node, amounts: list[int]) -> bool:
    """A plain convolution, padded on spatial axes only."""
    rank = len(amounts) // 2
    outside = (*amounts[:2], *amounts[rank : rank + 2])
    automatic = host.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"
    right = host.op_type == "Conv" and not host.domain and not automatic
    return right and rank > 2 and not any(outside) and min(amounts) >= 0


def remove_unused(model: ir.Model) -> FoldRecord:
    """Nodes and initializers that no output needs."""
    before = {str(node.name) for node in model.graph}
    common.RemoveUnusedNodesPass()(model)
    return _record("unused removed", sorted(before - {str(node.name) for node in model.graph}))


def infer_shapes(model: ir.Model) -> None:
    """Shapes and types onto the values, where ONNX can tell; failures leave them unknown."""
    chatter = logging.getLogger("onnx_ir.passes.common")
    level = chatter.level
    chatter.setLevel(logging.CRITICAL)
    try:
        common.ShapeInferencePass()(model)
    except Exception as error:  # noqa: BLE001 - a stranger's file may defeat it; shapes only help
        logger.info("shape inference gave up: %s", error)
    finally:
        chatter.setLevel(level)
