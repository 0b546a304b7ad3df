"""The digit data behind the small image models: 10,000 MNIST digits, made harder.

Plain MNIST is so easy that 4 bits hardly hurt it. So each image is rotated, scaled, sheared and
shifted by fixed random amounts, then blurred by the resampling, then given sensor noise and
stored in 8 bits again. The amounts come from a seed and the split's name alone: the same on each
machine and in each run.

Images come as float32 `(N, 1, 28, 28)`, normalised: black 0 becomes `LOW`, white 255 becomes
`HIGH`. Labels come as int64 `(N,)`, 0 to 9.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workbench.session.paths import samples_dir

Split = Literal["train", "calibration", "test"]

MEAN, STD = 0.19, 0.28
LOW, HIGH = (0.0 - MEAN) / STD, (1.0 - MEAN) / STD

SIDE = 28
_SEED = 1998
_ROWS: dict[Split, slice] = {
    "train": slice(0, 6000),
    "calibration": slice(6000, 7000),
    "test": slice(7000, 10000),
}

# Largest amounts of the distortion, each drawn evenly between its negative and itself.
_ROTATION = np.deg2rad(25.0)
_SCALE = 0.25
_SHEAR = 0.25
_SHIFT = 3.0
_NOISE = 0.2


def load(split: Split) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images `(N, 1, 28, 28)` in `[LOW, HIGH]` and labels `(N,)`.

    N is 6,000 for `"train"`, 1,000 for `"calibration"` and 3,000 for `"test"`.
    """
    images, known = raw(split)
    rng = np.random.default_rng([_SEED, _ROWS[split].start])
    return normalise(distort(images, rng)), known


def raw(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The undistorted images `(N, 28, 28)`, 0 to 255, and labels `(N,)`, by position."""
    return _stored("images", split), labels(split)


def labels(split: Split) -> NDArray[np.int64]:
    """The labels alone `(N,)`."""
    return _stored("labels", split).astype(np.int64)


def _stored(name: str, split: Split) -> NDArray[np.uint8]:
    if split not in _ROWS:
        raise ValueError(f"no split {split!r}: choose one of {', '.join(_ROWS)}")
    with np.load(samples_dir() / "data" / "digits.npz", allow_pickle=False) as data:
        return data[name][_ROWS[split]]


def distort(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move each image `(N, 28, 28)` by its own random affine map, then add noise."""
    count = len(images)
    moved = _sample(images, *_maps(count, rng))
    noise = rng.standard_normal(moved.shape, dtype=np.float32) * np.float32(255 * _NOISE)
    return np.rint(np.clip(moved + noise, 0, 255)).astype(np.uint8).reshape(count, SIDE, SIDE)


def normalise(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images `(N, 28, 28)`, 0 to 255, as a model wants them: float32 `(N, 1, 28, 28)`."""
    scaled = images[:, None].astype(np.float32) / np.float32(255)
    return (scaled - np.float32(MEAN)) / np.float32(STD)


def _maps(count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Affine maps from output to input pixels: matrices `(N, 2, 2)` and shifts `(N, 2)`."""
    angle = rng.uniform(-_ROTATION, _ROTATION, count)
    scale = np.exp(rng.uniform(-_SCALE, _SCALE, (count, 2)))
    shear = rng.uniform(-_SHEAR, _SHEAR, count)
    shift = rng.uniform(-_SHIFT, _SHIFT, (count, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.stack([cos, -sin, sin, cos], axis=-1).reshape(count, 2, 2)
    one, zero = np.ones(count), np.zeros(count)
    slant = np.stack([one, shear, zero, one], axis=-1).reshape(count, 2, 2)
    matrices = rotation @ slant / scale[:, :, None]
    return matrices.astype(np.float32), shift.astype(np.float32)


def _sample(
    images: NDArray[np.uint8], matrices: NDArray[np.float32], shifts: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Bilinear reading of images `(N, 28, 28)` under the maps: float32 `(N, 784)`.

    Two black pixels all around stand for everything outside the image.
    """
    count, padded = len(images), SIDE + 4
    flat = np.pad(images, ((0, 0), (2, 2), (2, 2))).astype(np.float32).reshape(-1)
    axis = np.arange(SIDE, dtype=np.float32) - np.float32((SIDE - 1) / 2)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij")).reshape(2, -1)
    places = matrices @ grid + shifts[:, :, None] + np.float32((padded - 1) / 2)
    places = np.clip(places, 0, padded - 1.001)
    corner = places.astype(np.int32)
    fy, fx = np.moveaxis(places - corner, 1, 0)
    first = np.arange(count, dtype=np.int32)[:, None] * (padded * padded)
    index = first + corner[:, 0] * padded + corner[:, 1]
    top = flat[index] * (1 - fx) + flat[index + 1] * fx
    bottom = flat[index + padded] * (1 - fx) + flat[index + padded + 1] * fx
    return top * (1 - fy) + bottom * fy
