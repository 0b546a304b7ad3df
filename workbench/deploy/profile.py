"""Where the time goes, node by node: ONNX Runtime's own profile under the names of the file.

ONNX Runtime fuses and renames nodes. A kernel is put down to the node whose name, or whose output's
name, its own begins with and, where that is an activation or a normalization that a layer took in,
to that layer. What then has no name was inserted: changes of layout, and conversions that a fusion
left behind.
"""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import onnx_ir as ir
from torch import Tensor

from workbench.deploy.latency import WARM_UP, Latency, compare_latency
from workbench.deploy.runtime import Array, open_session, run
from workbench.deploy.simulation import LAYERS
from workbench.foundation.errors import ExportError
from workbench.graph import load
from workbench.graph.tensors import known_tensor

Kind = Literal["integer", "float", "conversion", "layout"]

LAYOUT, CONVERSION = "(layout)", "(conversion)"
_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
_INTEGER = ("QLinear", "QGemm", "QAttention", "MatMulInteger", "ConvInteger", "MatMulNBits")
_INTEGER_TYPES = ("int8", "uint8", "int16", "uint16")
_LAYER_KERNELS = ("Conv", "Gemm", "MatMul", "GRU", "LSTM", "RNN")
_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class NodeTime:
    """One node of the file.

    Attributes:
        name: the node's; `LAYOUT` or `CONVERSION` for what ONNX Runtime inserted.
        op: its operator in the file; kernel: what ONNX Runtime ran, several joined by "+".
        kind: "integer" kernel, "float" kernel, "conversion" between the two, or "layout".
        ms: of one call; float_ms: of the node with this name in the float file, None where it has
            none that is run on its own.
        bytes: stored for it (codes, scales, zero-points, biases); float_bytes: in the float file.
    """

    name: str
    op: str
    kernel: str
    kind: Kind
    ms: float
    float_ms: float | None
    bytes: int
    float_bytes: int | None


@dataclass(frozen=True)
class Profile:
    """A quantized file node by node, beside its float model.

    Attributes:
        nodes: in the order they ran; what was inserted comes last.
        latency: of whole calls, without a profile.
        float_kernels_ms: sum of the float model's kernels.
    """

    nodes: tuple[NodeTime, ...]
    latency: Latency
    float_kernels_ms: float

    @property
    def kernels_ms(self) -> float:
        """Sum of the kernels."""
        return sum(node.ms for node in self.nodes)

    def of_kind(self, kind: Kind) -> list[NodeTime]:
        """The nodes of one kind."""
        return [node for node in self.nodes if node.kind == kind]

    def share(self, kind: Kind) -> float:
        """Share of the kernels' time that nodes of a kind take."""
        return sum(node.ms for node in self.of_kind(kind)) / max(self.kernels_ms, 1e-9)

    @property
    def float_layers(self) -> list[str]:
        """Nodes with weights that stayed float."""
        return [node.name for node in self.of_kind("float") if node.op in LAYERS]

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        kinds: tuple[Kind, ...] = ("integer", "float", "conversion", "layout")
        return {
            "nodes": [asdict(node) for node in self.nodes],
            "latency": self.latency.record(),
            "kernels_ms": self.kernels_ms,
            "float_kernels_ms": self.float_kernels_ms,
            "shares": {kind: self.share(kind) for kind in kinds},
            "float_layers": self.float_layers,
        }

    def sentence(self) -> str:
        """One line for people."""
        both = self.latency
        layers = [node for node in self.nodes if node.op in LAYERS]
        count = len(layers) - len(self.float_layers)
        return (
            f"{both.quantized_ms:.2f} ms, float {both.float_ms:.2f} ms ({_threads(both.threads)}, "
            f"{both.repeats} calls); {count} of {len(layers)} layers in integer kernels, "
            f"{100 * self.share('conversion'):.0f} % of the time in QuantizeLinear and "
            f"DequantizeLinear, {100 * self.share('layout'):.0f} % in changes of layout."
        )


def profile(
    float_path: str | Path,
    quantized_path: str | Path,
    inputs: Sequence[Tensor | Array],
    *,
    repeats: int = 20,
    threads: int = 1,
) -> Profile:
    """Time each node of a quantized file and of its float model.

    Args:
        float_path, quantized_path: the two files.
        inputs: of one call, in the order of the graph.
        repeats: calls that count, after warm-up. threads: within an operator.

    Raises:
        ModelError: a file that cannot be read.
        ExportError: ONNX Runtime does not run it, or `repeats` is below 1.
    """
    if repeats < 1:
        raise ExportError(f"repeats was {repeats}; measure at least once")
    files = [_File(path) for path in (float_path, quantized_path)]
    latency = compare_latency(
        files[0].data, files[1].data, inputs, repeats=repeats, threads=threads
    )
    original, quantized = (file.times(inputs, repeats, threads) for file in files)
    nodes = [_joined(name, found, files, original) for name, found in quantized.items()]
    nodes.sort(key=lambda node: node.name in (LAYOUT, CONVERSION))
    total = sum(found.ms for found in original.values())
    return Profile(tuple(nodes), latency, total)


