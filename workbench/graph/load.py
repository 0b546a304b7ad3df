"""Models in: ONNX files from strangers, and live torch modules.

A file is counted before it is parsed (`wire`), read from harmless places only (`places`), and
checked before anything is made from it (`checks`): whatever is wrong becomes one `ModelError` with
the cure.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes import common

from workbench.foundation.errors import ModelError
from workbench.graph import wire
from workbench.graph.checks import check
from workbench.graph.exporter import from_module
from workbench.graph.places import Place, place_of
from workbench.graph.tensors import unique

__all__ = ["from_module", "load", "not_finite"]

logger = logging.getLogger(__name__)

MAX_BYTES = 2**31 - 2**20  # one protobuf message, with a little room

_DISGUISES = (
    (b"PK\x03\x04", "a zip archive (perhaps a PyTorch checkpoint)"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x80\x03", "a Python pickle"),
    (b"\x80\x04", "a Python pickle"),
    (b"\x80\x05", "a Python pickle"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89HDF", "an HDF5 file (perhaps Keras)"),
    (b"GGUF", "a GGUF file"),
    (b"<", "a text file"),
    (b"{", "a text file"),
)


def load(path: str | Path, *, max_bytes: int = MAX_BYTES) -> ir.Model:
    """Read an ONNX file; every node and value in the result has a unique name.

    Weights that are not finite are let in, with a warning in the log; `not_finite` lists them.

    Args:
        path: an `.onnx` file, with external data only as plain files beside it; or a `.zip` with
            one `.onnx` file and its external data.
        max_bytes: refuse more than this, external data included.

    Raises:
        ModelError: anything that makes the file unusable, in one sentence.
    """
    place = place_of(Path(path), max_bytes)
    proto, size = _parse(place)
    check(proto, place, max_bytes - size)
    model = _to_ir(proto, Path(place.name))
    for name in not_finite(model):
        logger.warning("initializer %r holds values that are not finite", name)
    return model


def not_finite(model: ir.Model) -> list[str]:
    """Names of the initializers that hold NaN or infinity, in the order of the graph."""
    floats = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    found: list[str] = []
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.dtype in floats and not np.isfinite(tensor.numpy()).all():
            found.append(name)
    return found


def _parse(place: Place) -> tuple[onnx.ModelProto, int]:
    """The parsed file and its size in bytes, which are let go here."""
    data = place.model()
    _check_disguise(data, place.name)
    proto = onnx.ModelProto()
    try:
        wire.count_fields(data)
        proto.ParseFromString(data)
    except wire.ExcessError as error:
        raise ModelError(f"'{place.name}' holds {error}; simplify the model") from None
    except (DecodeError, RuntimeError, UnicodeDecodeError, ValueError):
        raise ModelError(
            f"'{place.name}' is not a complete ONNX file; export or download it again"
        ) from None
    if proto.ir_version <= 0 or not proto.HasField("graph"):
        raise ModelError(f"'{place.name}' holds no ONNX graph; export the model again")
    if not proto.graph.node or not proto.graph.output:
        raise ModelError(
            f"the graph of '{place.name}' has no nodes or no outputs; export the model again"
        )
    proto.ClearField("training_info")
    return proto, len(data)


def _check_disguise(data: bytes, name: str) -> None:
    kinds = [kind for magic, kind in _DISGUISES if data.startswith(magic)]
    if data[4:8] == b"TFL3":
        kinds.append("a TensorFlow Lite file")
    if kinds:
        raise ModelError(
            f"'{name}' is {kinds[0]}, not ONNX; export the model itself with "
            "workbench.graph.from_module or torch.onnx.export"
        )


def _to_ir(proto: onnx.ModelProto, path: Path) -> ir.Model:
    try:
        model = ir.from_proto(proto)
        model = common.InlinePass()(model).model if model.functions else model
        common.RemoveInitializersFromInputsPass()(model)
        model.graph.sort()
    except Exception as error:  # noqa: BLE001 - many kinds are raised; all mean an unusable file
        raise ModelError(
            f"'{path.name}' cannot be read as a graph ({(str(error).splitlines() or [''])[0]}); "
            "check it with onnx.checker"
        ) from None
    give_names(model)
    return model


def give_names(model: ir.Model) -> None:
    """Name nodes that have no name or share one, in place; given names are kept as they are."""
    taken: set[str] = set()
    unnamed = []
    for node in model.graph.all_nodes():
        if not node.name or node.name in taken:
            unnamed.append(node)
        else:
            taken.add(node.name)
    for node in unnamed:
        node.name = unique(node.name or node.op_type, taken)
