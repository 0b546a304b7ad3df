"""What a signal looks at: one step of learning, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


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
class Seen:
    """Everything that a signal may depend on.

    Attributes:
        outputs: of the unit.
        step, steps: how far its learning is, from 1 to `steps`.
        prediction: (float, quantized) output of the whole network, the rest of which is float, as
            logits (..., classes); None where no signal asks for it.
        roundings: for each weight that learns its rounding, how far each value is rounded up, in
            [0, 1].
    """

    outputs: tuple[Output, ...]
    step: int = 1
    steps: int = 1
    prediction: tuple[Tensor, Tensor] | None = None
    roundings: tuple[Tensor, ...] = ()
