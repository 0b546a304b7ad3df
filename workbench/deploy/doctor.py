"""What int8 means on this machine: facts, and a self-test of a few seconds.

The self-test runs a convolution and a matrix product of uint8 data with large int8 weights through
ONNX Runtime's default kernels and through its exact ones, and counts the outputs that lie more than
one step from the truth, which is the same graph computed in float with optimisations off. Then it
times both against the float operator. The advice follows from what was measured, not from the
processor's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from workbench.deploy.latency import medians
from workbench.deploy.processor import Processor, processor
from workbench.deploy.runtime import open_session, run
from workbench.foundation.positive import positive

OPSET = 21
REPEATS = 15
WARN_BELOW = 1.1

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class KernelTest:
    """One operator in int8.

    Attributes:
        name: "convolution" or "matrix product"; size: in words.
        outputs: how many were compared.
        off, steps: share of outputs more than one step from the truth with default kernels, and
            the largest distance in steps; exact_off, exact_steps: with exact kernels.
        float_ms, int8_ms, exact_ms: median times of one call, by turns.
    """

    name: str
    size: str
    outputs: int
    off: float
    steps: int
    exact_off: float
    exact_steps: int
    float_ms: float
    int8_ms: float
    exact_ms: float

    @property
    def saturates(self) -> bool:
        """Default kernels are wrong where exact ones are right."""
        return self.off > 0 and self.exact_off == 0

    @property
    def speedup(self) -> float:
        """How many times faster than float the default int8 kernel is."""
        return self.float_ms / self.int8_ms

    @property
    def exact_speedup(self) -> float:
        """The same for the exact kernel."""
        return self.float_ms / self.exact_ms


@dataclass(frozen=True)
class Diagnosis:
    """What `examine` found.

    Attributes:
        processor: facts. runtime: ONNX Runtime's version. threads: of the timed sessions.
        tests: of the operators.
    """

    processor: Processor
    runtime: str
    threads: int
    tests: tuple[KernelTest, ...]

    @property
    def saturates(self) -> bool:
        """Default int8 kernels give wrong sums here."""
        return any(test.saturates for test in self.tests)

    @property
    def target(self) -> str:
        """The target to choose for files that run on machines like this one."""
        return "ort-cpu" if self.saturates else "ort-cpu-vnni"

    def advice(self) -> list[str]:
        """What follows for int8, one sentence each."""
        lines = [_about_sums(self), f"Choose the target '{self.target}' for machines like this."]
        slow = [test for test in self.tests if test.speedup < WARN_BELOW]
        lines += [
            f"An int8 {test.name} takes {1 / test.speedup:.2f} times as long as float here, so "
            "expect smaller files but little speed."
            for test in slow
        ]
        return lines

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        tests = [
            {
                **asdict(test),
                "saturates": test.saturates,
                "speedup": test.speedup,
                "exact_speedup": test.exact_speedup,
            }
            for test in self.tests
        ]
        return {
            "processor": self.processor.record(),
            "runtime": self.runtime,
            "threads": self.threads,
            "tests": tests,
            "saturates": self.saturates,
            "target": self.target,
            "advice": self.advice(),
        }


def examine(threads: int = 1) -> Diagnosis:
    """Look at this machine and try its int8 kernels; a few seconds.

    Args:
        threads: of each timed session.

    Raises:
        RunError: threads are below 1. ExportError: ONNX Runtime does not run the test models.
    """
    positive("threads", threads)
    tests = (
        _test("convolution", "3×3, 64 to 64 channels, 28×28", _convolution(), threads),
        _test("matrix product", "128×512 times 512×512", _product(), threads),
    )
    return Diagnosis(processor(), ort.__version__, threads, tests)


def _about_sums(diagnosis: Diagnosis) -> str:
    worst = max(diagnosis.tests, key=lambda test: test.off)
    if diagnosis.saturates:
        why = ", although the system reports VNNI" if diagnosis.processor.vnni else ""
        return (
            f"Sums of two uint8 × int8 products saturate in 16 bits here{why}: "
            f"{100 * worst.off:.0f} % of the outputs of a {worst.name} with large weights are off, "
            f"by up to {worst.steps} steps; exact kernels, 7-bit or uint8 weights avoid that."
        )
    if worst.off:
        return (
            f"Default and exact int8 kernels are off by up to {worst.steps} steps, for another "
            "reason than saturation; try another version of ONNX Runtime."
        )
    return "Int8 kernels give right sums here: 8-bit weights can use their full range."


@dataclass(frozen=True)
class _Case:
    """An operator in float and in int8, with data."""

    float_model: bytes
    quantized: bytes
    x: Floats


def _test(name: str, size: str, case: _Case, threads: int) -> KernelTest:
    truth = _codes(open_session(case.quantized, optimise=False, threads=threads), case.x)
    sessions = [
        open_session(case.float_model, threads=threads),
        open_session(case.quantized, threads=threads),
        open_session(case.quantized, threads=threads, exact=True),
    ]
    default, exact = (np.abs(_codes(each, case.x) - truth) for each in sessions[1:])
    times = medians(sessions, [case.x], REPEATS)
    return KernelTest(
        name,
        size,
        truth.size,
        float((default > 1).mean()),
        int(default.max()),
        float((exact > 1).mean()),
        int(exact.max()),
        *times,
    )


def _codes(session: ort.InferenceSession, x: Floats) -> NDArray[np.int32]:
    return run(session, [x])["codes"].astype(np.int32)


def _convolution() -> _Case:
    return _case("Conv", (1, 64, 28, 28), (64, 64, 3, 3), axis=0, pads=[1, 1, 1, 1])


def _product() -> _Case:
    return _case("MatMul", (128, 512), (512, 512), axis=1)


def _case(
    operator: str, shape: Sequence[int], weight: Sequence[int], axis: int, **attributes: Any
) -> _Case:
    """Data that uses the upper half of uint8, weights at three quarters of int8 and more."""
    random = np.random.default_rng(0)
    x = random.uniform(0.5, 1.0, size=shape).astype(np.float32)
    codes = random.integers(96, 128, size=weight) * random.choice([-1, 1], size=weight)
    channels = weight[axis]
    scale = random.uniform(0.5, 1.5, channels).astype(np.float32) / 127
    spread = scale.reshape([-1 if i == axis else 1 for i in range(len(weight))])
    plain = _model(
        [helper.make_node(operator, ["x", "w"], ["y"], **attributes)],
        shape,
        {"w": (codes * spread).astype(np.float32)},
        ("y", TensorProto.FLOAT),
    )
    largest = float(np.abs(run(open_session(plain, threads=1), [x])["y"]).max())
    stored = {
        "x_scale": np.float32(1 / 255),
        "x_zero": np.uint8(0),
        "w_codes": codes.astype(np.int8),
        "w_scale": scale,
        "w_zero": np.zeros(channels, np.int8),
        "y_scale": np.float32(2 * largest / 255),
        "y_zero": np.uint8(128),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["x_codes"]),
        helper.make_node("DequantizeLinear", ["x_codes", "x_scale", "x_zero"], ["x_grid"]),
        helper.make_node("DequantizeLinear", ["w_codes", "w_scale", "w_zero"], ["w"], axis=axis),
        helper.make_node(operator, ["x_grid", "w"], ["y"], **attributes),
        helper.make_node("QuantizeLinear", ["y", "y_scale", "y_zero"], ["codes"]),
    ]
    return _Case(plain, _model(nodes, shape, stored, ("codes", TensorProto.UINT8)), x)


def _model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int],
    stored: dict[str, Any],
    output: tuple[str, int],
) -> bytes:
    name, kind = output
    graph = helper.make_graph(
        nodes,
        "selftest",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, kind, None)],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in stored.items()],
    )
    imports = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()
