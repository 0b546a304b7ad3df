"""Small valid models to begin from: what shape arithmetic, folding and control flow feed on."""

from __future__ import annotations

import numpy as np
import onnx.parser
from onnx import helper, numpy_helper

from workbench.session.paths import samples_dir

_HEAD = '<ir_version: 10, opset_import: ["" : 21]>'

_TEXTS = {
    "convolutions": """
    agraph (float[n, 2, 6, 6] x) => (float[n, 3] y)
    <float[4, 2, 3, 3] w, float[4] b, float[4] g, float[4] be, float[4] m, float[4] v,
     int64[8] p = {0, 0, 1, 1, 0, 0, 1, 1}, float[4, 3] d, float[3] db> {
        padded = Pad (x, p)
        c = Conv <kernel_shape = [3, 3], strides = [2, 2]> (padded, w, b)
        bn = BatchNormalization <epsilon = 1e-5> (c, g, be, m, v)
        r = Relu (bn)
        q = MaxPool <kernel_shape = [2, 2]> (r)
        a = GlobalAveragePool (q)
        f = Flatten <axis = 1> (a)
        y = Gemm <transB = 0> (f, d, db)
    }""",
    "shapes": """
    agraph (float[n, 4, 6] x) => (float[n, m] y, int64[k] z)
    <int64[1] zero = {0}, int64[1] one = {1}, int64[1] minus = {-1}, int64[2] reps = {1, 2},
     int64 lo = {0}, int64 hi = {5}, int64 by = {1}, float[4] sc = {1, 1, 2, 1}> {
        s = Shape (x)
        first = Slice (s, zero, one)
        target = Concat <axis = 0> (first, minus)
        flat = Reshape (x, target)
        wide = Tile (flat, reps)
        four = Unsqueeze (x, one)
        big = Resize <mode = "nearest"> (four, , sc)
        shrunk = ReduceMean <keepdims = 0> (big, one)
        t = Transpose <perm = [0, 2, 1]> (shrunk)
        back = Reshape (t, target)
        y = Concat <axis = 1> (wide, back)
        z = Range (lo, hi, by)
    }""",
    "constants": """
    agraph (float[n, 3] x) => (float[n, 3] y)
    <int64[2] size = {2, 3}, int64[3] wide = {2, 3, 3}, int64[1] axes = {0},
     float[3, 3] w, int64[1] idx = {1}> {
        filled = ConstantOfShape <value = float[1] {0.5}> (size)
        expanded = Expand (w, wide)
        c = Constant <value_ints = [0, 1]> ()
        row = Gather <axis = 0> (filled, idx)
        sq = Squeeze (row, axes)
        wt = Transpose <perm = [1, 0]> (w)
        h = MatMul (x, wt)
        hs = Add (h, sq)
        cast = Cast <to = 1> (hs)
        k = ReduceSum <keepdims = 0> (expanded, c)
        y = Add (cast, k)
    }""",
    "recurrent": """
    agraph (float[5, n, 3] x) => (float[5, 2, n, 4] y)
    <float[2, 16, 3] w, float[2, 16, 4] r, float[2, 32] b> {
        y, h, c = LSTM <hidden_size = 4, direction = "bidirectional"> (x, w, r, b)
    }""",
    "attention": """
    agraph (int64[n, 4] ids) => (float[n, 4, 6] y)
    <float[10, 6] e, float[6, 18] w, float[6] g, float[6] b, int64[3] parts = {6, 6, 6},
     float root = {2.4}> {
        x = Gather (e, ids)
        ln = LayerNormalization <axis = -1> (x, g, b)
        qkv = MatMul (ln, w)
        q, k, v = Split <axis = -1> (qkv, parts)
        kt = Transpose <perm = [0, 2, 1]> (k)
        s = MatMul (q, kt)
        sd = Div (s, root)
        p = Softmax <axis = -1> (sd)
        o = MatMul (p, v)
        y = Add (x, o)
    }""",
    "quantized": """
    agraph (float[n, 3] x) => (float[n, 3] y)
    <float s = {0.1}, uint8 z = {128}, int8[3, 3] w, float[3] ws = {0.1, 0.2, 0.3},
     int8[3] wz = {0, 0, 0}> {
        q = QuantizeLinear (x, s, z)
        d = DequantizeLinear (q, s, z)
        wd = DequantizeLinear <axis = 1> (w, ws, wz)
        y = MatMul (d, wd)
    }""",
    "branches": """
    agraph (float[n, 3] x, bool flag) => (float[n, 3] y)
    <int64 trips = {3}, bool go = {1}> {
        h = If (flag) <
            then_branch = left () => (float[n, 3] l) { l = Relu (x) },
            else_branch = right () => (float[n, 3] r) { r = Neg (x) }
        >
        y = Loop (trips, go, h) <
            body = round (int64 i, bool c, float[n, 3] state) => (bool co, float[n, 3] next) {
                co = Identity (c)
                next = Add (state, state)
            }
        >
    }""",
}


def seeds() -> dict[str, bytes]:
    """Serialised models by name: the texts above, and the smaller samples."""
    found = {name: _model(text) for name, text in _TEXTS.items()}
    for name in ("digits-gru", "digits-mobilenet", "digits-resnet"):
        found[name] = (samples_dir() / f"{name}.onnx").read_bytes()
    return found


def _model(text: str) -> bytes:
    """Parsed; what is declared without a value becomes an initializer."""
    proto = onnx.parser.parse_model(_HEAD + text)
    chance = np.random.default_rng(0)
    for value in proto.graph.value_info:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        array = chance.uniform(0.1, 2.0, shape).astype(kind)
        proto.graph.initializer.append(numpy_helper.from_array(array, value.name))
    del proto.graph.value_info[:]
    return proto.SerializeToString()
