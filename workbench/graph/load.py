"""Models in: ONNX files from strangers, and live torch modules.

A file is checked before it is parsed, its tables before they are used: whatever is wrong becomes
one `ModelError` with the cure.
"""

from __future__ import annotations

import logging
import math
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes import common

from workbench.foundation.errors import ModelError
from workbench.graph.exporter import from_module
from workbench.graph.tensors import unique

__all__ = ["from_module", "load"]

logger = logging.getLogger(__name__)

MAX_BYTES = 2 << 30
MAX_NODES = 200_000
MAX_INITIALIZERS = 100_000
MAX_RANK = 32
MAX_NAME = 4096
MIN_OPSET = 7

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

    Args:
        path: a `.onnx` file; external data only as plain files beside it.
        max_bytes: refuse more than this, external data included.

    Raises:
        ModelError: anything that makes the file unusable, in one sentence.
    """
    path = Path(path)
    data = _read(path, max_bytes)
    proto = _parse(data, path)
    _check_opset(proto, path)
    graphs = list(_graphs(proto.graph))
    _check_text(graphs, path)
    _check_counts(graphs, path)
    _embed_external(graphs, path, max_bytes - len(data))
    _check_tensors(graphs, path)
    _check_functions(proto, path)
    _check_wiring(proto.graph, frozenset(), path)
    return _to_ir(proto, path)


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        info = path.stat()
    except (OSError, ValueError) as error:
        raise ModelError(
            f"the model file '{path}' cannot be read ({_reason(error)}); check the path"
        ) from None
    if not stat.S_ISREG(info.st_mode):
        raise ModelError(f"'{path}' is not a regular file; give the path of an .onnx file")
    if path.suffix.lower() != ".onnx":
        raise ModelError(
            f"'{path.name}' does not end in .onnx; export the model to ONNX, or rename the file"
        )
    if info.st_size == 0:
        raise ModelError(f"'{path.name}' is empty; export or download the model again")
    if info.st_size > max_bytes:
        raise ModelError(
            f"'{path.name}' has '{info.st_size}' bytes, above the limit of '{max_bytes}'; raise "
            "max_bytes if you trust the file"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"the model file '{path}' cannot be read ({_reason(error)}); check its permissions"
        ) from None
    _check_disguise(data, path)
    return data


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _check_disguise(data: bytes, path: Path) -> None:
    kinds = [kind for magic, kind in _DISGUISES if data.startswith(magic)]
    if data[4:8] == b"TFL3":
        kinds.append("a TensorFlow Lite file")
    if kinds:
        raise ModelError(
            f"'{path.name}' is {kinds[0]}, not ONNX; export the model itself with "
            "workbench.graph.from_module or torch.onnx.export"
        )


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, RuntimeError, UnicodeDecodeError, ValueError):
        raise ModelError(
            f"'{path.name}' is not a complete ONNX file; export or download it again"
        ) from None
    if proto.ir_version <= 0 or not proto.HasField("graph"):
        raise ModelError(f"'{path.name}' holds no ONNX graph; export the model again")
    if not proto.graph.node or not proto.graph.output:
        raise ModelError(
            f"the graph of '{path.name}' has no nodes or no outputs; export the model again"
        )
    return proto


def _check_opset(proto: onnx.ModelProto, path: Path) -> None:
    opsets = {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
    version = opsets.get("ai.onnx")
    newest = onnx.defs.onnx_opset_version()
    if version is None and any(n.domain in ("", "ai.onnx") for n in proto.graph.node):
        raise ModelError(f"'{path.name}' names no opset version; export the model again")
    if version is not None and not MIN_OPSET <= version <= newest:
        raise ModelError(
            f"'{path.name}' uses opset '{version}', and '{MIN_OPSET}' to '{newest}' can be read; "
            "convert it with onnx.version_converter"
        )


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and all graphs held in attributes below it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for child in (attribute.g, *attribute.graphs):
                if child.node or child.output:
                    yield from _graphs(child)


def _tensors(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield f"{node.name}.{attribute.name}", attribute.t
            for tensor in attribute.tensors:
                yield f"{node.name}.{attribute.name}", tensor


def _texts(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    """Every name in the graph; protobuf hands out bytes where one is not UTF-8."""
    yield graph.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        yield from (d.dim_param for d in value.type.tensor_type.shape.dim)
    yield from (tensor.name for tensor in graph.initializer)


def _check_text(graphs: list[onnx.GraphProto], path: Path) -> None:
    broken = [text for graph in graphs for text in _texts(graph) if isinstance(text, bytes)]
    if broken:
        raise ModelError(
            f"'{path.name}' holds the name {broken[0]!r}, which is not UTF-8 text; the file is "
            "damaged, export or download it again"
        )


def _check_counts(graphs: list[onnx.GraphProto], path: Path) -> None:
    nodes = sum(len(graph.node) for graph in graphs)
    initializers = sum(len(graph.initializer) for graph in graphs)
    if nodes > MAX_NODES or initializers > MAX_INITIALIZERS:
        raise ModelError(
            f"'{path.name}' has '{nodes}' nodes and '{initializers}' initializers, above the "
            f"limits of '{MAX_NODES}' and '{MAX_INITIALIZERS}'; simplify the model"
        )
    if any(graph.sparse_initializer for graph in graphs):
        raise ModelError(f"'{path.name}' holds sparse initializers; store the weights densely")
    for graph in graphs:
        names = [n for node in graph.node for n in (node.name, *node.output)]
        if any(len(name) > MAX_NAME for name in names):
            raise ModelError(
                f"'{path.name}' holds a name longer than '{MAX_NAME}' characters; shorten it"
            )


def _embed_external(graphs: list[onnx.GraphProto], path: Path, budget: int) -> None:
    """Read external data into the tensors, from harmless places only."""
    for graph in graphs:
        for name, tensor in _tensors(graph):
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raw = _external_bytes(name, tensor, path, budget)
                budget -= len(raw)
                tensor.raw_data = raw
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]


def _external_bytes(name: str, tensor: onnx.TensorProto, path: Path, budget: int) -> bytes:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file = _external_file(entries.get("location", ""), name, path)
    expected = _expected_bytes(tensor)
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", expected))
    except ValueError:
        offset = length = -1
    if offset < 0 or length != expected or offset + length > file.stat().st_size:
        raise ModelError(
            f"the external data of '{name}' in '{file.name}' does not have the '{expected}' bytes "
            "its shape needs; export the model again, in one file"
        )
    if length > budget:
        raise ModelError(
            f"'{path.name}' and its external data pass the size limit; raise max_bytes if you "
            "trust the files"
        )
    with file.open("rb") as handle:
        handle.seek(offset)
        return handle.read(length)


def _external_file(location: str, name: str, path: Path) -> Path:
    """The file that holds external data: a plain name beside the model, one link, no symlink."""
    plain = location not in ("", ".", "..") and "\0" not in location
    file = path.parent / location if plain else path
    if plain and Path(location).name == location and "\\" not in location:
        try:
            info = file.lstat()
        except OSError:
            raise ModelError(
                f"the external data file '{location}' of '{name}' is missing; put it beside "
                f"'{path.name}'"
            ) from None
        if stat.S_ISREG(info.st_mode) and info.st_nlink == 1:
            return file
    raise ModelError(
        f"the external data of '{name}' lies at '{location}', and only a plain file beside "
        f"'{path.name}' is read; save the model in one file"
    )


def _expected_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of raw data that the tensor's shape and type need."""
    return math.ceil(_count(tensor) * ir.DataType(tensor.data_type).itemsize)


