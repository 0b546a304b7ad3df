"""The machine's facts, and a self-test that shows saturation where there is some."""

from __future__ import annotations

import json
import platform
import sys

import numpy as np
import pytest

from workbench.deploy import doctor, processor
from workbench.deploy.doctor import Diagnosis, KernelTest, examine
from workbench.deploy.processor import Processor, from_cpuinfo

INTEL = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8488C
flags\t\t: fpu avx2 avx512f avx512_vnni avx_vnni amx_int8
"""
OLD = """vendor_id\t: GenuineIntel
model name\t: Intel(R) Core(TM) i7-7700
flags\t\t: fpu avx2
"""
ARM = """processor\t: 0
CPU implementer\t: 0x41
CPU part\t: 0xd40
Features\t: fp asimd asimddp i8mm
"""


def machine(**features: bool | None) -> Processor:
    return Processor("x86_64", "Linux", "Maker", "Model", 2, features)


def kernel(**changes: float) -> KernelTest:
    values = {
        "outputs": 100,
        "off": 0.0,
        "steps": 0,
        "exact_off": 0.0,
        "exact_steps": 0,
        "float_ms": 2.0,
        "int8_ms": 1.0,
        "exact_ms": 1.5,
    }
    return KernelTest("convolution", "small", **{**values, **changes})


@pytest.mark.parametrize(
    ("text", "model", "vnni"),
    [
        (INTEL, "Intel(R) Xeon(R) Platinum 8488C", True),
        (OLD, "Intel(R) Core(TM) i7-7700", False),
        (ARM, "0xd40", True),
    ],
    ids=["vnni", "avx2", "arm"],
)
def test_cpuinfo_is_read(text, model, vnni):
    _, found, features = from_cpuinfo(text)
    assert found == model
    assert Processor("", "", "", found, 1, features).vnni is vnni


def test_a_silent_system_is_unknown_and_not_no():
    assert from_cpuinfo("") == ("", "", {})
    assert machine(avx2=None, avx512_vnni=None).vnni is None


@pytest.mark.parametrize("system", ["linux", "darwin", "win32", "freebsd14"])
def test_every_system_gets_an_answer(system, monkeypatch, tmp_path):
    if system == "win32" and sys.platform != "win32":
        pytest.skip("asks the Windows kernel")
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(processor, "_sysctl", lambda _: "")
    found = processor.processor()
    assert found.cores >= 1
    assert set(found.features.values()) <= {True, False, None}
    json.dumps(found.record())


def test_an_apple_processor_has_dot_products(monkeypatch):
    told = {"machdep.cpu.brand_string": "Apple M2", "hw.optional.arm.FEAT_DotProd": "1"}
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(processor, "_sysctl", lambda entry: told.get(entry, ""))
    found = processor.processor()
    assert (found.model, found.vnni) == ("Apple M2", True)
    assert found.features == {"dot_product": True, "i8mm": None}


@pytest.fixture(scope="module")
def diagnosis():
    return examine()


def test_the_self_test_measures(diagnosis):
    assert [test.name for test in diagnosis.tests] == ["convolution", "matrix product"]
    for test in diagnosis.tests:
        assert min(test.float_ms, test.int8_ms, test.exact_ms) > 0
        assert test.outputs > 10_000
        assert test.exact_off == 0
        assert test.exact_steps <= 1
    record = json.loads(json.dumps(diagnosis.record(), allow_nan=False))
    assert record["target"] == diagnosis.target
    assert record["processor"]["cores"] >= 1


def test_the_truth_is_not_all_one_code():
    for case in (doctor._convolution(), doctor._product()):
        truth = doctor._codes(doctor.open_session(case.quantized, optimise=False), case.x)
        assert len(np.unique(truth)) > 50


def test_saturation_decides_the_target():
    bad = Diagnosis(machine(avx512_vnni=False), "1.0", 1, (kernel(), kernel(off=0.4, steps=9)))
    assert bad.saturates
    assert bad.target == "ort-cpu"
    assert "40 % of the outputs" in bad.advice()[0]
    assert "by up to 9 steps" in bad.advice()[0]
    good = Diagnosis(machine(avx512_vnni=True), "1.0", 1, (kernel(),))
    assert good.target == "ort-cpu-vnni"
    assert "right sums" in good.advice()[0]


def test_what_was_measured_outweighs_what_the_system_says():
    told = Diagnosis(machine(avx512_vnni=True), "1.0", 1, (kernel(off=0.4, steps=9),))
    assert told.target == "ort-cpu"
    assert "although the system reports VNNI" in told.advice()[0]


def test_other_errors_are_not_called_saturation():
    odd = Diagnosis(machine(), "1.0", 1, (kernel(off=0.1, steps=3, exact_off=0.1),))
    assert not odd.saturates
    assert "another reason than saturation" in odd.advice()[0]


def test_slow_kernels_are_said():
    slow = Diagnosis(machine(), "1.0", 1, (kernel(int8_ms=4.0),))
    assert "takes 2.00 times as long as float" in slow.advice()[-1]
