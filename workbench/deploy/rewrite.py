"""Other codes for the int8 weights of chosen layers of a quantized file.

Two products of a uint8 and an int8 fit into 16 bits if the two codes add up to 128 or less, since
255 * 128 = 32640.

    7-bit            codes / 2, scale * 2: no two codes can add up to more
    fitted           codes * f, scale / f with, for each output channel, the largest f at which no
                     two codes that are added in fact do; most channels keep more than 7 bits
    uint8-weights    codes + 128 and zero-point + 128, as uint8: the same values exactly, in kernels
                     that do not add pairs in 16 bits

"fitted" knows which two products meet: neighbours along the summed axis, which for a convolution
runs over height, width and, fastest, channel. A runtime that fuses a layer into an integer kernel
takes the bias's scale to be the product of the other two, so an int32 bias follows its weight's
scale.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal

import onnx_ir as ir
import torch
from torch import Tensor

from workbench.deploy.simulation import LAYERS
from workbench.graph.nodes import evaluate
from workbench.graph.sites import BIAS_INPUTS, WEIGHT_INPUTS
from workbench.graph.tensors import add_initializer, known_tensor, to_torch, unique, value_names

Rewrite = Literal["7-bit", "fitted", "uint8-weights"]

#: largest sum of two codes of one sign
SAFE = 128


def rewrite(model: ir.Model, layers: Collection[str], kind: Rewrite) -> tuple[str, ...]:
    """Give the layers new weight codes, in place.

    Args:
        model: with QuantizeLinear and DequantizeLinear pairs.
        layers: names of nodes; those without int8 weights, or with codes that already fit, stay.
        kind: see the module's docstring.

    Returns:
        The layers that were changed, in the order of the graph.
    """
    editor = _Editor(model)
    changed = [
        str(node.name)
        for node in list(model.graph)
        if node.name in layers and editor.layer(node, kind)
    ]
    editor.remove_unused()
    return tuple(changed)


class _Editor:
    """Puts new DequantizeLinear nodes beside the old ones, so that other readers keep theirs."""

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self.opsets = model.opset_imports
        self.names = value_names(self.graph) | {str(node.name) for node in self.graph}
        self.replaced: list[ir.Node] = []

    def layer(self, node: ir.Node, kind: Rewrite) -> bool:
        """Change what one node reads; False where nothing had to be."""
        found = list(self._weights(node))
        for index, pair in found:
            codes, zero_point = self._codes(pair), self._zero_point(pair)
            if kind == "uint8-weights":
                new = (codes.int() + 128).byte(), (zero_point.int() + 128).byte()
                self._replace(node, index, pair, new, torch.ones(()))
                continue
            factor = torch.full((), 0.5).double()
            if kind == "fitted":
                factor = self._fit(node, index, pair)
            spread = _spread(factor, codes, _axis(pair))
            new = _times(codes, spread).to(torch.int8), _times(zero_point, factor).to(torch.int8)
            self._replace(node, index, pair, new, factor)
            self._bias(node, factor)
        return bool(found)

    def remove_unused(self) -> None:
        """Drop what nothing reads any more, with its constants."""
        waiting = list(dict.fromkeys(self.replaced))
        while waiting:
            node = waiting.pop()
            if any(output.uses() or output.is_graph_output() for output in node.outputs):
                continue
            sources = {value for value in node.inputs if value is not None}
            self.graph.remove(node, safe=True)
            for value in sources:
                if value.is_initializer() and not value.uses():
                    del self.graph.initializers[str(value.name)]
            waiting += {p for value in sources if (p := value.producer()) is not None}

    def _weights(self, node: ir.Node) -> Iterator[tuple[int, ir.Node]]:
        """Inputs that are int8 weights whose pairs can saturate, with their DequantizeLinear."""
        for index in WEIGHT_INPUTS[node.op_type] if node.op_type in LAYERS else ():
            pair = _dequantizing(node, index)
            codes = None if pair is None else self._codes(pair)
            if pair is None or codes is None or codes.dtype != torch.int8:
                continue
            if _largest_sums(node, index, codes).max() > SAFE:
                yield index, pair

    def _fit(self, node: ir.Node, index: int, pair: ir.Node) -> Tensor:
        """The factor of each scale: below 1 where two codes that meet are too large."""
        sums = _largest_sums(node, index, self._codes(pair))
        scale = to_torch(_known(pair.inputs[1]))
        shared = scale.numel() != sums.numel()  # one scale for all channels
        worst = sums.max() if shared else sums.reshape(scale.shape)
        return ((SAFE - 1) / worst).clamp(max=1.0).double()  # rounding may add half a code to each

    def _bias(self, node: ir.Node, factor: Tensor) -> None:
        index = BIAS_INPUTS.get(node.op_type)
        pair = None if index is None else _dequantizing(node, index)
        if index is None or pair is None:
            return
        codes = _times(self._codes(pair), factor).to(torch.int32)
        zero_point = None if len(pair.inputs) < 3 else torch.zeros_like(self._zero_point(pair))
        self._replace(node, index, pair, (codes, zero_point), factor)

    def _replace(
        self,
        node: ir.Node,
        index: int,
        pair: ir.Node,
        new: tuple[Tensor, Tensor | None],
        factor: Tensor,
    ) -> None:
        base = str(pair.outputs[0].name)
        old = to_torch(_known(pair.inputs[1]))
        scale = (old.double() / factor).to(old.dtype)
        tensors = {"codes": new[0], "scale": scale, "zero_point": new[1]}
        inputs = [
            add_initializer(self.graph, unique(f"{base}__{key}", self.names), tensor)
            for key, tensor in tensors.items()
            if tensor is not None
        ]
        output = ir.Value(
            name=unique(f"{base}__new", self.names),
            shape=pair.outputs[0].shape,
            type=pair.outputs[0].type,
        )
        made = ir.Node(
            pair.domain,
            pair.op_type,
            inputs,
            list(pair.attributes.values()),
            outputs=[output],
            name=unique(f"{base}__dequantize", self.names),
        )
        self.graph.insert_before(node, made)
        node.replace_input_with(index, output)
        self.replaced.append(pair)

    def _codes(self, pair: ir.Node) -> Tensor:
        """Stored codes, or those that a QuantizeLinear makes of a stored float weight."""
        value = pair.inputs[0]
        known = known_tensor(value)
        if known is not None:
            return to_torch(known)
        producer = value.producer() if value is not None else None
        assert producer is not None
        return evaluate(producer, [to_torch(_known(v)) for v in producer.inputs], self.opsets)

    def _zero_point(self, pair: ir.Node) -> Tensor:
        given = pair.inputs[2] if len(pair.inputs) > 2 else None
        if given is not None:
            return to_torch(_known(given))
        return torch.zeros(to_torch(_known(pair.inputs[1])).shape, dtype=self._codes(pair).dtype)


def _dequantizing(node: ir.Node, index: int) -> ir.Node | None:
    """The DequantizeLinear behind an input, where all it reads is stored in the file."""
    value = node.inputs[index] if index < len(node.inputs) else None
    pair = value.producer() if value is not None else None
    if pair is None or pair.op_type != "DequantizeLinear":
        return None
    source = pair.inputs[0].producer() if pair.inputs[0] is not None else None
    through = source is not None and source.op_type == "QuantizeLinear"
    read = [*(source.inputs if through and source is not None else pair.inputs), *pair.inputs[1:]]
    return pair if all(v is None or known_tensor(v) is not None for v in read) else None


def _known(value: ir.Value | None) -> ir.TensorProtocol:
    found = known_tensor(value)
    assert found is not None, "only pairs of stored constants get here"
    return found


def _times(codes: Tensor, factor: Tensor) -> Tensor:
    return (codes.double() * factor).round()


def _axis(pair: ir.Node) -> int:
    axis = pair.attributes.get("axis")
    return 1 if axis is None else axis.as_int()


def _spread(factor: Tensor, codes: Tensor, axis: int) -> Tensor:
    """A factor for each channel so that it multiplies the channels of `codes`."""
    if factor.numel() == 1:
        return factor.reshape(())
    shape = [1] * codes.ndim
    shape[axis] = -1
    return factor.reshape(shape)


def _largest_sums(node: ir.Node, index: int, codes: Tensor) -> Tensor:
    """For each output channel the largest sum, in magnitude, of two codes that are added."""
    rows = _rows(node, index, codes.int())  # (channels, summed)
    padded = torch.nn.functional.pad(rows, (0, rows.shape[-1] % 2))
    pairs = padded.reshape(*padded.shape[:-1], -1, 2)
    above, below = pairs.clamp(min=0).sum(-1), -pairs.clamp(max=0).sum(-1)
    return torch.maximum(above, below).amax(-1)


def _rows(node: ir.Node, index: int, codes: Tensor) -> Tensor:
    """Codes as (channels, summed), neighbours as kernels meet them."""
    if node.op_type in ("Conv", "FusedConv"):
        return codes.movedim(1, -1).flatten(1)
    if node.op_type == "Gemm":
        attribute = node.attributes.get("transB")
        return codes if attribute is not None and attribute.as_int() else codes.T
    if node.op_type == "MatMul" and codes.ndim == 2:
        return codes.T if index == 1 else codes
    # where the order is not known, as if the two largest met
    return codes.flatten()[codes.flatten().abs().topk(min(2, codes.numel())).indices].abs()[None]
