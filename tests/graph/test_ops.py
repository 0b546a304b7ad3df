"""Operator meanings against ONNX Runtime, over the options that exports use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.graph.single import check, noise, one_node, path_of
from workbench.foundation.errors import OperatorError
from workbench.graph import build
from workbench.graph.load import _to_ir
from workbench.graph.ops import known, lookup

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
        attributes={"coordinate_transformation_mode": "sideways"},
    )
    with pytest.raises(OperatorError, match=r"'node'.*'sideways'"):
        build(_to_ir(model, path_of("Resize")))


@pytest.mark.parametrize(
    ("op_type", "count", "attributes", "message"),
    [
        ("Relu", 1, {"x": 1}, "attribute 'x'"),
        ("Split", 1, {"n_outputs": 9}, "attribute 'n_outputs'"),
        ("Concat", 2, {}, "lacks the attribute 'axis'"),
        ("Add", 1, {}, "lacks the input 'b'"),
        ("Relu", 2, {}, "gives operator 'Relu' '2' inputs"),
    ],
)
def test_malformed_nodes_are_refused_by_name(op_type, count, attributes, message):
    model = one_node(op_type, [noise(2, 2)] * count, attributes=attributes)
    for result in model.graph.output:
        result.type.tensor_type.elem_type = 1
    with pytest.raises(OperatorError, match=rf"'node'.*{message}"):
        build(_to_ir(model, path_of(op_type)))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_resize_that_keeps_the_ratio(mode, policy):
    wanted = np.array([7, 9], dtype=np.int64)
    options = {"axes": [2, 3], "keep_aspect_ratio_policy": policy, "mode": mode}
    check("Resize", [noise(1, 2, 5, 4), None, None, wanted], constants=(3,), **options)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize_of_a_crop(mode):
    roi = np.array([0, 0, 0.2, -0.1, 1, 1, 0.9, 0.8], dtype=np.float32)
    sizes = np.array([1, 2, 6, 5], dtype=np.int64)
    options = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": mode}
    inputs = [noise(1, 2, 7, 8), roi, None, sizes]
    check("Resize", inputs, constants=(1, 3), extrapolation_value=2.5, **options)


SLOPED = ["LeakyRelu", "Affine", "ScaledTanh", "HardSigmoid", "Elu", "ThresholdedRelu", "Tanh"]


# ONNX names none for the first two, and ONNX Runtime takes another than ONNX for the last.
NO_SHARED_DEFAULT = {"Affine", "ScaledTanh", "ThresholdedRelu"}


@pytest.mark.parametrize("name", SLOPED)
def test_recurrent_activations_with_slopes(name):
    inputs = recurrent_inputs(4, "forward", None)[:4]
    options = {"activations": ["HardSigmoid", name, "LeakyRelu"], "hidden_size": 5}
    alphas = {"Tanh": [0.3, 0.05]}.get(name, [0.3, 0.7, 0.05])
    betas = [0.4, 0.6] if name in ("Affine", "ScaledTanh", "HardSigmoid") else [0.4]
    options |= {"activation_alpha": alphas, "activation_beta": betas}
    check("LSTM", inputs, n_outputs=3, **options)
    if name not in NO_SHARED_DEFAULT:
        check("LSTM", inputs, n_outputs=3, activations=options["activations"], hidden_size=5)


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_grid_sample(mode, padding, corners):
    grid = noise(2, 3, 4, 2, seed=1) * 1.2
    options = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    check("GridSample", [noise(2, 3, 5, 6), grid], tolerance=1e-4, **options)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("where", ["half_pixel", "output_half_pixel"])
def test_regions(mode, ratio, where):
    x = np.abs(noise(2, 3, 9, 8))
    rois = np.array([[0, 0, 7, 7], [1.5, 2, 5, 8.2], [-2, 3, 20, 4]], dtype=np.float32)
    options = {"mode": mode, "sampling_ratio": ratio, "coordinate_transformation_mode": where}
    size = {"output_height": 3, "output_width": 2, "spatial_scale": 0.9}
    check("RoiAlign", [x, rois, np.array([0, 1, 1])], opset=16, **options, **size)
    if mode == "avg" and not ratio:
        check("RoiAlign", [x, rois, np.array([0, 1, 1])], opset=10, **size)


def test_max_roi_pool():
    rois = np.array([[0, 0, 0, 7, 7], [1, 1.4, 2, 5, 8], [1, 6, 6, 6, 6]], dtype=np.float32)
    check("MaxRoiPool", [noise(2, 3, 9, 8), rois], pooled_shape=[3, 2], spatial_scale=0.9)


@pytest.mark.parametrize("centred", [0, 1])
def test_non_max_suppression(centred):
    boxes = np.random.default_rng(0).uniform(0, 1, (2, 30, 4)).astype(np.float32)
    boxes[..., 2:] = boxes[..., 2:] * 0.5 + (0 if centred else boxes[..., :2])
    scores = np.random.default_rng(1).uniform(0, 1, (2, 3, 30)).astype(np.float32)
    limits = [np.array([5]), np.array([0.3], np.float32), np.array([0.2], np.float32)]
    options = {"center_point_box": centred, "opset": 11}
    check("NonMaxSuppression", [boxes, scores, *limits], constants=(2, 3, 4), **options)
    check("NonMaxSuppression", [boxes, scores, limits[0]], opset=11)


@pytest.mark.parametrize("groups", [1, 2])
def test_deformed_convolution(groups):
    x, w = noise(2, 4, 7, 6), noise(6, 4 // groups, 3, 2, seed=1)
    offset, mask = noise(2, 2 * 12, 4, 6, seed=2), np.abs(noise(2, 2 * 6, 4, 6, seed=3))
    options = {"group": groups, "offset_group": 2, "pads": [1, 1, 1, 0], "strides": [2, 1]}
    inputs = [x, w, offset, noise(6, seed=4), mask]
    check("DeformConv", inputs, opset=19, kernel_shape=[3, 2], **options)


def test_fourier_transforms():
    signal = noise(2, 20, 1)
    check("DFT", [signal, None, np.array(1)], constants=(2,), onesided=1, opset=20)
    check("DFT", [noise(2, 20, 2), np.array(16), np.array(1)], constants=(1, 2), opset=20)
    check("DFT", [noise(2, 20, 2), None, np.array(1)], constants=(2,), inverse=1, opset=20)
    check("DFT", [signal], axis=1, opset=17)
    window = np.hanning(8).astype(np.float32)
    check("STFT", [signal, np.array(4), window], constants=(1, 2), opset=17)
    check("STFT", [signal, np.array(3), None, np.array(6)], constants=(1, 3), onesided=0, opset=17)


@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize("name", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_windows(name, periodic):
    check(name, [np.array(9)], periodic=periodic, opset=17)


@pytest.mark.parametrize("bins", [8, 20])
def test_mel_weights(bins):
    values = [np.array(bins), np.array(64), np.array(8000)]
    edges = [np.array(0.0, np.float32), np.array(3000.0, np.float32)]
    check("MelWeightMatrix", [*values, *edges], opset=17)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("order", [0, 1])
def test_unique(axis, order):
    x = np.random.default_rng(0).integers(0, 3, (6, 4)).astype(np.float32)
    options = {"sorted": order} | ({} if axis is None else {"axis": axis})
    check("Unique", [x], n_outputs=4, **options)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_losses(reduction):
    scores, labels = noise(4, 5, 3), np.random.default_rng(0).integers(0, 5, (4, 3))
    weights = np.abs(noise(5, seed=1))
    options = {"reduction": reduction, "ignore_index": 2}
    check("SoftmaxCrossEntropyLoss", [scores, labels, weights], n_outputs=2, **options)
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    check("NegativeLogLikelihoodLoss", [logs, labels, weights], **options)


@given(sizes=st.lists(st.integers(2, 8), min_size=2, max_size=2))
def test_center_crop_pad(sizes):
    check("CenterCropPad", [noise(5, 4, 3), np.array(sizes)], constants=(1,), axes=[0, -1])


DRAWN = {
    "RandomNormal": ({"mean": 2.0, "scale": 0.5, "shape": [200, 100]}, 2.0, 0.5),
    "RandomUniform": ({"low": -1.0, "high": 3.0, "shape": [200, 100]}, 1.0, 4 / 12**0.5),
    "RandomNormalLike": ({"mean": 2.0, "scale": 0.5}, 2.0, 0.5),
    "RandomUniformLike": ({"low": -1.0, "high": 3.0}, 1.0, 4 / 12**0.5),
    "Bernoulli": ({}, 0.25, 0.1875**0.5),
    "Multinomial": ({"sample_size": 100}, 0.75, 0.1875**0.5),
}


@pytest.mark.parametrize("name", DRAWN)
def test_drawn_values_have_the_moments_asked_for(name):
    options, mean, deviation = DRAWN[name]
    like = [] if "shape" in options else [torch.full((200, 100), 0.25)]
    like = [torch.tensor([[0.25, 0.75]]).log().expand(200, 2)] if name == "Multinomial" else like
    draw = lookup("", name, 22).function
    y = draw(*like, **options, seed=1.0)
    assert y.shape == (200, 100)
    assert y.double().mean().item() == pytest.approx(mean, abs=0.02)
    assert y.double().std().item() == pytest.approx(deviation, rel=0.02)
    assert torch.equal(y, draw(*like, **options, seed=1.0))
    assert not torch.equal(y, draw(*like, **options, seed=1.5))
    assert not torch.equal(draw(*like, **options), draw(*like, **options))


FLOAT4 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]


def test_float4_is_rounded_to_its_levels():
    cast = lookup("", "Cast", 25).function
    x = torch.linspace(-7, 7, 141)
    got = cast(x, to=23).float()
    levels = torch.tensor([*(-v for v in FLOAT4), *FLOAT4])
    nearest = (x.clamp(-6, 6)[:, None] - levels).abs().amin(1)
    assert torch.allclose((got - x.clamp(-6, 6)).abs(), nearest, atol=1e-6)
    assert set(got.abs().tolist()) == set(map(float, FLOAT4))
