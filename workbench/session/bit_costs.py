"""What bits cost here: tables by resource for the open weights of a recipe's model.

Bits, bytes and bit operations follow from shapes; bytes in the file from the containers of its
codes; milliseconds are measured once in ONNX Runtime on this machine and kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import onnx_ir as ir
import onnxruntime

from workbench.analysis.bits import ties
from workbench.analysis.bits.haq import LayerState
from workbench.analysis.bits.problem import Pair, Problem
from workbench.deploy.export import export
from workbench.deploy.latency_table import LatencyTable, measure, total_ms
from workbench.deploy.pack import INT2_OPSET, weight_container
from workbench.deploy.processor import processor
from workbench.deploy.writer import holds_two_bits, quantized_data
from workbench.graph.costs import SCALE_BYTES, Cost, costs, products
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import attribute, layers, value_shape
from workbench.graph.targets.select import select
from workbench.methods.base import Task
from workbench.methods.registry import make
from workbench.session.execute import build
from workbench.session.known import cache_dir
from workbench.session.recipe import Recipe
from workbench.session.store import replacing

if TYPE_CHECKING:
    from workbench.session.session import Session

MILLION = 1e6
REPEATS = 20
FEW = 16  # examples that set the ranges of a file that is only timed
Widths = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Priced:
    """What every choice of bits costs.

    Attributes:
        tables: by resource, site and bits.
        fixed: by resource, of everything else.
        pairs: what two choices cost together.
    """

    tables: dict[str, dict[str, dict[int, float]]]
    fixed: dict[str, float]
    pairs: tuple[Pair, ...]


class BitCosts:
    """Costs of the weights of one model.

    Args:
        session: the model's.
        model: with the grids that the recipe asks for.
        recipe: of the model.
        activations: numbers of bits that activations may have; none where they are not chosen.
    """

    def __init__(
        self,
        session: Session,
        model: QuantizedGraph,
        recipe: Recipe,
        activations: tuple[int, ...] = (),
    ) -> None:
        self._session = session
        self._activations = activations
        self._model = model
        self._recipe = recipe
        self._costs: dict[str, Cost] = costs(model.graph, model.sites.values())
        self._layers = ties.layer_of(model.graph)

    def open(self, widths: Widths) -> dict[str, tuple[int, ...]]:
        """The open weights without those whose bits an override of the recipe has said."""
        graph = self._model.graph
        known = layers(graph)
        named: set[str] = set()
        for override in self._recipe.overrides:
            if override.weights is not None:
                named |= set(select(graph, known, override.pattern).names)
        own = {name: {name, *self._readers(name)} for name in widths}
        return {name: row for name, row in widths.items() if not own[name] & named}

    def patterns(self, widths: Widths) -> dict[str, str]:
        """What names each weight in an override: its layer, or the tensor where that says more."""
        of_layer = ties.weights_of(self._model.graph)
        found = {}
        for name in widths:
            readers = self._readers(name)
            alone = len(readers) == 1 and len(of_layer.get(readers[0], ())) == 1
            found[name] = readers[0] if alone else f"tensor:{name}"
        return found

    def priced(self, widths: Widths, activations: Widths, *, timed: bool = False) -> Priced:
        """What every choice costs.

        Args:
            widths: choices of each open weight.
            activations: the same of each open activation.
            timed: with milliseconds, which are measured the first time.
        """
        tables, fixed = self._tables(widths, timed=timed)
        free = {name: dict.fromkeys(row, 0.0) for name, row in activations.items()}
        tables = {resource: {**table, **free} for resource, table in tables.items()}
        if timed:
            tables["latency_ms"] |= self._activation_ms(activations)
        pairs = self._meeting(widths, activations, tables["bops"], fixed)
        return Priced(tables, fixed, tuple(pairs))

    def _meeting(
        self,
        widths: Widths,
        activations: Widths,
        table: dict[str, dict[int, float]],
        fixed: dict[str, float],
    ) -> Iterator[Pair]:
        """Bit operations of weights with open activations, in place of those with usual bits."""
        usual = self._model.asked
        for each in products(self._model.graph, self._model.sites.values()):
            data = "" if each.data is None else each.data.shares or each.data.name
            if data not in activations:
                continue
            macs, now = each.macs / MILLION, usual[data].bits
            if each.weight in widths:
                own = table[each.weight] = dict(table[each.weight])
                for bits in own:
                    own[bits] -= macs * bits * now
                both = tuple(
                    tuple(macs * b * a for a in activations[data]) for b in widths[each.weight]
                )
                none = tuple((0.0,) * len(row) for row in both)
                yield Pair(each.weight, data, none, {"bops": both})
                continue
            bits = usual[each.weight].bits
            fixed["bops"] -= macs * bits * now
            table[data] = {a: old + macs * bits * a for a, old in table[data].items()}

    def _activation_ms(self, activations: Widths) -> dict[str, dict[int, float]]:
        """What a width of all activations takes longer than the usual one, dealt out by size."""
        sites, latency = self._model.sites, self.latency
        sizes = {n: math.prod(max(1, d) for d in sites[n].shape[1:]) for n in activations}
        total = sum(sizes.values()) or 1
        return {
            name: {bits: latency.activations.get(bits, 0.0) * sizes[name] / total for bits in row}
            for name, row in activations.items()
        }

    def _tables(
        self, widths: Widths, *, timed: bool
    ) -> tuple[dict[str, dict[str, dict[int, float]]], dict[str, float]]:
        """Cost by resource, weight and bits, activations as they are; and of everything else."""
        values = sum(self._costs[name].values for name in widths)
        found = {
            "average_bits": _table(widths, lambda n, b: self._costs[n].values * b / values),
            "bytes": _table(widths, lambda n, b: self._costs[n].bytes(b)),
            "file_bytes": _table(widths, self._file_bytes),
            "bops": _table(widths, lambda n, b: self._costs[n].products * b / MILLION),
        }
        rest = [s.name for s in self._model.of_kind("weight") if s.name not in widths]
        bits = {name: self._model.asked[name].bits for name in rest}
        fixed = {
            "average_bits": 0.0,
            "bytes": float(sum(self._costs[n].bytes(bits[n]) for n in rest)),
            "file_bytes": float(sum(self._file_bytes(n, bits[n]) for n in rest)),
            "bops": sum(self._costs[n].products * bits[n] for n in rest) / MILLION,
        }
        if timed:
            found["latency_ms"] = _table(widths, self._ms)
            fixed["latency_ms"] = self.latency.rest_ms + sum(self._ms(n, bits[n]) for n in rest)
        return found, fixed

    @cached_property
    def latency(self) -> LatencyTable:
        """Milliseconds by layer and bits, from the cache folder or measured now."""
        about = self._about()
        text = json.dumps(about, sort_keys=True)
        name = f"{self._session.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        path = cache_dir() / "latency" / name
        if path.is_file():
            return LatencyTable.from_record(json.loads(path.read_text(encoding="utf-8")))
        table = self._measured(about)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(table.record(), indent=1), encoding="utf-8")
        return table

    def _ms(self, name: str, bits: int) -> float:
        """A layer's time, in equal parts where it has several weights."""
        layer = self._layers[name]
        return self.latency.at(layer.name, bits) / len(layer.weights)

    def _readers(self, name: str) -> list[str]:
        return list(dict.fromkeys(node for node, _ in self._model.sites[name].edges))

    def _container(self, name: str, bits: int) -> int:
        """Bits of each code as the file holds it."""
        site = self._model.sites[name]
        two = holds_two_bits(site, self._integer_data)
        grid = self._model.asked[name].with_bits(bits)
        store = self._recipe.store
        return weight_container(grid, store=store, opset=INT2_OPSET, two_bits=two).bitwidth

    def _file_bytes(self, name: str, bits: int) -> int:
        cost = self._costs[name]
        return -(-cost.values * self._container(name, bits) // 8) + SCALE_BYTES * cost.scales

    @cached_property
    def _integer_data(self) -> set[tuple[str, int]]:
        return quantized_data(self._model.sites.values())

    def _about(self) -> dict[str, Any]:
        """What decides the times: model, grids, machine and runtime."""
        recipe = self._recipe
        active = recipe.activations
        return {
            "model": self._session.sha256,
            "target": recipe.target,
            "store": recipe.store,
            "weights": recipe.weights.model_dump(exclude={"bits"}),
            "activations": None if active is None else active.model_dump(),
            "transforms": list(recipe.preparation),
            "overrides": [o.model_dump() for o in recipe.overrides],
            "edges": recipe.edges,
            "runtime": onnxruntime.__version__,
            "processor": processor().record(),
            "repeats": REPEATS,
            **({"widths": list(self._activations)} if self._activations else {}),
        }

    def _measured(self, about: Mapping[str, Any]) -> LatencyTable:
        """Write one file for each container and time them."""
        names = [site.name for site in self._model.of_kind("weight")]
        largest = max(names, key=lambda name: self._costs[name].values)
        held = {b: self._container(largest, b) for b in range(1, 9)}
        legal = [b for b in held if b in (self._model.sites[largest].widths or held)]
        stands = {b: max(o for o in legal if held[o] == held[b]) for b in legal}
        with TemporaryDirectory() as folder:
            files = {b: self._file(b, Path(folder)) for b in sorted(set(stands.values()))}
            original = Path(folder) / "float.onnx"
            original.write_bytes(ir.to_proto(self._model.graph.model).SerializeToString())
            one = next(self._session.calibrating(self._recipe).batches("calibration", 1))[0]
            own = {layer.name: (layer.op, layer.macs) for layer in layers(self._model.graph)}
            found = measure(original, files, own, stands, one, about=about, repeats=REPEATS)
            if not self._activations:
                return found
            most = max(files)
            usual = total_ms(original, files[most], one, REPEATS)
            others = {b: self._file(most, Path(folder), b) for b in self._activations}
            times = {b: total_ms(original, f, one, REPEATS) - usual for b, f in others.items()}
            return replace(found, activations=times)

    def _file(self, bits: int, folder: Path, activations: int = 0) -> Path:
        """The model with its weights, and perhaps activations, at some bits, nearest rounding."""
        weights = self._recipe.weights.model_copy(update={"bits": bits})
        recipe = self._recipe.changed(weights=weights)
        if activations and recipe.activations is not None:
            active = recipe.activations.model_copy(update={"bits": activations})
            recipe = recipe.changed(activations=active)
        model = build(self._session, recipe).eval()
        data = self._session.calibrating(self._recipe)
        size = min(FEW, self._session.batch_size)
        few = [x for x, _ in data.batches("calibration", size, FEW)]
        for _ in make("rtn").learn(model, Task(lambda: iter(few), FEW)):
            pass
        path = folder / f"{bits}-{activations}.onnx"
        export(model, path, store=recipe.store)
        return path


def layer_states(model: QuantizedGraph, task: Problem) -> dict[str, LayerState]:
    """What HAQ's policy knows of each variable: of the first layer that reads its weight."""
    nodes = {str(node.name): node for node in model.graph.model.graph}
    owners = ties.layer_of(model.graph)
    return {
        v.name: _state(nodes[owners[v.name].name], owners[v.name].shape) for v in task.variables
    }


def _state(node: ir.Node, shape: tuple[int, ...]) -> LayerState:
    """Of a convolution from its attributes; other layers are seen as one position of it."""
    spatial = "Conv" in node.op_type
    strides = node.attributes.get("strides")
    output = value_shape(node.outputs[0])
    return LayerState(
        depthwise=spatial and attribute(node, "group", 1) == shape[0] > 1,
        inputs=shape[1],
        outputs=shape[0],
        stride=strides.as_ints()[0] if spatial and strides is not None else 1,
        kernel=shape[2] if spatial and len(shape) > 2 else 1,
        values=math.prod(shape),
        positions=math.prod(output[2:] if spatial else output[1:-1]),
    )


def _table(widths: Widths, cost: Callable[[str, int], float]) -> dict[str, dict[int, float]]:
    return {name: {b: float(cost(name, b)) for b in row} for name, row in widths.items()}
