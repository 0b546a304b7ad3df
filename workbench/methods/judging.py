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
from workbench.methods.readings import distance, gathered, latent, of_network, spread
from workbench.methods.trainable import Trainable

SIZE = 256  # examples at once


class Judge:
    """Judges on held-out examples, and reads the sites.

    Args:
        model, trainable: in training.
        shown: examples to look at activations with, where none judge.
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
        values: dict[str, float] = {}
        sites, norms = of_network(self._model, lambda: values.update(self._forward()))
        for name, found in tracked.items():
            weight, quantizer = self._model.weight(name), self._model.quantizer(name)
            original = self._model.original(name)
            more = {**found, **spread(quantizer, weight), "moved": distance(weight, original)}
            counts = {**sites[name].counts, "latent": latent(quantizer, weight)}
            sites[name] = replace(sites[name], values={**sites[name].values, **more}, counts=counts)
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
            loss, logits = self._answer(lesson)
            answers = lesson.answers
            answers = self._trainable.teacher(lesson.inputs)[0] if answers is None else answers
            total += loss * len(logits)
            alike += agreement(answers, logits) * len(logits)
            count += len(logits)
            hits, judged = _right(logits, lesson.labels)
            right, scored = right + hits, scored + judged
        found = {"held_out": total / count, "agreement": alike / count}
        return found | ({"score": right / scored} if scored else {})

    def _forward(self) -> dict[str, float]:
        """Send examples through, those that judge where there are any; what they say."""
        if self._held is None:
            self._model(*self._shown.inputs)
        return self.judge()

    def _answer(self, lesson: Lesson) -> tuple[float, Tensor]:
        parts = self._trainable.parts
        loss, logits = self._trainable.with_logits(lesson)
        self._trainable.parts = parts
        return float(loss), logits


def _right(logits: Tensor, labels: Tensor | None) -> tuple[float, float]:
    """(hits, judged) of the top predictions."""
    if labels is None:
        return 0.0, 0.0
    known = labels != NO_LABEL
    hits = (logits.argmax(-1) == labels) & known
    return float(hits.sum()), float(known.sum())
