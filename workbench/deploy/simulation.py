"""What a file in ONNX Runtime is compared with: a network that computes the same in torch.

Two things can be a simulation. `GraphSimulation` is the quantized graph that a file was written
from. `FileSimulation` (in `foreign`) is the graph of the file itself, whoever wrote it. Both say
where integer codes can be fetched (`points`), what they should be, and what they should be if all
earlier codes were the runtime's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from workbench.deploy.compare import codes_of, values_of, watched
from workbench.deploy.runtime import Array, open_session, run, stored_tensors, with_outputs
from workbench.graph.batching import Batch, is_free
from workbench.graph.build import Graph
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import WEIGHT_INPUTS, Site, layers
from workbench.graph.taps import capture
from workbench.quantizers.base import Quantizer

#: operators that sum products with weights
LAYERS = frozenset(WEIGHT_INPUTS) - {"Gather"}

#: a cause and its cure
Reason = tuple[str, str]


@dataclass(frozen=True)
class Point:
    """A tensor whose integer codes are compared.

    Attributes:
        name: of the float tensor; unique.
        codes: name in the file of the tensor that holds the codes.
        quantizer: gives the codes of a float tensor.
        layers: nodes with weights that computed it, back to the points before.
    """

    name: str
    codes: str
    quantizer: Quantizer
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Expected:
    """What the simulation gives for one batch: int32 codes by point, floats by tensor."""

    codes: dict[str, Tensor]
    floats: dict[str, Tensor]


class Simulation(ABC):
    """A network that computes in torch what a file computes in ONNX Runtime.

    Attributes:
        graph: the float or quantized graph, for its inputs and outputs.
        points: in the order of the graph.
        stored: sites whose stored numbers can be compared with the file's.
    """

    graph: Graph
    points: Sequence[Point]
    stored: int

    @property
    def free_batch(self) -> bool:
        """Whether the model takes any number of examples."""
        return is_free(self.graph.inputs)

    @property
    def outputs(self) -> list[str]:
        """Names of the graph's outputs."""
        return [str(value.name) for value in self.graph.model.graph.outputs]

    @property
    def floats(self) -> list[str]:
        """Outputs; and the layers' outputs where no point would show a difference."""
        if self.points:
            return self.outputs
        found = [layer.output for layer in layers(self.graph) if layer.output]
        return list(dict.fromkeys([*self.outputs, *reversed(found)]))

    @abstractmethod
    def expect(self, batch: Batch) -> Expected:
        """From the graph's inputs, on its own."""

    @abstractmethod
    def follow(
        self, batch: Batch, codes: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """With these codes (int32, by point) in place of its own at every point.

        Returns:
            The float tensors that arrive at the points, and the floats that follow.
        """

    @abstractmethod
    def blame(self, tensor: str) -> tuple[str, ...]:
        """Nodes with weights that computed a float tensor, back to the points before it."""

    def differing_stored(self, path: Path, batch: Batch) -> tuple[str, ...]:
        """Sites for which the file does not hold, bit for bit, what the simulation froze."""
        del path, batch
        return ()

    def excuse(self) -> Reason | None:
        """Why the simulation itself may be off, if it is."""
        return None

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Evaluation without gradients, and back."""
        with torch.no_grad():
            yield


class GraphSimulation(Simulation):
    """The quantized graph that a file was written from."""

    def __init__(self, reference: QuantizedGraph) -> None:
        self.reference, self.graph = reference, reference.graph
        self.frozen = reference.frozen()
        self._held = [s for s in reference.sites.values() if s.kind != "activation"]
        self.stored = len(reference.sites)
        model = self.graph.model.graph
        made = {output.name: i for i, node in enumerate(model) for output in node.outputs}
        active = reference.of_kind("activation")
        self._active = sorted(active, key=lambda site: made.get(site.tensor, -1))
        self._values = {str(o.name): o for node in model for o in node.outputs if o.name}
        self.points = [self._point(site) for site in self._active]

    def expect(self, batch: Batch) -> Expected:
        """As `Simulation.expect`."""
        with watched(self.reference) as seen:
            floats = self._floats(batch)
        codes = {
            site.name: codes_of(seen[site.name], self.frozen[site.name], site.grid)
            for site in self._active
        }
        return Expected(codes, floats)

    def follow(
        self, batch: Batch, codes: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As `Simulation.follow`."""
        forced = {
            site.name: values_of(codes[site.name], self.frozen[site.name], site.grid)
            for site in self._active
        }
        with watched(self.reference, forced) as seen:
            floats = self._floats(batch)
        return seen, floats

    def blame(self, tensor: str) -> tuple[str, ...]:
        """As `Simulation.blame`."""
        value = self._values.get(tensor)
        ends = {site.tensor for site in self._active}
        return () if value is None else behind(value, ends)

    def differing_stored(self, path: Path, batch: Batch) -> tuple[str, ...]:
        """As `Simulation.differing_stored`."""
        wrong = {*self._differing_values(path, batch), *self._differing_scales(path)}
        return tuple(name for name in self.reference.sites if name in wrong)

    def excuse(self) -> Reason | None:
        """Where the forward does not use the values that are exported."""
        return SOFT if self._soft_weights() else None

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """As `Simulation.quiet`; the graph's mode is put back."""
        training = self.reference.training
        self.reference.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.reference.train(training)

    def _point(self, site: Site) -> Point:
        quantizer = self.reference.quantizer(site.name)
        return Point(site.name, f"{site.tensor}__q", quantizer, self.blame(site.tensor))

    def _floats(self, batch: Batch) -> dict[str, Tensor]:
        found = capture(self.reference.module, batch, self.floats)
        return {name: found[name].cpu() for name in self.floats}

    def _differing_values(self, path: Path, batch: Batch) -> Iterator[str]:
        """Weights and biases as the runtime dequantizes them."""
        names = {site.name: f"{site.tensor}__dq" for site in self._held}
        if not names:
            return
        session = open_session(with_outputs(path, list(names.values())), optimise=False)
        got = run(session, batch, list(names.values()))
        for site, name in names.items():
            if not torch.equal(torch.from_numpy(got[name]), self.frozen[site].values().cpu()):
                yield site

    def _differing_scales(self, path: Path) -> Iterator[str]:
        """Activations' scales and zero-points, or what else they have, as stored."""
        held = stored_tensors(path)
        for site in self._active:
            frozen = self.frozen[site.name]
            affine = {"scale": frozen.scale, "zero_point": frozen.zero_point}
            pairs = (frozen.held if frozen.form else affine).items()
            if any(not _same(held.get(f"{site.tensor}__{key}"), value) for key, value in pairs):
                yield site.name

    def _soft_weights(self) -> bool:
        return any(
            not torch.allclose(
                self.reference.quantizer(site.name)(self.reference.weight(site.name)).cpu(),
                self.frozen[site.name].values().cpu(),
                rtol=1e-5,
            )
            for site in self._held
        )


SOFT = (
    "the simulation computes with weights off their grid, such as unfinished rounding",
    "finish the method, then export again",
)


def behind(value: ir.Value, ends: Collection[str]) -> tuple[str, ...]:
    """Names of the nodes with weights between `value` and the tensors `ends` before it."""
    found: dict[str, None] = {}
    waiting, known = [value], set[ir.Value]()
    while waiting:
        node = waiting.pop().producer()
        if node is None:
            continue
        if node.op_type in LAYERS:
            found[str(node.name)] = None
        fresh = [v for v in node.inputs if v is not None and v not in known and v.name not in ends]
        known.update(fresh)
        waiting.extend(fresh)
    return tuple(reversed(found))


def _same(stored: Array | None, value: Tensor) -> bool:
    return stored is not None and np.array_equal(stored, value.cpu().numpy())