def _count(tensor: onnx.TensorProto) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return count


def _check_tensors(graphs: list[onnx.GraphProto], path: Path) -> None:
    for graph in graphs:
        for name, tensor in _tensors(graph):
            _check_tensor(name, tensor, path)


def _check_tensor(name: str, tensor: onnx.TensorProto, path: Path) -> None:
    known = {int(kind) for kind in ir.DataType} - {0}
    if tensor.data_type not in known or tensor.data_type == onnx.TensorProto.STRING:
        raise ModelError(
            f"tensor '{name}' in '{path.name}' has element type '{tensor.data_type}', which holds "
            "no numbers the workbench knows; export the model again"
        )
    if len(tensor.dims) > MAX_RANK or any(size < 0 for size in tensor.dims):
        raise ModelError(
            f"tensor '{name}' in '{path.name}' has the shape '{list(tensor.dims)[:8]}'; "
            "export the model again"
        )
    if tensor.raw_data or not _typed_count(tensor):
        fits = len(tensor.raw_data) == _expected_bytes(tensor)
    else:
        fits = _typed_count(tensor) == _typed_expected(tensor)
    if not fits:
        raise ModelError(
            f"tensor '{name}' in '{path.name}' does not hold the '{_count(tensor)}' values of its "
            "shape; the file is damaged, export or download it again"
        )


