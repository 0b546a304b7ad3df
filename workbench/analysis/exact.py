"""The damage of each site or layer, measured: it alone quantized, and everything quantized but it.

Each measurement runs only what lies downstream of it, on values that are held for one batch:
those of the float network, then those of the quantized one. What was measured is kept in a ledger,
batch by batch and site by site, so that it can be stopped at any time and goes on later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

from torch import Tensor

from workbench.analysis.damage import Answer, OutputSums
from workbench.analysis.ledger import Ledger, digest_tensors
from workbench.analysis.partial import FLOAT, PartialNetwork, Setting, everything
from workbench.analysis.progress import Progress
from workbench.graph.quantized import QuantizedGraph

Batch = tuple[tuple[Tensor, ...], Tensor | None]

ALONE, CURED = "alone", "cured"
_FLOAT, _ALL = "float", "all"


@dataclass(frozen=True)
class Measured:
    """What was measured on some data.

    Attributes:
        unquantized, output: answers of the float network, and of everything quantized.
        alone: by name, only it being quantized; cured: everything but it.
    """

    unquantized: OutputSums
    output: OutputSums
    alone: Mapping[str, OutputSums]
    cured: Mapping[str, OutputSums]


class Exact:
    """Measures all settings. Iterating yields `Progress`; `result` is there afterwards.

    Args:
        model: calibrated or learned.
        settings: by name, what is on alone and off alone.
        batches: inputs and labels (None where there are none).
        answer: what the first output says.
        ledger: what is known already, and where new measurements go.
    """

    def __init__(
        self,
        model: QuantizedGraph,
        settings: Mapping[str, Setting],
        batches: Iterable[Batch],
        answer: Answer,
        ledger: Ledger | None = None,
    ) -> None:
        self._model, self._settings, self._answer = model, dict(settings), answer
        self._batches = list(batches)
        self._ledger = Ledger() if ledger is None else ledger
        self._everything = everything(model)
        self._keys = [digest_tensors((*inputs, labels)) for inputs, labels in self._batches]

    def __iter__(self) -> Iterator[Progress]:
        progress = Progress(2 * (len(self._settings) + 1) * len(self._batches))
        for batch, key in zip(self._batches, self._keys, strict=True):
            for base, whole, way in ((FLOAT, _FLOAT, ALONE), (self._everything, _ALL, CURED)):
                wanted = [f"{key}/{whole}", *(f"{key}/{way}/{name}" for name in self._settings)]
                missing = {
                    entry: setting
                    for entry, setting in zip(wanted, self._changes(base), strict=True)
                    if entry not in self._ledger
                }
                known = len(wanted) - len(missing)
                yield progress.at(progress.step + known, progress.known + known)
                for _ in self._measure(batch, base, missing):
                    yield progress.at(progress.step + 1, progress.known)

    def _measure(
        self, batch: Batch, base: Setting, missing: Mapping[str, Setting]
    ) -> Iterator[None]:
        """What is not known yet of one batch, on the values of one base."""
        if not missing:
            return
        inputs, labels = batch
        network = PartialNetwork(self._model, inputs, base)
        reference = network.output({} if base == FLOAT else network.run(FLOAT))
        for entry, setting in missing.items():
            output = network.output(network.run(setting))
            sums = OutputSums.between(reference, output, labels, self._answer)
            self._ledger.put(entry, asdict(sums))
            yield

    @property
    def complete(self) -> bool:
        """Whether everything has been measured."""
        return all(entry in self._ledger for entry in self._entries())

    @property
    def result(self) -> Measured:
        """Sums over all batches."""
        return Measured(
            self._summed(_FLOAT),
            self._summed(_ALL),
            {name: self._summed(f"{ALONE}/{name}") for name in self._settings},
            {name: self._summed(f"{CURED}/{name}") for name in self._settings},
        )

    def run(self) -> Measured:
        """Measure everything and return it."""
        for _ in self:
            pass
        return self.result

    def _changes(self, base: Setting) -> list[Setting]:
        """The base itself, then what differs from it by each setting."""
        settings = self._settings.values()
        if base == FLOAT:
            return [base, *settings]
        return [base, *(base - setting for setting in settings)]

    def _entries(self) -> Iterator[str]:
        for key in self._keys:
            yield from (f"{key}/{_FLOAT}", f"{key}/{_ALL}")
            yield from (f"{key}/{way}/{name}" for way in (ALONE, CURED) for name in self._settings)

    def _summed(self, name: str) -> OutputSums:
        found = OutputSums()
        for key in self._keys:
            found += OutputSums.of_record(self._ledger[f"{key}/{name}"])
        return found
