"""Writing a quantized graph to ONNX: QDQ nodes in a copy of the very graph that was simulated.

Nothing else changes and nothing is renamed, so every tensor bears one name on screen, in the
simulation and in the runtime. `writer` says what is put where.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata as packages
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from onnx import version_converter

from workbench.deploy.pack import Store
from workbench.deploy.writer import write
from workbench.foundation.errors import ExportError
from workbench.graph.quantized import QuantizedGraph

log = logging.getLogger(__name__)

OLDEST_OPSET = 21
MAX_PROTO_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path: where it lies.
        bytes: its size; float_bytes: the size of the same graph with float weights.
        opset: the ONNX operator set it needs; store: how weight codes are held.
        notes: what a person should know about how it was written, one sentence each.
    """

    path: Path
    bytes: int
    float_bytes: int
    opset: int
    store: Store
    notes: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "path": str(self.path), "notes": list(self.notes)}


def export(
    quantized: QuantizedGraph,
    path: str | Path,
    *,
    store: Store = "packed",
    opset: int = OLDEST_OPSET,
    metadata: Mapping[str, str] | None = None,
) -> Exported:
    """Write `quantized` to `path`; an existing file is replaced only by a complete one.

    Args:
        quantized: the graph, its sites and its learned quantizers.
        path: of the file; missing folders are made.
        store: "packed" for the smallest file, "int8" for codes of any width in 8-bit containers,
            which run in the runtime's integer kernels.
        opset: oldest operator set to write; a newer model keeps its own.
        metadata: put into the file's metadata as given, beside `workbench.version`.

    Raises:
        ExportError: a grid, name or model that cannot be written.
    """
    path = Path(path)
    source = quantized.graph.model
    model = at_opset(source, max(opset, OLDEST_OPSET))
    values = quantized.float_parameters()
    notes = write(model, quantized.sites, quantized.frozen(), values, store=store)
    model.metadata_props.update(_metadata(metadata or {}))
    data = _serialise(model)
    _replace_file(path, data)
    log.info("wrote %s, %d bytes", path, len(data))
    float_bytes = ir.to_proto(source).ByteSize()
    return Exported(path, len(data), float_bytes, _opset(model), store, notes)


def at_opset(model: ir.Model, opset: int) -> ir.Model:
    """A copy of `model` at operator set `opset`, or at its own if that is newer.

    Raises:
        ExportError: a model whose operators cannot be converted, or lose their names on the way.
    """
    if _opset(model) >= opset:
        return _needed_ir_version(model.clone())
    try:
        proto = version_converter.convert_version(ir.to_proto(model), opset)
    except Exception as error:  # the converter raises bare RuntimeErrors from C++
        raise ExportError(
            f"the model is at opset {_opset(model)} and does not convert to {opset} "
            f"({_first_line(error)}); export it anew at opset {opset}"
        ) from error
    converted = ir.from_proto(proto)
    lost = _names(model) - _names(converted)
    if lost:
        raise ExportError(
            f"converting the model from opset {_opset(model)} to {opset} lost "
            f"'{min(lost)}'; export it anew at opset {opset}"
        )
    return _needed_ir_version(converted)


def _names(model: ir.Model) -> set[str]:
    """Names of the nodes and of the tensors between them."""
    nodes = {str(node.name) for node in model.graph}
    return nodes | {str(output.name) for node in model.graph for output in node.outputs}


def _opset(model: ir.Model) -> int:
    return model.opset_imports[""]


def _needed_ir_version(model: ir.Model) -> ir.Model:
    imports = [onnx.helper.make_opsetid("", _opset(model))]
    least = onnx.helper.find_min_ir_version_for(imports)
    model.ir_version = max(model.ir_version or 0, least)
    return model


def _metadata(given: Mapping[str, str]) -> dict[str, str]:
    try:
        version = packages.version("quantization-workbench")
    except packages.PackageNotFoundError:  # run from a checkout
        version = "unknown"
    return {"workbench.version": version, **given}


def _serialise(model: ir.Model) -> bytes:
    try:
        proto = ir.to_proto(model)
        size = proto.ByteSize()
        if size > MAX_PROTO_BYTES:
            raise ExportError(f"the file would have {size} bytes, more than ONNX's 2 GiB")
        onnx.checker.check_model(proto)
        return proto.SerializeToString()
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the written graph is not valid ONNX: {_first_line(error)}") from error


def _replace_file(path: Path, data: bytes) -> None:
    """Write beside `path`, then move into place: readers see the old file or the whole new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise ExportError(f"cannot write '{path}': {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(0o644)  # mkstemp makes files private
        Path(name).replace(path)
    except OSError as error:
        raise ExportError(f"cannot write '{path}': {error.strerror or error}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
