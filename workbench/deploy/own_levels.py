"""Activations with levels of their own, as standard ONNX nodes around the codes `t__q`.

Logarithmic (`log_sqrt2`), codes by the logarithm and levels by a table:

    t -> Div s -> Log -> Mul -2 / ln 2 -> Round -> Clip -> Cast -> t__q
    t__q -> Cast -> Gather from t__levels -> t__dq

Twin uniform (`twin`), one pair of QuantizeLinear and DequantizeLinear for each ladder:

    t -> QuantizeLinear Δ1 -> Clip -> t__low_q                 t -> Less c -> t__below
    t -> QuantizeLinear Δ2 -> Clip -> t__high_q                Where below -> t__q
    t__q -> DequantizeLinear Δ1, and Δ2  -> Where below -> t__dq

Staircase (`steps`), one comparison for each of the thresholds, which a Split hands out:

    t -> GreaterOrEqual T_i -> Cast -> t__past_i,    Add one to the other -> t__q
    t__q -> Gather from t__places -> DequantizeLinear -> t__dq     levels that are whole multiples
    t__q -> Cast -> Gather from t__levels -> t__dq                 other levels

Where the multiples follow each other, t__q itself is dequantized. Either way integer kernels can
read what DequantizeLinear reads. Comparing with all thresholds at once (Unsqueeze, ReduceSum) takes
ten times as long in ONNX Runtime. Sums are of bytes, before opset 14 of floats.

The numbers lie in the file under the names that the quantizer has for them, such as `t__scale`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
from torch import Tensor

from workbench.deploy.editor import Editor
from workbench.graph.sites import Site
from workbench.quantizers.base import Frozen
from workbench.quantizers.log_sqrt2 import STEP
from workbench.quantizers.steps import FORM, MOST_STEPS

#: nodes of a staircase, for each threshold from the last to the first
_PAST = tuple(
    f"__{name}_{index}"
    for index in reversed(range(MOST_STEPS))
    for name in ("sum", "past", "compared")
)
#: what is added for a tensor: nodes, readers before what they read, and initializers
NODES = (
    "__place", "__high_dq", "__low_dq", "__index", "__q", "__clipped", "__rounded", "__steps",
    "__log", "__ratio", "__below", "__high_q", "__high_wide", "__low_q", "__low_wide",
    *_PAST, "__threshold_0",
)  # fmt: skip
TENSORS = (
    "__step", "__first", "__last", "__scale", "__levels", "__low_scale", "__low_zero",
    "__high_zero", "__border", "__low_first", "__low_last", "__high_first", "__high_last",
    "__thresholds", "__ones", "__places", "__offset",
)  # fmt: skip
CODES = ir.DataType.UINT8
BYTE_SUM_OPSET = 14


def run_in_float(frozen: Frozen) -> bool:
    """True where what reads these levels cannot compute on integers."""
    return frozen.form != FORM or "levels" in frozen.held


def own_levels(editor: Editor, site: Site, frozen: Frozen) -> list[ir.Node]:
    """The nodes that make `t__dq`, in order."""
    return _FORMS[frozen.form](_Maker(editor, site), frozen)


class _Maker:
    """Nodes and constants that are named after one tensor."""

    def __init__(self, editor: Editor, site: Site) -> None:
        self._editor = editor
        self._tensor = site.tensor
        self.source = editor.tensors[site.tensor]
        self.opset = editor.opset
        self.nodes: list[ir.Node] = []

    def constant(self, name: str, value: object, dtype: type = np.float32) -> ir.Value:
        tensor = ir.tensor(np.asarray(value, dtype=dtype), name=f"{self._tensor}__{name}")
        return self._editor.initializer(tensor)

    def node(
        self,
        op: str,
        inputs: list[ir.Value],
        name: str,
        dtype: ir.DataType = ir.DataType.FLOAT,
        to: ir.DataType | None = None,
    ) -> ir.Value:
        """A node called after its output, which has the source's shape."""
        attributes = None if to is None else {"to": int(to)}
        made = self._editor.node(op, inputs, f"{self._tensor}__{name}", to or dtype, attributes)
        made.outputs[0].shape = self.source.shape
        self.nodes.append(made)
        return made.outputs[0]

    def parts(self, whole: ir.Value, count: int, name: str) -> list[ir.Value]:
        """A value cut along its first axis, with a size of 1 left there."""
        if count == 1:
            return [whole]
        ones = self.constant("ones", np.ones(count), np.int64)
        names = [f"{self._tensor}__{name}_{index}" for index in range(count)]
        made = self._editor.split(whole, ones, names)
        self.nodes.append(made)
        return list(made.outputs)


