"""The damage of each site or layer, measured: it alone quantized, and everything quantized but it.

Each measurement runs only what lies downstream of it, on values that are held for one batch:
those of the float network, then those of the quantized one. What was measured is kept in a ledger,
batch by batch, under the digest of all that it follows from: it can be stopped at any time and goes
on later, and where other sites have changed since, only what those reach is measured again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

from torch import Tensor

from workbench.analysis.damage import Answer, OutputSums
from workbench.analysis.digests import Digests
from workbench.analysis.ledger import Ledger, digest_tensors, digest_text
from workbench.analysis.partial import (
    FLOAT,
    PartialNetwork,
    Setting,
    everything,
    output_node,
)
from workbench.analysis.progress import Progress
from workbench.graph.quantized import QuantizedGraph

Batch = tuple[tuple[Tensor, ...], Tensor | None]


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
        self._keys = [
            digest_text(digest_tensors((*inputs, labels)), str(answer))
            for inputs, labels in self._batches
        ]
        digests, last = Digests(model), output_node(model.module)
        self._found = {
            base: {setting: digests.of(setting)[last] for setting in self._changes(base)}
            for base in (FLOAT, self._everything)
        }

    def __iter__(self) -> Iterator[Progress]:
        progress = Progress(2 * (len(self._settings) + 1) * len(self._batches))
        for batch, key in zip(self._batches, self._keys, strict=True):
            for base, found in self._found.items():
                missing = {
                    f"{key}/{digest}": setting
                    for setting, digest in found.items()
                    if f"{key}/{digest}" not in self._ledger
                }
                known = len(self._settings) + 1 - len(missing)
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
        alone, cured = self._found.values()
        whole = self._everything
        return Measured(
            self._summed(alone[FLOAT]),
            self._summed(cured[whole]),
            {name: self._summed(alone[own]) for name, own in self._settings.items()},
            {name: self._summed(cured[whole - own]) for name, own in self._settings.items()},
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
        digests = [digest for found in self._found.values() for digest in found.values()]
        return (f"{key}/{digest}" for key in self._keys for digest in digests)

    def _summed(self, digest: str) -> OutputSums:
        found = OutputSums()
        for key in self._keys:
            found += OutputSums.of_record(self._ledger[f"{key}/{digest}"])
        return found
