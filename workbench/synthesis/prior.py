"""How far pictures are from what a network's batch norms remember of its training data."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from workbench.foundation.errors import DataError
from workbench.graph.norms import norms
from workbench.graph.taps import capture
from workbench.signals.batch_norm import mismatch
from workbench.synthesis.base import Order

INPUT = (torch.zeros(()), torch.ones(()))  # what preprocessing is meant to give


class Prior:
    """The loss of ZeroQ, Genie-D and GDFQ as a function of the input.

    Args:
        order: whose model is asked.
        each: statistics of each example by itself, not of the batch.
        swing: chance by which inputs of strided convolutions are shifted; None leaves them.
    """

    def __init__(self, order: Order, *, each: bool, swing: torch.Generator | None = None) -> None:
        self._norms = norms(order.graph.model)
        self._each = each
        self._names = {norm.value for norm in self._norms}
        self._answer = order.graph.outputs[0].name
        module = order.graph.module
        self._module = module if swing is None else swinging(module, swing)

    def loss(self, x: Tensor) -> Tensor:
        """A scalar: the mismatch of the input, and of every value whose statistics are known.

        Of the input it is the mean over examples, summed over channels, as in the released code of
        both; elsewhere the mean over channels.
        """
        values = capture(self._module, [x], self._names)
        channels, pictures = x.shape[1], len(x)
        first = mismatch(x, 1, INPUT, each=True) * channels / pictures
        return torch.stack([first, *self._mismatches(values)]).sum()

    def answered(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean mismatch over the values known, a scalar, and the network's first output."""
        values = capture(self._module, [x], {*self._names, self._answer})
        return torch.stack(self._mismatches(values)).mean(), values[self._answer]

    def _mismatches(self, values: Mapping[str, Tensor]) -> list[Tensor]:
        """One scalar for each value whose statistics are known."""
        return [
            mismatch(values[n.value], n.axis, (n.mean, n.deviation), each=self._each)
            for n in self._norms
        ]


def require_prior(order: Order, title: str, ranks: Collection[int] = (2, 3, 4, 5)) -> None:
    """Refuse a model that cannot be asked for pictures.

    Args:
        order: what is wanted.
        title: of the maker, for the message.
        ranks: numbers of axes that its input may have.

    Raises:
        DataError: no batch norms, or not one input of fixed size.
    """
    inputs = order.graph.inputs
    if len(inputs) != 1 or not inputs[0].dtype.is_floating_point:
        names = ", ".join(f"'{spec.name}'" for spec in inputs)
        raise DataError(
            f"{title} makes one input of real numbers, but the model takes {names}; give data, or"
            " calibrate on 'random' or 'generated'"
        )
    if len(inputs[0].shape) not in ranks:
        raise DataError(
            f"{title} does not make inputs of shape {tuple(inputs[0].shape)}; give data, or"
            " calibrate on 'zeroq' or 'random'"
        )
    order.shape(inputs[0], 1)
    if not norms(order.graph.model):
        raise DataError(
            f"{title} needs the statistics of batch normalization, and the model"
            f" '{order.graph.model.graph.name}' has none, or its exporter folded them away; give"
            " data, or calibrate on 'random'"
        )


def within(x: Tensor, order: Order) -> Tensor:
    """`x` inside the limits of the order."""
    if order.limits is None:
        return x
    return torch.minimum(torch.maximum(x, order.limits[0]), order.limits[1])


class Swing(nn.Module):
    """Shifts its input by up to one position, by chance (swing convolution, arXiv:2212.04780).

    Args:
        chance: draws the shifts, one for all examples.
    """

    def __init__(self, chance: torch.Generator) -> None:
        super().__init__()
        self._chance = chance

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *in) to the same shape; what comes in at the border is reflected."""
        if min(x.shape[2:]) < 2:
            return x
        padded = F.pad(x, [1] * (2 * (x.ndim - 2)), mode="reflect")
        for axis in range(2, x.ndim):
            start = int(torch.randint(3, (1,), generator=self._chance))
            padded = padded.narrow(axis, start, x.shape[axis])
        return padded


def swinging(module: fx.GraphModule, chance: torch.Generator) -> fx.GraphModule:
    """The same network, sharing all weights, with a `Swing` before each strided convolution."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
        if node.meta.get("op_type") == "Conv" and max(node.kwargs.get("strides") or (1,)) > 1:
            source = copies[node].args[0]
            with graph.inserting_before(copies[node]):
                swung = graph.call_module("swing", (source,))
            copies[node].args = (swung, *copies[node].args[1:])
    held = nn.Module()
    for kind in ("_parameters", "_buffers", "_modules"):
        getattr(held, kind).update(getattr(module, kind))
    held.add_module("swing", Swing(chance))
    return fx.GraphModule(held, graph)
