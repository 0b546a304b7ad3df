"""What a diagnosis saw, as plain records: one for each site, one for each layer, ranks compared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from workbench.analysis.damage import Answer, OutputSums, TensorSums
from workbench.analysis.estimate import Estimated
from workbench.analysis.exact import Measured
from workbench.analysis.units import Unit
from workbench.maths.metrics import spearman, uniform_sqnr_db

LAYER = "layer/"


@dataclass(frozen=True)
class Seen:
    """All that was found, by split or by name.

    Attributes:
        answer, task: what the network's output says, and what its data are.
        estimated, measured: by split; None where not all was measured.
        floors: by ONNX name, float arithmetic against itself in 64 bits.
        expected: by site, SQNR in dB at its tensor as it is and as theory has it.
    """

    answer: Answer
    task: str
    estimated: Mapping[str, Estimated]
    measured: Mapping[str, Measured | None]
    floors: Mapping[str, TensorSums]
    expected: Mapping[str, tuple[float, float | None]]

    def outputs(self) -> dict[str, Any]:
        """By split, the answer of the float and of the quantized network."""
        found = self.estimated.items()
        return {
            "unquantized": {split: self._output(e.unquantized) for split, e in found},
            "quantized": {split: self._output(e.output) for split, e in found},
        }

    def site(self, unit: Unit) -> dict[str, Any]:
        """The record of a site; see `workbench.session.diagnosis.SiteDiagnosis`."""
        site, layer = unit.site, unit.layer
        place = layer.output if site.kind == "weight" and layer is not None else site.tensor
        own, theory = self.expected.get(unit.name, (None, None))
        return {
            "site": site.name,
            "kind": site.kind,
            "layer": site.layer,
            "op": layer.op if layer is not None else "",
            "tensor": site.tensor,
            "shape": list(site.shape),
            "readers": [node for node, _ in site.edges],
            "shares": site.shares,
            "bits": site.grid.bits,
            "grid": site.grid.describe(),
            "sqnr_db": own,
            "theory_db": theory,
            "uniform_db": uniform_sqnr_db(site.grid.bits),
            "floor_db": self.floor(place),
            **{split: self._of_site(split, unit.name) for split in self.estimated},
        }

    def layer(self, name: str, own: Sequence[Unit]) -> dict[str, Any]:
        """The record of a layer, its weights and what it reads together."""
        layer = next(u.layer for u in own if u.layer is not None and u.layer.name == name)
        return {
            "layer": name,
            "op": layer.op,
            "shape": list(layer.shape),
            "parameters": layer.parameters,
            "macs": layer.macs,
            "bits_weights": _bits(own, "weight"),
            "bits_activations": _bits(own, "activation"),
            "sites": [unit.name for unit in own],
            **{split: self._of_layer(split, name, own) for split in self.estimated},
        }

    def floor(self, tensor: str) -> float | None:
        """SQNR of float arithmetic at a tensor; None where it is not known."""
        found = self.floors.get(tensor)
        return None if found is None else found.db

    def _of_site(self, split: str, name: str) -> dict[str, Any]:
        found = self.estimated[split]
        return {
            "alone": found.alone[name].record(),
            "gathered": found.gathered[name].record(),
            "estimate": {"kl": found.kl({name}), "gain": found.gains[name]},
            "exact": self._exact(split, name),
            "damage_shares": found.channels.get(name, torch.zeros(0)).tolist(),
        }

    def _of_layer(self, split: str, name: str, own: Sequence[Unit]) -> dict[str, Any]:
        found, names = self.estimated[split], [unit.name for unit in own]
        gain = sum(found.gains[site] for site in names)
        return {
            "estimate": {"kl": found.kl(names), "gain": gain},
            "exact": self._exact(split, LAYER + name),
        }

    def _exact(self, split: str, name: str) -> dict[str, Any] | None:
        measured = self.measured[split]
        if measured is None:
            return None
        alone, cured = measured.alone[name], measured.cured[name]
        gain = (measured.output.kl - cured.kl) / max(1.0, cured.positions)
        return {"alone": self._output(alone), "cured": self._output(cured), "gain": gain}

    def _output(self, sums: OutputSums) -> dict[str, Any]:
        return sums.record(self.answer, self.task)


def ranks(
    split: str, sites: Sequence[dict[str, Any]], layers: Sequence[dict[str, Any]]
) -> dict[str, dict[str, float]] | None:
    """Rank correlation of the estimates with what was measured; None where not all was.

    Returns:
        For "sites", "weights", "activations" and "layers", of two or more each: Spearman's
        coefficient of the damage `alone`, and of the `gain` of leaving each float.
    """
    if any(record[split]["exact"] is None for record in (*sites, *layers)):
        return None
    groups = {
        "sites": sites,
        "weights": [site for site in sites if site["kind"] == "weight"],
        "activations": [site for site in sites if site["kind"] == "activation"],
        "layers": layers,
    }
    return {
        name: {
            "alone": _rank(split, records, lambda exact: exact["alone"]["kl"], "kl"),
            "gain": _rank(split, records, lambda exact: exact["gain"], "gain"),
        }
        for name, records in groups.items()
        if len(records) > 1
    }


def _rank(
    split: str, records: Collection[dict[str, Any]], read: Callable[[Any], float], key: str
) -> float:
    exact = [read(record[split]["exact"]) for record in records]
    guessed = [record[split]["estimate"][key] for record in records]
    return spearman(*(torch.tensor(x, dtype=torch.float64) for x in (guessed, exact)))


def _bits(own: Sequence[Unit], kind: str) -> int:
    return max((unit.site.grid.bits for unit in own if unit.site.kind == kind), default=0)
