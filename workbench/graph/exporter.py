"""Live torch modules as ONNX graphs, with the names a person gave their modules."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes import common
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules import common as rules
from torch import Tensor, nn

from workbench.foundation.errors import ModelError
from workbench.graph.passes.constants import fold_constants, fold_shapes, lift_constants
from workbench.graph.passes.identities import remove_identities
from workbench.graph.passes.unused import remove_unused
from workbench.graph.tensors import to_ir, to_torch, unique, value_names

OPSET = 21
BATCH = "batch"
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
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_SYMBOL = re.compile(r"[A-Za-z_]\w*")
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
    example_inputs: Sequence[Any] | Mapping[str, Any],
    *,
    dynamic_batch: bool = True,
    dynamic_axes: Mapping[int, str] | None = None,
    output_names: Sequence[str] | None = None,
) -> ir.Model:
    """Export `module` to an ONNX graph (opset 21).

    Nodes and the values they make are named after the module path they came from
    (`features.0.conv`, `blocks.1.attn/Softmax`); parameters keep their names.

    Args:
        module: the model; exported in evaluation mode and left as it was.
        example_inputs: the inputs of `forward`, in order, or by name; it is called with them first.
        dynamic_batch: leave the size of each input's first axis open, as `batch`.
        dynamic_axes: further axes to leave open, of every input that has them, with their names:
            `{1: "sequence"}`. Examples need at least two of what is left open.
        output_names: names for the graph outputs; the exporter's own by default.

    Raises:
        ModelError: the module does not run with these inputs, or torch could not export it.
    """
    axes = {**({0: BATCH} if dynamic_batch else {}), **(dynamic_axes or {})}
    with _evaluating(module):
        _run_once(module, example_inputs)
        with _quiet():
            model = _export(module, example_inputs, axes)
    return _tidied(model, output_names)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each part is in its own mode again.

    With gradients torch traces another kernel of attention, whose strides it then cannot view.
    """
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


def _run_once(module: nn.Module, inputs: Sequence[Any] | Mapping[str, Any]) -> None:
    """The module's own complaint about wrong inputs is plainer than the exporter's."""
    try:
        module(**inputs) if isinstance(inputs, Mapping) else module(*inputs)
    except Exception as error:  # noqa: BLE001 - a module raises what it likes
        raise ModelError(
            f"'{type(module).__name__}' does not run with the example inputs ({_cause(error)}); "
            "give example_inputs with the shapes and types that its forward takes"
        ) from None


def _cause(error: BaseException) -> str:
    """What the innermost error says, in one line without terminal colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = _ANSI.sub("", str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")[:200]


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


def _export(
    module: nn.Module, inputs: Sequence[Any] | Mapping[str, Any], axes: Mapping[int, str]
) -> ir.Model:
    inputs = _mapped(_own_copy, inputs)
    if BATCH in axes.values():
        inputs = _mapped(_two_at_least, inputs)
    try:
        program = torch.onnx.export(
            module,
            () if isinstance(inputs, Mapping) else tuple(inputs),
            kwargs=dict(inputs) if isinstance(inputs, Mapping) else None,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=_mapped(lambda value: _open_axes(value, axes), inputs) if axes else None,
            optimize=False,
            verbose=False,
        )
    except Exception as error:  # noqa: BLE001 - the exporter raises whatever the module does
        raise ModelError(
            f"torch could not export '{type(module).__name__}' to ONNX ({_cause(error)}); export "
            "it with torch.onnx.export yourself, or try dynamic_batch=False"
        ) from None
    assert program is not None
    _name_axes(program.model, axes)
    return program.model


def _mapped(change: Callable[[Any], Any], inputs: Sequence[Any] | Mapping[str, Any]) -> Any:
    if isinstance(inputs, Mapping):
        return {name: change(value) for name, value in inputs.items()}
    return tuple(change(value) for value in inputs)


def _open_axes(value: Any, axes: Mapping[int, str]) -> dict[int, Any] | None:
    if not isinstance(value, Tensor):
        return None
    return {axis: torch.export.Dim.DYNAMIC for axis in axes if axis < value.ndim} or None


def _own_copy(value: Any) -> Any:
    """torch takes one tensor in two places as one input, so each place gets its own."""
    return value.clone() if isinstance(value, Tensor) else value


def _two_at_least(value: Any) -> Any:
    """torch takes a size of one as fixed, so an example of one is doubled."""
    if isinstance(value, Tensor) and value.ndim and value.shape[0] == 1:
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


def _name_axes(model: ir.Model, axes: Mapping[int, str]) -> None:
    """The symbols of open axes get readable names wherever they appear.

    All batches are one; another axis gets a number where torch found that its size may differ.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for value in model.graph.inputs:
        sizes = [] if value.shape is None else list(value.shape)
        for axis, name in axes.items():
            size = sizes[axis] if axis < len(sizes) else 0
            if isinstance(size, ir.SymbolicDim) and size.value and size.value not in names:
                names[size.value] = name if name == BATCH else unique(name, taken)
    for value in (*model.graph.inputs, *(v for node in model.graph for v in node.outputs)):
        if value.shape is not None:
            value.shape = ir.Shape([_renamed(size, names) for size in value.shape])


def _renamed(size: int | ir.SymbolicDim, names: Mapping[str, str]) -> int | str | None:
    """A size, or the formula of one, with the symbols' new names."""
    if isinstance(size, int) or size.value is None:
        return size if isinstance(size, int) else None
    return _SYMBOL.sub(lambda match: names.get(match[0], match[0]), size.value)


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
