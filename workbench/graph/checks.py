"""Checks of a parsed ONNX file from a stranger, each a `ModelError` in one sentence.

They run before anything is made from the file. A tensor or a name may sit in a subgraph, a function
or a corner that nobody reads: so all messages are visited, not only those in known places.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import onnx
import onnx_ir as ir
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from workbench.foundation.errors import ModelError
from workbench.graph.places import Place, is_plain
from workbench.graph.wiring import (
    MAX_NODES,
    Scope,
    body,
    check_functions,
    check_wiring,
    main,
    nested,
)

MAX_INITIALIZERS = 100_000
MAX_RANK = 32
MAX_NAME = 65_536
MAX_STRING = 1 << 20
MAX_SIZE = 1 << 48
MIN_OPSET = 7

_DOMAINS = ("", "ai.onnx")
_NUMBERS = frozenset(int(kind) for kind in ir.DataType) - {0, int(ir.DataType.STRING)}
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
#: where a type's values lie if not as raw bytes; those of all others lie in `int32_data`
_TYPED_OF = {
    ir.DataType.FLOAT: "float_data",
    ir.DataType.COMPLEX64: "float_data",
    ir.DataType.INT64: "int64_data",
    ir.DataType.DOUBLE: "double_data",
    ir.DataType.COMPLEX128: "double_data",
    ir.DataType.UINT32: "uint64_data",
    ir.DataType.UINT64: "uint64_data",
}
_FREE_TEXT = frozenset({"doc_string", "value"})


def check(proto: onnx.ModelProto, place: Place, budget: int) -> None:
    """Everything; external data is read into its tensors on the way.

    Args:
        proto: the parsed file.
        place: where it came from, and its external data with it.
        budget: bytes that external data may have in all.

    Raises:
        ModelError: the first fault that is found.
    """
    name = place.name
    opsets = _opsets(proto.opset_import, list(proto.graph.node), name)
    scopes = [main(proto.graph), *map(body, proto.functions)]
    _check_counts(list(nested(scopes)), name)
    tensors = list(_visited(proto, name))
    for owner, tensor in tensors:
        _check_shape(owner, tensor, name)
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            budget -= _embed(owner, tensor, place, budget)
        _check_content(owner, tensor, name)
    check_functions(proto, name)
    _check_scope(main(proto.graph), opsets, name)
    for function in proto.functions:
        own = _opsets(function.opset_import, list(function.node), name)
        _check_scope(body(function), own, name)


def _check_scope(scope: Scope, opsets: Mapping[str, int], name: str) -> None:
    for inner in nested([scope]):
        for node in inner.nodes:
            _check_node(node, opsets, name)
    check_wiring(scope, name)


def _opsets(
    imports: Iterable[onnx.OperatorSetIdProto], nodes: Iterable[onnx.NodeProto], name: str
) -> dict[str, int]:
    """Versions by domain; that of the standard operators under both of its names."""
    opsets = {entry.domain: entry.version for entry in imports}
    versions = [opsets[domain] for domain in _DOMAINS if domain in opsets]
    newest = onnx.defs.onnx_opset_version()
    if not versions and any(node.domain in _DOMAINS for node in nodes):
        raise ModelError(f"'{name}' names no opset version; export the model again")
    for version in versions:
        if not MIN_OPSET <= version <= newest:
            raise ModelError(
                f"'{name}' uses opset '{version}', and '{MIN_OPSET}' to '{newest}' can be read; "
                "convert it with onnx.version_converter"
            )
    return {**opsets, **dict.fromkeys(_DOMAINS, versions[0] if versions else 0)}


# --- every message --------------------------------------------------------------------------------


def _visited(
    message: Message, name: str, owner: str = ""
) -> Iterator[tuple[str, onnx.TensorProto]]:
    """All tensors in `message` with the name of what holds them, all texts checked on the way."""
    if isinstance(message, onnx.SparseTensorProto):
        raise ModelError(f"'{name}' holds sparse tensors; store the weights densely")
    if isinstance(message, onnx.TensorProto):
        _check_text("name", message.name, name)
        yield message.name or owner, message
        return
    owner = getattr(message, "name", "") or owner
    for field, value in message.ListFields():
        values = value if field.is_repeated else (value,)
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for child in values:
                yield from _visited(child, name, owner)
        elif field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            for text in values:
                _check_text(field.name, text, name, field.type == FieldDescriptor.TYPE_BYTES)


def _check_text(field: str, text: str | bytes, name: str, raw: bool = False) -> None:
    """Text is UTF-8 (protobuf hands out bytes where it is not) and of a sensible length."""
    if isinstance(text, bytes) and not raw:
        raise ModelError(
            f"'{name}' holds the name {text[:80]!r}, which is not UTF-8 text; the file is damaged, "
            "export or download it again"
        )
    limit = MAX_STRING if raw or field in _FREE_TEXT else MAX_NAME
    if len(text) > limit and field != "doc_string":
        raise ModelError(
            f"'{name}' holds a {field} of '{len(text)}' characters, above the limit of '{limit}'; "
            "shorten it"
        )


# --- counts ---------------------------------------------------------------------------------------


def _check_counts(scopes: Iterable[Scope], name: str) -> None:
    nodes = sum(len(scope.nodes) for scope in scopes)
    initializers = sum(len(scope.initializers) for scope in scopes)
    if nodes > MAX_NODES or initializers > MAX_INITIALIZERS:
        raise ModelError(
            f"'{name}' has '{nodes}' nodes and '{initializers}' initializers, above the limits of "
            f"'{MAX_NODES}' and '{MAX_INITIALIZERS}'; simplify the model"
        )


# --- tensors --------------------------------------------------------------------------------------


def _check_shape(owner: str, tensor: onnx.TensorProto, name: str) -> None:
    if tensor.data_type not in _NUMBERS:
        raise ModelError(
            f"tensor '{owner}' in '{name}' has element type '{tensor.data_type}', which holds no "
            "numbers the workbench knows; export the model again"
        )
    known = len(tensor.dims) <= MAX_RANK and all(0 <= size < MAX_SIZE for size in tensor.dims)
    if not known or tensor.HasField("segment"):
        raise ModelError(
            f"tensor '{owner}' in '{name}' has the shape '{list(tensor.dims[:8])}'; export the "
            "model again"
        )


def _embed(owner: str, tensor: onnx.TensorProto, place: Place, budget: int) -> int:
    """Read external data into the tensor, from harmless places only; the number of bytes."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    size = _external_size(location, owner, place)
    expected = _expected_bytes(tensor)
    offset = _whole(entries.get("offset", "0"))
    length = _whole(entries.get("length", str(expected)))
    if offset is None or length != expected or offset + expected > size:
        raise ModelError(
            f"the external data of '{owner}' in '{location}' does not have the '{expected}' bytes "
            "its shape needs; export the model again, in one file"
        )
    if expected > budget:
        raise ModelError(
            f"'{place.name}' and its external data pass the size limit; raise max_bytes if you "
            "trust the files"
        )
    try:
        tensor.raw_data = place.read(location, offset, expected)
    except OSError as error:
        raise ModelError(
            f"the external data '{location}' of '{owner}' cannot be read ({error}); check the file"
        ) from None
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]
    return expected


