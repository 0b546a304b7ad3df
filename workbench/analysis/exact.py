"""The damage of each site, measured: it alone quantized, and everything quantized but it.

Each measurement runs only what lies downstream of the site, on values that are held for one batch:
those of the float network, then those of the quantized one. What was measured is kept in a ledger,
batch by batch and site by site, so that it can be stopped at any time and goes on later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from torch import Tensor

from workbench.analysis.damage import Answer, OutputSums
from workbench.analysis.ledger import Ledger, digest_tensors
from workbench.analysis.partial import FLOAT, PartialNetwork, Setting, everything
from workbench.analysis.progress import Progress
from workbench.analysis.units import Unit
from workbench.graph.quantized import QuantizedGraph

Batch = tuple[tuple[Tensor, ...], Tensor | None]

ALONE, CURED = "alone", "cured"
_FLOAT, _ALL = "float", "all"


@dataclass(frozen=True)
class Measured:
    """What was measured on some data.

    Attributes:
        unquantized, output: answers of the float network, and of everything quantized.
        alone: by site, only it being quantized; cured: everything but it.
    """

    unquantized: OutputSums
    output: OutputSums
    alone: Mapping[str, OutputSums]
    cured: Mapping[str, OutputSums]


class Exact:
    """Measures all sites. Iterating yields `Progress`; `result` is there afterwards.

    Args:
        model: calibrated or learned.
        units: its sites.
        batches: inputs and labels (None where there are none).
        answer: what the first output says.
        ledger: what is known already, and where new measurements go.
    """

    def __init__(
        self,
        model: QuantizedGraph,
        units: Sequence[Unit],
        batches: Iterable[Batch],
        answer: Answer,
        ledger: Ledger | None = None,
    ) -> None:
        self._model, self._units, self._answer = model, list(units), answer
        self._batches = list(batches)
        self._ledger = Ledger() if ledger is None else ledger
        self._everything = everything(model)
        self._keys = [digest_tensors((*inputs, labels)) for inputs, labels in self._batches]

    def __iter__(self) -> Iterator[Progress]:
        progress = Progress(2 * (len(self._units) + 1) * len(self._batches))
        for (inputs, labels), key in zip(self._batches, self._keys, strict=True):
            reference: Tensor | None = None
            for base, whole, name in (
                (FLOAT, _FLOAT, ALONE), (self._everything, _ALL, CURED)
            ):  # fmt: skip
                wanted = [f"{key}/{whole}", *(f"{key}/{name}/{u.name}" for u in self._units)]
                known = sum(entry in self._ledger for entry in wanted)
                yield progress.at(progress.step + known, progress.known + known)
                if known == len(wanted):
                    continue
                if reference is None and base != FLOAT:
                    reference = PartialNetwork(self._model, inputs).output({})
                network = PartialNetwork(self._model, inputs, base)
                reference = network.output({}) if reference is None else reference
                for entry, setting in zip(wanted, self._settings(base), strict=True):
                    if entry not in self._ledger:
                        output = network.output(network.run(setting))
                        sums = OutputSums.between(reference, output, labels, self._answer)
                        self._ledger.put(entry, {"output": asdict(sums)})
                        yield progress.at(progress.step + 1, progress.known)

    @property
    def complete(self) -> bool:
        """Whether everything has been measured."""
        return all(entry in self._ledger for entry in self._entries())

    @property
    def result(self) -> Measured:
        """Sums over all batches."""
        sites = [unit.name for unit in self._units]
        return Measured(
            self._summed(_FLOAT),
            self._summed(_ALL),
            {name: self._summed(f"{ALONE}/{name}") for name in sites},
            {name: self._summed(f"{CURED}/{name}") for name in sites},
        )

    def run(self) -> Measured:
        """Measure everything and return it."""
        for _ in self:
            pass
        return self.result

    def _settings(self, base: Setting) -> list[Setting]:
        """The base itself, then what differs from it for each site."""
        if base == FLOAT:
            return [base, *(unit.setting for unit in self._units)]
        return [base, *(base - unit.setting for unit in self._units)]

    def _entries(self) -> Iterator[str]:
        for key in self._keys:
            yield from (f"{key}/{_FLOAT}", f"{key}/{_ALL}")
            yield from (f"{key}/{way}/{u.name}" for way in (ALONE, CURED) for u in self._units)

    def _summed(self, name: str) -> OutputSums:
        found = OutputSums()
        for key in self._keys:
            found += OutputSums.of_record(self._ledger[f"{key}/{name}"]["output"])
        return found
