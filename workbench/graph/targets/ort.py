"""ONNX Runtime on the CPU: integer kernels where weights, inputs and outputs are quantized.

The rules are what ONNX Runtime 1.32 does with the QDQ form, operator by operator, as its optimised
graph shows: convolutions, sums, gates and pools become integer kernels only if their output is
quantized too; Gemm and MatMul give floats just as well; movers and MaxPool run on codes where both
sides have one scale. Attention's and normalization's functions are left in float: their kernels
read floats, and quantizing them gains nothing.
"""

from __future__ import annotations

import onnx_ir as ir

from workbench.graph.sites import Layer, Site, attribute
from workbench.graph.targets.base import ANY_ACTIVATIONS, MOST_WEIGHT_BITS, Target
from workbench.graph.targets.requests import WeightGrid
from workbench.graph.targets.rules import MOVERS, Meeting, Rule

#: kernels that add the products of uint8 data and int8 weights two by two in 16 bits
PAIR_SUMS = frozenset({"Conv", "Gemm", "MatMul"})
PAIR_SAFE_BITS = 7
WIDEST_KERNEL, WIDEST_PACKED = 8, 4
#: they move 16-bit codes as well
WIDE_MOVERS = MOVERS - {"Split"} | {"ReduceMax"}
ROUNDED = "nearest"


def pair_limit(node: ir.Node, layer: Layer, request: WeightGrid, active: int) -> int:
    """Most bits of a layer's weights that no pair of products can saturate.

    On x86 without VNNI the kernels add u8·s8 + u8·s8 in 16 bits, and 2 · 255 · 128 does not fit;
    2 · 255 · 64 does. Depthwise convolutions multiply one channel at a time, unsigned weights have
    another kernel, and layers on floats do not sum integers at all.
    """
    sums = layer.op in PAIR_SUMS and 0 < active <= WIDEST_KERNEL and request.symmetric
    depthwise = (
        layer.op == "Conv"
        and layer.shape[1] == 1
        and attribute(node, "group", 1) == layer.shape[0] > 1
    )
    return PAIR_SAFE_BITS if sums and not depthwise else MOST_WEIGHT_BITS


def why_float(meeting: Meeting) -> str:
    """What ONNX Runtime 1.32 needs for an integer kernel and does not find here, or ""."""
    op = meeting.node.op_type
    if op == "ConvTranspose":
        return "no integer kernel for ConvTranspose in ONNX Runtime"
    if op not in WIDE_MOVERS:
        wide = [s for s in (*meeting.inputs, *meeting.outputs) if s.grid.bits > WIDEST_KERNEL]
        if wide:
            return f"no integer kernel for {op} on {wide[0].grid.bits}-bit activations"
    for site in meeting.weights:
        reason = _why_unpacked(site, meeting)
        if reason:
            return reason
    return _why_mixed(meeting)


def _why_mixed(meeting: Meeting) -> str:
    """Why signed activations are in the way, or "".

    ONNX Runtime rewrites int8 activations as uint8, but not those that several nodes read, and no
    kernel takes both kinds.
    """
    sites = [site for site in (*meeting.inputs, *meeting.outputs) if site.grid.signed]
    if meeting.limited and any(site.grid.signed for site in meeting.outputs):
        return "a grid without zero-point keeps the Relu or Clip, and with it this node, in float"
    if len({len(site.edges) > 1 for site in sites}) > 1:
        return "int8 activations that several nodes read do not fit the others, which become uint8"
    return ""


def _why_unpacked(weight: Site, meeting: Meeting) -> str:
    """Why a weight is unpacked to float at each run, or ""."""
    if weight.grid.bits <= WIDEST_PACKED and meeting.store != "int8":
        return "codes of 4 bits or less are unpacked at each run; store = 'int8' avoids it"
    if weight.grid.granularity.kind == "group":
        return "groups of weights are unpacked at each run"
    if (str(meeting.node.name), 0) in weight.edges and meeting.node.op_type == "MatMul":
        return "no integer kernel for weights on the left of a MatMul"
    return ""


def _resizes_smoothly(node: ir.Node) -> str:
    mode = node.attributes.get("mode")
    name = mode.as_string() if mode is not None else ROUNDED
    return "" if name == ROUNDED else f"Resize in mode '{name}' has no integer kernel"


_START = Rule(starts=True, writes=False)
_FOLLOW = Rule()
_PAIR = Rule(inputs=(0, 1))
_MOVE = Rule(shares=True)

RULES = {
    "Conv": Rule(starts=True),
    "ConvTranspose": _START,
    "Gemm": _START,
    "MatMul": Rule(inputs=(0, 1), starts=True, writes=False),
    "Add": _PAIR,
    "Mul": _PAIR,
    "Concat": Rule(inputs=None),
    "AveragePool": _FOLLOW,
    "GlobalAveragePool": _FOLLOW,
    "Sigmoid": _FOLLOW,
    "MaxPool": _MOVE,
    "ReduceMax": _MOVE,
    "DepthToSpace": _MOVE,
    "Resize": Rule(shares=True, unless=_resizes_smoothly),
    **dict.fromkeys(MOVERS, _MOVE),
}
_FUSES = (
    "Relu and Clip go into the QuantizeLinear behind them, if the grid has a zero-point",
    "a bias goes into the kernel as int32",
    "MatMul and Gemm with float data and weights of 2, 4 or 8 bits become MatMulNBits",
)

ORT_CPU = Target(
    name="ort-cpu",
    title="ONNX Runtime, x86 CPU without VNNI",
    runtime="ONNX Runtime",
    rules=RULES,
    activation_bits=ANY_ACTIVATIONS,
    grouped_beside_integers=(1, 2, 3, 4),
    own_levels=True,
    weight_limit=pair_limit,
    limit_note="7 bits instead of {width}: without VNNI, kernels sum pairs of products in 16 bits",
    why_float=why_float,
    fuses=_FUSES,
)
ORT_CPU_VNNI = Target(
    name="ort-cpu-vnni",
    title="ONNX Runtime, CPU with VNNI or Arm dot products",
    runtime="ONNX Runtime",
    rules=RULES,
    activation_bits=ANY_ACTIVATIONS,
    grouped_beside_integers=(1, 2, 3, 4),
    own_levels=True,
    why_float=why_float,
    fuses=_FUSES,
)