def _external_size(location: str, owner: str, place: Place) -> int:
    try:
        size = place.size(location) if is_plain(location) else None
    except OSError:
        raise ModelError(
            f"the external data file '{location}' of '{owner}' is missing; put it beside "
            f"'{place.name}'"
        ) from None
    if size is None:
        raise ModelError(
            f"the external data of '{owner}' lies at '{location}', and only a plain file beside "
            f"'{place.name}' is read; save the model in one file"
        )
    return size


def _whole(text: str) -> int | None:
    """A number of bytes, or None where the text is no such number."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _expected_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of raw data that the tensor's shape and type need."""
    return math.ceil(math.prod(tensor.dims) * ir.DataType(tensor.data_type).itemsize)


def _check_content(owner: str, tensor: onnx.TensorProto, name: str) -> None:
    filled = [field for field in _TYPED if len(getattr(tensor, field))]
    if tensor.raw_data or not filled:
        fits = len(tensor.raw_data) == _expected_bytes(tensor) and not filled
    else:
        own = _TYPED_OF.get(ir.DataType(tensor.data_type), "int32_data")
        fits = filled == [own] and len(getattr(tensor, own)) == _typed_expected(tensor)
    if not fits or tensor.string_data:
        raise ModelError(
            f"tensor '{owner}' in '{name}' does not hold the '{math.prod(tensor.dims)}' values of "
            "its shape; the file is damaged, export or download it again"
        )


def _typed_expected(tensor: onnx.TensorProto) -> int:
    """Entries in the typed fields: sub-byte types are packed, complex ones take two."""
    kind, count = ir.DataType(tensor.data_type), math.prod(tensor.dims)
    if kind.itemsize < 1:
        return math.ceil(count * kind.itemsize)
    return count * (2 if kind.name.startswith("COMPLEX") else 1)


# --- nodes ----------------------------------------------------------------------------------------


def _check_node(node: onnx.NodeProto, opsets: Mapping[str, int], name: str) -> None:
    """A standard operator has the inputs, outputs and attributes that its definition asks for."""
    if node.domain not in _DOMAINS or not onnx.defs.has(node.op_type):
        return
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets[node.domain], "")
    except onnx.defs.SchemaError:
        return
    fault = _arity_fault(node, schema) or _attribute_fault(node, schema)
    if fault:
        raise ModelError(
            f"node '{node.name or node.op_type}' of '{name}', operator '{node.op_type}', {fault}; "
            "check the file with onnx.checker"
        )


def _arity_fault(node: onnx.NodeProto, schema: onnx.defs.OpSchema) -> str:
    inputs, outputs = len(node.input), len(node.output)
    if not schema.min_input <= inputs <= schema.max_input:
        return f"has '{inputs}' inputs, and takes '{schema.min_input}' to '{schema.max_input}'"
    if not schema.min_output <= outputs <= schema.max_output:
        return f"has '{outputs}' outputs, and gives '{schema.min_output}' to '{schema.max_output}'"
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    for given, formal in zip(node.input, schema.inputs, strict=False):
        if formal.option == single and not given:
            return f"lacks its input '{formal.name}'"
    return ""


def _attribute_fault(node: onnx.NodeProto, schema: onnx.defs.OpSchema) -> str:
    given = [attribute.name for attribute in node.attribute]
    if len(set(given)) < len(given):
        return "has an attribute twice"
    for key, formal in schema.attributes.items():
        if formal.required and key not in given:
            return f"lacks the attribute '{key}'"
    for attribute in node.attribute:
        formal = schema.attributes.get(attribute.name)
        kind = 0 if formal is None else int(formal.type)  # type: ignore[arg-type]
        if kind and attribute.type not in (0, kind):
            given_kind = onnx.AttributeProto.AttributeType.Name(attribute.type)
            return f"has the attribute '{attribute.name}' of type '{given_kind}'"
    return ""
