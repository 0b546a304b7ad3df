"""Valid models with something wrong in them: bytes, lengths, fields, wires."""

from __future__ import annotations

import random

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

_INTEGERS = (
    *(FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64),
    *(FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_ENUM),
)
_FLOATS = (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE)
NUMBERS = (0, 1, -1, 2, 3, 7, 8, 255, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, -(1 << 62))
REALS = (0.0, -1.0, 1e-45, 1e30, float("nan"), float("inf"))
TEXTS = ("", "x", "NOTSET", "VALID", "linear", "${7*7}", "a\nb", "Conv", "If", "Loop", "Reshape")


def flip_bits(data: bytes, chance: random.Random) -> bytes:
    """A few bits, anywhere."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def cut(data: bytes, chance: random.Random) -> bytes:
    """The end, or a piece in the middle, is missing or there twice."""
    start = chance.randrange(len(data))
    stop = min(len(data), start + chance.choice((1, 2, 10, 1000)))
    kind = chance.randrange(3)
    if kind == 0:
        return data[: max(1, start)]
    return data[:start] + data[stop:] if kind == 1 else data[:stop] + data[start:]


def change_fields(data: bytes, chance: random.Random) -> bytes:
    """One to three fields of some message get another value of the same kind."""
    proto = onnx.load_from_string(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = _places(proto)
        message, field = chance.choice(places)
        _change(message, field, chance)
    return proto.SerializePartialToString()


def rewire(data: bytes, chance: random.Random) -> bytes:
    """Nodes read, write or are something else."""
    proto = onnx.load_from_string(data)
    nodes = proto.graph.node
    names = [name for node in nodes for name in (*node.input, *node.output)]
    for _ in range(chance.choice((1, 1, 2, 4))):
        node = chance.choice(nodes)
        _rewire_one(proto, node, names, chance)
    return proto.SerializePartialToString()


def reshape(data: bytes, chance: random.Random) -> bytes:
    """Tensors and values have other sizes, types or contents, consistently or not."""
    proto = onnx.load_from_string(data)
    tensors = [*proto.graph.initializer]
    tensors += [a.t for node in proto.graph.node for a in node.attribute if a.HasField("t")]
    kind = chance.randrange(4)
    if tensors and kind < 3:
        tensor = chance.choice(tensors)
        if kind == 0:
            tensor.dims.reverse()
        elif kind == 1:
            _renumber(tensor, chance)
        else:
            tensor.data_type = chance.randrange(0, 27)
    else:
        value = chance.choice([*proto.graph.input, *proto.graph.output])
        dims = value.type.tensor_type.shape.dim
        if dims:
            chance.choice(dims).dim_value = chance.choice(NUMBERS)
    return proto.SerializePartialToString()


MUTATIONS = (flip_bits, cut, change_fields, rewire, reshape)


def _renumber(tensor: onnx.TensorProto, chance: random.Random) -> None:
    """Other whole numbers in a small integer tensor: shapes, axes, pads, repeats."""
    if tensor.data_type != onnx.TensorProto.INT64:
        return
    count = max(1, len(tensor.raw_data) // 8 or len(tensor.int64_data))
    values = [chance.choice(NUMBERS) for _ in range(count)]
    del tensor.int64_data[:]
    tensor.raw_data = b"".join(value.to_bytes(8, "little", signed=True) for value in values)


def _rewire_one(
    proto: onnx.ModelProto, node: onnx.NodeProto, names: list[str], chance: random.Random
) -> None:
    kind = chance.randrange(6)
    if kind == 0 and node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice([*names, ""])
    elif kind == 1:
        node.input.append(chance.choice(names))
    elif kind == 2 and node.input:
        del node.input[chance.randrange(len(node.input))]
    elif kind == 3:
        node.op_type = chance.choice([other.op_type for other in proto.graph.node])
    elif kind == 4 and node.attribute:
        del node.attribute[chance.randrange(len(node.attribute))]
    else:
        node.output.append(chance.choice(names))


def _places(message: Message) -> list[tuple[Message, FieldDescriptor]]:
    """All fields that are set, in all messages; those of tensors' contents left out."""
    found = []
    for field, value in message.ListFields():
        if field.name in ("raw_data", "float_data"):
            continue
        found.append((message, field))
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for child in value if field.is_repeated else (value,):
                found += _places(child)
    return found


def _change(message: Message, field: FieldDescriptor, chance: random.Random) -> None:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        _change_messages(message, field, chance)
        return
    value = _value(field, chance)
    try:
        if field.is_repeated:
            values = getattr(message, field.name)
            values[chance.randrange(len(values))] = value
        else:
            setattr(message, field.name, value)
    except (ValueError, OverflowError):  # a number that the field cannot hold
        message.ClearField(field.name)


def _change_messages(message: Message, field: FieldDescriptor, chance: random.Random) -> None:
    if not field.is_repeated or chance.random() < 0.2:
        message.ClearField(field.name)
        return
    values = getattr(message, field.name)
    index = chance.randrange(len(values))
    if chance.random() < 0.5:
        del values[index]
    else:
        values.add().CopyFrom(values[index])


def _value(field: FieldDescriptor, chance: random.Random) -> object:
    if field.type in _INTEGERS:
        number = chance.choice(NUMBERS)
        return chance.randrange(28) if field.type == FieldDescriptor.TYPE_ENUM else number
    if field.type in _FLOATS:
        return chance.choice(REALS)
    text = chance.choice(TEXTS)
    return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