def _logarithmic(make: _Maker, frozen: Frozen) -> list[ir.Node]:
    assert frozen.levels is not None
    last = len(frozen.levels) - 1
    x = make.node("Div", [make.source, make.constant("scale", frozen.scale.cpu())], "ratio")
    x = make.node("Log", [x], "log")
    x = make.node("Mul", [x, make.constant("step", STEP)], "steps")
    x = make.node("Round", [x], "rounded")
    limits = [make.constant("first", 0), make.constant("last", last)]
    x = make.node("Clip", [x, *limits], "clipped")
    codes = make.node("Cast", [x], "q", to=CODES)
    index = make.node("Cast", [codes], "index", to=ir.DataType.INT32)
    make.node("Gather", [make.constant("levels", frozen.levels.cpu()), index], "dq")
    return make.nodes


def _twin(make: _Maker, frozen: Frozen) -> list[ir.Node]:
    assert frozen.levels is not None
    held = {name: value.cpu() for name, value in frozen.held.items()}
    half = len(frozen.levels) // 2
    border = make.constant("border", held["border"])
    below = make.node("Less", [make.source, border], "below", ir.DataType.BOOL)
    affine = {
        "low": (make.constant("low_scale", held["low_scale"]), held["low_zero"], (0, half - 1)),
        "high": (make.constant("scale", held["scale"]), held["high_zero"], (half, 2 * half - 1)),
    }
    pairs: dict[str, list[ir.Value]] = {}
    codes = []
    for ladder, (scale, zero, ends) in affine.items():
        pairs[ladder] = [scale, make.constant(f"{ladder}_zero", zero, np.uint8)]
        wide = make.node("QuantizeLinear", [make.source, *pairs[ladder]], f"{ladder}_wide", CODES)
        names = (f"{ladder}_first", f"{ladder}_last")
        limits = [make.constant(n, e, np.uint8) for n, e in zip(names, ends, strict=True)]
        codes.append(make.node("Clip", [wide, *limits], f"{ladder}_q", CODES))
    q = make.node("Where", [below, *codes], "q", CODES)
    values = [make.node("DequantizeLinear", [q, *pairs[x]], f"{x}_dq") for x in affine]
    make.node("Where", [below, *values], "dq")
    return make.nodes


def _steps(make: _Maker, frozen: Frozen) -> list[ir.Node]:
    held = {name: value.cpu() for name, value in frozen.held.items()}
    thresholds = make.constant("thresholds", held["thresholds"])
    kind = CODES if make.opset >= BYTE_SUM_OPSET else ir.DataType.FLOAT
    limits = make.parts(thresholds, len(held["thresholds"]), "threshold")
    total = None
    for index, limit in enumerate(limits):
        last = index == len(limits) - 1 and kind == CODES
        inputs = [make.source, limit]
        past = make.node("GreaterOrEqual", inputs, f"compared_{index}", ir.DataType.BOOL)
        past = make.node("Cast", [past], "q" if last and not index else f"past_{index}", to=kind)
        if total is not None:
            past = make.node("Add", [total, past], "q" if last else f"sum_{index}", kind)
        total = past
    assert total is not None
    codes = total if kind == CODES else make.node("Cast", [total], "q", to=CODES)
    _dequantized(make, held, codes)
    return make.nodes


def _dequantized(make: _Maker, held: Mapping[str, Tensor], codes: ir.Value) -> None:
    """From the codes of a staircase to its levels."""
    scale = make.constant("scale", held["scale"])
    if "levels" in held:
        index = make.node("Cast", [codes], "index", to=ir.DataType.INT32)
        make.node("Gather", [make.constant("levels", held["levels"]), index], "dq")
        return
    if "places" in held:
        index = make.node("Cast", [codes], "index", to=ir.DataType.INT32)
        places = make.constant("places", held["places"], np.uint8)
        codes = make.node("Gather", [places, index], "place", CODES)
    zero = make.constant("offset", held["offset"], np.uint8)
    make.node("DequantizeLinear", [codes, scale, zero], "dq")


_FORMS: dict[str, Callable[[_Maker, Frozen], list[ir.Node]]] = {
    "log_sqrt2": _logarithmic,
    "twin": _twin,
    FORM: _steps,
}
