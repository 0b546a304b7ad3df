"""Operator meanings against ONNX Runtime, over the options that exports use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.graph.nets import relative, runtime
from workbench.foundation.errors import OperatorError
from workbench.graph import build
from workbench.graph.load import _to_ir
from workbench.graph.ops import known, lookup

FLOAT = TensorProto.FLOAT


def one_node(
    op_type: str,
    inputs: list[np.ndarray | None],
    n_outputs: int = 1,
    constants: tuple[int, ...] = (),
    opset: int = 21,
    **attributes: object,
) -> onnx.ModelProto:
    """A model of one node; the inputs at `constants` are initializers."""
    names = ["" if array is None else f"i{k}" for k, array in enumerate(inputs)]
    outputs = [f"o{k}" for k in range(n_outputs)]
    node = helper.make_node(op_type, names, outputs, name="node", **attributes)
    given_arrays = [(n, a) for n, a in zip(names, inputs, strict=True) if a is not None]
    held = {f"i{k}" for k in constants}
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in given_arrays
        if n not in held
    ]
    weights = [numpy_helper.from_array(a, n) for n, a in given_arrays if n in held]
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = helper.make_graph([node], "g", infos, results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def check(
    op_type: str,
    inputs: list[np.ndarray | None],
    n_outputs: int = 1,
    constants: tuple[int, ...] = (),
    opset: int = 21,
    **attributes: object,
) -> None:
    """The node gives what ONNX Runtime gives."""
    model = one_node(op_type, inputs, n_outputs, constants, opset, **attributes)
    live = {
        f"i{k}": array for k, array in enumerate(inputs) if array is not None and k not in constants
    }
    wanted = runtime(model).run(None, live)
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    for result in proto.graph.output:
        result.type.tensor_type.elem_type = FLOAT
    graph = build(_to_ir(proto, path_of(op_type)))
    with torch.no_grad():
        got = graph.module(*(torch.from_numpy(array) for array in live.values()))
    for ours, theirs in zip(got, wanted, strict=True):
        assert tuple(ours.shape) == theirs.shape
        assert ours.numpy().dtype == theirs.dtype
        assert relative(ours.numpy(), theirs) < 2e-5


def path_of(op_type: str) -> Path:
    return Path(f"{op_type}.onnx")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


AUTO = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@given(
    rank=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    group=st.sampled_from([1, 2, 4]),
    auto=st.sampled_from(AUTO),
    pads=st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
def test_conv(rank, kernel, stride, dilation, group, auto, pads):
    dilation = dilation if auto == "NOTSET" else 1
    x = noise(2, 4, *(7, 6, 5)[:rank])
    w = noise(8, 4 // group, *[kernel] * rank, seed=1)
    options = {"strides": [stride] * rank, "dilations": [dilation] * rank, "group": group}
    options |= {"pads": pads[: 2 * rank]} if auto == "NOTSET" else {"auto_pad": auto}
    check("Conv", [x, w, noise(8, seed=2)], constants=(1, 2), **options)


@given(
    rank=st.integers(1, 2),
    stride=st.integers(1, 3),
    group=st.sampled_from([1, 2]),
    pads=st.lists(st.integers(0, 1), min_size=4, max_size=4),
    extra=st.booleans(),
)
def test_conv_transpose(rank, stride, group, pads, extra):
    x, w = noise(2, 4, *(5, 6)[:rank]), noise(4, 3, *[3] * rank, seed=1)
    options = {"strides": [stride] * rank, "group": group, "pads": pads[: 2 * rank]}
    if extra and stride > 1:
        options["output_padding"] = [1] * rank
    check("ConvTranspose", [x, w, noise(3 * group, seed=2)], constants=(1, 2), **options)


@given(
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    ceil=st.integers(0, 1),
    pads=st.lists(st.integers(0, 1), min_size=4, max_size=4),
    include=st.integers(0, 1),
)
def test_pooling(kernel, stride, ceil, pads, include):
    pads = [min(p, kernel - 1) for p in pads]
    x = noise(1, 2, 7, 8)
    shared = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pads}
    check("MaxPool", [x], ceil_mode=ceil, **shared)
    check("MaxPool", [x], n_outputs=2, **shared)
    check("AveragePool", [x], count_include_pad=include, **shared)


@given(
    sizes=st.lists(st.integers(3, 11), min_size=2, max_size=2),
    mode=st.sampled_from(["nearest", "linear", "cubic"]),
    where=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]),
    rounding=st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]),
)
def test_resize(sizes, mode, where, rounding):
    wanted = np.array([1, 2, *sizes], dtype=np.int64)
    options = {"mode": mode, "coordinate_transformation_mode": where}
    options |= {"nearest_mode": rounding} if mode == "nearest" else {}
    check("Resize", [noise(1, 2, 6, 7), None, None, wanted], constants=(3,), **options)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@given(pads=st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_pad(mode, pads):
    check("Pad", [noise(3, 4, 5), np.array(pads)], constants=(1,), mode=mode)


@given(
    data=st.data(),
    bounds=st.lists(st.integers(-9, 9), min_size=4, max_size=4),
    steps=st.lists(st.sampled_from([-3, -2, -1, 1, 2, 3]), min_size=2, max_size=2),
)
def test_slice(data, bounds, steps):
    axes = data.draw(st.permutations([0, 1, -1]))[:2]
    axes = [axes[0], axes[1]]
    arrays = [noise(4, 5, 6), np.array(bounds[:2]), np.array(bounds[2:]), np.array(axes)]
    check("Slice", [*arrays, np.array(steps)], constants=(1, 2, 3, 4))


REDUCTIONS = [f"Reduce{n}" for n in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2")]


@pytest.mark.parametrize("op_type", [*REDUCTIONS, "ReduceLogSumExp", "ReduceSumSquare"])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [None, [1], [0, -1]])
def test_reductions_by_attribute_and_input(op_type, keep, axes):
    x = noise(3, 4, 5)
    given_axes = None if axes is None else np.array(axes)
    check(op_type, [x] if axes is None else [x, given_axes], keepdims=keep)
    if axes is not None and op_type != "ReduceSum":
        check(op_type, [x], opset=13, keepdims=keep, axes=axes)


DIRECTIONS = ("forward", "reverse", "bidirectional")


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("lens", [None, [3, 6, 1]])
@pytest.mark.parametrize("reset", [0, 1])
def test_gru(direction, lens, reset):
    inputs = recurrent_inputs(3, direction, lens)
    options = {"direction": direction, "hidden_size": 5, "linear_before_reset": reset}
    check("GRU", inputs, n_outputs=2, **options)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("lens", [None, [3, 6, 1]])
@pytest.mark.parametrize("peepholes", [False, True])
def test_lstm(direction, lens, peepholes):
    inputs = recurrent_inputs(4, direction, lens)
    count = inputs[1].shape[0]
    inputs.append(noise(count, 3, 5, seed=7))
    inputs += [noise(count, 15, seed=8)] if peepholes else []
    check("LSTM", inputs, n_outputs=3, direction=direction, hidden_size=5)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_rnn(direction):
    inputs = recurrent_inputs(1, direction, [3, 6, 1])
    check("RNN", inputs, n_outputs=2, direction=direction, hidden_size=5)


def recurrent_inputs(gates: int, direction: str, lens: list[int] | None):
    """X (6, 3, 4), weights for H = 5, lengths and a starting state."""
    count = 2 if direction == "bidirectional" else 1
    return [
        noise(6, 3, 4),
        noise(count, gates * 5, 4, seed=1),
        noise(count, gates * 5, 5, seed=2),
        noise(count, 2 * gates * 5, seed=3),
        None if lens is None else np.array(lens, dtype=np.int32),
        noise(count, 3, 5, seed=4),
    ]


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_softmax_before_and_after_13(op_type, opset):
    check(op_type, [noise(2, 3, 4)], opset=opset, axis=1)
    check(op_type, [noise(2, 3, 4)], opset=opset)


UNARY = ["Relu", "Sigmoid", "Tanh", "Erf", "Softplus", "Neg", "Abs", "Exp", "Floor", "Ceil"]
UNARY += ["Round", "Sign", "HardSwish", "HardSigmoid", "Elu", "Selu", "LeakyRelu", "Mish"]


@pytest.mark.parametrize("op_type", UNARY)
def test_unary(op_type):
    check(op_type, [noise(4, 5) * 3])


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate):
    check("Gelu", [noise(4, 5)], approximate=approximate)


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Less"])
def test_binary_broadcasts(op_type):
    check(op_type, [np.abs(noise(3, 1, 4)) + 0.1, np.abs(noise(5, 1, seed=1)) + 0.1])


@given(
    a=st.lists(st.integers(-50, 50), min_size=6, max_size=6),
    b=st.lists(st.integers(1, 9), min_size=6, max_size=6),
    sign=st.sampled_from([-1, 1]),
)
def test_integer_division_and_remainder(a, b, sign):
    left, right = np.array(a, dtype=np.int32), np.array(b, dtype=np.int32) * sign
    check("Div", [left, right])
    check("Mod", [left, right])
    check("Mod", [left, right], fmod=1)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_and_scatter(axis):
    x = noise(4, 5, 6)
    check("Gather", [x, np.array([[0, -1], [2, 1]])], axis=axis)
    check("GatherElements", [x, np.array([[[0, -1]], [[2, 1]]])], axis=axis)
    update = noise(2, 1, 2, seed=1)
    check("ScatterElements", [x, np.array([[[0, 3]], [[2, 1]]]), update], axis=axis)


def test_split_equal_and_uneven():
    check("Split", [noise(7, 2)], n_outputs=3, num_outputs=3)
    check("Split", [noise(7, 2), np.array([4, 3])], n_outputs=2, constants=(1,))
    check("Split", [noise(6, 2)], n_outputs=2, opset=11, split=[2, 4])


@pytest.mark.parametrize("axis", [0, 1])
def test_quantize_and_dequantize(axis):
    x, scale = noise(4, 6), np.linspace(0.01, 0.2, (4, 6)[axis]).astype(np.float32)
    zero = np.arange(len(scale)).astype(np.int8)
    check("QuantizeLinear", [x, scale, zero], axis=axis, constants=(1, 2))
    codes = np.random.default_rng(0).integers(-128, 127, (4, 6)).astype(np.int8)
    check("DequantizeLinear", [codes, scale, zero], axis=axis, constants=(1, 2))


def test_quantize_in_blocks():
    x, scale = noise(4, 6), np.abs(noise(4, 2, seed=1)) + 0.05
    zero = np.zeros((4, 2), dtype=np.uint8)
    check("QuantizeLinear", [x, scale, zero], axis=1, block_size=3, constants=(1, 2))


def test_normalizations():
    x, scale, bias = noise(2, 4, 5, 5), noise(4, seed=1), noise(4, seed=2)
    check("InstanceNormalization", [x, scale, bias])
    check("GroupNormalization", [x, scale, bias], num_groups=2)
    check("BatchNormalization", [x, scale, bias, noise(4), np.abs(noise(4)) + 1])
    check("LayerNormalization", [noise(2, 3, 4), scale, bias], axis=-1)
    check("LayerNormalization", [noise(2, 3, 4), noise(3, 4), noise(3, 4)], 3, axis=1)


def test_clip_before_and_after_11():
    check("Clip", [noise(9)], opset=10, min=-0.5, max=0.5)
    check("Clip", [noise(9), np.float32(-0.5).reshape(()), None], constants=(1,))
    check("Clip", [noise(9), None, np.float32(0.3).reshape(())], constants=(2,))


def test_topk_prefers_the_first_of_equals():
    x = np.array([[3, 1, 3, 2, 3]], dtype=np.float32)
    check("TopK", [x, np.array([2])], n_outputs=2, constants=(1,))


def test_gradients_flow_through_a_recurrent_layer():
    tensors = [torch.from_numpy(a).double() for a in recurrent_inputs(3, "forward", None)[:4]]
    for tensor in tensors:
        tensor.requires_grad_()
    gru = lookup("", "GRU", 21).function
    assert torch.autograd.gradcheck(lambda *t: gru(*t, linear_before_reset=1), tensors)


def test_lookup_takes_the_newest_version_not_above():
    assert lookup("", "Softmax", 12).since == 1
    assert lookup("", "Softmax", 13).since == 13
    assert lookup("", "Softmax", 21).since == 13
    with pytest.raises(OperatorError, match="opset '6'"):
        lookup("", "Add", 6, "sum")


def test_every_meaning_is_documented():
    for domain, op_type in known():
        function = lookup(domain, op_type, 99).function
        assert function.__doc__, op_type


def test_unsupported_option_names_the_node():
    model = one_node(
        "Resize",
        [noise(1, 1, 4, 4), noise(8), None, np.array([1, 1, 2, 2])],
        coordinate_transformation_mode="tf_crop_and_resize",
    )
    with pytest.raises(OperatorError, match=r"'node'.*'tf_crop_and_resize'"):
        build(_to_ir(model, path_of("Resize")))
