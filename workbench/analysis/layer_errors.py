"""The error of each layer, alone and accumulated, for weights and activations apart.

Alone: only this layer is quantized, the rest of the network is float; its error is read at the
layer's own output (dB) and at the network's output (KL divergence, changed predictions).
Accumulated: everything is quantized, and the error is read along the network. Weights that were
learned to undo errors of earlier layers look worse alone than they are; judge those by the
accumulated error.

Sums are kept in a ledger under the digest of all that they follow from (`analysis.digests`). So of
a network that differs in a few places, a layer is measured alone only where it differs itself, and
accumulated errors only from the first difference on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from workbench.analysis.damage import Answer, OutputSums, TensorSums
from workbench.analysis.digests import Digests
from workbench.analysis.ledger import Ledger, digest_tensors
from workbench.analysis.partial import PartialNetwork, Setting, output_node
from workbench.analysis.progress import Progress
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Layer, Site, layers
from workbench.graph.taps import value_nodes
from workbench.maths import metrics


@dataclass(frozen=True)
class LayerError:
    """What quantization does to one layer and, through it, to the network.

    Attributes:
        layer, op, shape: node name, operator, shape of its first weight.
        bits_weights, bits_activations: 0 is float.
        parameters, macs: counts; macs for one example.
        weight_sqnr_db: float weight against its quantized version, all weights of the layer.
        alone_weights_db, alone_activations_db: SQNR of the layer's output when only its weights, or
            only its inputs, are quantized; None where that part is float.
        accumulated_weights_db, accumulated_activations_db, accumulated_db: the same with all
            weights, all activations, or everything quantized up to here.
        damage_kl: KL divergence (nats) at the network's output when only this layer is quantized;
            damage_weights_kl and damage_activations_kl when only that part of it is.
        damage_flips: share of predictions that this layer alone changes, in [0, 1].
        theory_db: SQNR of a uniform input on a grid of the weights' bits.
    """

    layer: str
    op: str
    shape: tuple[int, ...]
    bits_weights: int
    bits_activations: int
    parameters: int
    macs: int
    weight_sqnr_db: float | None
    alone_weights_db: float | None
    alone_activations_db: float | None
    accumulated_weights_db: float
    accumulated_activations_db: float
    accumulated_db: float
    damage_kl: float
    damage_weights_kl: float
    damage_activations_kl: float
    damage_flips: float
    theory_db: float

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "shape": list(self.shape)}


@dataclass
class _Part:
    """Running sums of one part (weights, activations or both) of one layer."""

    tensor: TensorSums = field(default_factory=TensorSums)
    output: OutputSums = field(default_factory=OutputSums)

    @property
    def db(self) -> float:
        return self.tensor.db

    def mean(self, total: float) -> float:
        return total / max(1.0, self.output.positions)


CLASSES = Answer()
PARTS = ("weights", "activations", "both")


def _parts() -> dict[str, _Part]:
    return {part: _Part() for part in PARTS}


@dataclass
class _Tally:
    alone: dict[str, _Part] = field(default_factory=_parts)
    accumulated: dict[str, _Part] = field(default_factory=_parts)


@dataclass(frozen=True)
class _Look:
    """What is wanted under one setting.

    Attributes:
        setting: which quantizers are at work.
        places: the sums that grow, the node that is compared, and the digest of its value there.
        output: the same of the network's answer, where it is wanted.
    """

    setting: Setting
    places: tuple[tuple[_Part, fx.Node, str], ...]
    output: tuple[_Part, str] | None = None


class _Compared:
    """One batch under settings, against float: looked up, or measured and kept."""

    def __init__(self, model: QuantizedGraph, inputs: tuple[Tensor, ...], ledger: Ledger) -> None:
        self._model, self._inputs, self._ledger = model, inputs, ledger
        self._batch = digest_tensors(inputs)
        self._network: PartialNetwork | None = None

    def add(self, look: _Look) -> bool:
        """Let the sums grow; False if everything was known."""
        wanted = [f"{self._batch}/tensor/{digest}" for _, _, digest in look.places]
        last = None if look.output is None else f"{self._batch}/answer/{look.output[1]}"
        missing = any(key not in self._ledger for key in (*wanted, *filter(None, [last])))
        if missing:
            network = self._run()
            changed = network.run(look.setting)
            for key, (_, node, _) in zip(wanted, look.places, strict=True):
                pair = network.values[node], network.value(node, changed)
                self._keep(key, lambda pair=pair: TensorSums.between(*pair))
            if last is not None:
                answers = network.output({}), network.output(changed)
                self._keep(last, lambda: OutputSums.between(*answers, None, CLASSES))
        for key, (part, _, _) in zip(wanted, look.places, strict=True):
            part.tensor += TensorSums.of_record(self._ledger[key])
        if look.output is not None and last is not None:
            look.output[0].output += OutputSums.of_record(self._ledger[last])
        return missing

    def _run(self) -> PartialNetwork:
        if self._network is None:
            self._network = PartialNetwork(self._model, self._inputs)
        return self._network

    def _keep(self, key: str, measure: Callable[[], TensorSums | OutputSums]) -> None:
        if key not in self._ledger:
            self._ledger.put(key, asdict(measure()))


class LayerErrors:
    """Measures all layers of a quantized graph, batch by batch, in the memory of one batch.

    Iterating yields `Progress`; `errors` holds the result afterwards.

    Args:
        model: a calibrated or learned quantized graph.
        batches: held-out inputs.
        ledger: what is known already, and where new measurements go.
        version: of what measures; what another version measured is not used.
    """

    def __init__(
        self,
        model: QuantizedGraph,
        batches: Iterable[tuple[Tensor, ...]],
        ledger: Ledger | None = None,
        version: str = "",
    ) -> None:
        self._model = model
        self._batches = batches
        self._ledger = Ledger() if ledger is None else ledger
        self._version = version
        self._layers = layers(model.graph)
        self._tallies = {layer.name: _Tally() for layer in self._layers}
        self.errors: list[LayerError] = []

    def __iter__(self) -> Iterator[Progress]:
        nodes, digests = value_nodes(self._model.module), Digests(self._model, self._version)
        accumulated = list(self._accumulated(nodes, digests))
        alone = [list(self._alone(layer, nodes, digests)) for layer in self._layers]
        batches = list(self._batches)
        progress = Progress(len(batches) * len(self._layers))
        for inputs in batches:
            compared = _Compared(self._model, inputs, self._ledger)
            for look in accumulated:
                compared.add(look)
            for looks in alone:
                measured = [compared.add(look) for look in looks]
                yield progress.at(progress.step + 1, progress.known + (not any(measured)))
        self.errors = [self._error(layer) for layer in self._layers]

    def run(self) -> list[LayerError]:
        """Measure everything and return it."""
        for _ in self:
            pass
        return self.errors

    def _accumulated(self, nodes: dict[str, fx.Node], digests: Digests) -> Iterator[_Look]:
        """Everything quantized, or one kind of sites."""
        for part in PARTS:
            sites = [s.name for s in self._model.sites.values() if _belongs(s, part)]
            learned = () if part == "activations" else self._model.graph.attribute_of
            held = frozenset(name for name in learned if self._is_float(name))
            setting = Setting(frozenset(sites), held)
            found = digests.of(setting)
            places = (
                (self._tallies[layer.name].accumulated[part], nodes[layer.output])
                for layer in self._layers
            )
            yield _Look(setting, tuple((sums, node, found[node]) for sums, node in places))

    def _alone(self, layer: Layer, nodes: dict[str, fx.Node], digests: Digests) -> Iterator[_Look]:
        """This layer quantized, or one kind of its sites."""
        node, last = nodes[layer.output], output_node(self._model.module)
        own = [site for site in self._model.sites.values() if _reads(site, layer)]
        for part in PARTS:
            sites = [site.name for site in own if _belongs(site, part)]
            if not sites:
                continue
            learned = [] if part == "activations" else _parameters(layer)
            setting = Setting(frozenset(sites), frozenset(learned))
            sums, found = self._tallies[layer.name].alone[part], digests.of(setting)
            yield _Look(setting, ((sums, node, found[node]),), (sums, found[last]))

    def _is_float(self, initializer: str) -> bool:
        path = self._model.graph.attribute_of[initializer]
        return path in dict(self._model.module.named_parameters())

    def _error(self, layer: Layer) -> LayerError:
        tally = self._tallies[layer.name]
        alone, accumulated = tally.alone, tally.accumulated
        bits = _bits(self._model, layer)
        both = alone["both"]
        return LayerError(
            layer=layer.name,
            op=layer.op,
            shape=layer.shape,
            bits_weights=bits[0],
            bits_activations=bits[1],
            parameters=layer.parameters,
            macs=layer.macs,
            weight_sqnr_db=self._weight_db(layer),
            alone_weights_db=alone["weights"].db if bits[0] else None,
            alone_activations_db=alone["activations"].db if bits[1] else None,
            accumulated_weights_db=accumulated["weights"].db,
            accumulated_activations_db=accumulated["activations"].db,
            accumulated_db=accumulated["both"].db,
            damage_kl=both.mean(both.output.kl),
            damage_weights_kl=alone["weights"].mean(alone["weights"].output.kl),
            damage_activations_kl=alone["activations"].mean(alone["activations"].output.kl),
            damage_flips=both.mean(both.output.flips),
            theory_db=metrics.uniform_sqnr_db(bits[0]),
        )

    def _weight_db(self, layer: Layer) -> float | None:
        part = _Part()
        original = dict(self._model.graph.module.named_parameters())
        for weight in layer.weights:
            if weight.name in self._model.sites:
                reference = original[self._model.graph.attribute_of[weight.name]].detach()
                current = self._model.weight(weight.name).detach()
                rounded = self._model.quantizer(weight.name).fake_quantize(current)
                part.tensor += TensorSums.between(reference, rounded)
        return part.db if part.tensor.signal else None


def layer_errors(model: QuantizedGraph, batches: Iterable[tuple[Tensor, ...]]) -> list[LayerError]:
    """The errors of all layers with weights, in the order of the graph."""
    with torch.no_grad():
        return LayerErrors(model, batches).run()


def _belongs(site: Site, part: str) -> bool:
    if part == "both":
        return True
    return site.kind == ("weight" if part == "weights" else "activation")


def _reads(site: Site, layer: Layer) -> bool:
    return any(node == layer.name for node, _ in site.edges)


def _parameters(layer: Layer) -> list[str]:
    names = [weight.name for weight in layer.weights]
    return [*names, layer.offset] if layer.offset else names


def _bits(model: QuantizedGraph, layer: Layer) -> tuple[int, int]:
    """Bits of the weights and of the activations that a layer reads; 0 is float."""
    own = [site for site in model.sites.values() if _reads(site, layer)]
    width = {
        kind: [s.grid.bits for s in own if s.kind == kind] for kind in ("weight", "activation")
    }
    return max(width["weight"], default=0), max(width["activation"], default=0)
