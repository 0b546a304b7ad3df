"""Integer operators as what they mean: dequantize, compute in float, quantize.

Files in the "QOperator" format hold QLinearConv and its kin where the QDQ format holds pairs around
a float operator. Written out as pairs, with the same names for codes, such a file has a simulation
like any other, and its weights can be rewritten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from workbench.graph.tensors import add_initializer, known_tensor, to_torch, unique, value_names

MICROSOFT = "com.microsoft"
_PAIR_OPSET = 13  # DequantizeLinear with a scale for each channel


@dataclass(frozen=True)
class _Plan:
    """Where an integer operator keeps what.

    Attributes:
        op: the float operator. data: indices of inputs that three in a row (codes, scale,
            zero-point) begin at. out: index of the output's scale; its zero-point follows.
        bias: index of an int32 bias. drop: attributes that the float operator does not have.
    """

    op: str
    data: tuple[int, ...]
    out: int
    bias: int | None = None
    drop: tuple[str, ...] = ()


PLANS: dict[tuple[str, str], _Plan] = {
    ("", "QLinearConv"): _Plan("Conv", (0, 3), 6, 8),
    ("", "QLinearMatMul"): _Plan("MatMul", (0, 3), 6),
    (MICROSOFT, "QLinearAdd"): _Plan("Add", (0, 3), 6),
    (MICROSOFT, "QLinearMul"): _Plan("Mul", (0, 3), 6),
    (MICROSOFT, "QGemm"): _Plan("Gemm", (0, 3), 7, 6),
    (MICROSOFT, "QLinearSigmoid"): _Plan("Sigmoid", (0,), 3),
    (MICROSOFT, "QLinearLeakyRelu"): _Plan("LeakyRelu", (0,), 3),
    (MICROSOFT, "QLinearGlobalAveragePool"): _Plan(
        "GlobalAveragePool", (0,), 3, drop=("channels_last",)
    ),
}


def expand(model: ir.Model) -> ir.Model:
    """Write the integer operators of `PLANS` as pairs, in place; other nodes stay as they are."""
    editor = _Expander(model)
    for node in list(model.graph):
        plan = PLANS.get((node.domain, node.op_type))
        if plan is not None and model.opset_imports.get("", 1) < _PAIR_OPSET:
            model.opset_imports[""] = _PAIR_OPSET
        if plan is not None:
            editor.expand(node, plan)
    return model


class _Expander:
    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self.names = value_names(self.graph) | {str(node.name) for node in self.graph}

    def expand(self, node: ir.Node, plan: _Plan) -> None:
        """Replace one node; its output, codes, keeps its name and readers."""
        given = [*node.inputs, None, None]
        inputs = [self._dequantized(node, given[i : i + 3]) for i in plan.data]
        if plan.bias is not None and given[plan.bias] is not None:
            inputs.append(self._bias(node, given[plan.bias], (given[1], given[4])))
        kept = [value for key, value in node.attributes.items() if key not in plan.drop]
        codes = node.outputs[0]
        name = f"{codes.name}__float"
        computed = self._node(node, plan.op, inputs, name, kept, str(node.name))
        end = [computed, given[plan.out], given[plan.out + 1]]
        if end[1] is None:  # QGemm whose output stays float
            codes.replace_all_uses_with(computed, replace_graph_outputs=True)
            self.graph.remove(node, safe=True)
            computed.name = codes.name
            return
        quantized = self._node(node, "QuantizeLinear", end, f"{codes.name}__q")
        quantized.shape, quantized.type = codes.shape, codes.type
        codes.replace_all_uses_with(quantized, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)
        quantized.name = codes.name

    def _dequantized(self, node: ir.Node, three: Sequence[ir.Value | None]) -> ir.Value:
        codes, scale, _ = three
        assert codes is not None
        known, scales = known_tensor(codes), known_tensor(scale)
        per_channel = known is not None and scales is not None and scales.size > 1
        axis = 0 if node.op_type == "QLinearConv" else len(known.shape) - 1 if known else 0
        transposed = node.attributes.get("transB")
        if transposed is not None and transposed.as_int():
            axis = 0
        attributes = [ir.AttrInt64("axis", axis)] if per_channel else []
        return self._node(node, "DequantizeLinear", three, f"{codes.name}__dq", attributes)

    def _bias(
        self,
        node: ir.Node,
        codes: ir.Value | None,
        scales: tuple[ir.Value | None, ir.Value | None],
    ) -> ir.Value:
        """An int32 bias has the product of the other scales."""
        assert codes is not None
        left, right = (to_torch(tensor) for v in scales if (tensor := known_tensor(v)) is not None)
        name = unique(f"{codes.name}__scale", self.names)
        scale = left.reshape(()) * right.reshape(() if right.numel() == 1 else (-1,))
        value = add_initializer(self.graph, name, scale)
        attributes = [ir.AttrInt64("axis", 0)] if right.numel() > 1 else []
        return self._node(node, "DequantizeLinear", [codes, value], f"{codes.name}__dq", attributes)

    def _node(
        self,
        before: ir.Node,
        op: str,
        inputs: Sequence[ir.Value | None],
        output: str,
        attributes: Sequence[ir.Attr] = (),
        name: str = "",
    ) -> ir.Value:
        value = ir.Value(name=unique(output, self.names))
        label = name or unique(f"{output}/{op}", self.names)
        made = ir.Node("", op, list(inputs), list(attributes), outputs=[value], name=label)
        self.graph.insert_before(before, made)
        return value