def _typed_count(tensor: onnx.TensorProto) -> int:
    fields = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
    return sum(len(getattr(tensor, name)) for name in fields)


def _typed_expected(tensor: onnx.TensorProto) -> int:
    """Entries in the typed fields: sub-byte types are packed, complex ones take two."""
    kind = ir.DataType(tensor.data_type)
    if kind.itemsize < 1:
        return math.ceil(_count(tensor) * kind.itemsize)
    return _count(tensor) * (2 if kind.name.startswith("COMPLEX") else 1)


def _check_functions(proto: onnx.ModelProto, path: Path) -> None:
    """Model functions must not call themselves, directly or in a ring."""
    calls = {
        (f.domain, f.name): {(node.domain, node.op_type) for node in f.node}
        for f in proto.functions
    }
    done: set[tuple[str, str]] = set()
    while len(done) < len(calls):
        waiting = {key: (used & calls.keys()) - done for key, used in calls.items()}
        ready = [key for key, needs in waiting.items() if key not in done and not needs]
        if not ready:
            raise ModelError(
                f"the functions of '{path.name}' call each other in a ring; export the model again"
            )
        done.update(ready)


def _check_wiring(graph: onnx.GraphProto, outer: frozenset[str], path: Path) -> None:
    """Each name is made once, each read name exists, and no node waits for itself."""
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    if "" in known:
        raise ModelError(f"'{path.name}' has an input or initializer without a name; name it")
    produced: set[str] = set()
    for node in graph.node:
        for name in filter(None, node.output):
            if name in produced or name in known:
                raise ModelError(
                    f"two nodes of '{path.name}' make the value '{name}'; give each its own name"
                )
            produced.add(name)
    everything = known | produced | outer
    for node in graph.node:
        _require_names(_reads(node), everything, f"node '{node.name or node.op_type}'", path)
    _require_names([value.name for value in graph.output], everything, "the graph output", path)
    _check_order(graph, known | outer, path)
    for node in graph.node:
        for attribute in node.attribute:
            for child in (attribute.g, *attribute.graphs):
                _check_wiring(child, frozenset(everything), path)


def _reads(node: onnx.NodeProto) -> list[str]:
    return [name for name in node.input if name]


def _require_names(names: list[str], known: set[str], reader: str, path: Path) -> None:
    missing = [name for name in names if name not in known]
    if missing:
        raise ModelError(
            f"{reader} of '{path.name}' reads '{missing[0]}', which nothing makes; the file is "
            "damaged or an initializer was left out, export it again"
        )


def _check_order(graph: onnx.GraphProto, known: set[str], path: Path) -> None:
    """Kahn's walk: nodes run when their inputs exist; whatever never runs is a cycle."""
    waiting: dict[str, list[int]] = {}
    missing = []
    for index, node in enumerate(graph.node):
        needs = {name for name in _reads(node) if name not in known}
        missing.append(len(needs))
        for name in needs:
            waiting.setdefault(name, []).append(index)
    ready = [index for index, count in enumerate(missing) if not count]
    ran = 0
    while ready:
        node = graph.node[ready.pop()]
        ran += 1
        for name in node.output:
            for index in waiting.get(name, ()):
                missing[index] -= 1
                if not missing[index]:
                    ready.append(index)
    if ran < len(graph.node):
        stuck = next(n for n, count in zip(graph.node, missing, strict=True) if count)
        raise ModelError(
            f"node '{stuck.name or stuck.op_type}' of '{path.name}' waits for its own output; a "
            "graph must have no cycles, export it again"
        )


def _to_ir(proto: onnx.ModelProto, path: Path) -> ir.Model:
    try:
        model = ir.from_proto(proto)
        model = common.InlinePass()(model).model if model.functions else model
        common.RemoveInitializersFromInputsPass()(model)
        model.graph.sort()
    except Exception as error:  # noqa: BLE001 - many kinds are raised; all mean an unusable file
        raise ModelError(
            f"'{path.name}' cannot be read as a graph ({str(error).splitlines()[0]}); check it "
            "with onnx.checker"
        ) from None
    give_names(model)
    _log_not_finite(model)
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


def _log_not_finite(model: ir.Model) -> None:
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            continue
        if not np.isfinite(tensor.numpy()).all():
            logger.warning("initializer %r holds values that are not finite", name)
