"""The rig that hides VNNI from ONNX Runtime: its real AVX2 kernels saturate, and are diagnosed."""

from __future__ import annotations

import json
import sys

import pytest

import workbench
from benchmarks import without_vnni
from tests.deploy import saturating
from workbench.session.execute import Extent

pytestmark = pytest.mark.slow

DOCTOR = """
import json
from workbench.deploy.doctor import examine
print(json.dumps(examine().record()))
"""
VERIFY = """
import json, sys
from tests.deploy import saturating
from workbench.deploy.verify_file import verify_file
found = verify_file(sys.argv[1], sys.argv[2], [(saturating.data(16),)])
print(json.dumps(found.record()))
"""
PRODUCT = """
import json
import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper
from workbench.maths.pair_sums import pair_sums, saturated
random = np.random.default_rng(0)
found = []
for inputs in (64, 63, 17):
    x = random.integers(0, 256, (50, inputs)).astype(np.uint8)
    w = random.integers(-128, 128, (inputs, 48)).astype(np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, None)],
        [helper.make_tensor("w", TensorProto.INT8, w.shape, w.tobytes(), raw=True)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = ort.InferenceSession(made.SerializeToString())
    pairs = pair_sums(torch.from_numpy(x), torch.from_numpy(w.T.copy()))
    y = session.run(None, {"x": x})[0]
    sums = [saturated(pairs).sum(-1), pairs.sum(-1)]
    found.append([bool((each.numpy() == y).all()) for each in sums])
print(json.dumps(found))
"""


@pytest.fixture(scope="module", autouse=True)
def rig():
    try:
        return without_vnni.environment()
    except without_vnni.RigError as error:
        pytest.skip(str(error))


def under_rig(code, *arguments):
    return json.loads(without_vnni.call([sys.executable, "-c", code, *map(str, arguments)]))


def test_default_kernels_saturate_and_exact_ones_do_not():
    found = under_rig(DOCTOR)
    if not found["processor"]["features"]["avx2"]:
        pytest.skip("this processor has no AVX2")
    assert found["saturates"]
    assert found["target"] == "ort-cpu"
    for test in found["tests"]:
        assert test["off"] > 0.1
        assert test["steps"] > 1
        assert test["exact_off"] == 0


def test_real_saturation_is_diagnosed_and_cured(tmp_path):
    found = under_rig(VERIFY, *saturating.files(tmp_path))
    assert found["cause"] == "saturating int8 kernels of this processor"
    assert {name for row in found["suspects"] for name in row["layers"]} == {"first", "second"}
    left = {cure["name"]: cure["price"]["departing"] for cure in found["cures"]}
    assert left == {"exact-kernels": 0, "7-bit": 0, "fitted": 0, "uint8-weights": 0}


def test_the_installed_package_is_left_alone(rig):
    assert without_vnni._library(without_vnni._installed()).read_bytes().count(b"\x0f\xa2") > 0
    assert str(without_vnni._installed().parent) not in rig["PYTHONPATH"].split(":")


def test_a_sample_model_with_weights_of_full_range_is_cured(tmp_path):
    session = workbench.open("digits-mobilenet")
    options = {"weight_calibrator": "minmax", "calibrator": "minmax"}
    recipe = session.recipe(8, 8, "rtn", None, target="ort-cpu-vnni", calibration_examples=64)
    recipe = recipe.changed(stages=({"method": "rtn", "options": options},))
    extent = Extent(naive=False, layers=False, verify=False, latency=False, examples=64)
    run = session.quantize(recipe=recipe, out=tmp_path / "run", extent=extent)
    frozen = run.model.frozen()
    codes = [frozen[site.name].codes.abs().max() for site in run.model.of_kind("weight")]
    assert max(codes) >= 127
    if not under_rig(DOCTOR)["processor"]["features"]["avx2"]:
        pytest.skip("this processor has no AVX2")
    first = cured(run, "--json")["causes"][0]
    assert first["cause"] == "saturation"
    assert first["after"] < 0.2 * first["before"]
    told = cured(run, "--auto", "--json", "--out", str(tmp_path / "cured"))
    step = told["steps"][0]
    assert (step["cause"], step["edit"], step["kept"]) == (
        "saturation", {"target": "ort-cpu"}, True
    )  # fmt: skip
    assert step["after"]["kl"] < 0.2 * step["before"]["kl"]
    assert told["now"]["score"] >= told["now"]["float_score"] - 1


def cured(run, *options):
    command = [sys.executable, "-m", "workbench", "cure", str(run.directory), "--examples", "256"]
    return json.loads(without_vnni.call([*command, *options]))


def test_our_pair_sums_are_those_of_the_real_kernel():
    assert under_rig(PRODUCT) == [[True, False]] * 3
