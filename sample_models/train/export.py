"""A trained module as a float32 ONNX file in which people can find their way.

The exporter's graph is folded until weights feed their layers directly; nodes and tensors take
the names of the modules they come from (`blocks.0.depthwise`); traces of the machine that made
the file are removed. Batch normalisation stays a node of its own: quantization methods use its
statistics.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from onnx_ir.passes import common as passes
from onnxscript import opset21, optimizer, rewriter
from onnxscript.rewriter.rules import common as rules
from torch import Tensor, nn

log = logging.getLogger("sample_models")

# Inside a translation these functions build graph values, not the arrays they are typed for.
op: Any = opset21

FOLDER = Path(__file__).resolve().parents[1]
OPSET = 21
IR_VERSION = 10
TOLERANCE = 1e-4

_FOLD_LIMIT = 1 << 24
_RULES = [
    rules.materialize_reshape_shape_rule,
    rules.remove_optional_bias_from_conv_rule,
    rules.no_op_cast_rule,
    rules.transpose_transpose_rule,
]
_LAYERS = {"Conv", "MatMul", "Gemm", "GRU", "Gather", "BatchNormalization", "LayerNormalization"}
# What a constant input is called after the node that reads it.
_ROLES: dict[tuple[str, int], str] = {
    ("Clip", 1): "min",
    ("Clip", 2): "max",
    ("GRU", 1): "weight_ih",
    ("GRU", 2): "weight_hh",
    ("GRU", 3): "bias",
    ("Gemm", 1): "weight",
    ("MatMul", 1): "weight",
    ("Mul", 1): "factor",
    ("ReduceMean", 1): "axes",
    ("Reshape", 1): "shape",
    ("Squeeze", 1): "axes",
}


def export(
    model: nn.Module, name: str, input_name: str, example: Tensor, folder: Path = FOLDER
) -> Path:
    """Write `<name>.onnx` into a folder and check it against `model`; the path.

    `example` is `(5, ...)`: five examples, on which both must agree, at batch 5 and at batch 1.
    """
    model.eval()
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        optimize=False,
        opset_version=OPSET,
        input_names=[input_name],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        custom_translation_table=_TRANSLATIONS,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the exporter returned no program")
    graph_model = program.model
    _simplify(graph_model)
    _name_nodes(graph_model.graph, model)
    _name_constants(
        graph_model.graph, {*dict(model.named_parameters()), *dict(model.named_buffers())}
    )
    _clean(graph_model, name)
    path = folder / f"{name}.onnx"
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(graph_model), strict_mode=True)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    _verify(path, model, example)
    return path


def _gru(  # noqa: PLR0913 - the exporter reads this signature
    x: ir.Value,
    hx: ir.Value,
    params: Sequence[ir.Value],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Any, Any]:
    """One forward GRU layer that starts from zeros, as one node: (T, N, C) to (T, N, H)."""
    del hx, dropout
    if num_layers != 1 or train or bidirectional or batch_first or not has_biases:
        raise NotImplementedError("only one forward layer, time first, with biases")
    width = _dim(params[1], 1)
    gates = np.split(np.arange(3 * width), 3)
    order = op.Constant(value_ints=np.concatenate([gates[1], gates[0], gates[2]]).tolist())
    first = op.Constant(value_ints=[0])
    kernels = [op.Unsqueeze(op.Gather(p, order), first) for p in params[:2]]
    bias = op.Concat(op.Gather(params[2], order), op.Gather(params[3], order), axis=0)
    states, last = op.GRU(
        x,
        kernels[0],
        kernels[1],
        op.Unsqueeze(bias, first),
        hidden_size=width,
        linear_before_reset=1,
    )
    return op.Squeeze(states, op.Constant(value_ints=[1])), last


_TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.aten.gru.input: _gru}


def _dim(value: ir.Value, axis: int) -> int:
    size = value.shape[axis] if value.shape is not None else None
    if not isinstance(size, int):
        raise TypeError(f"{value.name} has no fixed size along axis {axis}")
    return size


def _simplify(model: ir.Model) -> None:
    """Fold what is constant, drop what is unused, and give each reader its own constant."""
    for _ in range(2):
        optimizer.fold_constants(model, input_size_limit=_FOLD_LIMIT, output_size_limit=_FOLD_LIMIT)
        rewriter.rewrite(model, _RULES)
        passes.RemoveUnusedNodesPass()(model)
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.RemoveUnusedNodesPass()(model)
    passes.RemoveUnusedFunctionsPass()(model)
    passes.RemoveUnusedOpsetsPass()(model)


def _name_nodes(graph: ir.Graph, model: nn.Module) -> None:
    """Name nodes, and the tensors they make, after the modules they come from.

    A layer that is one module is called as the module; what else the module needs, and what a
    module computes itself, gets the operator's name after it: `blocks.0.add`.
    """
    leaves = {path for path, module in model.named_modules() if not any(module.children())}
    taken: set[str] = set(graph.initializers) | {value.name or "" for value in graph.inputs}
    outputs = set(graph.outputs)
    for node in _weighted_first(graph):
        path = _module_path(node)
        plain = f"{path}.{node.op_type.lower()}".lstrip(".")
        node.name = _unused(path if path in leaves and path not in taken else plain, taken)
        for index, value in enumerate(node.outputs):
            if value not in outputs:
                value.name = node.name if index == 0 else f"{node.name}.{index}"


def _weighted_first(graph: ir.Graph) -> list[ir.Node]:
    """Nodes in order, but those with weights before the others: they have first claim."""
    return sorted(graph, key=lambda node: node.op_type not in _LAYERS)


def _module_path(node: ir.Node) -> str:
    """The dotted path of the innermost module that a node comes from; empty for the model."""
    scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "['']"))
    return scopes[-2] if len(scopes) > 1 else ""


def _unused(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def _name_constants(graph: ir.Graph, named: set[str]) -> None:
    """Name each folded or literal constant after its reader; parameters and buffers keep theirs."""
    taken = named & set(graph.initializers)
    for node in graph:
        for index, value in enumerate(node.inputs):
            if value is None or not value.is_initializer() or value.name in taken:
                continue
            role = _ROLES.get((node.op_type, index), "constant")
            value.name = _unused(f"{node.name}.{role}", taken)


def _clean(model: ir.Model, name: str) -> None:
    """Remove notes about how and where the graph was traced."""
    model.ir_version = IR_VERSION
    model.graph.name = name
    for holder in (model, model.graph, *model.graph):
        holder.metadata_props.clear()
        holder.doc_string = None
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for value in [*values, *(value for node in model.graph for value in node.outputs)]:
        value.metadata_props.clear()
        value.doc_string = None


def _verify(path: Path, model: nn.Module, example: Tensor) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for inputs in (example, example[:1]):
        with torch.no_grad():
            expected = model(inputs).numpy()
        outputs = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        found = np.asarray(outputs[0])
        error = float(np.abs(found - expected).max())
        log.info("%s at batch %d: largest difference %.1e", path.name, len(inputs), error)
        if found.shape != expected.shape or not error <= TOLERANCE:
            raise RuntimeError(f"{path.name} differs from the module by {error}")
