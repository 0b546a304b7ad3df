"""What a signal looks at: one step of learning, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.quantizers.base import Quantizer


@dataclass(frozen=True)
class Output:
    """One tensor that a unit (a layer, a block, the network) hands on.

    Attributes:
        reference: its float value, without gradient.
        value: its value in the quantized unit, same shape.
        channel_axis: where features are counted; the other axes are examples and positions.
        importance: how much each element matters to the prediction (mean 1), or None.
    """

    reference: Tensor
    value: Tensor
    channel_axis: int
    importance: Tensor | None = None


@dataclass(frozen=True)
class Trained:
    """A weight that trains with its quantizer in the loop.

    Attributes:
        site: its name.
        weight: the latent float values, with gradient.
        quantizer: that sits on it.
        products: what one bit of it costs: multiply-adds of an example times the bits of the data.
    """

    site: str
    weight: Tensor
    quantizer: Quantizer
    products: float = 0.0


@dataclass(frozen=True)
class Seen:
    """Everything that a signal may depend on.

    Attributes:
        outputs: of the unit; of the whole network, where that trains, inner tensors that are
            paired with the teacher's.
        step, steps: how far its learning is, from 1 to `steps`.
        prediction: (float, quantized) output of the whole network, the rest of which is float, as
            logits (..., classes); None where no signal asks for it.
        roundings: for each weight that learns its rounding, how far each value is rounded up, in
            [0, 1].
        logits: output of the whole quantized network, (..., classes).
        labels: int64 classes of the logits' leading shape, -100 where there is none; or shares of
            the classes, of the logits' shape, where examples were mixed.
        weights: that train.
    """

    outputs: tuple[Output, ...]
    step: int = 1
    steps: int = 1
    prediction: tuple[Tensor, Tensor] | None = None
    roundings: tuple[Tensor, ...] = ()
    logits: Tensor | None = None
    labels: Tensor | None = None
    weights: tuple[Trained, ...] = ()

    def nothing(self) -> Tensor:
        """A loss of zero, on the device of what was seen."""
        values = [output.value for output in self.outputs] + [own.weight for own in self.weights]
        if self.logits is not None:
            values.append(self.logits)
        return values[0].new_zeros(()) if values else torch.zeros(())
