"""The QDQ form of a quantized graph, written node by node into an ONNX graph.

    activation t    t -> QuantizeLinear -> t__q -> DequantizeLinear -> t__dq
    weight w        w__q (stored codes) -> DequantizeLinear -> w__dq
    activation with levels of its own: see `own_levels`
    table weight w  w__q (stored codes) -> Gather from the table, Mul -> w__dq (see `lookup`)
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
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from torch import Tensor

from workbench.deploy.editor import Editor
from workbench.deploy.lookup import lookup
from workbench.deploy.own_levels import own_levels, run_in_float
from workbench.deploy.pack import (
    FLOAT8,
    INT2_OPSET,
    INT4_OPSET,
    Store,
    activation_container,
    code_range,
    has_zero_point,
    is_dequantized,
    least_opset,
    pack,
    pack_levels,
    weight_bytes,
    weight_container,
)
from workbench.foundation.errors import ExportError
from workbench.graph.passes.channels import clip_limits
from workbench.graph.sites import PRODUCTS, Site
from workbench.maths.grid import Grid
from workbench.quantizers.base import Frozen

INT32_MAX = 2**31 - 1
PRODUCT_COLUMNS = 4


@dataclass(frozen=True)
class Written:
    """What `write` did to a graph.

    Attributes:
        notes: for people, as in `Exported`.
        changed: float initializers that hold other values than in the source model.
        removed: nodes that quantization made superfluous, as (name, operator, inputs, output).
        weight_bytes: of all quantized weights with scales, zero-points and tables.
        byte_weight_bytes: of the same in 8-bit containers.
    """

    notes: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[tuple[str, str, tuple[str, ...], str], ...]
    weight_bytes: int
    byte_weight_bytes: int


def write(
    model: ir.Model,
    sites: Mapping[str, Site],
    frozen: Mapping[str, Frozen],
    values: Mapping[str, Tensor],
    *,
    store: Store = "packed",
) -> Written:
    """Put QDQ nodes into `model` (changed in place) and float `values` into its initializers."""
    writer = _Writer(model, sites, store, values)
    for name, site in sites.items():
        writer.add(site, frozen[name])
    writer.update_floats()
    return writer.written()


def holds_two_bits(site: Site, integer_data: set[tuple[str, int]]) -> bool:
    """True where ONNX Runtime computes correctly with a weight in 2 bits.

    Args:
        site: of the weight.
        integer_data: what `quantized_data` gives.

    With 8-bit data it turns the pair into an integer kernel that refuses them, and the file does
    not load. Its matrix product with 2-bit weights (MatMulNBits, version 1.32) gives wrong numbers
    unless the columns are a multiple of 4.
    """
    whole = len(site.shape) != 2 or site.shape[-1] % PRODUCT_COLUMNS == 0
    return whole and not any(edge in integer_data for edge in _other_inputs(site))


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
        self.edit = Editor(model)
        self.opset = model.opset_imports[""]
        self.store: Store = store
        self.values = values
        self.integer_data = quantized_data(sites.values())
        self.remarks: Counter[str] = Counter()
        self.changed: list[str] = []
        self.removed: list[tuple[str, str, tuple[str, ...], str]] = []
        self.weight_bytes = self.byte_weight_bytes = 0

    def add(self, site: Site, frozen: Frozen) -> None:
        """Write one site."""
        if site.tensor not in self.edit.tensors:
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
                self.changed.append(name)

    def written(self) -> Written:
        """What was done, with how often each remark applied."""
        notes = tuple(f"{text} ({count})" for text, count in self.remarks.items())
        return Written(
            notes,
            tuple(self.changed),
            tuple(self.removed),
            self.weight_bytes,
            self.byte_weight_bytes,
        )

    def _add_activation(self, site: Site, frozen: Frozen) -> None:
        if not site.grid.uniform:
            raise ExportError(
                f"activation '{site.name}' asks for table '{site.grid.table}', and tables hold"
                " weights only; use 'uniform'"
            )
        if frozen.form:
            self._add_own_levels(site, frozen)
            return
        dtype = activation_container(site.grid)
        if dtype.bitwidth > 8 and self.opset < INT4_OPSET:
            raise ExportError(
                f"activation '{site.name}' has '{site.grid.bits}' bits, and opset '{self.opset}'"
                f" holds 8 at most; export at opset {INT4_OPSET}, or use 8 bits"
            )
        shared = self._affine(site, frozen, dtype, zero_point=True)
        chain = self._quantize(site, frozen, dtype, shared)
        inputs = [chain[-1].outputs[0], *shared]
        output, axis = f"{site.tensor}__dq", _axis(site.grid)
        chain.append(self.edit.node("DequantizeLinear", inputs, output, attributes=axis))
        value = self.edit.tensors[site.tensor]
        self.edit.insert(chain, value)
        self.edit.rewire(site, chain[-1].outputs[0])
        limiter = value.producer()
        if limiter is not None and not value.uses() and not value.is_graph_output():
            self._remove(limiter)

    def _add_own_levels(self, site: Site, frozen: Frozen) -> None:
        if not site.own_levels:
            raise ExportError(
                f"activation '{site.name}' has levels of its own ('{frozen.form}'), and this target"
                " runs equal steps only; use target 'ort-cpu', or a uniform quantizer there"
            )
        self._check_scale(site, frozen)
        chain = own_levels(self.edit, site, frozen)
        self.edit.insert(chain, self.edit.tensors[site.tensor])
        self.edit.rewire(site, chain[-1].outputs[0])
        if run_in_float(frozen):
            self._remark(f"'{frozen.form}' activations are read in float arithmetic")

    def _quantize(
        self, site: Site, frozen: Frozen, dtype: ir.DataType, shared: list[ir.Value]
    ) -> list[ir.Node]:
        """Nodes from the float tensor to `t__q`, clipped to the grid where that is needed."""
        source, codes, axis = self.edit.tensors[site.tensor], f"{site.tensor}__q", _axis(site.grid)
        if (site.grid.qmin, site.grid.qmax) == code_range(dtype):
            return [self.edit.node("QuantizeLinear", [source, *shared], codes, dtype, axis)]
        self._remark(f"{site.grid.bits}-bit activations travel in {dtype.bitwidth} bits")
        if dtype.bitwidth > 8:  # ONNX Runtime has no Clip for 16-bit integers
            clip = self._clip_floats(site, frozen, source)
            inputs = [clip.outputs[0], *shared]
            return [clip, self.edit.node("QuantizeLinear", inputs, codes, dtype, axis)]
        inputs = [_before_limit(source, site, frozen), *shared]
        wide = self.edit.node("QuantizeLinear", inputs, f"{codes}_wide", dtype, axis)
        return [wide, self._clip_codes(site, wide.outputs[0], dtype)]

    def _add_stored(self, site: Site, frozen: Frozen) -> None:
        if frozen.codes is None:
            raise ExportError(f"{site.kind} '{site.name}' has no codes to store")
        dtype = self._stored_container(site, frozen)
        self._check_scale(site, frozen)
        before = self.edit.added_bytes
        if is_dequantized(site.grid):
            nodes = [self._dequantize(site, frozen, dtype)]
        else:
            nodes = lookup(self.edit, site, frozen, dtype)
        if site.kind == "weight":
            self.weight_bytes += self.edit.added_bytes - before
        self.edit.insert(nodes, self.edit.tensors[site.tensor])
        self.edit.rewire(site, nodes[-1].outputs[0])
        if not self.edit.drop_if_unread(site.tensor):
            self._remark(f"'{site.tensor}' is also read in float, so both forms are stored")

    def _dequantize(self, site: Site, frozen: Frozen, dtype: ir.DataType) -> ir.Node:
        """Stored codes, or float8 levels, and the DequantizeLinear that reads them."""
        self._check_opset(site)
        name, codes = f"{site.tensor}__q", frozen.codes
        assert codes is not None
        table = site.grid.table in FLOAT8
        held = pack_levels(frozen, dtype, name) if table else pack(codes, dtype, name)
        shared = self._affine(
            site, frozen, dtype, zero_point=self._stores_zero_point(site, frozen, dtype)
        )
        inputs = [self.edit.initializer(held), *shared]
        output, axis = f"{site.tensor}__dq", _axis(site.grid)
        return self.edit.node("DequantizeLinear", inputs, output, attributes=axis)

    def _stores_zero_point(self, site: Site, frozen: Frozen, dtype: ir.DataType) -> bool:
        """As `has_zero_point` says, but for some products in 8 bits.

        ONNX Runtime's integer product takes a zero-point for each channel only where a plain matrix
        is its second factor, and does without.
        """
        if site.kind == "bias" or not has_zero_point(frozen, dtype):
            return False
        node, index = site.edges[0]
        product = self.edit.operator(node) in PRODUCTS and (len(site.shape) > 2 or index == 0)
        integer = any(edge in self.integer_data for edge in _other_inputs(site))
        if not (product and integer and dtype.bitwidth == 8 and not site.grid.per_tensor):
            return True
        if bool(frozen.zero_point.any()):
            raise ExportError(
                f"weight '{site.name}' is a first factor or a batch of matrices with zero-points, "
                "which ONNX Runtime refuses beside quantized activations; use symmetric = true or "
                "granularity 'tensor'"
            )
        return False

    def _check_opset(self, site: Site) -> None:
        needed = least_opset(site)
        if self.opset >= needed:
            return
        if site.grid.granularity.kind == "group":
            what, else_ = "is quantized in groups", "granularity 'channel'"
        else:
            what, else_ = f"lies in {site.grid.table}", "table 'uniform'"
        raise ExportError(
            f"weight '{site.name}' {what}, and opset '{self.opset}' has no such thing;"
            f" export at opset {needed}, or use {else_}"
        )

    def _stored_container(self, site: Site, frozen: Frozen) -> ir.DataType:
        if site.kind == "bias":
            self._check_overflow(site, frozen)
            return ir.DataType.INT32
        two_bits = holds_two_bits(site, self.integer_data)
        place = {"opset": self.opset, "two_bits": two_bits}
        dtype = weight_container(site.grid, store=self.store, **place)
        self.byte_weight_bytes += weight_bytes(site, frozen, "int8", **place)
        if dtype.bitwidth != site.grid.bits:
            self._remark(f"{site.grid.bits}-bit weights lie in {dtype.bitwidth}-bit containers")
        packed = weight_container(site.grid, store=self.store, opset=INT2_OPSET, two_bits=two_bits)
        if packed.bitwidth < dtype.bitwidth:
            needed = INT2_OPSET if packed.bitwidth == 2 else INT4_OPSET
            self._remark(f"{packed.bitwidth}-bit containers need opset {needed}")
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
        self._check_scale(site, frozen)
        scale = frozen.scale.detach().cpu().float().numpy()
        found = [self.edit.initializer(ir.tensor(scale, name=f"{site.tensor}__scale"))]
        if zero_point:
            tensor = pack(frozen.zero_point, dtype, f"{site.tensor}__zero_point")
            found.append(self.edit.initializer(tensor))
        return found

    def _check_scale(self, site: Site, frozen: Frozen) -> None:
        scale = frozen.scale.detach()
        if not bool((scale.isfinite() & (scale > 0)).all()):
            raise ExportError(
                f"the scale of '{site.name}' is not a positive number; calibrate it again"
            )

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
        return self.edit.node("Clip", [source, *limits], f"{site.tensor}__clip")

    def _clip_codes(self, site: Site, source: ir.Value, dtype: ir.DataType) -> ir.Node:
        """Clip codes to the grid's own; see the module's docstring."""
        low, high = (np.array(limit, dtype.numpy()) for limit in (site.grid.qmin, site.grid.qmax))
        limits = self._limits(site, low, high)
        return self.edit.node("Clip", [source, *limits], f"{site.tensor}__q", dtype)

    def _limits(self, site: Site, low: np.ndarray, high: np.ndarray) -> list[ir.Value]:
        return [
            self.edit.initializer(ir.tensor(low, name=f"{site.tensor}__low")),
            self.edit.initializer(ir.tensor(high, name=f"{site.tensor}__high")),
        ]

    def _remove(self, limiter: ir.Node) -> None:
        inputs = tuple("" if value is None else str(value.name) for value in limiter.inputs)
        output = str(limiter.outputs[0].name)
        self.removed.append((str(limiter.name), limiter.op_type, inputs, output))
        self.graph.remove(limiter, safe=True)

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
    limits = (0.0, np.inf) if node.op_type == "Relu" else clip_limits(node)
    source = node.inputs[0]
    if limits is None or source is None:
        return value
    scale, zero_point = float(frozen.scale), int(frozen.zero_point)
    low, high = (
        round(limit / scale) + zero_point if np.isfinite(limit) else limit for limit in limits
    )
    return source if low <= site.grid.qmin and high >= site.grid.qmax else value


def quantized_data(sites: Iterable[Site]) -> set[tuple[str, int]]:
    """The (node, input) edges that carry quantized activations."""
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
