"""The QDQ form of a quantized graph, written node by node into an ONNX graph.

    activation t    t -> QuantizeLinear -> t__q -> DequantizeLinear -> t__dq
    weight w        w__q (stored codes) -> DequantizeLinear -> w__dq
    bias b          b__q (int32, scale = s_input * s_weight) -> DequantizeLinear -> b__dq

Only the edges that a site lists read the quantized value.

A grid narrower than its container (5-bit codes in 8 bits) is clipped between QuantizeLinear and
DequantizeLinear, on the integer codes. That gives the same codes as clipping the float tensor
before QuantizeLinear, but leaves the convolution next to its QuantizeLinear, so that ONNX Runtime
still fuses the two into an integer kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir
from torch import Tensor

from workbench.deploy.pack import (
    INT2_OPSET,
    Store,
    activation_container,
    code_range,
    has_zero_point,
    pack,
    weight_container,
)
from workbench.foundation.errors import ExportError
from workbench.graph.sites import Site
from workbench.maths.grid import Grid
from workbench.quantizers.base import Frozen

INT32_MAX = 2**31 - 1


def write(
    model: ir.Model,
    sites: Mapping[str, Site],
    frozen: Mapping[str, Frozen],
    values: Mapping[str, Tensor],
    *,
    store: Store = "packed",
) -> tuple[str, ...]:
    """Put QDQ nodes into `model` (changed in place) and float `values` into its initializers.

    Returns:
        Notes for people, as in `Exported`.
    """
    writer = _Writer(model, sites, store, values)
    for name, site in sites.items():
        writer.add(site, frozen[name])
    writer.update_floats()
    return writer.notes()


class _Writer:
    """Adds the nodes of one site after the other to a graph."""

    def __init__(
        self,
        model: ir.Model,
        sites: Mapping[str, Site],
        store: Store,
        values: Mapping[str, Tensor],
    ) -> None:
        self.graph = model.graph
        self.opset = model.opset_imports[""]
        self.store: Store = store
        self.values = values
        self.nodes = {node.name: node for node in self.graph}
        self.tensors = {str(value.name): value for value in _values(self.graph)}
        self.integer_data = _quantized_data(sites.values())
        self.remarks: Counter[str] = Counter()

    def add(self, site: Site, frozen: Frozen) -> None:
        """Write one site."""
        if site.tensor not in self.tensors:
            raise ExportError(f"site '{site.name}' sits on '{site.tensor}', which the graph lacks")
        if site.kind == "activation":
            self._add_activation(site, frozen)
        else:
            self._add_stored(site, frozen)

    def update_floats(self) -> None:
        """Write back the float initializers that learning has changed."""
        for name, value in self.values.items():
            initializer = self.graph.initializers.get(name)
            if initializer is None or initializer.const_value is None:
                continue  # replaced by its codes
            old = initializer.const_value.numpy()
            new = value.detach().cpu().numpy().astype(old.dtype).reshape(old.shape)
            if not np.array_equal(old, new, equal_nan=True):
                initializer.const_value = ir.tensor(new, name=name)

    def notes(self) -> tuple[str, ...]:
        """Remarks with how often each applied."""
        return tuple(f"{text} ({count})" for text, count in self.remarks.items())

    def _add_activation(self, site: Site, frozen: Frozen) -> None:
        dtype = activation_container(site.grid)
        shared = self._affine(site, frozen, dtype, zero_point=True)
        chain = self._quantize(site, frozen, dtype, shared)
        inputs = [chain[-1].outputs[0], *shared]
        output, axis = f"{site.tensor}__dq", _axis(site.grid)
        chain.append(self._node("DequantizeLinear", inputs, output, attributes=axis))
        value = self.tensors[site.tensor]
        self._insert(chain, value)
        self._rewire(site, chain[-1].outputs[0])
        limiter = value.producer()
        if limiter is not None and not value.uses() and not value.is_graph_output():
            self.graph.remove(limiter, safe=True)

    def _quantize(
        self, site: Site, frozen: Frozen, dtype: ir.DataType, shared: list[ir.Value]
    ) -> list[ir.Node]:
        """Nodes from the float tensor to `t__q`, clipped to the grid where that is needed."""
        source, codes, axis = self.tensors[site.tensor], f"{site.tensor}__q", _axis(site.grid)
        if (site.grid.qmin, site.grid.qmax) == code_range(dtype):
            return [self._node("QuantizeLinear", [source, *shared], codes, dtype, axis)]
        self._remark(f"{site.grid.bits}-bit activations travel in {dtype.bitwidth} bits")
        if dtype.bitwidth > 8:  # ONNX Runtime has no Clip for 16-bit integers
            clip = self._clip_floats(site, frozen, source)
            inputs = [clip.outputs[0], *shared]
            return [clip, self._node("QuantizeLinear", inputs, codes, dtype, axis)]
        inputs = [_before_limit(source, site, frozen), *shared]
        wide = self._node("QuantizeLinear", inputs, f"{codes}_wide", dtype, axis)
        return [wide, self._clip_codes(site, wide.outputs[0], dtype)]

    def _add_stored(self, site: Site, frozen: Frozen) -> None:
        if frozen.codes is None:
            raise ExportError(f"{site.kind} '{site.name}' has no codes to store")
        dtype = self._stored_container(site, frozen)
        codes = self._initializer(pack(frozen.codes, dtype, f"{site.tensor}__q"))
        shared = self._affine(
            site,
            frozen,
            dtype,
            zero_point=dtype != ir.DataType.INT32 and has_zero_point(frozen, dtype),
        )
        inputs = [codes, *shared]
        node = self._node(
            "DequantizeLinear", inputs, f"{site.tensor}__dq", attributes=_axis(site.grid)
        )
        self._insert([node], self.tensors[site.tensor])
        self._rewire(site, node.outputs[0])
        self._drop(site)

    def _stored_container(self, site: Site, frozen: Frozen) -> ir.DataType:
        if site.kind == "bias":
            self._check_overflow(site, frozen)
            return ir.DataType.INT32
        float_data = not any(edge in self.integer_data for edge in _other_inputs(site))
        dtype = weight_container(
            site.grid, store=self.store, opset=self.opset, float_data=float_data
        )
        if dtype.bitwidth != site.grid.bits:
            self._remark(f"{site.grid.bits}-bit weights lie in {dtype.bitwidth}-bit containers")
        if site.grid.bits <= 2 and dtype.bitwidth == 4 and self.opset < INT2_OPSET:
            self._remark("2-bit containers need opset 25")
        return dtype

    def _check_overflow(self, site: Site, frozen: Frozen) -> None:
        scale = frozen.grid.granularity.expand(frozen.scale.double(), self._float(site))
        steps = float((self._float(site).double() / scale).abs().max())
        if not steps <= INT32_MAX:
            raise ExportError(
                f"bias '{site.name}' of layer '{site.layer}' needs {steps:.3g} steps and overflows "
                "32 bits; keep that layer's activations or weights float, or raise their range"
            )

    def _float(self, site: Site) -> Tensor:
        if site.tensor not in self.values:
            raise ExportError(f"bias '{site.name}' has no float value to check for overflow")
        return self.values[site.tensor].detach().cpu()

    def _affine(
        self, site: Site, frozen: Frozen, dtype: ir.DataType, *, zero_point: bool
    ) -> list[ir.Value]:
        """Initializers of the scale and, where asked, the zero-point."""
        scale = frozen.scale.detach().cpu().float().numpy()
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ExportError(
                f"the scale of '{site.name}' is not a positive number; calibrate it again"
            )
        found = [self._initializer(ir.tensor(scale, name=f"{site.tensor}__scale"))]
        if zero_point:
            tensor = pack(frozen.zero_point, dtype, f"{site.tensor}__zero_point")
            found.append(self._initializer(tensor))
        return found

    def _clip_floats(self, site: Site, frozen: Frozen, source: ir.Value) -> ir.Node:
        """Clip to the reals that the grid's codes stand for; one scale for the whole tensor."""
        if not site.grid.per_tensor:
            raise ExportError(
                f"activation '{site.name}' has {site.grid.bits} bits in many scales; "
                "use 8 or 16 bits, or one scale"
            )
        low, high = (
            ((limit - frozen.zero_point) * frozen.scale).cpu().float().numpy()
            for limit in (site.grid.qmin, site.grid.qmax)
        )
        limits = self._limits(site, low, high)
        return self._node("Clip", [source, *limits], f"{site.tensor}__clip", ir.DataType.FLOAT)

    def _clip_codes(self, site: Site, source: ir.Value, dtype: ir.DataType) -> ir.Node:
        """Clip codes to the grid's own; see the module's docstring."""
        low, high = (np.array(limit, dtype.numpy()) for limit in (site.grid.qmin, site.grid.qmax))
        limits = self._limits(site, low, high)
        return self._node("Clip", [source, *limits], f"{site.tensor}__q", dtype)

    def _limits(self, site: Site, low: np.ndarray, high: np.ndarray) -> list[ir.Value]:
        return [
            self._initializer(ir.tensor(low, name=f"{site.tensor}__low")),
            self._initializer(ir.tensor(high, name=f"{site.tensor}__high")),
        ]

    def _initializer(self, tensor: ir.TensorProtocol) -> ir.Value:
        name = self._fresh(str(tensor.name))
        value = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(tensor.shape.numpy()),
            const_value=tensor,
        )
        self.graph.register_initializer(value)
        self.tensors[name] = value
        return value

    def _node(
        self,
        op: str,
        inputs: list[ir.Value],
        output: str,
        dtype: ir.DataType = ir.DataType.FLOAT,
        attributes: Mapping[str, int] | None = None,
    ) -> ir.Node:
        name = self._fresh(output)
        node = ir.node(op, inputs, attributes or {}, name=f"{name}/{op}")
        node.outputs[0].name = name
        node.outputs[0].type = ir.TensorType(dtype)
        node.outputs[0].shape = inputs[0].shape
        self.tensors[name] = node.outputs[0]
        return node

    def _fresh(self, name: str) -> str:
        if name in self.tensors:
            raise ExportError(f"the model already has a tensor '{name}'; rename it")
        return name

    def _insert(self, chain: list[ir.Node], source: ir.Value) -> None:
        """Put nodes right behind what makes `source`, so that the order stays topological."""
        producer = source.producer()
        if producer is not None:
            self.graph.insert_after(producer, chain)
        else:
            self.graph.insert_before(self.graph[0], chain)

    def _rewire(self, site: Site, value: ir.Value) -> None:
        for name, index in site.edges:
            node = self.nodes.get(name)
            held = node.inputs[index] if node is not None and index < len(node.inputs) else None
            if node is None or held is not self.tensors[site.tensor]:
                raise ExportError(
                    f"input {index} of node '{name}' is not '{site.tensor}', as site "
                    f"'{site.name}' has it; build the sites from this graph"
                )
            node.replace_input_with(index, value)

    def _drop(self, site: Site) -> None:
        """Remove a float initializer that nobody reads any more."""
        value = self.tensors[site.tensor]
        if value.uses() or value.is_graph_output():
            self._remark(f"'{site.tensor}' is also read in float, so both forms are stored")
            return
        if value in self.graph.inputs:
            self.graph.inputs.remove(value)
        self.graph.initializers.pop(site.tensor)

    def _remark(self, text: str) -> None:
        self.remarks[text] += 1


