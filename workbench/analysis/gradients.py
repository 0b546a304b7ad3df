"""What errors inside a network do to its answer, from gradients of random roots of its curvature.

With F the Fisher information of the answer and E[u uᵀ] = F, g = Jᵀ u at a tensor makes of an error
e there a number gᵀe with E[(gᵀe)²] = eᵀ Jᵀ F J e; see `workbench.analysis.estimate`. A batch is run
once, each draw of u costs one backward pass, and each error a product.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, fx

from workbench.analysis.damage import Answer, curvature_root
from workbench.analysis.partial import PartialNetwork
from workbench.graph.batching import count_examples, first_examples, is_free
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.taps import channel_axis

Errors = Mapping[fx.Node, Tensor]
Axes = Mapping[fx.Node, int | None]
Drawn = Mapping[fx.Node, Tensor | None]


class Gradients:
    """Gradients of one batch's answer at some nodes.

    Args:
        network: holds the values of the batch, under the setting where errors are looked at.
        probes: nodes at which there are errors.
        answer: what the first output says.
        axes: of the examples, as of `example_axes`.
        examples: in the batch; where some probe does not tell them apart, all count as one.

    Attributes:
        scores: the answer, as of `Answer.scores`.
    """

    def __init__(
        self,
        network: PartialNetwork,
        probes: Iterable[fx.Node],
        answer: Answer,
        axes: Axes,
        examples: int,
    ) -> None:
        self._probes = list(dict.fromkeys(probes))
        self._answer, self._axes = answer, axes
        output, self._held = network.differentiable(self._probes)
        self.scores = answer.scores(output)
        apart = all(axes.get(node) is not None for node in self._probes)
        self._examples = examples if apart else 1

    def draw(self, count: int, chance: torch.Generator) -> Iterator[Drawn]:
        """Gradients at every probe, once for each u; the batch is let go after the last."""
        for index in range(count):
            u = curvature_root(self.scores, self._answer, chance)
            yield self.towards(self.scores, u, keep=index < count - 1)

    def towards(self, of: Tensor, u: Tensor, *, keep: bool = True) -> Drawn:
        """Gradients of a function of the answer in the direction u."""
        found = torch.autograd.grad(of, self._held, u, retain_graph=keep, allow_unused=True)
        return dict(zip(self._probes, found, strict=True))

    def row(self, parts: Sequence[Tensor]) -> Tensor:
        """gᵀe for each example, `(examples,)`, of its `parts`."""
        if not parts:
            return torch.zeros(self._examples, dtype=torch.float64)
        return torch.stack([part.sum(dim=1) for part in parts]).sum(dim=0)

    def parts(self, drawn: Drawn, errors: Errors) -> list[Tensor]:
        """What gᵀe sums, `(examples, channels)` for each node that the answer hangs on."""
        known = ((node, drawn[node], error) for node, error in errors.items())
        return [self._sums(node, g * error) for node, g, error in known if g is not None]

    def _sums(self, node: fx.Node, product: Tensor) -> Tensor:
        """Sums over positions; one channel where they lie along the examples' axis."""
        axis, examples = self._axes.get(node), self._examples
        maker = node.all_input_nodes[0] if node.op == "call_module" else node
        channel = channel_axis(maker, product.ndim)
        if product.ndim < 2 or axis == channel % product.ndim:
            rows = product if axis is None else product.movedim(axis, 0)
            return rows.reshape(examples, -1).sum(dim=1, keepdim=True).double()
        moved = product.movedim(channel, -1)
        if examples > 1 and axis is not None:
            moved = moved.movedim(axis - int(axis > channel % product.ndim), 0)
        return moved.reshape(examples, -1, moved.shape[-1]).sum(dim=1).double()


def probes_of(errors: Iterable[Iterable[fx.Node]]) -> list[fx.Node]:
    """The nodes at which there are errors, each once."""
    return list(dict.fromkeys(node for found in errors for node in found))


def errors_between(
    network: PartialNetwork, changed: Mapping[fx.Node, object], frontier: set[fx.Node]
) -> dict[fx.Node, Tensor]:
    """How far the values that `changed` lie from those held, at the nodes of the frontier."""
    return {
        node: value - network.values[node]
        for node, value in changed.items()
        if node in frontier and isinstance(value, Tensor) and value.is_floating_point()
    }


@torch.no_grad()
def example_axes(model: QuantizedGraph, inputs: tuple[Tensor, ...]) -> dict[fx.Node, int | None]:
    """The axis of each node's value along which the examples of a batch follow one another.

    It is the one that doubles from one example to two, if its first half is then the value of the
    first example; otherwise None, as in a network whose batch is fixed.
    """
    specs = model.graph.inputs
    if not is_free(specs) or count_examples(specs, inputs) < 2:
        return {}
    one, two = (
        PartialNetwork(model, first_examples(specs, inputs, count)).values for count in (1, 2)
    )
    return {node: _doubled(one[node], two[node]) for node in one}


def _doubled(one: object, two: object) -> int | None:
    if not (isinstance(one, Tensor) and isinstance(two, Tensor)) or one.ndim != two.ndim:
        return None
    for axis, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)):
        if b == 2 * a and a and two.narrow(axis, 0, a).shape == one.shape:
            same = torch.allclose(two.narrow(axis, 0, a).double(), one.double(), 1e-3, 1e-4)
            return axis if same else None
    return None
