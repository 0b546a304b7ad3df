"""Live torch modules as ONNX graphs, with the names a person gave their modules."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes import common
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules import common as rules
from torch import Tensor, nn

from workbench.foundation.errors import ModelError
from workbench.graph.fold import (
    fold_constants,
    fold_shapes,
    lift_constants,
    remove_identities,
    remove_unused,
)
from workbench.graph.tensors import to_ir, to_torch, unique, value_names

OPSET = 21
_SHAPE_RULES = [
    rules.collapse_slice_rule,
    rules.collapse_slice2_rule,
    rules.materialize_reshape_shape_rule,
    rules.no_op_cast_rule,
    rules.no_op_expand_rule,
    rules.no_op_transpose_rule,
    rules.remove_optional_bias_from_conv_rule,
    rules.remove_optional_bias_from_conv_transpose_rule,
    rules.reshape_reshape_rule,
    rules.squeeze_reshape_1d_rule,
    rules.transpose_transpose_rule,
    rules.unsqueeze_unsqueeze_rule,
]
_SCOPES = "pkg.torch.onnx.name_scopes"
_GENERATED = re.compile(r"val_\d+")
_RECURRENT_INPUTS = {1: "W", 2: "R", 3: "B"}
_WEIGHT_INPUT = {
    "Conv": 1,
    "ConvTranspose": 1,
    "Gemm": 1,
    "MatMul": 1,
    "GRU": 1,
    "LSTM": 1,
    "RNN": 1,
    "BatchNormalization": 1,
    "LayerNormalization": 1,
    "GroupNormalization": 1,
    "InstanceNormalization": 1,
    "RMSNormalization": 1,
    "PRelu": 1,
    "Gather": 0,
}


def from_module(
    module: nn.Module,
    example_inputs: tuple[Any, ...],
    *,
    dynamic_batch: bool = True,
    output_names: Sequence[str] | None = None,
) -> ir.Model:
    """Export `module` to an ONNX graph (opset 21).

    Nodes and the values they make are named after the module path they came from
    (`features.0.conv`, `blocks.1.attn/Softmax`); parameters keep their names.

    Args:
        module: the model; exported in evaluation mode and left as it was.
        example_inputs: positional inputs of `forward`.
        dynamic_batch: leave the size of each input's first axis open, as `batch`.
        output_names: names for the graph outputs; the exporter's own by default.

    Raises:
        ModelError: torch could not export the module.
    """
    training = module.training
    module.eval()
    try:
        with _quiet():
            model = _export(module, example_inputs, dynamic_batch)
    except Exception as error:  # noqa: BLE001 - the exporter raises whatever the module does
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"torch could not export '{type(module).__name__}' to ONNX ({reason[0][:200]}); export "
            "it with torch.onnx.export yourself, or try dynamic_batch=False"
        ) from None
    finally:
        module.train(training)
    return _tidied(model, output_names)


def _tidied(model: ir.Model, output_names: Sequence[str] | None) -> ir.Model:
    """Own copies of the weights, constants folded, module names on everything, no metadata."""
    _own_weights(model)
    common.InlinePass()(model)
    _simplify(model)
    _shorten_shapes(model)
    _simplify(model)
    common.CommonSubexpressionEliminationPass()(model)
    _name_nodes(model.graph)
    _name_values(model.graph, output_names)
    _strip(model)
    return model


def _simplify(model: ir.Model) -> None:
    for step in (lift_constants, remove_identities, fold_shapes, fold_constants, remove_unused):
        step(model)


def _shorten_shapes(model: ir.Model) -> None:
    """The exporter's shape arithmetic, worked out where only the batch size is open.

    onnxscript's rules do it. Those that fuse learned layers are left out: folding a batch norm is
    `fold`'s to do, on record. Weights have been folded before, so that they kept their names.
    """
    optimizer.fold_constants(model)
    rewriter.rewrite(model, _SHAPE_RULES)
    optimizer.fold_constants(model)


def _export(module: nn.Module, inputs: tuple[Any, ...], dynamic_batch: bool) -> ir.Model:
    shapes: tuple[Any, ...] | None = None
    if dynamic_batch:
        inputs = tuple(_two_at_least(value) for value in inputs)
        dynamic = torch.export.Dim.DYNAMIC
        shapes = tuple({0: dynamic} if _has_batch(value) else None for value in inputs)
    program = torch.onnx.export(
        module,
        inputs,
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=shapes,
        optimize=False,
        verbose=False,
    )
    assert program is not None
    if dynamic_batch:
        _name_batch(program.model)
    return program.model


def _has_batch(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def _two_at_least(value: Any) -> Any:
    """torch takes a size of one as fixed, so an example of one is doubled."""
    if _has_batch(value) and value.shape[0] == 1:
        return torch.cat((value, value))
    return value


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's progress, warnings and log lines are not the reader's concern."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in loggers]
    try:
        for log in loggers:
            log.setLevel(logging.CRITICAL)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(loggers, levels, strict=True):
            log.setLevel(level)


def _name_batch(model: ir.Model) -> None:
    """The first axis of the inputs is called `batch` wherever its symbol appears."""
    firsts = [v.shape[0] for v in model.graph.inputs if v.shape is not None and len(v.shape)]
    symbols = {size.value for size in firsts if not isinstance(size, int)}
    values = [*model.graph.inputs, *(v for node in model.graph for v in node.outputs)]
    for value in values:
        if value.shape is None:
            continue
        sizes = [d if isinstance(d, int) else d.value for d in value.shape]
        value.shape = ir.Shape(["batch" if size in symbols else size for size in sizes])


def _own_weights(model: ir.Model) -> None:
    """Copy weights out of the module, which may go on training."""
    for name, value in model.graph.initializers.items():
        if value.const_value is not None and int(value.const_value.dtype) not in (21, 22, 25, 26):
            value.const_value = to_ir(to_torch(value.const_value), name)


def _module_path(node: ir.Node) -> str:
    """The path of the innermost module a node came from, `` for the outermost."""
    try:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))
    except (ValueError, SyntaxError):
        return ""
    inner = [scope for scope in scopes[:-1] if scope and not scope.startswith("_empty_nn")]
    return inner[-1] if inner else ""


def _weight(node: ir.Node) -> ir.Value | None:
    """The learned tensor of a linear, recurrent or normalizing node."""
    index = _WEIGHT_INPUT.get(node.op_type)
    value = node.inputs[index] if index is not None and index < len(node.inputs) else None
    return value if value is not None and value.is_initializer() else None


def _name_nodes(graph: ir.Graph) -> None:
    """A module's only node, or the one with its weight, bears its path; others add their operator.

    The weight's own name tells the module best, since tidying can blur where a node came from.
    """
    paths = {node: _module_path(node) for node in graph}
    for node in graph:
        weight = _weight(node)
        if weight is not None and str(weight.name).endswith(".weight"):
            paths[node] = str(weight.name).removesuffix(".weight")
    counts = Counter(paths.values())
    weighted = Counter(path for node, path in paths.items() if _weight(node) is not None)
    taken: set[str] = set()
    for node in sorted(graph, key=lambda node: _weight(node) is None):
        path = paths[node]
        alone = counts[path] == 1 or (weighted[path] == 1 and _weight(node) is not None)
        short = path and alone and path not in taken
        node.name = unique(path if short else "/".join(filter(None, (path, node.op_type))), taken)


def _name_values(graph: ir.Graph, output_names: Sequence[str] | None) -> None:
    """Values are called after the node that makes them; outputs keep their names."""
    _name_recurrent_weights(graph)
    outputs = list(graph.outputs)
    for value, name in zip(outputs, output_names or [], strict=False):
        value.name = name
    taken = {str(v.name) for v in (*graph.inputs, *outputs)} | set(graph.initializers)
    for node in graph:
        for index, value in enumerate(node.outputs):
            if value.name and value not in outputs:
                suffix = f":{index}" if index else ""
                value.name = unique(f"{node.name}{suffix}", taken)


def _name_recurrent_weights(graph: ir.Graph) -> None:
    """The exporter assembles recurrent weights into nameless constants: `gru.W`, `gru.R` ..."""
    taken = value_names(graph)
    for node in graph:
        if node.op_type not in ("GRU", "LSTM", "RNN"):
            continue
        for index, letter in _RECURRENT_INPUTS.items():
            value = node.inputs[index] if index < len(node.inputs) else None
            if value is not None and value.is_initializer() and _GENERATED.match(str(value.name)):
                value.name = unique(f"{node.name}.{letter}", taken)


def _strip(model: ir.Model) -> None:
    """Metadata holds source paths and stack traces; none of it leaves."""
    graph = model.graph
    model.metadata_props.clear()
    graph.metadata_props.clear()
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        node.metadata_props.clear()
        node.doc_string = None
        values += node.outputs
    for value in values:
        value.metadata_props.clear()
        value.doc_string = None
