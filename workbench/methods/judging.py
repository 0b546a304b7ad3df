"""A network in training, looked at from outside: held-out examples, and what each site does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from workbench.graph.quantized import QuantizedGraph
from workbench.maths.metrics import agreement
from workbench.methods.base import SiteSignals
from workbench.methods.concerns import Watch
from workbench.methods.lessons import NO_LABEL, Lesson, Lessons
from workbench.methods.readings import distance, gathered, of_network, spread
from workbench.methods.trainable import Trainable

SIZE = 256  # examples at once


class Judge:
    """Judges on held-out examples, and reads the sites.

    Args:
        model, trainable: in training.
        shown: examples to look at activations with.
        held: that judge; None where there are too few.
    """

    def __init__(
        self, model: QuantizedGraph, trainable: Trainable, shown: Lesson, held: Lessons | None
    ) -> None:
        self._model = model
        self._trainable = trainable
        self._shown = shown
        self._held = held
        self._sizes = {s.name: model.weight(s.name).numel() for s in model.of_kind("weight")}

    def look(
        self, tracked: Mapping[str, Mapping[str, float]], watch: Watch
    ) -> tuple[dict[str, float], dict[str, SiteSignals], dict[str, tuple[int, ...]]]:
        """(values, sites, counts) of now.

        Args:
            tracked: readings of the weights' codes.
            watch: is shown the gradients.
        """
        values = self.judge()
        sites, norms = of_network(self._model, lambda: self._model(*self._shown.inputs))
        for name, found in tracked.items():
            weight, quantizer = self._model.weight(name), self._model.quantizer(name)
            original = self._model.original(name)
            more = {**found, **spread(quantizer, weight), "moved": distance(weight, original)}
            sites[name] = replace(sites[name], values={**sites[name].values, **more})
        watch.gradients(norms)
        means, counts = gathered(sites, self._sizes)
        return {**means, **values}, sites, counts

    @torch.no_grad()
    def judge(self) -> dict[str, float]:
        """Held-out loss, agreement with the teacher, and the score where there are labels."""
        if self._held is None:
            return {}
        total = alike = right = count = scored = 0.0
        for lesson in self._held.batches(SIZE):
            logits = self._trainable(*lesson.inputs)[0]
            answers = lesson.answers
            answers = self._trainable.teacher(lesson.inputs)[0] if answers is None else answers
            total += self._loss(lesson) * len(logits)
            alike += agreement(answers, logits) * len(logits)
            count += len(logits)
            hits, judged = _right(logits, lesson.labels)
            right, scored = right + hits, scored + judged
        found = {"held_out": total / count, "agreement": alike / count}
        return found | ({"score": right / scored} if scored else {})

    def _loss(self, lesson: Lesson) -> float:
        parts = self._trainable.parts
        loss = float(self._trainable.of(lesson))
        self._trainable.parts = parts
        return loss


def _right(logits: Tensor, labels: Tensor | None) -> tuple[float, float]:
    """(hits, judged) of the top predictions."""
    if labels is None:
        return 0.0, 0.0
    known = labels != NO_LABEL
    hits = (logits.argmax(-1) == labels) & known
    return float(hits.sum()), float(known.sum())
