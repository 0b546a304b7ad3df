"""Errors as sums that grow batch by batch: of a tensor inside, and of the network's answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn import functional

from workbench.graph.build import Graph
from workbench.maths.metrics import decibels
from workbench.signals.labels import NONE

TINY = 1e-30


class Sums:
    """Numbers that add up; subclasses are dataclasses of floats."""

    def __add__(self, other: Self) -> Self:
        mine, theirs = vars(self), vars(other)
        return type(self)(**{name: mine[name] + theirs[name] for name in mine})

    @classmethod
    def of_record(cls, record: Mapping[str, float]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        return cls(**{field.name: float(record[field.name]) for field in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class TensorSums(Sums):
    """A float tensor and its quantized version.

    Attributes:
        signal, power: sums of squares of the float and of the quantized tensor; noise: of their
            difference; product: sum of their products.
    """

    signal: float = 0.0
    power: float = 0.0
    noise: float = 0.0
    product: float = 0.0

    @classmethod
    def between(cls, reference: Tensor, value: Tensor) -> TensorSums:
        """Of one batch."""
        a, b = reference.detach(), value.detach()
        gap = a - b
        pairs = (a, a), (b, b), (gap, gap), (a, b)  # added up in 64 bits without a copy in them
        return cls(*(float((x * y).sum(dtype=torch.float64)) for x, y in pairs))

    @property
    def db(self) -> float:
        """Signal to quantization noise ratio."""
        return decibels(self.signal, self.noise)

    def record(self) -> dict[str, float]:
        """SQNR in dB, cosine in [-1, 1], and the relative error ‖a - b‖ / ‖a‖."""
        size = math.sqrt(self.signal * self.power)
        return {
            "sqnr_db": self.db,
            "cosine": self.product / size if size > TINY else float(self.noise <= TINY),
            "relative_l2": math.sqrt(self.noise / max(self.signal, TINY)),
        }


@dataclass(frozen=True)
class Answer:
    """What the first output of a network says.

    Attributes:
        kind: "classes" (logits or probabilities along the last axis) or "values".
        softmax: the network ends in a softmax, so that it gives probabilities.
    """

    kind: Literal["classes", "values"] = "classes"
    softmax: bool = False

    @classmethod
    def of(cls, graph: Graph) -> Answer:
        """By the shape of the first output and the node that makes it: maps are values."""
        output = graph.model.graph.outputs[0]
        maker = output.producer()
        if maker is not None and maker.op_type == "Softmax":
            return cls("classes", softmax=True)
        shape = tuple(output.shape or ())
        several = 2 <= len(shape) <= 3 and shape[-1] != 1
        return cls("classes" if several else "values")

    def scores(self, output: Tensor) -> Tensor:
        """Logits `(positions, classes)`, or values `(rows, size)`."""
        if self.kind == "values":
            return output.reshape(max(1, len(output)) if output.ndim else 1, -1)
        logits = output.clamp(min=TINY).log() if self.softmax else output
        return logits.reshape(-1, logits.shape[-1])

    def divergence(self, reference: Tensor, output: Tensor) -> Tensor:
        """Sum over positions, in nats, differentiable in `output`.

        That of values is ½ ‖Δz‖², of normal distributions of variance 1 around them.
        """
        wanted, got = self.scores(reference.detach().double()), self.scores(output.double())
        if self.kind == "values":
            return 0.5 * (wanted - got).square().sum()
        logs = functional.log_softmax(got, -1), functional.log_softmax(wanted, -1)
        return functional.kl_div(*logs, log_target=True, reduction="sum")


@dataclass(frozen=True)
class OutputSums(Sums):
    """The answer of a network beside that of the float one; of classes per position.

    Attributes:
        kl: divergence in nats; for values that of normal distributions of variance 1 around them,
            ½ ‖Δz‖².
        flips: positions whose best class is another one; positions: their number.
        loss: cross-entropy with the labels in nats; hits: right answers; labels: their number.
        signal, power, noise, product: as of a tensor.
    """

    kl: float = 0.0
    flips: float = 0.0
    positions: float = 0.0
    loss: float = 0.0
    hits: float = 0.0
    labels: float = 0.0
    signal: float = 0.0
    power: float = 0.0
    noise: float = 0.0
    product: float = 0.0

    @classmethod
    def between(
        cls, reference: Tensor, value: Tensor, labels: Tensor | None, answer: Answer
    ) -> OutputSums:
        """Of one batch.

        Args:
            reference, value: first outputs, float and quantized.
            labels: int64 classes of the leading shape, -100 where there is none.
            answer: what the outputs say.
        """
        sums = asdict(TensorSums.between(reference, value))
        kl = float(answer.divergence(reference, value.detach()))
        wanted, got = (answer.scores(x.detach().double()) for x in (reference, value))
        if answer.kind == "values":
            return cls(kl=kl, positions=len(wanted), **sums)
        flips = float((wanted.argmax(-1) != got.argmax(-1)).sum())
        judged = cls._judged(functional.log_softmax(got, -1), labels)
        return cls(kl=kl, flips=flips, positions=len(wanted), **judged, **sums)

    @staticmethod
    def _judged(logs: Tensor, labels: Tensor | None) -> dict[str, float]:
        if labels is None or labels.is_floating_point() or labels.numel() != len(logs):
            return {}
        known = labels.reshape(-1) != NONE
        rows, right = logs[known], labels.reshape(-1)[known].to(logs.device)
        loss = float(functional.nll_loss(rows, right, reduction="sum")) if len(rows) else 0.0
        hits = float((rows.argmax(-1) == right).sum())
        return {"loss": loss, "hits": hits, "labels": float(len(rows))}

    def record(self, answer: Answer, task: str = "classify") -> dict[str, float | None]:
        """Per position: KL, share of flips, loss and score; and SQNR, cosine, relative error.

        Args:
            answer: what the outputs say.
            task: "classify" has percent of right answers as its score, others bits for each label.
        """
        places, known = max(1.0, self.positions), self.labels > 0
        loss = self.loss / self.labels if known else None
        score = 100 * self.hits / self.labels if known else None
        if task != "classify" and loss is not None:
            score = loss / math.log(2)
        inner = TensorSums(self.signal, self.power, self.noise, self.product)
        return {
            "kl": self.kl / places,
            "flips": self.flips / places if answer.kind == "classes" else None,
            "loss": loss,
            "score": score,
            **inner.record(),
        }


def curvature_root(scores: Tensor, answer: Answer, chance: torch.Generator) -> Tensor:
    """A random u with mean zero and E[u uᵀ] = F, the Fisher information of the answer at `scores`.

    For classes F = diag(p) - p pᵀ of each row, for values the identity.

    Args:
        scores: as of `Answer.scores`.
        answer: what they say.
        chance: decides the signs.
    """
    signs = torch.randint(0, 2, scores.shape, generator=chance).to(scores) * 2 - 1
    if answer.kind == "values":
        return signs
    p = functional.softmax(scores.detach(), -1)
    spread = p.sqrt() * signs
    return spread - p * spread.sum(-1, keepdim=True)
