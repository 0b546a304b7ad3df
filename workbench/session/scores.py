"""How good a model is, and how near to its float original: sums over held-out data, one pass.

With labels the score is top-1 accuracy in percent, for models of bytes or tokens bits for each, for
sentence encoders the rank correlation of cosines with what people judged. Agreement with the float
model (percent of equal top predictions), KL divergence and the SQNR of the outputs need no labels,
and are always there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from workbench.analysis.ledger import digest_tensors
from workbench.maths.metrics import agreement, decibels, kl_divergence, spearman
from workbench.session.data import Data, Task

Model = Callable[..., tuple[Tensor, ...]]

UNITS: dict[Task, tuple[str, str]] = {
    "classify": ("top-1", "%"),
    "bytes": ("bits/byte", "bits"),
    "tokens": ("bits/token", "bits"),
    "pairs": ("Spearman", ""),
    "none": ("agreement", "%"),
    "made": ("agreement on made examples", "%"),
}

#: bytes of answers that are worth keeping
MOST_KEPT = 256 * 2**20
#: metrics of which less is better
LOWER_IS_BETTER = frozenset({"bits/byte", "bits/token"})


class Remembered:
    """A model whose answers are kept, so that none is computed twice.

    Args:
        model: that answers.
        most: bytes that are kept; what is beyond them is computed each time.
    """

    def __init__(self, model: Model, most: int = MOST_KEPT) -> None:
        self._model = model
        self._left = most
        self._known: dict[str, tuple[Tensor, ...]] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As the model answers."""
        key = digest_tensors(inputs)
        if key in self._known:
            return self._known[key]
        answer = self._model(*inputs)
        size = sum(x.nbytes for x in answer)
        if size <= self._left:
            self._left -= size
            self._known[key] = answer
        return answer


class Tally:
    """Streaming sums for one candidate; memory does not grow with the data."""

    def __init__(self, task: Task) -> None:
        self._task: Task = task
        self._examples = 0
        self._positions = 0
        self._predictions = 0
        self._score = 0.0
        self._agreement = 0.0
        self._kl = 0.0
        self._signal = 0.0
        self._noise = 0.0
        self._pairs: list[tuple[Tensor, Tensor]] = []  # two numbers for each pair of sentences

    def add(
        self,
        reference: tuple[Tensor, ...],
        found: tuple[Tensor, ...],
        inputs: tuple[Tensor, ...],
        labels: Tensor | None,
    ) -> None:
        """Count one batch; the first output is the prediction, `(N, ..., classes)`."""
        self._fidelity(reference, found)
        logits = found[0]
        self._examples += len(logits)
        if self._task == "classify" and labels is not None:
            self._score += float((logits.argmax(-1) == labels.to(logits.device)).sum())
            self._predictions += len(labels)
        if self._task == "pairs" and labels is not None:
            cosines = functional.cosine_similarity(logits[0::2].double(), logits[1::2].double())
            self._pairs.append((cosines.cpu(), labels.double()))
        if self._task in ("bytes", "tokens"):
            tokens = inputs[0].to(logits.device).long()
            losses = functional.cross_entropy(
                logits[:, :-1].flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="sum"
            )
            self._score += float(losses) / math.log(2.0)
            self._predictions += tokens[:, 1:].numel()

    def record(self) -> dict[str, Any]:
        """Score and fidelity as plain JSON values."""
        metric, unit = UNITS[self._task]
        positions = max(1, self._positions)
        same = 100.0 * self._agreement / positions
        factor = 100.0 if self._task == "classify" else 1.0
        score = factor * self._score / max(1, self._predictions)
        if self._pairs:
            score = spearman(*(torch.cat(column) for column in zip(*self._pairs, strict=True)))
        return {
            "score": same if self._task in ("none", "made") else score,
            "metric": metric,
            "unit": unit,
            "agreement": same,
            "kl": self._kl / positions,
            "sqnr_db": decibels(self._signal, self._noise),
            "examples": self._examples,
        }

    def _fidelity(self, reference: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> None:
        for wanted, got in zip(reference, found, strict=True):
            if wanted.is_floating_point():
                exact = wanted.double()
                self._signal += float(exact.square().sum())
                self._noise += float((exact - got.to(exact)).square().sum())
        wanted, got = reference[0], found[0].to(reference[0])
        positions = math.prod(wanted.shape[:-1])
        self._positions += positions
        self._agreement += agreement(wanted, got) * positions
        self._kl += kl_divergence(wanted, got) * positions


class Comparison:
    """Scores a reference and its candidates side by side, one batch at a time.

    Args:
        reference, candidates: map inputs to a tuple of outputs.
        task: of the data.
    """

    def __init__(self, reference: Model, candidates: Mapping[str, Model], task: Task) -> None:
        self._reference = reference
        self._candidates = dict(candidates)
        self._tallies = {name: Tally(task) for name in ("float", *candidates)}
        self._equal = Tally(task)  # the file against its simulation
        self._predicted: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def add(self, inputs: tuple[Tensor, ...], labels: Tensor | None) -> None:
        """Count one batch."""
        wanted = self._reference(*inputs)
        self._tallies["float"].add(wanted, wanted, inputs, labels)
        given = {model: model(*inputs) for model in dict.fromkeys(self._candidates.values())}
        found = {name: given[model] for name, model in self._candidates.items()}
        for name, outputs in found.items():
            self._tallies[name].add(wanted, outputs, inputs, labels)
        self._note_predictions({"float": wanted, **found}, labels)
        if {"learned", "onnxruntime"} <= found.keys():
            self._equal.add(found["learned"], found["onnxruntime"], inputs, None)

    def predictions(self) -> dict[str, Tensor]:
        """The class of each example by candidate, "float" and (where there are any) "labels".

        Each (N,), in the order of the examples; {} where an example has more than one prediction.
        """
        return {name: torch.cat(pieces) for name, pieces in self._predicted.items()}

    def _note_predictions(
        self, found: Mapping[str, tuple[Tensor, ...]], labels: Tensor | None
    ) -> None:
        if any(outputs[0].ndim != 2 for outputs in found.values()):
            return
        for name, outputs in found.items():
            classes = outputs[0].argmax(-1).to("cpu", torch.int32)
            self._predicted.setdefault(name, []).append(classes)
        if labels is not None:
            self._predicted.setdefault("labels", []).append(labels.to("cpu", torch.int32))

    def records(self) -> dict[str, dict[str, Any]]:
        """By name; the reference itself is "float".

        "onnxruntime" also has `agreement_with_simulation`, percent of equal predictions.
        """
        records = {name: tally.record() for name, tally in self._tallies.items()}
        if "onnxruntime" in records:
            same = self._equal.record()["agreement"]
            records["onnxruntime"]["agreement_with_simulation"] = same
        return records


def compare(
    reference: Model,
    candidates: Mapping[str, Model],
    data: Data,
    size: int = 64,
    limit: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Records of the reference ("float") and of each candidate on the test split."""
    comparison = Comparison(reference, candidates, data.task)
    for inputs, labels in data.batches("test", size, limit):
        comparison.add(inputs, labels)
    return comparison.records()