@dataclass
class _Found:
    """What ran under one name."""

    kernels: list[str]
    kind: Kind
    ms: float


class _File:
    """A model whose nodes all have names, and what each of them stores."""

    def __init__(self, path: str | Path) -> None:
        model = load(path)
        self.data = ir.to_proto(model).SerializeToString()
        self.nodes = {str(node.name): node for node in model.graph}
        made = {str(o.name): node for node in model.graph for o in node.outputs if o.name}
        self._known = made | self.nodes

    def times(
        self, inputs: Sequence[Tensor | Array], repeats: int, threads: int
    ) -> dict[str, _Found]:
        """By node of the file, in the order they ran."""
        events = _events(self.data, inputs, repeats, threads)
        found: dict[str, _Found] = {}
        for (kernel, op, kind), ms in events.items():
            name = self._name(kernel, op)
            known = found.setdefault(name, _Found([], "layout" if name == LAYOUT else kind, 0.0))
            known.kernels += [op] * (op not in known.kernels)
            known.ms += ms
        return found

    def bytes(self, name: str) -> int | None:
        """Stored behind a node's inputs; None for a name that is not here."""
        node = self.nodes.get(name)
        return None if node is None else sum(_stored(value) for value in node.inputs)

    def _name(self, kernel: str, op: str) -> str:
        """The node of the file that a kernel belongs to."""
        name = next((part for part in _prefixes(kernel) if part in self._known), None)
        if name is None:
            return LAYOUT
        own = self._known[name]
        if op in _CONVERSIONS and own.op_type not in _CONVERSIONS:
            return CONVERSION
        took_in = own.op_type not in LAYERS and any(key in op for key in _LAYER_KERNELS)
        return (_layer_before(own) if took_in else None) or str(own.name)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _joined(
    name: str, found: _Found, files: Sequence[_File], original: Mapping[str, _Found]
) -> NodeTime:
    float_file, file = files
    node, before = file.nodes.get(name), original.get(name)
    return NodeTime(
        name=name,
        op=node.op_type if node is not None else "",
        kernel="+".join(found.kernels),
        kind=found.kind,
        ms=found.ms,
        float_ms=before.ms if before is not None else None,
        bytes=file.bytes(name) or 0,
        float_bytes=float_file.bytes(name),
    )


def _events(
    data: bytes, inputs: Sequence[Tensor | Array], repeats: int, threads: int
) -> dict[tuple[str, str, Kind], float]:
    """Milliseconds of one call by (kernel's name, its operator, its kind)."""
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(data, threads=threads, profile=Path(folder) / "profile")
        for _ in range(WARM_UP + repeats):
            run(session, inputs)
        records = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[tuple[str, str, Kind], list[float]] = defaultdict(list)
    for record in records:
        if record.get("cat") == "Node" and record["name"].endswith(_SUFFIX):
            op = record["args"]["op_name"]
            key = record["name"].removesuffix(_SUFFIX), op, _kind(op, record["args"])
            times[key].append(record["dur"] / 1000)
    return {key: _per_call(values, repeats) for key, values in times.items()}


def _per_call(values: Sequence[float], repeats: int) -> float:
    """Median of a kernel, times how often it runs in a call; the first calls warm up."""
    calls = repeats + WARM_UP
    often = max(1, round(len(values) / calls))
    return often * statistics.median(values[often * WARM_UP :] or values)


def _kind(op: str, args: Mapping[str, Any]) -> Kind:
    if op in _CONVERSIONS:
        return "conversion"
    written = {kind for entry in args.get("output_type_shape") or () for kind in entry}
    integer = op.startswith(_INTEGER) or bool(written & set(_INTEGER_TYPES))
    return "integer" if integer else "float"


def _prefixes(kernel: str) -> Iterable[str]:
    """The kernel's name and what it begins with, up to each underscore, the longest first."""
    while kernel:
        yield kernel
        kernel = kernel.rpartition("_")[0]


def _layer_before(node: ir.Node) -> str | None:
    """The nearest node with weights whose output ends in this one."""
    waiting = [node]
    for current in waiting:
        if current.op_type in LAYERS:
            return str(current.name)
        producers = [v.producer() for v in current.inputs if v is not None]
        waiting += [p for p in producers if p is not None and p not in waiting]
    return None


def _stored(value: ir.Value | None) -> int:
    """Bytes of the constants behind a value, through nodes that only change their type."""
    known = known_tensor(value)
    if known is not None:
        return math.ceil(known.nbytes)
    producer = value.producer() if value is not None else None
    if producer is None or producer.op_type not in (*_CONVERSIONS, "Clip", "Cast"):
        return 0
    first = producer.inputs[0]
    if not _is_stored(first):
        return 0
    return sum(_stored(each) for each in producer.inputs)


def _is_stored(value: ir.Value | None) -> bool:
    """Whether a value follows from constants alone."""
    if known_tensor(value) is not None:
        return True
    producer = value.producer() if value is not None else None
    inputs = [each for each in producer.inputs if each is not None] if producer else []
    return bool(inputs) and all(_is_stored(each) for each in inputs)
