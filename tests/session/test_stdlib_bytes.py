"""The byte corpus: held-out modules, windows, and the score."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.session import stdlib_bytes

SPLITS: tuple[stdlib_bytes.Split, ...] = ("train", "calibration", "test")


def test_no_module_is_in_two_splits() -> None:
    found = [set(stdlib_bytes.modules(split)) for split in SPLITS]
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]
    assert min(len(modules) for modules in found) >= 10


def test_tests_packages_and_tables_are_left_out() -> None:
    for split in SPLITS:
        for module in stdlib_bytes.modules(split):
            folders = set(module.split("/")[:-1])
            assert not folders & {"test", "site-packages", "encodings", "idle_test"}


@pytest.mark.parametrize(
    ("module", "split"),
    [
        ("subprocess.py", "test"),
        ("json/encoder.py", "test"),
        ("json/decoder.py", "train"),
        ("argparse.py", "train"),
    ],
)
def test_a_module_keeps_its_split_in_every_python(module: str, split: str) -> None:
    assert stdlib_bytes.split_of(module) == split


@pytest.mark.parametrize("split", SPLITS)
def test_windows_are_bytes_of_the_wanted_number_and_length(split: stdlib_bytes.Split) -> None:
    tokens = stdlib_bytes.load(split, length=64, limit=50)
    assert tokens.shape == (50, 64)
    assert tokens.dtype == np.int64
    assert tokens.min() >= 0
    assert tokens.max() < stdlib_bytes.VOCABULARY


def test_loading_twice_gives_the_same_windows() -> None:
    first = stdlib_bytes.load("test", limit=100)
    np.testing.assert_array_equal(first, stdlib_bytes.load("test", limit=100))


def test_a_smaller_limit_keeps_the_first_of_the_larger() -> None:
    few, many = (stdlib_bytes.load("test", limit=limit) for limit in (10, 100))
    np.testing.assert_array_equal(few, many[:10])


def test_windows_stay_inside_their_module() -> None:
    text = stdlib_bytes.read("calibration")
    for window in stdlib_bytes.load("calibration", limit=20).astype(np.uint8):
        assert window.tobytes() in text


def test_the_score_of_knowing_nothing_is_eight_bits() -> None:
    tokens = np.arange(20, dtype=np.int64).reshape(2, 10)
    logits = np.zeros((2, 10, 256), np.float32)
    assert stdlib_bytes.bits_per_byte(logits, tokens) == pytest.approx(8.0)


def test_the_score_of_being_sure_and_right_is_nothing() -> None:
    tokens = np.arange(20, dtype=np.int64).reshape(2, 10)
    logits = np.zeros((2, 10, 256), np.float32)
    np.put_along_axis(logits[:, :-1], tokens[:, 1:, None], np.float32(50.0), axis=-1)
    assert stdlib_bytes.bits_per_byte(logits, tokens) == pytest.approx(0.0, abs=1e-6)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="train, calibration, test"):
        stdlib_bytes.modules("validation")
    with pytest.raises(ValueError, match="two bytes"):
        stdlib_bytes.load("test", length=1)
