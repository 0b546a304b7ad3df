"""The ONNX project's own node tests, for every operator that the graph floor knows."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase

from workbench.graph.build import build
from workbench.graph.load import give_names
from workbench.graph.ops import known
from workbench.graph.tensors import to_torch

# A case is left out when its name (ending in $) holds the key; the value says why.
SKIPPED = {
    "FLOAT4E2M1": "no 4-bit float in torch",
    "float4e2m1": "no 4-bit float in torch",
    "FLOAT8E8M0": "no exponent-only float in torch",
    "no_saturate_FLOAT_to_FLOAT8E4M3FN$": "torch always saturates this type",
    "no_saturate_FLOAT16_to_FLOAT8E4M3FN$": "torch always saturates this type",
    "training_dropout_default": "models are run in evaluation mode",
    "training_dropout$": "models are run in evaluation mode",
    "training_dropout_mask": "models are run in evaluation mode",
    "training_mode": "models are run in evaluation mode",
    "equal_string": "no strings in torch",
    "identity_sequence": "sequences are not tensors",
    "identity_opt": "optional values are not tensors",
    "tf_crop_and_resize": "refused, the cure is named",
    "not_larger": "aspect ratio policies are refused, the cure is named",
    "not_smaller": "aspect ratio policies are refused, the cure is named",
}
FLOOR = 0.96  # of all cases of covered operators, skipped ones included


@functools.cache
def cases() -> list[TestCase]:
    """Node test cases whose operators are all known, functions left aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        found = load_model_tests(kind="node")
    table = set(known())
    return [case for case in found if _covered(case, table)]


def _covered(case: TestCase, table: set[tuple[str, str]]) -> bool:
    if case.model is None or case.name.endswith("_expanded") or "_expanded_" in case.name:
        return False
    used = {(node.domain, node.op_type) for node in case.model.graph.node}
    return used <= table | {("", "Constant")}


def skip_reason(case: TestCase) -> str | None:
    """Why the case is left out, or None."""
    return next((why for part, why in SKIPPED.items() if part in f"{case.name}$"), None)


def run(case: TestCase) -> None:
    """Build the case's model, feed it, and compare with its outputs."""
    model = ir.from_proto(case.model)
    give_names(model)
    graph = build(model)
    for inputs, outputs in case.data_sets or ():
        specs = case.model.graph.input
        given = [as_tensor(value, spec) for value, spec in zip(inputs, specs, strict=False)]
        results = graph.module(*given)
        for result, wanted in zip(results, outputs, strict=True):
            compare(result, np.asarray(as_array(wanted)), case)


def as_array(value: object) -> object:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def as_tensor(value: object, spec: onnx.ValueInfoProto) -> torch.Tensor:
    if isinstance(value, onnx.TensorProto):
        return to_torch(ir.from_proto(value))
    dtype = ir.DataType(spec.type.tensor_type.elem_type)
    return to_torch(ir.tensor(np.asarray(value), dtype=dtype))


def compare(result: torch.Tensor, wanted: np.ndarray, case: TestCase) -> None:
    """Same shape, and equal within the case's own tolerance; half floats within their step."""
    assert tuple(result.shape) == wanted.shape
    step = {torch.bfloat16: 2e-2, torch.float16: 2e-3}.get(result.dtype, 1e-6)
    got = result.detach()
    if not got.is_complex():
        got, wanted = got.double(), wanted.astype(np.float64)
    rtol, atol = max(case.rtol, step), max(case.atol, step)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=rtol, atol=atol)


def failure(case: TestCase) -> str | None:
    """What went wrong, in one line."""
    try:
        run(case)
    except Exception as error:  # noqa: BLE001 - every failure is listed
        return f"{case.name}: {type(error).__name__}: {str(error).strip()[:200]!r}"
    return None


def test_node_cases_of_covered_operators():
    tried = [case for case in cases() if not skip_reason(case)]
    failures = [text for text in map(failure, tried) if text]
    assert not failures, "\n".join(failures[:20])
    assert len(tried) >= 1080
    assert len(tried) / len(cases()) >= FLOOR


def test_skips_are_still_needed():
    skipped = [case for case in cases() if skip_reason(case)]
    passing = [case.name for case in skipped if failure(case) is None]
    assert not passing, f"these pass now; take them off the list: {passing}"
    unused = [part for part in SKIPPED if not any(part in f"{case.name}$" for case in skipped)]
    assert not unused
