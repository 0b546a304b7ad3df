"""An exported file read back: its float graph, and every quantizer just as it was written.

The QDQ nodes are taken out and their readers get the float tensors again. Weights become what their
codes stand for, since the float weights are not in the file; places and grids come from the file's
metadata, and scales, zero-points, codes and tables from its tensors. What is restored computes bit
for bit what was exported, and exports to the same file again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from workbench.deploy import metadata as meta
from workbench.deploy import own_levels
from workbench.deploy.pack import FLOAT8
from workbench.foundation.errors import ModelError, WorkbenchError
from workbench.graph.build import Graph, build
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.graph.tensors import add_initializer
from workbench.maths.grid import Grid
from workbench.maths.levels import nearest_level
from workbench.quantizers.base import Frozen, Quantizer
from workbench.quantizers.codes import Codes
from workbench.quantizers.own_levels import OwnLevels
from workbench.quantizers.registry import QUANTIZERS

#: what `writer` and `lookup` add for a tensor, readers before what they read
_NODES = ("__dq", "__scales", "__level", *own_levels.NODES, "__q_wide", "__clip")
ANY_GRID = Grid(1)
_TENSORS = ("__q", "__zero_point", "__low", "__high", "__groups", *own_levels.TENSORS)


@dataclass(frozen=True)
class Restored:
    """What an exported file holds.

    Attributes:
        model: the float graph; quantized weights are those that the codes stand for.
        sites, frozen: the quantizers' places and values, by name.
        floats: float initializers that learning had changed.
        metadata: all of the file's entries.
    """

    model: ir.Model
    sites: Mapping[str, Site]
    frozen: Mapping[str, Frozen]
    floats: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    def quantized(self, graph: Graph | None = None) -> QuantizedGraph:
        """The simulation of the file, on its own float graph or on an equal one."""
        graph = build(self.model) if graph is None else graph
        return self.fill(QuantizedGraph(graph, list(self.sites.values())))

    @torch.no_grad()
    def fill(self, model: QuantizedGraph) -> QuantizedGraph:
        """Give `model` the file's quantizers and changed float values, in place.

        Raises:
            ModelError: its sites are not the file's.
        """
        ours, theirs = _places(model.sites), _places(self.sites)
        if ours != theirs:
            odd = sorted(set(ours.items()) ^ set(theirs.items()), key=str)[0][0]
            raise ModelError(
                f"the float model leads to other quantizers than the file has, at '{odd}'; open"
                " the file without it"
            )
        for name, value in self.floats.items():
            model.parameter(name).copy_(value)
        for name, site in model.sites.items():
            frozen = self.frozen[name]
            if frozen.form:
                model.set_quantizer(name, _form(site, frozen.form, frozen.held))
            elif site.kind == "activation":
                model.quantizer(name).set_affine(frozen.scale, frozen.zero_point.float())
            else:
                model.set_quantizer(name, _codes(site, frozen))
        return model.eval()


def _places(sites: Mapping[str, Site]) -> dict[str, Site]:
    """The sites; weights without their grids, since a quantizer may have had one of its own."""
    return {
        name: replace(site, grid=ANY_GRID) if site.kind == "weight" else site
        for name, site in sites.items()
    }


def is_exported(model: ir.Model) -> bool:
    """True for a file that `export` wrote."""
    return meta.SITES in model.metadata_props


def restore(model: ir.Model) -> Restored:
    """Read an exported model, which is left untouched.

    Raises:
        ModelError: the metadata or the tensors do not fit each other.
    """
    model = model.clone()
    entries = dict(model.metadata_props)
    records = meta.parsed(entries, meta.SITES, [])
    sites = {site.name: site for site in map(meta.site_of, records)}
    reader = _Reader(model, meta.parsed(entries, meta.FORMS, {}))
    frozen = {name: reader.frozen(site) for name, site in sites.items()}
    for node in reversed(meta.parsed(entries, meta.REMOVED, [])):
        reader.put_back(node)
    for name, site in sites.items():
        reader.take_out(site, frozen[name])
    changed = [str(name) for name in meta.parsed(entries, meta.CHANGED, [])]
    floats = {name: reader.tensor(name) for name in changed}
    for key in [key for key in entries if key.startswith(meta.PREFIX)]:
        del model.metadata_props[key]
    return Restored(model, sites, frozen, floats, entries)


class _Reader:
    """Takes the quantizers out of a graph, one site after the other."""

    def __init__(self, model: ir.Model, forms: Mapping[str, object]) -> None:
        self.graph = model.graph
        self.forms = forms
        self.values = {str(v.name): v for node in self.graph for v in node.outputs}
        self.values |= {str(v.name): v for v in self.graph.inputs}
        self.values |= dict(self.graph.initializers)

    def frozen(self, site: Site) -> Frozen:
        """What the file holds for a site."""
        if site.name in self.forms:
            return self._own_levels(site, str(self.forms[site.name]))
        scale = self.tensor(f"{site.tensor}__scale").float()
        zero_name = f"{site.tensor}__zero_point"
        stored = zero_name in self.graph.initializers
        zero_point = self.tensor(zero_name) if stored else torch.zeros_like(scale)
        if site.kind == "activation":
            return Frozen(site.grid, scale, zero_point.to(torch.int32))
        shape = site.grid.granularity.shape(site.shape)
        levels, codes = None, self.tensor(f"{site.tensor}__q")
        if site.grid.table in FLOAT8:
            levels = site.grid.levels()
            codes = nearest_level(codes, levels)
        elif not site.grid.uniform:
            levels = self.tensor(f"{site.tensor}__levels")
        if scale.numel() != torch.Size(shape).numel() or codes.shape != torch.Size(site.shape):
            raise ModelError(f"the tensors of quantizer '{site.name}' do not fit; export it again")
        integers = codes.to(torch.int32)
        return Frozen(
            site.grid,
            scale.reshape(shape),
            zero_point.reshape(shape).to(torch.int32),
            integers,
            levels,
        )

    def _own_levels(self, site: Site, form: str) -> Frozen:
        """An activation with levels of its own."""
        try:
            made = QUANTIZERS[form].make(site.grid, site.shape)
            either = made.either if isinstance(made, OwnLevels) else frozenset[str]()
            names = {name: f"{site.tensor}__{name}" for name in (*made.state_dict(), *either)}
            lacking = {n for n in either if names[n] not in self.graph.initializers}
            held = {n: self.tensor(place) for n, place in names.items() if n not in lacking}
            return _form(site, form, held).frozen()
        except (WorkbenchError, RuntimeError) as error:
            raise ModelError(
                f"the quantizer '{site.name}' is not understood ({error}); export it again"
            ) from None

    def put_back(self, record: object) -> None:
        """Add a node that quantization had made superfluous, behind what it reads."""
        try:
            name, op, inputs, output = record  # type: ignore[misc]
            read = [self.values[value] if value else None for value in inputs]
            source = next(iter(read), None)
        except (TypeError, ValueError, KeyError):
            source, read, name, op, output = None, [], "", "", ""
        if source is None:
            raise ModelError("the file's metadata about removed nodes is damaged; export it again")
        node = ir.node(str(op), read, name=str(name))
        node.outputs[0].name = str(output)
        node.outputs[0].type, node.outputs[0].shape = source.type, source.shape
        self.values[str(output)] = node.outputs[0]
        producer = source.producer()
        if producer is None:
            self.graph.insert_before(self.graph[0], node)
        else:
            self.graph.insert_after(producer, node)

    def take_out(self, site: Site, frozen: Frozen) -> None:
        """Give the site's readers the float tensor, and remove what the writer had added."""
        if site.tensor not in self.values and frozen.codes is not None:
            value = add_initializer(self.graph, site.tensor, frozen.values())
            self.values[site.tensor] = value
        quantized = self._value(f"{site.tensor}__dq", site)
        quantized.replace_all_uses_with(self._value(site.tensor, site))
        for suffix in _NODES:
            value = self.values.get(site.tensor + suffix)
            node = None if value is None else value.producer()
            if node is not None:
                self.graph.remove(node, safe=True)
        for suffix in _TENSORS:
            self.graph.initializers.pop(site.tensor + suffix, None)

    def tensor(self, name: str) -> Tensor:
        """An initializer as float32 or int32."""
        value = self.graph.initializers.get(name)
        if value is None or value.const_value is None:
            raise ModelError(f"the file lacks the tensor '{name}'; export it again")
        array = value.const_value.numpy()
        integer = value.const_value.dtype.is_integer()
        return torch.from_numpy(np.array(array, dtype=np.int32 if integer else np.float32))

    def _value(self, name: str, site: Site) -> ir.Value:
        if name not in self.values:
            raise ModelError(f"the file lacks '{name}' of quantizer '{site.name}'; export it again")
        return self.values[name]


def _form(site: Site, form: str, held: Mapping[str, Tensor]) -> Quantizer:
    quantizer = QUANTIZERS[form].make(site.grid, site.shape)
    quantizer.load_state_dict(dict(held))
    return quantizer


def _codes(site: Site, frozen: Frozen) -> Codes:
    """Codes on the grid that the file says, which need not be the one that was asked for."""
    assert frozen.codes is not None
    chosen = Codes(frozen.grid, site.shape)
    chosen.set_affine(frozen.scale, frozen.zero_point.float())
    if frozen.levels is not None and chosen.levels is not None:
        chosen.levels.copy_(frozen.levels)
    chosen.set_codes(frozen.codes.float())
    return chosen
