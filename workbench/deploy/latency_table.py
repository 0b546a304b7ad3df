"""How long each layer takes at each number of bits, in ONNX Runtime on this machine.

The model is written with all weights in one width after the other and timed node by node. What a
runtime does depends on the container that holds the codes (2, 4 or 8 bits), so one width for each
container is measured and stands for all that lie in it; a width in none of them is interpolated
between its neighbours. A layer that ran under no name of its own takes the time of layers with the
same operator, interpolated over multiply-adds.

Times of whole calls are the sum: what is no layer is the mean over the files that were timed.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from torch import Tensor

from workbench.deploy.profile import profile
from workbench.deploy.runtime import Array
from workbench.deploy.simulation import LAYERS
from workbench.foundation.errors import ExportError
from workbench.graph import load

_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class LayerTime:
    """A layer in each of the files.

    Attributes:
        op: its operator; macs: multiply-adds for one example.
        ms: by measured bits; {} where it ran under no name of its own.
    """

    op: str
    macs: int
    ms: Mapping[int, float]


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds by layer and bits.

    Attributes:
        layers: by node name.
        rest_ms: everything that is no layer.
        stands_for: bits -> the measured bits with the same container.
        about: machine, runtime and threads.
        activations: by bits, what a call takes longer if all activations have them.
    """

    layers: Mapping[str, LayerTime]
    rest_ms: float
    stands_for: Mapping[int, int]
    about: Mapping[str, Any]
    activations: Mapping[int, float] = field(default_factory=dict)

    def at(self, layer: str, bits: int) -> float:
        """Milliseconds of a layer at some bits, measured or interpolated.

        Raises:
            ExportError: a layer that is not in the table.
        """
        if layer not in self.layers:
            raise ExportError(f"layer '{layer}' is not in the table of latencies; measure it again")
        own = self.layers[layer]
        times = own.ms or self._like(own)
        bits = self.stands_for.get(bits, bits)
        if bits in times:
            return times[bits]
        widths = sorted(times)
        return float(np.interp(bits, widths, [times[width] for width in widths]))

    def record(self) -> dict[str, Any]:
        """As plain JSON values; `from_record` gives the table back."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> LatencyTable:
        """The inverse of `record`, also after JSON has made texts of the bits."""
        layers = {
            str(name): LayerTime(
                str(row["op"]), int(row["macs"]), {int(b): float(v) for b, v in row["ms"].items()}
            )
            for name, row in record["layers"].items()
        }
        stands = {int(bits): int(other) for bits, other in record["stands_for"].items()}
        more = {int(b): float(v) for b, v in record.get("activations", {}).items()}
        return cls(layers, float(record["rest_ms"]), stands, dict(record["about"]), more)

    def _like(self, own: LayerTime) -> dict[int, float]:
        """Times over multiply-adds of the layers with the same operator, or of all."""
        timed = [layer for layer in self.layers.values() if layer.ms]
        alike = [layer for layer in timed if layer.op == own.op] or timed
        alike.sort(key=lambda layer: layer.macs)
        if not alike:
            return {8: 0.0}
        sizes = [layer.macs for layer in alike]
        return {
            bits: float(np.interp(own.macs, sizes, [layer.ms[bits] for layer in alike]))
            for bits in alike[0].ms
        }


def measure(
    float_path: str | Path,
    files: Mapping[int, str | Path],
    layers: Mapping[str, tuple[str, int]],
    stands_for: Mapping[int, int],
    inputs: Sequence[Tensor | Array],
    *,
    about: Mapping[str, Any],
    repeats: int = 20,
    threads: int = 1,
) -> LatencyTable:
    """Time every layer in each file.

    Args:
        float_path: the float model.
        files: by bits, the model with all weights in that width.
        layers: node name -> its operator and multiply-adds.
        stands_for: bits -> the bits of the file that stands for them.
        inputs: of one call.
        about: kept in the table.
        repeats: calls that count, after warm-up. threads: within an operator.
    """
    times: dict[str, dict[int, float]] = {name: {} for name in layers}
    rests = []
    for bits, path in files.items():
        owner = _owners(path)
        rest = 0.0
        for node in profile(float_path, path, inputs, repeats=repeats, threads=threads).nodes:
            name = owner.get(node.name, node.name)
            if name in times:
                times[name][bits] = times[name].get(bits, 0.0) + node.ms
            else:
                rest += node.ms
        rests.append(rest)
    rows = {
        name: LayerTime(op, macs, times[name] if len(times[name]) == len(files) else {})
        for name, (op, macs) in layers.items()
    }
    kept = {**about, "threads": threads, "repeats": repeats}
    return LatencyTable(rows, statistics.mean(rests), dict(stands_for), kept)


def total_ms(
    float_path: str | Path,
    path: str | Path,
    inputs: Sequence[Tensor | Array],
    repeats: int = 20,
    threads: int = 1,
) -> float:
    """Milliseconds of all nodes of a file in one call; arguments as of `measure`."""
    return profile(float_path, path, inputs, repeats=repeats, threads=threads).kernels_ms


def _owners(path: str | Path) -> dict[str, str]:
    """Nodes that unpack a weight -> the layer that reads it."""
    found = {}
    for node in load(path).graph:
        source = node.inputs[0] if node.inputs else None
        if node.op_type in _CONVERSIONS and source is not None and source.is_initializer():
            reader = _reader(node)
            if reader is not None:
                found[str(node.name)] = str(reader.name)
    return found


def _reader(node: ir.Node) -> ir.Node | None:
    """The one layer that a node's output goes to."""
    readers = {usage.node for output in node.outputs for usage in output.uses()}
    only = next(iter(readers)) if len(readers) == 1 else None
    return only if only is not None and only.op_type in LAYERS else None
