"""ONNX Runtime's own operators against ONNX Runtime."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests.graph.single import check, noise
from workbench.foundation.errors import OperatorError
from workbench.graph.ops import known

ours = functools.partial(check, domain="com.microsoft")
within_a_step = functools.partial(ours, tolerance=1.001)


def codes(*shape: int, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    info = np.iinfo(dtype)
    drawn = np.random.default_rng(seed).integers(info.min, info.max + 1, shape)
    return drawn.astype(dtype)


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Codes of 7 bits: two of their products fit into the 16 bits of a processor without VNNI."""
    return codes(*shape, seed=seed, dtype=np.int8) // 2


def real(value: float) -> np.ndarray:
    return np.array(value, dtype=np.float32)


def code(value: int, dtype: type = np.uint8) -> np.ndarray:
    return np.array(value, dtype=dtype)


def test_gelus():
    x, bias = noise(4, 6) * 3, noise(6, seed=1)
    ours("Gelu", [x])
    ours("QuickGelu", [x], alpha=1.5)
    ours("FastGelu", [x])
    ours("FastGelu", [x, bias])
    ours("BiasGelu", [x, bias])


ACTIVATIONS = [
    ("Relu", ()),
    ("Tanh", ()),
    ("Sigmoid", ()),
    ("LeakyRelu", (0.1,)),
    ("Clip", (-0.5, 0.5)),
    ("HardSigmoid", (0.3, 0.4)),
]


@pytest.mark.parametrize(("name", "params"), ACTIVATIONS)
def test_fused_conv_and_gemm(name, params):
    x, w, b = noise(2, 4, 6, 5), noise(6, 2, 3, 3, seed=1), noise(6, seed=2)
    options = {"activation": name, "group": 2, "pads": [1, 1, 1, 1]}
    options |= {"activation_params": list(params)} if params else {}
    ours("FusedConv", [x, w, b], constants=(1, 2), **options)
    ours("FusedConv", [x, w, b, noise(2, 6, 6, 5, seed=3)], constants=(1, 2), **options)
    if name == "Clip":
        return  # ONNX Runtime fuses no Clip into Gemm
    slopes = dict(zip(("activation_alpha", "activation_beta"), params, strict=False))
    matrices = [noise(3, 4), noise(5, 4, seed=1), noise(5, seed=2)]
    ours("FusedGemm", matrices, activation=name, alpha=0.5, transB=1, **slopes)


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("transposed", [0, 1])
def test_fused_matmul(batch, transposed):
    a = noise(2, 3, 4, 5)  # batch (2, 3), matrix (4, 5)
    a = np.swapaxes(a, -1, -2) if transposed else a
    a = np.moveaxis(a, -2, 0) if batch else a
    options = {"transA": transposed, "transBatchA": batch, "alpha": 0.3}
    ours("FusedMatMul", [np.ascontiguousarray(a), noise(2, 3, 5, 6, seed=1)], **options)


def test_normalizations_with_a_skip():
    x, skip = noise(2, 3, 8), noise(2, 3, 8, seed=1)
    gamma, beta, bias = noise(8, seed=2), noise(8, seed=3), noise(8, seed=4)
    options = {"n_outputs": 4, "unnamed": (1, 2), "epsilon": 1e-3}
    ours("SkipLayerNormalization", [x, skip, gamma, beta, bias], **options)
    ours("SkipLayerNormalization", [x, skip, gamma])
    ours("SkipSimplifiedLayerNormalization", [x, skip, gamma, bias], **options)
    check("SimplifiedLayerNormalization", [x, gamma], axis=-1, epsilon=1e-3)


@pytest.mark.parametrize("segments", [False, True])
def test_embeddings(segments):
    ids = codes(2, 5).astype(np.int32) % 7
    segment = ids % 2 if segments else None
    tables = [noise(7, 8), noise(6, 8, seed=1), noise(2, 8, seed=2) if segments else None]
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=np.int32)
    inputs = [ids, segment, *tables, noise(8, seed=3), noise(8, seed=4), mask]
    ours("EmbedLayerNormalization", inputs, n_outputs=3, epsilon=1e-3, mask_index_type=1)


