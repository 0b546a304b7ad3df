"""Which operator set a file needs, and models brought to it."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx_ir as ir
from onnx import version_converter

from workbench.deploy.external import first_line
from workbench.deploy.pack import AXIS_OPSET, Store, least_opset, packed_opset
from workbench.deploy.writer import holds_two_bits, quantized_data
from workbench.foundation.errors import ExportError
from workbench.graph.sites import Site

#: the newest that ONNX Runtime 1.32 runs; it has no DequantizeLinear of 28
NEWEST_OPSET = 27
#: initializers above this size are kept away from the converter, which looks at small ones only
_BIG_TENSOR_BYTES = 1024


def at_needed_opset(
    model: ir.Model, sites: Mapping[str, Site], store: Store, opset: int | None
) -> ir.Model:
    """A copy of `model` at an operator set that holds the sites' grids.

    With `opset` None this is the oldest one that holds all codes in as few bits as `store` allows;
    where the model does not convert to it, the oldest one that holds the grids at all. A newer
    model then keeps its own.

    Raises:
        ExportError: a model that does not convert, or an `opset` that cannot be written.
    """
    if opset is not None:
        return at_opset(model, _possible(opset, opset_of(model)))
    least = max((least_opset(site) for site in sites.values()), default=AXIS_OPSET)
    integer_data = quantized_data(sites.values())
    packed = max(
        (
            packed_opset(site, store, two_bits=holds_two_bits(site, integer_data))
            for site in sites.values()
        ),
        default=AXIS_OPSET,
    )
    try:
        return at_opset(model, packed)
    except ExportError:
        if packed == least:
            raise
        return at_opset(model, least)


def at_opset(model: ir.Model, opset: int) -> ir.Model:
    """A copy of `model` at operator set `opset`, or at its own if that is newer.

    Raises:
        ExportError: a model whose operators cannot be converted, or lose their names on the way.
    """
    if opset_of(model) >= opset:
        return _needed_ir_version(model.clone())
    try:
        converted = _converted(model, opset)
    except Exception as error:  # the converter raises bare RuntimeErrors from C++
        raise ExportError(
            f"the model is at opset {opset_of(model)} and does not convert to {opset} "
            f"({first_line(error)}); export it anew at opset {opset}"
        ) from error
    lost = _names(model) - _names(converted)
    if lost:
        raise ExportError(
            f"converting the model from opset {opset_of(model)} to {opset} lost "
            f"'{min(lost)}'; export it anew at opset {opset}"
        )
    return _needed_ir_version(converted)


def opset_of(model: ir.Model) -> int:
    """The model's version of the standard operators."""
    return model.opset_imports[""]


def _possible(opset: int, own: int) -> int:
    newest = min(onnx.defs.onnx_opset_version(), NEWEST_OPSET)
    if not AXIS_OPSET <= opset <= newest:
        raise ExportError(f"opset was '{opset}'; choose '{AXIS_OPSET}' to '{newest}'")
    if opset < own:
        raise ExportError(
            f"opset was '{opset}', but the model is at opset '{own}' and is not made older; leave "
            "the opset out, or export the float model at an older one"
        )
    return opset


def _converted(model: ir.Model, opset: int) -> ir.Model:
    """The model converted without its large tensors, which come back afterwards."""
    light = model.clone()
    graph = light.graph
    held: dict[str, ir.TensorProtocol] = {}
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and tensor.nbytes > _BIG_TENSOR_BYTES and value not in graph.inputs:
            held[name] = tensor
            value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape.numpy())
            value.const_value = None
            graph.initializers.pop(name)
            graph.inputs.append(value)
    converted = ir.from_proto(version_converter.convert_version(ir.to_proto(light), opset))
    for value in list(converted.graph.inputs):
        tensor = held.get(str(value.name))
        if tensor is not None:
            converted.graph.inputs.remove(value)
            value.const_value = tensor
            converted.graph.register_initializer(value)
    return converted


def _names(model: ir.Model) -> set[str]:
    """Names of the nodes and of the tensors between them."""
    nodes = {str(node.name) for node in model.graph}
    return nodes | {str(output.name) for node in model.graph for output in node.outputs}


def _needed_ir_version(model: ir.Model) -> ir.Model:
    imports = [onnx.helper.make_opsetid("", opset_of(model))]
    least = onnx.helper.find_min_ir_version_for(imports)
    model.ir_version = max(model.ir_version or 0, least)
    return model