def _before_limit(value: ir.Value, site: Site, frozen: Frozen) -> ir.Value:
    """What a Relu or Clip limits to `value`, if the grid limits it as much; `value` otherwise.

    The codes are the same, and a convolution before the Relu or Clip meets its QuantizeLinear, so
    that ONNX Runtime fuses them. The Relu or Clip is kept only if something else reads it.
    """
    node = value.producer()
    if node is None or not site.grid.per_tensor or node.op_type not in ("Relu", "Clip"):
        return value
    limits = _limits_of(node)
    source = node.inputs[0]
    if limits is None or source is None:
        return value
    scale, zero_point = float(frozen.scale), int(frozen.zero_point)
    low, high = (
        round(limit / scale) + zero_point if np.isfinite(limit) else limit for limit in limits
    )
    return source if low <= site.grid.qmin and high >= site.grid.qmax else value


def _limits_of(node: ir.Node) -> tuple[float, float] | None:
    """Lower and upper limit of a Relu or Clip; None where they are not constant."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    found = [-np.inf, np.inf]
    for index, value in enumerate(node.inputs[1:3]):
        if value is None:
            continue
        if value.const_value is None or value.const_value.size != 1:
            return None
        found[index] = float(value.const_value.numpy().reshape(()))
    return found[0], found[1]


def _quantized_data(sites: Iterable[Site]) -> set[tuple[str, int]]:
    return {edge for site in sites if site.kind == "activation" for edge in site.edges}


def _other_inputs(site: Site) -> list[tuple[str, int]]:
    """The data inputs of the layers that read a weight."""
    return [(node, 1 - index if index < 2 else 0) for node, index in site.edges]


def _axis(grid: Grid) -> dict[str, int]:
    """Attributes of Quantize- and DequantizeLinear for a granularity."""
    granularity = grid.granularity
    if granularity.kind == "tensor":
        return {}
    if granularity.kind == "channel":
        return {"axis": granularity.axis}
    return {"axis": granularity.axis, "block_size": granularity.size}


def _values(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs
