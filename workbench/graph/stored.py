"""Whether a model is quantized already: in which form, and what its weights are stored as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir

#: operator -> what files with it are called
FORMS = {
    "DequantizeLinear": "QDQ",
    "QuantizeLinear": "QDQ",
    "MatMulNBits": "MatMulNBits",
    "GatherBlockQuantized": "GatherBlockQuantized",
    "QLinearConv": "QOperator",
    "QLinearMatMul": "QOperator",
    "QGemm": "QOperator",
    "ConvInteger": "dynamic",
    "MatMulInteger": "dynamic",
    "MatMulIntegerToFloat": "dynamic",
    "DynamicQuantizeMatMul": "dynamic",
    "DynamicQuantizeLSTM": "dynamic",
}
#: types of weights in such a file; int32 is for biases, int64 for indices
CODES = frozenset(
    {
        ir.DataType.INT2,
        ir.DataType.UINT2,
        ir.DataType.INT4,
        ir.DataType.UINT4,
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.INT16,
        ir.DataType.UINT16,
        ir.DataType.FLOAT8E4M3FN,
        ir.DataType.FLOAT8E5M2,
    }
)
PACKED_BITS = 4  # of MatMulNBits, where the node does not say


def stored_form(model: ir.Model) -> str:
    """How a quantized model is stored: `QDQ, 12 weights stored as int8`; "" for one in float.

    Weights are constants of two axes or more, counted once however many nodes read them.
    """
    forms: set[str] = set()
    held: dict[str, str] = {}
    for node in model.graph.all_nodes():
        if node.op_type in FORMS:
            forms.add(FORMS[node.op_type])
            held |= _weights(node)
    if not forms:
        return ""
    kinds = Counter(held.values())
    said = [
        f"{count} {'weight' if count == 1 else 'weights'} stored as {kind}"
        for kind, count in sorted(kinds.items())
    ]
    return ", ".join([*sorted(forms), *(said or ["no weights stored small"])])


def _weights(node: ir.Node) -> Iterator[tuple[str, str]]:
    """(name, type) of the weights that a node reads as codes."""
    for value in node.inputs:
        if value is None or value.is_graph_input():
            continue
        held = ir.convenience.get_const_tensor(value)
        if held is None or held.dtype not in CODES or len(held.shape) < 2:
            continue
        bits = node.attributes.get("bits")
        if node.op_type == "MatMulNBits" and value is node.inputs[1]:
            yield str(value.name), f"uint{PACKED_BITS if bits is None else bits.as_int()}"
        elif node.op_type != "MatMulNBits":
            yield str(value.name), held.dtype.name.lower()
