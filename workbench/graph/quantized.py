"""A graph with quantizers on its edges: the simulation of the file that will be exported."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir
import torch
from torch import Tensor, fx, nn

from workbench.foundation.errors import RecipeError, RunError
from workbench.graph.build import Graph
from workbench.graph.sites import Site
from workbench.graph.taps import calls, value_nodes
from workbench.maths.grid import Grid, over_range
from workbench.quantizers.base import Frozen, Quantizer
from workbench.quantizers.bias import Bias
from workbench.quantizers.codes import Codes
from workbench.quantizers.registry import QUANTIZERS, spelling
from workbench.quantizers.registry import make as make_quantizer
from workbench.quantizers.shared import Shared

Make = Callable[[Site], Quantizer]

#: key of a stored grid, where codes lie on another than was asked for; and what it says
GRID = "grid"
#: group of keys of sites whose bits were chosen by learning, not asked for
BITS = "bits"
_GRID_FIELDS = ("bits", "signed", "symmetric", "narrow", "label")


def uniform(site: Site) -> Quantizer:
    """The plain quantizer that every site starts with."""
    return QUANTIZERS["uniform" if site.grid.uniform else "table"].make(site.grid, site.shape)


class QuantizedGraph(nn.Module):
    """A copy of `graph.module` with a quantizer on every site; its parameters are its own.

    Args:
        graph: the float graph; it is left untouched.
        sites: where quantizers sit, as a target gave them.
        make: builds the quantizer of a weight or activation site.

    Attributes:
        sites: by name, with the grids that the quantizers on them have now.
        asked: the grids that were asked for, or that `regrid` has put in their place; some
            quantizers have codes of their own instead.
        first: the grids that were asked for when it was made.
    """

    def __init__(self, graph: Graph, sites: Sequence[Site], make: Make = uniform) -> None:
        super().__init__()
        self.graph = graph
        self.sites = {site.name: site for site in sites}
        self.asked = {site.name: site.grid for site in sites}
        self.first = dict(self.asked)
        self.module = copy.deepcopy(graph.module)
        self._keys = {name: f"quantizer_{index}" for index, name in enumerate(self.sites)}
        for site in sorted(sites, key=_dependence):  # a follower needs its leader
            self.module.add_submodule(self._keys[site.name], self._built(site, make))
        self._insert(sites)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the simulated graph, in the order of the ONNX outputs."""
        return self.module(*inputs)

    def quantizer(self, site: str) -> Quantizer:
        """The quantizer on a site."""
        found = self.module.get_submodule(self._keys[site])
        assert isinstance(found, Quantizer)
        return found

    def set_quantizer(self, site: str, quantizer: Quantizer) -> None:
        """Put another quantizer on a site; biases and sites that depend on it follow.

        On a site that shares, it goes to the one that leads the group.

        Raises:
            RecipeError: codes for a site whose quantizer has brought levels of its own.
        """
        site = self.sites[site].shares or site
        before, label = self.quantizer(site), self.sites[site].grid.label
        brought = before.grid != self.asked[site] and not isinstance(before, Codes)
        if label and brought and isinstance(quantizer, Codes):
            raise RecipeError(
                f"'{site}' has been trained on '{label}' levels, which rounding methods do not"
                " know; let the stage that trained it be the last one"
            )
        quantizer.enabled = before.enabled
        setattr(self.module, self._keys[site], quantizer)
        if quantizer.grid != self.sites[site].grid:
            self.sites[site] = replace(self.sites[site], grid=quantizer.grid)
        for name, other in self.sites.items():
            follower = self.quantizer(name)
            if isinstance(follower, Bias):
                follower.follow(*self._meeting(other))
            elif isinstance(follower, Shared) and other.shares == site:
                follower.follow(quantizer)

    def regrid(self, site: str, bits: int) -> None:
        """Ask for other bits on a site, as where they are learned; a plain quantizer is put there.

        It covers what the one before covered. On a site that shares, the whole group changes.

        Raises:
            RecipeError: a bias, or levels that do not come in so many bits.
        """
        site = self.sites[site].shares or site
        before = self.quantizer(site)
        if isinstance(before, Bias) or before.form:
            raise RecipeError(f"'{site}' has no bits to choose; choose those of other sites")
        for name, other in self.sites.items():
            if site in (name, other.shares):
                grid = self.asked[name].with_bits(bits)
                self.asked[name], self.sites[name] = grid, replace(other, grid=grid)
                self.quantizer(name).grid = grid if other.shares else before.grid
        plain = uniform(self.sites[site])
        if plain.grid.uniform and before.grid.uniform:
            plain.set_affine(*over_range(*before.affine(), before.grid, plain.grid))
        else:
            plain.set_range(-before.reach(), before.reach())
        self.set_quantizer(site, plain)

    def weight(self, site: str) -> nn.Parameter:
        """The float parameter behind a weight or bias site."""
        return self.parameter(self.sites[site].tensor)

    def parameter(self, initializer: str) -> nn.Parameter:
        """The float parameter that an ONNX initializer became."""
        return self.module.get_parameter(self.graph.attribute_of[initializer])

    def original(self, site: str) -> Tensor:
        """The float parameter of a weight or bias site as it was before all learning."""
        return self.graph.parameter(self.sites[site].tensor)

    def of_kind(self, kind: str) -> list[Site]:
        """The sites of one kind, in the order of the graph."""
        return [site for site in self.sites.values() if site.kind == kind]

    def joined(self) -> dict[str, tuple[str, ...]]:
        """Sites that lead a group -> tensors of the group whose values are not all the leader's.

        Behind a pool or a reshape there is nothing new, but a Concat brings several tensors
        together: their common range has to be known before the first of them is quantized.
        """
        groups: dict[str, list[Site]] = {}
        for site in self.sites.values():
            if site.kind == "activation":
                groups.setdefault(site.shares or site.name, []).append(site)
        makers = {out.name: node for node in self.graph.model.graph for out in node.outputs}
        found = {}
        for leader, members in groups.items():
            tensors = tuple(site.tensor for site in members)
            others = (makers.get(name) for name in tensors if name != self.sites[leader].tensor)
            if any(_brings_new(maker, tensors) for maker in others):
                found[leader] = tensors
        return found

    def enable(self, wanted: Callable[[Site], bool]) -> None:
        """Switch each site's quantizer on or off."""
        for name, site in self.sites.items():
            self.quantizer(name).enabled = wanted(site)

    def frozen(self) -> dict[str, Frozen]:
        """Exactly what is exported, for every site."""
        ordered = sorted(self.sites.items(), key=lambda item: _dependence(item[1]))
        found = {name: self._frozen(site) for name, site in ordered}
        return {name: found[name] for name in self.sites}

    def float_parameters(self) -> dict[str, Tensor]:
        """Current values of the float initializers, by ONNX name."""
        held = dict(self.module.named_parameters())
        table = self.graph.attribute_of
        return {name: held[path].detach() for name, path in table.items() if path in held}

    def state(self) -> dict[str, Tensor]:
        """Everything that learning may have changed, as flat tensors.

        Keys are `quantizer/<kind>/<site>/<tensor>` and `parameter/<initializer>`; only parameters
        that differ from the float graph are kept. Options stand behind the kind. Where bits were
        chosen, they are in `bits/<site>`.
        """
        tensors = {f"{BITS}/{name}": torch.tensor(bits) for name, bits in self._chosen().items()}
        for name, site in self.sites.items():
            if site.kind == "bias" or site.shares is not None:
                continue
            quantizer = self.quantizer(name)
            for key, value in quantizer.state_dict().items():
                small = value.to(torch.int16) if key == "chosen" else value.clone()
                tensors[f"quantizer/{spelling(quantizer)}/{name}/{key}"] = small.detach()
            if isinstance(quantizer, Codes) and quantizer.grid != self.asked[name]:
                tensors[f"quantizer/{spelling(quantizer)}/{name}/{GRID}"] = _stored(quantizer.grid)
        original = dict(self.graph.module.named_parameters())
        for name, value in self.float_parameters().items():
            if not torch.equal(value, original[self.graph.attribute_of[name]]):
                tensors[f"parameter/{name}"] = value.clone()
        return tensors

    @torch.no_grad()
    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state` gave, with the kinds of quantizer it names; sites must be the same.

        Raises:
            RunError: a tensor belongs to no site of this graph, or does not fit there.
        """
        try:
            self._restore(tensors)
        except (KeyError, AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise RunError(
                f"the stored state does not fit this graph ({error}); use its own recipe"
            ) from None

    @torch.no_grad()
    def load_part(
        self, tensors: Mapping[str, Tensor], sites: Collection[str], parameters: Collection[str]
    ) -> None:
        """Restore what `state` gave of some sites and initializers; the others stay as they are.

        Raises:
            RunError: a tensor does not fit its site.
        """
        original = dict(self.graph.module.named_parameters())
        for name in parameters:
            stored = tensors.get(f"parameter/{name}")
            known = original[self.graph.attribute_of[name]] if stored is None else stored
            self.parameter(name).copy_(known)
        own = {k: v for k, v in tensors.items() if k.startswith("quantizer/")}
        self.load_state({k: v for k, v in own.items() if _site_of(k) in sites})

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        start = f"{BITS}/"
        self._choose({k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)})
        grouped: dict[tuple[str, str], dict[str, Tensor]] = {}
        for key, value in tensors.items():
            group, _, rest = key.partition("/")
            if group == "parameter":
                self.parameter(rest).copy_(value)
                continue
            if group == BITS:
                continue
            kind, _, place = rest.partition("/")
            site, _, tensor = place.rpartition("/")
            if site not in self.sites:
                raise RunError(
                    f"stored quantizer '{site}' is not in this graph; use its own recipe"
                )
            grouped.setdefault((kind, site), {})[tensor] = value
        for (kind, name), state in grouped.items():
            grid = _with_stored(self.asked[name], state.pop(GRID, None))
            quantizer = make_quantizer(kind, grid, self.sites[name].shape)
            quantizer.load_state_dict(state)
            self.set_quantizer(name, quantizer)

    def _chosen(self) -> dict[str, int]:
        """Bits by site, where they are not those that the graph was made with."""
        own = (name for name, site in self.sites.items() if site.shares is None)
        now = {name: self.asked[name].bits for name in own}
        return {name: bits for name, bits in now.items() if bits != self.first[name].bits}

    def _choose(self, stored: Mapping[str, Tensor]) -> None:
        """Ask for stored bits, and for the first ones where none are stored."""
        wanted = {name: self.first[name].bits for name in self._chosen()}
        wanted |= {name: int(value) for name, value in stored.items()}
        for name, bits in wanted.items():
            if self.asked[name].bits != bits:
                self.regrid(name, bits)

    def _built(self, site: Site, make: Make) -> Quantizer:
        if site.kind == "bias":
            return Bias(site.grid, site.shape, *self._meeting(site))
        if site.shares is not None:
            return Shared(site.grid, site.shape, self.quantizer(site.shares))
        return make(site)

    def _frozen(self, site: Site) -> Frozen:
        stored = None if site.kind == "activation" else self.weight(site.name).detach()
        return self.quantizer(site.name).frozen(stored)

    def _meeting(self, bias: Site) -> tuple[Quantizer, Quantizer]:
        """The quantizers of the data and of the weight that a bias is added to."""
        node = bias.edges[0][0]
        data = self._reader(node, 0)
        weight = self._reader(node, 1)
        return self.quantizer(data), self.quantizer(weight)

    def _reader(self, node: str, index: int) -> str:
        return next(n for n, s in self.sites.items() if (node, index) in s.edges)

    def _insert(self, sites: Iterable[Site]) -> None:
        """Rewire each site's edges through its quantizer."""
        values = value_nodes(self.module) | _initializers(self.module)
        readers = calls(self.module)
        graph = self.module.graph
        for site in sites:
            source = values[site.tensor]
            behind, before = graph.inserting_after, graph.inserting_before
            bias = site.kind == "bias"  # which follows what its weight's quantizer has found
            with before(readers[site.edges[0][0]]) if bias else behind(_after(source)):
                inserted = graph.call_module(self._keys[site.name], (source,))
            inserted.meta["site"] = site.name
            for node, index in site.edges:
                reader = readers[node]
                args = list(reader.args)
                args[index] = inserted
                reader.args = tuple(args)
        graph.lint()
        self.module.recompile()


def _site_of(key: str) -> str:
    """The site that a stored tensor of a quantizer belongs to."""
    return key.split("/", 2)[2].rpartition("/")[0]


def _dependence(site: Site) -> int:
    """Sites that stand alone, those that share with one, biases that meet both."""
    return 2 if site.kind == "bias" else int(site.shares is not None)


def _brings_new(maker: ir.Node | None, group: Collection[str]) -> bool:
    """True for a tensor that is not computed from others of its group."""
    return maker is None or not any(v is not None and v.name in group for v in maker.inputs)


def _after(source: fx.Node) -> fx.Node:
    """Where to insert what reads `source`: never among the placeholders."""
    while source.op == "placeholder" and source.next.op == "placeholder":
        source = source.next
    return source


def _initializers(module: fx.GraphModule) -> dict[str, fx.Node]:
    """Initializer name -> the fx node that fetches it."""
    nodes = module.graph.nodes
    return {n.meta["onnx_initializer"]: n for n in nodes if "onnx_initializer" in n.meta}


def _stored(grid: Grid) -> Tensor:
    """What distinguishes a grid from another at the same place, as bytes."""
    fields = {name: getattr(grid, name) for name in _GRID_FIELDS}
    return torch.tensor(list(json.dumps(fields).encode()), dtype=torch.uint8)


def _with_stored(grid: Grid, stored: Tensor | None) -> Grid:
    """The inverse of `_stored`, given the grid that was asked for."""
    return grid if stored is None else replace(grid, **json.loads(bytes(stored.tolist())))
