"""Files that are no models, whatever they are called."""

from __future__ import annotations

import os
import pickle  # noqa: TID251 - to make what must never be read
from pathlib import Path

import numpy as np
import torch

from tests.hostile.corpus.case import MARK, Bomb, case
from tests.hostile.corpus.models import field, model, save


@case("open", "is a Python pickle")
def pickle_as_onnx(folder: Path) -> Path:
    return save(pickle.dumps(Bomb(folder / MARK)), folder)


@case("open", "does not end in .onnx or .zip; checkpoints and pickles are not read")
def pickle_in_pt(folder: Path) -> Path:
    torch.save({"model": Bomb(folder / MARK)}, folder / "model.pt")
    return folder / "model.pt"


@case("open", "is a zip archive .perhaps a PyTorch checkpoint")
def checkpoint_as_onnx(folder: Path) -> Path:
    torch.save({"model": Bomb(folder / MARK)}, folder / "model.onnx")
    return folder / "model.onnx"


@case("open", "holds '0' .onnx files")
def checkpoint_as_zip(folder: Path) -> Path:
    torch.save({"model": Bomb(folder / MARK)}, folder / "model.zip")
    return folder / "model.zip"


@case("open", "is empty")
def empty(folder: Path) -> Path:
    return save(b"", folder)


@case("open", "not a complete ONNX file")
def noise(folder: Path) -> Path:
    return save(np.random.default_rng(0).bytes(100_000), folder)


@case("open", "not a complete ONNX file|holds no ONNX graph|has no nodes|is empty")
def truncated(folder: Path) -> Path:
    return save(model().SerializeToString()[:-40], folder)


@case("open", "not a regular file")
def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "model.onnx")
    return folder / "model.onnx"


@case("open", "not a regular file")
def pipe_as_zip(folder: Path) -> Path:
    os.mkfifo(folder / "model.zip")
    return folder / "model.zip"


@case("open", "cannot be read")
def link_to_itself(folder: Path) -> Path:
    (folder / "model.onnx").symlink_to(folder / "model.onnx")
    return folder / "model.onnx"


@case("open", "above the limit")
def sparse_giant(folder: Path) -> Path:
    with (folder / "model.onnx").open("wb") as stream:
        stream.truncate(1 << 40)
    return folder / "model.onnx"


@case("open", "is a text file")
def web_page(folder: Path) -> Path:
    return save(b"<!doctype html><html>404</html>", folder)


@case("open", "more than '2000000' fields")
def two_bytes_for_each_node(folder: Path) -> Path:
    return save(b"\x08\x0a" + field(7, b"\x0a\x00" * 4_000_000), folder)


@case("open", "holds messages nested deeper than '60' levels")
def subgraphs_too_deep(folder: Path) -> Path:
    graph = b""
    for _ in range(40):
        graph = field(1, field(5, field(6, graph)))  # node, attribute, graph
    return save(b"\x08\x0a" + field(7, graph), folder)


@case("open", "not a complete ONNX file")
def ten_thousand_levels(folder: Path) -> Path:
    return save(b"\x0b" * 10_000, folder)
