"""A quantized network that trains: its loss, its parameters by kind, and what it is taught by.

Any training loop can use it: `forward` is the simulation, `loss` carries the signals of a plan
(labels, the teacher's answers, features, regularisers), and `groups` has the parameters apart:

    weights   the network's weights, in float behind their quantizers
    offsets   biases, norms and all else that no quantizer touches
    scales    what the quantizers learn: steps, clips, offsets, thresholds, levels

The teacher is the float network itself, or another one with the same outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, fx, nn

from workbench.foundation.errors import RecipeError
from workbench.graph.build import Graph
from workbench.graph.costs import costs
from workbench.graph.outlets import with_outlets
from workbench.graph.pairing import Pair, pairs
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.base import Batch
from workbench.methods.installing import install, quantizers_of, scales_of
from workbench.methods.lessons import Lesson
from workbench.methods.network_plan import NetworkPlan
from workbench.quantizers.base import Quantizer
from workbench.signals.base import Output, Seen, Trained
from workbench.signals.registry import SIGNALS

Kind = Literal["weights", "offsets", "scales"]


class Teacher:
    """A float network that answers; without gradient.

    Args:
        graph: of the network.
        features: inner values whose float values are wanted too.
    """

    def __init__(self, graph: Graph, features: tuple[str, ...] = ()) -> None:
        self._outputs = len(graph.outputs)
        self._module: fx.GraphModule = (
            with_outlets(graph.module, features) if features else graph.module
        )

    @torch.no_grad()
    def __call__(self, inputs: Batch) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(logits, features)."""
        found = self._module(*inputs)
        return found[0], tuple(found[self._outputs :])


class Trainable(nn.Module):
    """A quantized graph with learnable quantizers, and a loss.

    Args:
        model: the graph; calibrated, or with codes of an earlier stage.
        plan: what is put on its sites and what it is taught by.
        teacher: of distillation; None takes the float graph.
        least_bits: more bits than the sites were asked for, on the way down to them.
        own: quantizers of single sites, by name, instead of the plan's.

    Attributes:
        parts: the terms of the last loss, by signal, without gradient.

    Raises:
        RecipeError: a signal asks for what is not there.
    """

    def __init__(
        self,
        model: QuantizedGraph,
        plan: NetworkPlan,
        teacher: Graph | None = None,
        least_bits: int = 0,
        own: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.plan = plan
        self.parts: dict[str, Tensor] = {}
        install(model, plan, least_bits, own)
        self._costs = costs(model.graph, model.sites.values())
        self._pairs: tuple[Pair, ...] = ()
        if plan.needs("features"):
            self._pairs = pairs(model.graph, teacher or model.graph)
        self.teacher = Teacher(teacher or model.graph, tuple(p.teacher for p in self._pairs))
        self._outputs = len(model.graph.outputs)
        inner = tuple(pair.student for pair in self._pairs)
        self._student = with_outlets(model.module, inner) if inner else model.module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the simulated network."""
        return self.model(*inputs)

    @property
    def taught(self) -> bool:
        """Whether anything is wanted of the teacher."""
        return self.plan.needs("prediction") or bool(self._pairs)

    def loss(
        self, *inputs: Tensor, labels: Tensor | None = None, step: int = 1, steps: int = 1
    ) -> Tensor:
        """What a training loop of one's own minimises; see `of`.

        Args:
            inputs: of the network.
            labels: int64 classes, where the plan learns from them.
            step, steps: how far training is.
        """
        return self.of(Lesson(inputs, labels), step, steps)

    def of(self, lesson: Lesson, step: int = 1, steps: int = 1) -> Tensor:
        """The weighted sum of the plan's signals, a scalar with gradient.

        Args:
            lesson: inputs, with labels and the teacher's answers where they are known.
            step, steps: how far training is; some signals are annealed, some have their phase.

        Raises:
            RecipeError: the plan learns from labels, and the lesson has none.
        """
        return self.with_logits(lesson, step, steps)[0]

    def with_logits(self, lesson: Lesson, step: int = 1, steps: int = 1) -> tuple[Tensor, Tensor]:
        """(what `of` gives, the logits that it is about), from one forward pass."""
        with self._precision():
            found = self._student(*lesson.inputs)
        found = tuple(x.float() if x.is_floating_point() else x for x in found)
        seen = self._seen(found, lesson, step, steps)
        total = found[0].new_zeros(())
        self.parts = {}
        for use in self.plan.signals:
            weight = use.weight_at(step, steps)
            if not weight:
                continue
            term = SIGNALS[use.name].make(seen, use.parsed())
            self.parts[use.name] = term.detach()
            total = total + weight * term
        return total, found[0]

    @torch.no_grad()
    def chance(self, lesson: Lesson) -> float:
        """The loss of a network that gives all classes the same; 0 where classes do not count."""
        answers = lesson.answers
        if answers is None:
            answers = self.teacher(lesson.inputs)[0]
        nothing = torch.zeros_like(answers)
        seen = Seen((), prediction=(answers, nothing), logits=nothing, labels=lesson.labels)
        total = 0.0
        for use in self.plan.signals:
            needs = set(SIGNALS[use.name].facts.get("needs", ()))
            if use.weight and needs and needs <= {"prediction", "labels"}:
                total += use.weight * float(SIGNALS[use.name].make(seen, use.parsed()))
        return total

    def groups(self) -> dict[Kind, list[nn.Parameter]]:
        """The parameters that train, by kind; each once."""
        found: dict[Kind, list[nn.Parameter]] = {"weights": [], "offsets": [], "scales": []}
        scales = scales_of(self.model)
        weights = {id(self.model.weight(site.name)) for site in self.model.of_kind("weight")}
        for parameter in self.model.module.parameters():
            if not parameter.requires_grad:
                continue
            kind: Kind = "scales" if id(parameter) in scales else "offsets"
            found["weights" if id(parameter) in weights else kind].append(parameter)
        return found

    def quantizers(self) -> Iterator[Quantizer]:
        """Every quantizer in the network."""
        return quantizers_of(self.model)

    def trained(self) -> tuple[Trained, ...]:
        """The weights, each with its quantizer."""
        names = (site.name for site in self.model.of_kind("weight"))
        held = ((n, self.model.weight(n), self.model.quantizer(n)) for n in names)
        return tuple(Trained(*own, self._costs[own[0]].products) for own in held)

    def _seen(self, found: tuple[Tensor, ...], lesson: Lesson, step: int, steps: int) -> Seen:
        logits, answers, features = found[0], lesson.answers, lesson.features
        if self.taught and (answers is None or len(features) < len(self._pairs)):
            answers, features = self.teacher(lesson.inputs)
        if self.plan.needs("labels") and lesson.labels is None:
            raise RecipeError(
                "the plan learns from labels, and the data have none; give labels, or set the"
                " weight of the labels to 0 and learn from the float model's answers"
            )
        inner = zip(self._pairs, features, found[self._outputs :], strict=True)
        return Seen(
            outputs=tuple(Output(theirs, own, pair.channel_axis) for pair, theirs, own in inner),
            step=step,
            steps=steps,
            prediction=None if answers is None else (answers, logits),
            logits=logits,
            labels=lesson.labels,
            weights=self.trained() if self.plan.needs("weights") else (),
        )

    def _precision(self) -> AbstractContextManager[object]:
        if self.plan.course.precision == "float32":
            return nullcontext()
        device = next(self.model.module.parameters()).device.type
        return torch.autocast(device, torch.bfloat16)