MASKS = {
    "none": None,
    "lengths": np.array([3, 5], dtype=np.int32),
    "ends and starts": np.array([3, 5, 1, 0], dtype=np.int32),
    "keys": np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]], dtype=np.int32),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("causal", [0, 1])
def test_attention(mask, causal):
    x, w, b = noise(2, 5, 8), noise(8, 24, seed=1), noise(24, seed=2)
    options = {"num_heads": 2, "unidirectional": causal}
    ours("Attention", [x, w, b, mask], constants=(1, 2), **options)


def test_attention_with_a_past_or_a_bias():
    x, w, b = noise(2, 3, 8), noise(8, 24, seed=1), noise(24, seed=2)
    past, added = noise(2, 2, 2, 4, 4, seed=3), noise(1, 2, 3, 3, seed=4)
    ours("Attention", [x, w, b, None, past], 2, constants=(1, 2), num_heads=2)
    ours("Attention", [x, w, b, None, None, added], constants=(1, 2), num_heads=2)


def test_quantized_attention():
    x, w, b = codes(2, 5, 8), weights(8, 24, seed=1), noise(24, seed=2)
    scales = [real(0.02), real(0.01)]
    inputs = [x, w, b, *scales, None, code(120), code(3, np.int8)]
    ours("QAttention", inputs, constants=(1, 2, 3, 4, 6, 7), num_heads=2)


def test_multi_head_attention():
    q, k, v = noise(2, 3, 8), noise(2, 5, 8, seed=1), noise(2, 5, 8, seed=2)
    ours("MultiHeadAttention", [q, k, v], num_heads=2)
    ours("MultiHeadAttention", [q, k, v, noise(24, seed=3)], num_heads=2, scale=0.3)
    ours("MultiHeadAttention", [q, k, v, None, MASKS["lengths"]], num_heads=2)
    added = noise(1, 2, 3, 5, seed=4)
    ours("MultiHeadAttention", [q, k, v, None, MASKS["keys"], added], num_heads=2)
    past = noise(2, 2, 4, 4, seed=5), noise(2, 2, 4, 4, seed=6)
    inputs = [q, k[:, :3], v[:, :3], None, None, None, *past]
    ours("MultiHeadAttention", inputs, 3, num_heads=2, unidirectional=1)
    turned = [np.ascontiguousarray(t.reshape(2, 5, 2, 4).transpose(0, 2, 1, 3)) for t in (k, v)]
    ours("MultiHeadAttention", [q, *turned], num_heads=2)


@pytest.mark.parametrize("window", [-1, 2])
@pytest.mark.parametrize("rotary", [0, 1])
@pytest.mark.parametrize("packed", [False, True])
def test_group_query_attention_of_a_prompt(window, rotary, packed):
    q, k, v = noise(2, 5, 64), noise(2, 5, 32, seed=1), noise(2, 5, 32, seed=2)
    past = [np.zeros((2, 2, 0, 16), dtype=np.float32)] * 2
    caches = [noise(16, 8, seed=3), noise(16, 8, seed=4)] if rotary else []
    options = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": rotary, "local_window_size": window}
    given = [np.concatenate((q, k, v), -1), None, None] if packed else [q, k, v]
    rest = [np.array([4, 4], dtype=np.int32), np.array(5, dtype=np.int32), *caches]
    ours("GroupQueryAttention", [*given, *past, *rest], 3, softcap=5.0, **options)


def test_group_query_attention_goes_on_from_each_samples_own_past():
    q, k, v = noise(2, 1, 64), noise(2, 1, 32, seed=1), noise(2, 1, 32, seed=2)
    past = [noise(2, 2, 4, 16, seed=5), noise(2, 2, 4, 16, seed=6)]
    caches = [noise(16, 8, seed=3), noise(16, 8, seed=4)]
    rest = [np.array([4, 2], dtype=np.int32), np.array(5, dtype=np.int32), *caches]
    options = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1}
    ours("GroupQueryAttention", [q, k, v, *past, *rest], 3, **options)


