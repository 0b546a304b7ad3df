"""Learned equivalent scaling, LET (OmniQuant, Shao et al. 2024, arXiv:2308.13137).

    Y = X W + B  =  ((X - δ) ⊘ s) (s ⊙ W) + (B + δ W)

s and δ, one number for each channel, move together with whatever else learns in a unit: the gain
and offset of a normalization, or the layer before, take (X - δ) ⊘ s up, the layers that read X the
rest. Learning starts where SmoothQuant ends, s = max|X|^α / max|W|^(1-α) and δ = 0, so that ranges
are calibrated on what is left to refine; where X stays float it starts with s = 1. The paper starts
δ in the middle of each channel's range.

What is learned lies in the parameters of the simulation, which every step sets anew. Nothing of it
is left afterwards but other gains, offsets, weights and biases, and files hold them like others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workbench.graph.passes.linear import Linear
from workbench.graph.passes.scaling import Group, Part, groups
from workbench.graph.passes.smooth import smoothing
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.walk import UnitStop
from workbench.quantizers.clipping import Clipping
from workbench.quantizers.codes import Codes

OFFSET = 2  # input of a LayerNormalization


@dataclass(frozen=True)
class Shift:
    """What a group's δ changes: the offset of a normalization, and the readers' biases.

    Attributes:
        offset: its initializer.
        biases: initializer of each bias -> the weight that is multiplied, and its summed axis.
    """

    offset: str
    biases: Mapping[str, tuple[str, int]]


class Equivalent:
    """The factors and shifts of one unit, and the parameters as they make them.

    Attributes:
        parameters: log s of each group (from its start) and δ, by the tensor that is divided.
        paths: attributes of the module that change.

    Args:
        model: whose parameters are set; those of the unit begin smoothed.
        stop: the unit.
        alpha: of the start.
    """

    def __init__(self, model: QuantizedGraph, stop: UnitStop, alpha: float = 0.5) -> None:
        self._model = model
        found = _inside(model, stop)
        _smooth(model, stop, found, alpha)
        self._parts: dict[str, list[tuple[Part, str]]] = defaultdict(list)
        for group in found:
            for part in group.parts:
                self._parts[part.name].append((part, group.name))
        shifts = {group.name: _shift(group) for group in found}
        self._shifts = {name: shift for name, shift in shifts.items() if shift is not None}
        self._logs = {g.name: nn.Parameter(torch.zeros(g.channels)) for g in found}
        self._deltas = {g.name: nn.Parameter(torch.zeros(g.channels)) for g in found}
        names = {*self._parts, *(name for s in self._shifts.values() for name in s.biases)}
        self._base = {name: model.parameter(name).detach().clone() for name in names}
        self._names = {model.graph.attribute_of[name]: name for name in names}
        self._sites = {site.tensor: site.name for site in model.of_kind("weight")}

    @property
    def paths(self) -> tuple[str, ...]:
        """Attributes of the module that change."""
        return tuple(self._names)

    @property
    def parameters(self) -> dict[str, list[nn.Parameter]]:
        """What learns, by group."""
        found = {name: [log] for name, log in self._logs.items()}
        for name in self._shifts:
            found[name].append(self._deltas[name])
        return found

    def value(self, path: str) -> Tensor:
        """An attribute as the factors make it, differentiable; the module holds it from now on."""
        name = self._names[path]
        value = self._base[name]
        for group, shift in self._shifts.items():
            value = self._shifted(name, value, shift, self._deltas[group])
        for part, group in self._parts[name]:
            value = part.scaled(value, self._logs[group].exp())
        self._model.parameter(name).data.copy_(value.detach())
        learner = self._model.quantizer(self._sites[name]) if name in self._sites else None
        if isinstance(learner, Clipping):
            learner.follow(value.detach())
        return value

    @torch.no_grad()
    def settle(self) -> None:
        """Bring all attributes up to date."""
        for path in self.paths:
            self.value(path)

    def _shifted(self, name: str, value: Tensor, shift: Shift, delta: Tensor) -> Tensor:
        if name == shift.offset:
            return value - delta
        if name not in shift.biases:
            return value
        weight, axis = shift.biases[name]
        return value + self._base[weight].movedim(axis, -1) @ delta


def _inside(model: QuantizedGraph, stop: UnitStop) -> list[Group]:
    """The groups that lie in the unit with all their constants, none of which others read."""
    held = {site.tensor: model.quantizer(site.name) for site in model.of_kind("weight")}
    return [
        group
        for group in groups(model.graph.model.graph)
        if group.folds
        and all(str(part.node.name) in stop.unit.nodes for part in group.parts)
        and not any(part.shared or isinstance(held.get(part.name), Codes) for part in group.parts)
        and any(part.name in held for part in group.parts)
    ]


@torch.no_grad()
def _smooth(model: QuantizedGraph, stop: UnitStop, found: Sequence[Group], alpha: float) -> None:
    """Put the factors that learning starts from into the parameters.

    A tensor that stays float has no range to share with the weights, and starts with 1.
    """
    quantized = {site.tensor for site in stop.sites()}
    begun = [group for group in found if group.name in quantized]
    peaks = {group.name: torch.zeros(group.channels) for group in begun}
    for batch in range(stop.count if begun else 0):
        values = stop.inner(stop.inputs(batch)[0], list(peaks))
        for group, value in zip(begun, values, strict=True):
            seen = value.movedim(group.axis, -1).flatten(0, -2).abs().amax(0)
            peaks[group.name] = torch.maximum(peaks[group.name], seen)
    starts = {g.name: smoothing(peaks[g.name], g.input_ranges(), alpha) for g in begun}
    for group in begun:
        for part in group.parts:
            parameter = model.parameter(part.name)
            parameter.copy_(part.scaled(parameter, starts[group.name]))


def _shift(group: Group) -> Shift | None:
    """Where δ goes; None without an offset before the readers, or a bias of each reader's own."""
    offset = [part for part in group.parts if part.inverse and part.index == OFFSET]
    normalized = all(p.node.op_type == "LayerNormalization" for p in group.parts if p.inverse)
    biases = [_bias(layer) for layer in group.readers]
    if not offset or not normalized or None in biases:
        return None
    return Shift(offset[0].name, dict(found for found in biases if found is not None))


def _bias(layer: Linear) -> tuple[str, tuple[str, int]] | None:
    """A reader's bias, its weight and the axis of that which is summed."""
    node, place = layer.node, layer.bias_place
    value = None if place is None else place[0].inputs[place[1]]
    if value is None or value.shape != (layer.outputs,) or len(value.uses()) > 1:
        return None
    attributes = node.attributes
    plain = all(attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    if node.op_type not in ("MatMul", "Gemm") or layer.weight_index != 1 or not plain:
        return None
    weight = str(node.inputs[1].name)  # type: ignore[union-attr]
    return str(value.name), (weight, attributes.get_int("transB", 0))
