"""CIFAR-10 as JPEG copies: decoded once, normalised, and augmented a batch at a time.

Pictures are uint8 `(N, 32, 32, 3)`, labels int64 `(N,)`: label k is the k-th folder name in
alphabetical order, which is CIFAR-10's own order. Networks take float32 `(N, 3, 32, 32)`.
"""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.places import DATA
from workbench.session.images import Preprocess
from workbench.session.known import cache_dir

log = logging.getLogger("benchmarks")

Split = Literal["train", "test"]
Pictures = NDArray[np.uint8]
Labels = NDArray[np.int64]

SIDE, CLASSES, MARGIN = 32, 10, 4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
PREPROCESS = Preprocess(mean=MEAN, std=STD)


def load(split: Split) -> tuple[Pictures, Labels]:
    """Pictures and labels of a split, in the order of their names."""
    path = cache_dir() / "cifar" / f"{split}.npz"
    if not path.exists():
        pictures, labels = decode(DATA / f"cifar10_jpeg_{split}.zip")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, pictures=pictures, labels=labels)
        partial.replace(path)
    with np.load(path, allow_pickle=False) as stored:
        return stored["pictures"], stored["labels"]


def decode(path: Path) -> tuple[Pictures, Labels]:
    """All pictures of a zip of `class/name.jpg`."""
    if not path.exists():
        raise FileNotFoundError(f"no '{path}': set WORKBENCH_DATA to the folder that holds it")
    log.info("decoding %s", path.name)
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        pictures = np.stack([_pixels(archive.read(name)) for name in names])
    _, labels = np.unique([PurePosixPath(name).parent.name for name in names], return_inverse=True)
    return pictures, labels.astype(np.int64)


def normalise(pictures: Pictures) -> Tensor:
    """Pixels 0 to 255 as a network wants them: float32 `(N, 3, 32, 32)`, channels last."""
    pixels = torch.from_numpy(pictures).float()
    scaled = (pixels / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return scaled.permute(0, 3, 1, 2)


def augment(pictures: Pictures, rng: np.random.Generator) -> Pictures:
    """Each picture shifted by up to `MARGIN` pixels each way, and mirrored or not.

    What comes in at the border has the mean colour, so that it is about 0 to the network.
    """
    count, axis = len(pictures), np.arange(SIDE)
    padded = np.empty((count, SIDE + 2 * MARGIN, SIDE + 2 * MARGIN, 3), np.uint8)
    padded[:] = np.rint(255 * np.array(MEAN)).astype(np.uint8)
    padded[:, MARGIN:-MARGIN, MARGIN:-MARGIN] = pictures
    first = rng.integers(0, 2 * MARGIN + 1, (2, count, 1))
    mirrored = rng.random((count, 1)) < 0.5
    rows = first[0] + axis
    columns = first[1] + np.where(mirrored, axis[::-1], axis)
    return padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def batches(
    pictures: Pictures, labels: Labels, size: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass in random order, augmented; what does not fill a batch is left out."""
    order = rng.permutation(len(pictures))
    for chosen in order[: len(order) // size * size].reshape(-1, size):
        yield normalise(augment(pictures[chosen], rng)), torch.from_numpy(labels[chosen])


def _pixels(content: bytes) -> Pictures:
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return np.asarray(image.convert("RGB"), np.uint8)