def test_group_query_attention_refuses_what_it_does_not_know():
    q, k = noise(1, 2, 16), noise(1, 2, 16, seed=1)
    rest = [np.array([1], dtype=np.int32), np.array(2, dtype=np.int32)]
    with pytest.raises(OperatorError, match=r"'node'.*smooth_softmax '1'"):
        ours(
            "GroupQueryAttention",
            [q, k, k, None, None, *rest],
            num_heads=2,
            kv_num_heads=2,
            smooth_softmax=1,
        )


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved):
    cos, sin = noise(16, 4, seed=1), noise(16, 4, seed=2)
    offset, ids = np.array([3]), np.array([[0, 4, 2], [7, 1, 9]])
    for places in (offset, ids):
        options = {"interleaved": interleaved}
        ours("RotaryEmbedding", [noise(2, 3, 16), places, cos, sin], **options)
        ours("RotaryEmbedding", [noise(2, 2, 3, 8), places, cos, sin], **options)
        options |= {"num_heads": 2, "rotary_embedding_dim": 8}
        ours("RotaryEmbedding", [noise(2, 3, 32), places, cos, sin], **options)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("zeros", ["none", "packed", "float"])
def test_matmul_nbits(bits, zeros):
    if bits == 8 and zeros == "float":
        pytest.skip("ONNX Runtime takes no float zero-points with 8 bits")
    rows, columns, block = 5, 48, 16
    packed = codes(rows, columns // block, block * bits // 8)
    scales = np.abs(noise(rows * 3)) + 0.1
    zero = {
        "none": None,
        "packed": codes(rows * -(-3 * bits // 8), seed=1),
        "float": noise(rows * 3, seed=2) + 2 ** (bits - 1),
    }[zeros]
    inputs = [noise(2, 3, columns, seed=3), packed, scales, zero]
    options = {"K": columns, "N": rows, "block_size": block, "bits": bits, "accuracy_level": 1}
    ours("MatMulNBits", inputs, constants=(1, 2, 3), tolerance=1e-4, **options)


def test_integer_products_to_float():
    a, b = codes(3, 8), weights(8, 5, seed=1)
    scales = np.linspace(0.01, 0.02, 5).astype(np.float32)
    bias = noise(5, seed=2)
    inputs = [a, b, real(0.03), scales, code(100), None, bias]
    ours("MatMulIntegerToFloat", inputs, constants=(1, 3, 6))
    x = noise(3, 8, seed=3)
    ours("DynamicQuantizeMatMul", [x, b, scales, np.arange(5, dtype=np.int8), bias])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("op_type", ["QLinearAdd", "QLinearMul"])
def test_quantized_arithmetic(op_type, dtype):
    a, b = codes(3, 8, dtype=dtype), codes(8, seed=1, dtype=dtype)
    left, right = [a, real(0.02), code(3, dtype)], [b, real(0.05), code(9, dtype)]
    within_a_step(op_type, [*left, *right, real(0.1), code(7, dtype)])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_quantized_functions(dtype):
    x = [codes(2, 3, 8, dtype=dtype), real(0.05), code(10, dtype)]
    y = [real(1 / 256), code(np.iinfo(dtype).min, dtype)]
    known_scales = (1, 2, 3, 4)
    within_a_step("QLinearSigmoid", [*x, *y], constants=known_scales)
    coarse = [real(0.04), code(5, dtype)]
    within_a_step("QLinearLeakyRelu", [*x, *coarse], constants=known_scales, alpha=0.2)
    for axis, opset in ((-1, 13), (1, 11)):
        options = {"attributes": {"axis": axis, "opset": opset}, "constants": known_scales}
        within_a_step("QLinearSoftmax", [*x, *y], **options)


def test_quantized_concat_and_where():
    a, b = codes(2, 3), codes(2, 4, seed=1)
    triples = [a, real(0.02), code(3), b, real(0.05), code(9)]
    out = [real(0.04), code(20)]
    within_a_step("QLinearConcat", [*out, *triples], constants=(0, 1, 3, 4, 6, 7), axis=1)
    condition = np.array([[True], [False]])
    inputs = [condition, a, real(0.02), code(3), codes(2, 3, seed=2), real(0.05), code(9), *out]
    within_a_step("QLinearWhere", inputs, constants=(2, 3, 5, 6, 7, 8))


@pytest.mark.parametrize("last", [0, 1])
def test_quantized_pooling(last):
    x = codes(1, 6, 6, 4) if last else codes(1, 4, 6, 6)
    triple, out = [x, real(0.05), code(10)], [real(0.04), code(20)]
    scales = (1, 2, 3, 4)
    options = {"constants": scales, "channels_last": last}
    within_a_step("QLinearGlobalAveragePool", [*triple, *out], **options)
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    within_a_step("QLinearAveragePool", [*triple, *out], **options, **window)


@pytest.mark.parametrize("last", [0, 1])
def test_quantized_convolution(last):
    x = codes(1, 6, 6, 4) if last else codes(1, 4, 6, 6)
    w, zeros = codes(8, 4, 3, 3, seed=1, dtype=np.int8), np.zeros(8, dtype=np.int8)
    scales = np.linspace(0.01, 0.02, 8).astype(np.float32)
    bias = np.arange(-400, 400, 100).astype(np.int32)
    inputs = [x, real(0.02), code(128), w // 8, scales, zeros, real(0.1), code(120), bias]
    fixed = tuple(range(1, 9))
    options = {"pads": [1, 1, 1, 1], "constants": fixed}
    within_a_step("QLinearConv", inputs, channels_last=last, **options)
    if not last:
        check("QLinearConv", inputs, tolerance=1.001, **options)


@pytest.mark.parametrize("transposed", [0, 1])
def test_quantized_gemm(transposed):
    b = weights(5, 8, seed=1) if transposed else weights(8, 5, seed=1)
    inputs = [codes(3, 8), real(0.02), code(100), b, real(0.03), code(0, np.int8)]
    bias = np.arange(5, dtype=np.int32) * 100
    fixed = tuple(range(1, 9))
    ours("QGemm", [*inputs, bias], constants=fixed[:6], transB=transposed)
    within_a_step("QGemm", [*inputs, bias, real(0.2), code(60)], constants=fixed, transB=transposed)


@pytest.mark.parametrize("bits", [4, 8])
def test_gather_from_a_quantized_table(bits):
    width, block = 64, 16
    data = codes(7, width * bits // 8)
    indices = np.array([[0, 6], [3, 3]])
    scales = np.abs(noise(7, width // block)) + 0.1
    options = {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
    ours("GatherBlockQuantized", [data, indices, scales], constants=(0, 2), **options)
    zeros = codes(7, width // block * bits // 8, seed=1)
    ours("GatherBlockQuantized", [data, indices, scales, zeros], constants=(0, 2, 3), **options)


def test_odds_and_ends():
    square = noise(2, 3, 3) + 3 * np.eye(3, dtype=np.float32)
    ours("Inverse", [square])
    ours("ExpandDims", [noise(2, 3), np.array(-1, dtype=np.int32)])
    ours("ExpandDims", [noise(2, 3), np.array(1, dtype=np.int32)], constants=(1,))
    ours("CDist", [noise(4, 3).astype(np.float64), noise(5, 3, seed=1).astype(np.float64)])
    ours("CDist", [noise(4, 3), noise(5, 3, seed=1)], metric="euclidean")
    ours("Trilu", [noise(3, 4)], upper=0)
    ours("GatherND", [noise(3, 4), np.array([[0, 1], [2, 3]])])
    ours("Pad", [noise(3, 4), np.array([1, 0, 0, 2]), real(0.5)], mode="constant")


# Those left out share the functions of other operators.
def test_every_operator_is_tried_here():
    from pathlib import Path

    text = Path(__file__).read_text(encoding="utf-8")
    names = {name for domain, name in known() if domain == "com.microsoft"}
    shared = {"QuantizeLinear", "DequantizeLinear", "TransposeMatMul"}
    assert not [name for name in sorted(names - shared) if f'"{name}"' not in text]
