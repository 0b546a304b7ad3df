"""torchao: `QATConfig` with integer fake quantizers, on whatever layers it takes.

It swaps `Linear` and `Embedding` for fake-quantized ones. Offered a convolution, torchao 0.18.0
raises "Module of type '<class 'torch.nn.modules.conv.Conv2d'>' does not have QAT support"; so the
linear layer alone is quantized, with weights of the asked bits per channel and activations of 8
bits, one scale for each example, and all convolutions stay float. The record has the number of
layers.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchao.quantization import quantize_
from torchao.quantization.qat import IntxFakeQuantizeConfig, QATConfig

from benchmarks.cifar.peers.common import main
from benchmarks.cifar.resnet20 import ResNet20


def quantized(model: ResNet20, bits: int, _: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network with all that torchao swaps."""
    before = {name: type(module) for name, module in model.named_modules()}
    weights = IntxFakeQuantizeConfig(getattr(torch, f"int{bits}"), "per_channel", is_symmetric=True)
    inputs = IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False)
    config = QATConfig(activation_config=inputs, weight_config=weights, step="prepare")
    quantize_(model, config, filter_fn=lambda m, _: isinstance(m, nn.Linear))
    after = {name: type(module) for name, module in model.named_modules()}
    swapped = [name for name in before if after.get(name) is not before[name]]
    return model, {"layers": len(swapped)}


if __name__ == "__main__":
    main("torchao", quantized)
