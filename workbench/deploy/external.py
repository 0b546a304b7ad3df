"""Files on disk: in one piece, or with the tensors in a second file beside the graph.

A file is written under another name and moved into place, so that readers see the old one or the
whole new one. ONNX files are protocol buffers, which cannot exceed 2 GiB; larger models keep their
tensors in `<name>.data` beside them, under that plain name.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import onnx
import onnx_ir as ir

from workbench.foundation.errors import ExportError

MAX_PROTO_BYTES = 2**31 - 1
#: room for nodes, names and metadata beside the tensors
GRAPH_BYTES = 2**24
#: tensors below this size stay in the graph
SMALLEST_EXTERNAL = 1024


def save(model: ir.Model, path: Path, *, external: bool = False) -> tuple[int, Path | None]:
    """Write a checked model; returns its bytes in all, and the tensors' file if there is one.

    Args:
        external: tensors go to a second file even where they would fit into the first.

    Raises:
        ExportError: the model is not valid ONNX, or the place cannot be written.
    """
    if external or tensor_bytes(model) > MAX_PROTO_BYTES - GRAPH_BYTES:
        return _save_external(model, path)
    data = _checked(model)
    replace_file(path, data)
    return len(data), None


def tensor_bytes(model: ir.Model) -> int:
    """Bytes of all initializers."""
    held = (value.const_value for value in model.graph.initializers.values())
    return sum(tensor.nbytes for tensor in held if tensor is not None)


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`, all or nothing.

    Raises:
        ExportError: the place cannot be written.
    """
    _make_folder(path)
    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        _move(Path(name), path)
    except OSError as error:
        raise ExportError(f"cannot write '{path}': {error.strerror or error}") from error
    finally:
        if name:
            Path(name).unlink(missing_ok=True)


def first_line(error: Exception) -> str:
    """What a library's exception says, without what follows."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _checked(model: ir.Model) -> bytes:
    try:
        proto = ir.to_proto(model)
        onnx.checker.check_model(proto)
        return proto.SerializeToString()
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the written graph is not valid ONNX: {first_line(error)}") from error


def _save_external(model: ir.Model, path: Path) -> tuple[int, Path]:
    data = path.with_name(f"{path.name}.data")
    _make_folder(path)
    folder = ""
    try:
        folder = tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent)
        written = Path(folder) / path.name
        ir.save(model, written, external_data=data.name, size_threshold_bytes=SMALLEST_EXTERNAL)
        onnx.checker.check_model(str(written))
        beside = written.with_name(data.name)
        beside.touch()
        size = written.stat().st_size + beside.stat().st_size
        _move(beside, data)
        _move(written, path)
    except OSError as error:
        raise ExportError(f"cannot write '{path}': {error.strerror or error}") from error
    except onnx.checker.ValidationError as error:
        raise ExportError(f"the written graph is not valid ONNX: {first_line(error)}") from error
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
    return size, data


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"cannot write '{path}': {error.strerror or error}") from error


def _move(source: Path, target: Path) -> None:
    source.chmod(0o644)  # temporary files are private
    source.replace(target)
