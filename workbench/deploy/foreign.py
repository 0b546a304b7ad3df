"""A quantized file as its own simulation, whoever wrote it.

QuantizeLinear and DequantizeLinear are operators of the graph floor, so that a file with such pairs
is built like any other, and computes in torch what its nodes say: dequantize, compute in float,
quantize. Integer operators are written out as such pairs first. Each QuantizeLinear with constant
scale is a point at which codes can be compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, fx

from workbench.deploy.compare import integers
from workbench.deploy.expand import expand
from workbench.deploy.simulation import Batch, Expected, Point, Simulation, behind
from workbench.foundation.errors import ExportError
from workbench.graph import build, load
from workbench.graph.taps import capture
from workbench.graph.tensors import known_tensor, to_torch
from workbench.maths.grid import Granularity, Grid
from workbench.quantizers.base import Quantizer
from workbench.quantizers.registry import QUANTIZERS

INTEGERS = {
    ir.DataType.INT8: (8, True),
    ir.DataType.UINT8: (8, False),
    ir.DataType.INT16: (16, True),
    ir.DataType.UINT16: (16, False),
    ir.DataType.INT4: (4, True),
    ir.DataType.UINT4: (4, False),
}


class FileSimulation(Simulation):
    """The graph of a quantized file, built in torch.

    Args:
        path: of the file.

    Raises:
        ModelError: the file cannot be read, or holds an operator that is not known.
        ExportError: nothing in the file is quantized.
    """

    def __init__(self, path: str | Path) -> None:
        model = expand(load(path))
        self.graph = build(model)
        nodes = list(model.graph)
        self._quantizing = [node for node in nodes if node.op_type == "QuantizeLinear"]
        self._values = {str(o.name): o for node in nodes for o in node.outputs if o.name}
        self._ends = {str(n.outputs[0].name) for n in nodes if n.op_type == "DequantizeLinear"}
        if not self._ends:
            raise ExportError(
                f"nothing in '{Path(path).name}' is quantized by DequantizeLinear; give a file "
                "with QuantizeLinear and DequantizeLinear pairs (the QDQ format)"
            )
        self._sources: dict[str, str] = {}  # QuantizeLinear's output -> point
        self.points = list(self._points())
        self.stored = 0

    def expect(self, batch: Batch) -> Expected:
        """As `Simulation.expect`."""
        wanted = [*self.floats, *(point.codes for point in self.points)]
        found = capture(self.graph.module, batch, wanted)
        codes = {point.name: integers(found[point.codes]) for point in self.points}
        return Expected(codes, {name: found[name].cpu() for name in self.floats})

    def follow(
        self, batch: Batch, codes: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As `Simulation.follow`."""
        forced = {point.codes: codes[point.name] for point in self.points}
        follower = _Follower(self.graph.module, forced, self._sources, self.floats)
        with torch.no_grad():
            follower.run(*batch)
        return follower.received, follower.floats

    def blame(self, tensor: str) -> tuple[str, ...]:
        """As `Simulation.blame`."""
        value = self._values.get(tensor)
        return () if value is None else behind(value, self._ends)

    def _points(self) -> Iterator[Point]:
        taken: set[str] = set()
        for node in self._quantizing:
            source, quantizer = node.inputs[0], _quantizer(node)
            if source is None or quantizer is None or known_tensor(source) is not None:
                continue
            codes = _clipped(node.outputs[0], quantizer)
            name = str(source.name)
            name = name if name not in taken else str(codes.name)
            taken.add(name)
            self._sources[str(node.outputs[0].name)] = name
            yield Point(name, str(codes.name), quantizer, self.blame(str(source.name)))


class _Follower(fx.Interpreter):
    """Runs a module with given codes in the place of its own."""

    def __init__(
        self,
        module: fx.GraphModule,
        forced: Mapping[str, Tensor],
        sources: Mapping[str, str],
        floats: Collection[str],
    ) -> None:
        super().__init__(module, garbage_collect_values=True)
        self.extra_traceback = False
        self._forced, self._sources, self._wanted = forced, sources, floats
        self.received: dict[str, Tensor] = {}
        self.floats: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        name = str(n.meta.get("onnx_value"))
        if name in self._sources:
            args, _ = self.fetch_args_kwargs_from_env(n)
            self.received[self._sources[name]] = args[0]
        result = super().run_node(n)
        if name in self._forced:
            result = self._forced[name].to(result)
        if name in self._wanted:
            self.floats[name] = result.cpu()
        return result


def _quantizer(node: ir.Node) -> Quantizer | None:
    """What a QuantizeLinear does as a quantizer; None where its scale is computed or in blocks."""
    scale, zero_point = (known_tensor(v) for v in (*node.inputs, None)[1:3])
    dtype = ir.DataType.UINT8 if zero_point is None else zero_point.dtype
    blocks = node.attributes.get("block_size")
    if scale is None or dtype not in INTEGERS or (blocks is not None and blocks.as_int()):
        return None
    if scale.dtype != ir.DataType.FLOAT:
        return None
    scales = to_torch(scale)
    axis = node.attributes.get("axis")
    single = scales.numel() == 1
    kind = Granularity() if single else Granularity("channel", 1 if axis is None else axis.as_int())
    bits, signed = INTEGERS[dtype]
    shape = (0,) if single else tuple([0] * kind.axis + [scales.numel()])
    quantizer = QUANTIZERS["uniform"].make(Grid(bits, signed, False, kind), shape)
    zeros = torch.zeros(scales.shape) if zero_point is None else to_torch(zero_point).float()
    quantizer.set_affine(scales.float(), zeros)
    return quantizer


def _clipped(codes: ir.Value, quantizer: Quantizer) -> ir.Value:
    """The codes after a Clip to fewer bits, where one follows; the quantizer then clips too."""
    uses = list(codes.uses())
    node = uses[0].node if len(uses) == 1 else None
    if node is None or node.op_type != "Clip":
        return codes
    limits = [known_tensor(value) for value in node.inputs[1:3]]
    if len(limits) < 2 or None in limits:
        return codes
    low, high = (int(limit.numpy()) for limit in limits if limit is not None)
    grids = (quantizer.grid.with_bits(bits) for bits in range(1, 9))
    grid = next((g for g in grids if (g.qmin, g.qmax) == (low, high)), None)
    if grid is None:
        return codes
    quantizer.grid = grid
    return node.outputs[0]
