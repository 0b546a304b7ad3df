"""Brevitas: integer weights per channel and activations per tensor, both with learned scales.

`Int8WeightPerChannelFloat` and `Uint8ActPerTensorFloat` with other bits and their scales as
parameters, begun from statistics. Scales are learned as logarithms, so that their rate is a share
of each. Batch norms stay in the network and go on learning, as is usual there. Quantized are the
picture and the inputs of both ends of the network at 8 bits, and so is what each residual sum adds;
what a block's convolutions read has the bits of the setting, as in the workbench.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from brevitas.graph.calibrate import calibration_mode
from brevitas.inject.enum import RestrictValueType, ScalingImplType
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear, QuantReLU
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Uint8ActPerTensorFloat,
)
from torch import Tensor, nn

from benchmarks.cifar.peers.common import lessons, main
from benchmarks.cifar.resnet20 import Basic, ResNet20

EDGES, CALIBRATION = 8, 4  # bits of the ends; batches that begin the scales
LEARNED: dict[str, Any] = {
    "scaling_impl_type": ScalingImplType.PARAMETER_FROM_STATS,
    "restrict_scaling_type": RestrictValueType.LOG_FP,
}


class Block(nn.Module):
    """A basic block with quantized convolutions, ReLUs and summands."""

    def __init__(self, block: Basic, bits: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = convolution(block.conv1, bits), block.norm1
        self.conv2, self.norm2 = convolution(block.conv2, bits), block.norm2
        self.relu1, self.relu2 = relu(bits), relu(EDGES)
        self.narrow = identity(signed=False, bits=bits)
        self.shortcut, self.summand = block.shortcut, identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.norm1(self.conv1(self.narrow(x))))
        return self.relu2(self.summand(self.norm2(self.conv2(y))) + self.shortcut(x))


def quantized(model: ResNet20, bits: int, folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network with quantizers, their scales begun from the first batches."""
    blocks = [Block(block, bits) for block in model.blocks]  # type: ignore[arg-type]
    made = nn.Sequential(
        identity(),
        convolution(model.stem, EDGES),
        model.norm,
        relu(EDGES),
        *blocks,
        model.pool,
        nn.Flatten(),
        identity(signed=False),
        linear(model.head),
    ).eval()
    batches = lessons(folder)
    with torch.no_grad(), calibration_mode(made):
        for _ in range(CALIBRATION):
            made(next(batches)[0])
    return made, {"layers": sum(isinstance(m, QuantConv2d | QuantLinear) for m in made.modules())}


def convolution(layer: nn.Conv2d, bits: int) -> QuantConv2d:
    """The layer with quantized weights."""
    made = QuantConv2d(
        layer.in_channels,
        layer.out_channels,
        3,
        stride=layer.stride,
        padding=layer.padding,
        bias=False,
        weight_quant=Int8WeightPerChannelFloat,
        weight_bit_width=bits,
        **_prefixed("weight_", LEARNED),
    )
    made.load_state_dict(layer.state_dict(), strict=False)
    return made


def linear(layer: nn.Linear) -> QuantLinear:
    """The same for the linear layer."""
    made = QuantLinear(
        layer.in_features,
        layer.out_features,
        bias=True,
        weight_quant=Int8WeightPerChannelFloat,
        weight_bit_width=EDGES,
        **_prefixed("weight_", LEARNED),
    )
    made.load_state_dict(layer.state_dict(), strict=False)
    return made


def relu(bits: int) -> QuantReLU:
    """A ReLU whose output is quantized."""
    return QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=bits, **LEARNED)


def identity(signed: bool = True, bits: int = EDGES) -> QuantIdentity:
    """A quantizer, of 8 bits unless others are given."""
    kind = Int8ActPerTensorFloat if signed else Uint8ActPerTensorFloat
    return QuantIdentity(act_quant=kind, bit_width=bits, **LEARNED)


def _prefixed(prefix: str, options: dict[str, Any]) -> dict[str, Any]:
    return {prefix + name: value for name, value in options.items()}


if __name__ == "__main__":
    main("brevitas", quantized)
