"""What an ONNX file holds, counted on its bytes before it is parsed.

A parsed message takes some hundred bytes of memory where the file may spend two on it, and every
subgraph costs a level of recursion. So the fields are walked first, as they lie in the file, and
the walk stops where a limit is passed; nothing is kept.
"""

from __future__ import annotations

import functools
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor

MAX_FIELDS = 2_000_000
MAX_DEPTH = 60  # a subgraph takes three levels: node, attribute, graph

_FIXED = {1: 8, 5: 4}
_VARINT, _BYTES = 0, 2


class MalformedError(ValueError):
    """The bytes are no protobuf message."""


class ExcessError(ValueError):
    """The file has more fields, or deeper nesting, than any network needs."""


def count_fields(data: bytes) -> int:
    """The number of fields in a serialised `ModelProto`, those of all messages within included.

    Raises:
        MalformedError: a field ends outside of its message, or is of a kind unknown to ONNX.
        ExcessError: more than `MAX_FIELDS`, or deeper than `MAX_DEPTH`.
    """
    return _walk(data, 0, len(data), onnx.ModelProto.DESCRIPTOR, 0, 0)


def _walk(data: bytes, place: int, end: int, kind: Any, depth: int, count: int) -> int:
    """Walk the message of `kind` in `data[place:end]`; the count so far, its fields added."""
    if depth > MAX_DEPTH:
        raise ExcessError(f"messages nested deeper than '{MAX_DEPTH}' levels")
    children = _children(kind)
    while place < end:
        count += 1
        if count > MAX_FIELDS:
            raise ExcessError(f"more than '{MAX_FIELDS}' fields")
        tag, place = data[place], place + 1
        if tag > 127:
            tag, place = _varint(data, place - 1, end)
        wire = tag & 7
        if wire == _VARINT:
            _, place = _varint(data, place, end)
        elif wire == _BYTES:
            length, place = _varint(data, place, end)
            child = children.get(tag >> 3)
            stop = _within(place + length, end)
            if child is not None:
                count = _walk(data, place, stop, child, depth + 1, count)
            place = stop
        elif wire in _FIXED:
            place += _FIXED[wire]
        else:
            raise MalformedError(f"a field of kind '{wire}'")
    _within(place, end)
    return count


def _within(place: int, end: int) -> int:
    if place > end:
        raise MalformedError("a field ends outside of its message")
    return place


@functools.cache
def _children(kind: Any) -> dict[int, Any]:
    """The fields of a message that hold messages, by number."""
    return {
        field.number: field.message_type
        for field in kind.fields
        if field.type == FieldDescriptor.TYPE_MESSAGE
    }


def _varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    """A number of one to ten bytes, seven bits in each, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise MalformedError("a number without end")
