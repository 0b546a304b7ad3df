"""The card of a sample model: what it is, how good it is and where it came from, as JSON."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from workbench.session import digits, stdlib_bytes

log = logging.getLogger("sample_models")

DIGIT_DATA = "10,000 MNIST digits, distorted and noisy: 6,000 train, 1,000 calibration, 3,000 test"
BYTE_DATA = "Python's standard library sources, split by module"
LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class About:
    """What a script says about its model; `name` is also the file's name."""

    name: str
    title: str
    architecture: str
    script: str


@dataclass(frozen=True)
class Trained:
    """What training took."""

    epochs: int
    seed: int
    seconds: float
    device: str


def write_digit_card(path: Path, about: About, trained: Trained) -> None:
    """Score the digit model at `path` on the test split and write its card."""
    images, labels = digits.load("test")
    found = np.concatenate([logits.argmax(1) for logits in _run(path, images)])
    score = {
        "metric": "top-1",
        "value": round(100.0 * float((found == labels).mean()), 2),
        "unit": "%",
        "split": "test",
        "n": len(labels),
    }
    _write(path, about, trained, "digits", DIGIT_DATA, score)


def write_byte_card(path: Path, about: About, trained: Trained) -> None:
    """Score the byte model at `path` on windows of the held-out modules and write its card."""
    tokens = stdlib_bytes.load("test")
    total, first = 0.0, 0
    for logits in _run(path, tokens):
        part = tokens[first : first + len(logits)]
        total += stdlib_bytes.bits_per_byte(logits, part) * len(part)
        first += len(part)
    score = {
        "metric": "bits/byte",
        "value": round(total / len(tokens), 4),
        "unit": "bits",
        "split": "test",
        "n": len(tokens),
    }
    _write(path, about, trained, "bytes", BYTE_DATA, score)


def count_macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates for one example, in convolutions, matrix products and GRUs.

    Batch normalisation, activations, softmax and additions are not counted.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del fixed.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True).graph
    shapes = {v.name: _shape(v) for v in [*graph.value_info, *graph.input, *graph.output]}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    return sum(_node_macs(node, shapes) for node in graph.node)


def count_parameters(model: onnx.ModelProto) -> int:
    """Learned numbers: float tensors that are not scalars or masks."""
    return sum(
        math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
        and tensor.dims
        and not tensor.name.endswith((".mask", ".running_mean", ".running_var"))
    )


def _node_macs(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    if node.op_type == "Conv":
        return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])
    if node.op_type in ("Gemm", "MatMul"):
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        inner = shapes[node.input[0]][0 if transposed else -1]
        return math.prod(shapes[node.output[0]]) * inner
    if node.op_type == "GRU":
        steps, batch, _ = shapes[node.input[0]]
        return steps * batch * sum(math.prod(shapes[name]) for name in node.input[1:3])
    return 0


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _run(path: Path, inputs: NDArray[Any], batch: int = 64) -> Iterator[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for first in range(0, len(inputs), batch):
        yield np.asarray(session.run(["logits"], {name: inputs[first : first + batch]})[0])


def _write(
    path: Path, about: About, trained: Trained, task: str, data: str, score: dict[str, Any]
) -> None:
    model, content = onnx.load(path), path.read_bytes()
    card = {
        "name": about.name,
        "title": about.title,
        "task": task,
        "architecture": about.architecture,
        "parameters": count_parameters(model),
        "macs": count_macs(model),
        "score": score,
        "data": data,
        "licence": LICENCE,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "trained": {"script": about.script, **asdict(trained)},
    }
    target = path.parent / "cards" / f"{about.name}.json"
    target.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    log.info("%s: %s %.4g, %d bytes", about.name, score["metric"], score["value"], len(content))
