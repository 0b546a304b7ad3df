"""The digit data: sizes, ranges, and the same bytes every time."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from workbench.session import digits
from workbench.session.paths import samples_dir

SIZES: dict[digits.Split, int] = {"train": 6000, "calibration": 1000, "test": 3000}


@pytest.mark.parametrize(("split", "size"), SIZES.items(), ids=SIZES)
def test_each_split_has_its_size_types_and_range(split: digits.Split, size: int) -> None:
    images, labels = digits.load(split)
    assert images.shape == (size, 1, 28, 28)
    assert labels.shape == (size,)
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    assert images.min() == pytest.approx(digits.LOW)
    assert images.max() == pytest.approx(digits.HIGH)
    assert set(labels.tolist()) == set(range(10))


def test_training_images_are_about_standardised() -> None:
    images, _ = digits.load("train")
    assert images.mean() == pytest.approx(0.0, abs=0.02)
    assert images.std() == pytest.approx(1.0, abs=0.02)


def test_loading_twice_gives_the_same_images() -> None:
    first, _ = digits.load("calibration")
    second, _ = digits.load("calibration")
    np.testing.assert_array_equal(first, second)


def test_pixels_are_eight_bit_and_as_they_were_when_the_models_were_trained() -> None:
    images, _ = digits.load("calibration")
    pixels = (images[:4] * digits.STD + digits.MEAN) * 255
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=1e-3)
    found = hashlib.sha256(np.rint(pixels).astype(np.uint8).tobytes()).hexdigest()
    assert found[:16] == "ed4300bab76c6264"


def test_splits_cut_the_file_by_position() -> None:
    with np.load(samples_dir() / "data" / "digits.npz", allow_pickle=False) as data:
        stored = data["labels"]
    joined = np.concatenate([digits.raw(split)[1] for split in SIZES])
    np.testing.assert_array_equal(joined, stored)


def test_distorting_needs_no_more_than_the_generator() -> None:
    images, _ = digits.raw("calibration")
    first = digits.distort(images[:8], np.random.default_rng(1))
    again = digits.distort(images[:8], np.random.default_rng(1))
    other = digits.distort(images[:8], np.random.default_rng(2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.2


def test_distorted_digits_still_resemble_themselves() -> None:
    images, _ = digits.raw("calibration")
    distorted = digits.distort(images, np.random.default_rng(1)).astype(np.float64)
    ink, area = images.astype(np.float64).sum(), (distorted > 128).sum()
    assert 0.8 < area / (ink / 255) < 1.5


def test_an_unknown_split_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="train, calibration, test"):
        digits.load("validation")
