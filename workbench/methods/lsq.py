"""LSQ training (Esser et al. 2020, arXiv:1902.08153) with the float model as teacher.

    min over W, s of T² KL(softmax(z_float / T) ‖ softmax(z_quantized / T))

Weights and the scales of weights and activations move together, by Adam with a cosine schedule; the
scales carry LSQ's own gradient factor and no weight decay. It starts from whatever ranges or codes
earlier stages left, or from nearest rounding. No labels are needed. Examples and the teacher's
answers are kept in memory up to a budget and in files beyond it.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.base import Batch, Event, Method, SiteSignals, Task
from workbench.methods.calibrate import ensure_ranges
from workbench.methods.concerns import Watch
from workbench.methods.overflow import make_room_for_biases
from workbench.methods.readings import Thinned, gathered, of_network
from workbench.methods.registry import method
from workbench.methods.shelf import Shelf
from workbench.quantizers.base import Quantizer
from workbench.quantizers.codes import Codes
from workbench.quantizers.registry import QUANTIZERS
from workbench.signals.distillation import distillation

FEWEST = 64  # examples, for some to be held out


class LsqOptions(Options):
    """Options of LSQ training."""

    epochs: Annotated[int, Field(ge=1, le=1000, description="passes over the data")] = 10
    batch_size: Annotated[int, Field(ge=1, le=4096, description="examples per step")] = 50
    learning_rate: Annotated[float, Field(gt=0, le=1, description="of the weights")] = 3e-4
    scale_learning_rate: Annotated[
        float, Field(gt=0, le=1, description="of the scales, as a share of each scale")
    ] = 1e-3
    quantizer: Annotated[
        str, Field(description="registered quantizer that sits on every site and learns its range")
    ] = "lsq"
    temperature: Annotated[float, Field(gt=0, le=100, description="T of the distillation")] = 2.0
    held_out: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            description="share of the examples that only judges, one batch at most",
            json_schema_extra={"advanced": True},
        ),
    ] = 0.05

    @field_validator("quantizer")
    @classmethod
    def _serves_every_site(cls, name: str) -> str:
        if QUANTIZERS[name].facts.get("weights_only"):
            raise ValueError(f"quantizer '{name}' holds weights only; choose 'lsq' or 'uniform'")
        if QUANTIZERS[name].facts.get("activations_only"):
            raise ValueError(f"quantizer '{name}' holds no weights; choose 'lsq' or 'uniform'")
        return name


@method(
    "lsq",
    title="LSQ with distillation",
    options=LsqOptions,
    citation="Esser et al. 2020, arXiv:1902.08153",
    signal="distillation from the float model's logits",
    scope="network",
    learnables="weights, scales",
    data="unlabelled, 500 examples and more",
    cost="minutes",
    cells=("range/task_loss", "training/task_loss", "training/prediction"),
    strategy="parameters",
    use="at 4 bits and below, where there are 500 examples and minutes",
)
class LsqTraining(Method):
    """Trains weights and step sizes together under distillation."""

    options: LsqOptions

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """One event an epoch, each a checkpoint."""
        yield from ensure_ranges(model, task)
        _install(model, self.options.quantizer)
        make_room_for_biases(model)
        optimiser = self._optimiser(model)
        own, held = _lessons(model, task, self.options)
        first = _restore(model, optimiser, task)
        watch = Watch("network", "the last good epoch was kept", steady=True)
        good, thinned = _state(model, optimiser), Thinned(self.options.epochs)
        for epoch in range(first, self.options.epochs):
            loss = self._epoch(model, optimiser, own, task, epoch)
            if not watch.loss(loss):
                _load(model, optimiser, good)
                break
            make_room_for_biases(model)
            good = _state(model, optimiser)
            task.checkpoint.save(good, epoch + 1)
            values, sites = self._signals(model, own, held, watch)
            if held is not None:
                watch.judged(epoch + 1, loss, values["held_out"])
            yield self.event(
                "layer",
                task,
                site=f"epoch {epoch + 1}",
                values={"loss": loss, **values},
                sites=thinned.next(sites),
                step=epoch + 1,
                total=self.options.epochs,
            )
        yield from (self.concern(task, concern) for concern in watch.concerns())

    def _signals(
        self, model: QuantizedGraph, own: _Lessons, held: _Lesson | None, watch: Watch
    ) -> tuple[dict[str, float], dict[str, SiteSignals]]:
        """(values, sites) after an epoch; activations are looked at on the held-out examples."""
        shown = held or own.part(range(min(self.options.batch_size, len(own))))
        answers: list[Tensor] = []
        sites, norms = of_network(model, lambda: answers.append(model(*shown.inputs)[0]))
        watch.gradients(norms)
        sizes = {site.name: model.weight(site.name).numel() for site in model.of_kind("weight")}
        values = {"gradient": math.hypot(*norms.values()), **gathered(sites, sizes)[0]}
        if held is not None:
            loss = distillation(held.answers, answers[0], self.options.temperature)
            values["held_out"] = float(loss)
        return values, sites

    def _optimiser(self, model: QuantizedGraph) -> torch.optim.Adam:
        """Scales get a rate in proportion to their size, since Adam steps ignore gradient size."""
        learners = [m for m in model.module.modules() if isinstance(m, Quantizer)]
        scales = [p for learner in learners for p in learner.parameters()]
        owned = {id(p) for p in scales}
        weights = [p for p in model.module.parameters() if id(p) not in owned]
        groups = [{"params": weights, "lr": self.options.learning_rate}]
        for scale in scales:
            rate = self.options.scale_learning_rate * float(scale.detach().abs().mean())
            groups.append({"params": [scale], "lr": rate})
        return torch.optim.Adam(groups)

    def _epoch(
        self,
        model: QuantizedGraph,
        optimiser: torch.optim.Adam,
        lessons: _Lessons,
        task: Task,
        epoch: int,
    ) -> float:
        order = torch.randperm(len(lessons), generator=_generator(task.seed, epoch))
        chunks = order.split(self.options.batch_size)
        base = [group["lr"] for group in optimiser.param_groups]
        total = 0.0
        for index, chosen in enumerate(chunks):
            done = (epoch + index / len(chunks)) / self.options.epochs
            for group, rate in zip(optimiser.param_groups, base, strict=True):
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * done))
            inputs, answers = lessons.part(chosen.tolist())
            loss = distillation(answers, model(*inputs)[0], self.options.temperature)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * len(chosen)
        for group, rate in zip(optimiser.param_groups, base, strict=True):
            group["lr"] = rate
        return total / len(lessons)


def _install(model: QuantizedGraph, kind: str) -> None:
    """Put a learnable quantizer on every weight and activation site, with the scale it has now.

    Activations with levels of their own keep them.
    """
    for name, site in model.sites.items():
        make_quantizer = QUANTIZERS["table" if site.grid.learns_levels else kind].make
        settled = site.kind == "bias" or site.shares is not None
        before = model.quantizer(name)
        if settled or before.form or type(before) is make_quantizer:
            continue
        if isinstance(before, Codes):
            with torch.no_grad():
                weight = model.weight(name)
                weight.copy_(before(weight))
        learner = make_quantizer(site.grid, site.shape)
        learner.take(before)
        model.set_quantizer(name, learner)


class _Lesson(NamedTuple):
    """Inputs, and what the float network answers."""

    inputs: Batch
    answers: Tensor


class _Lessons:
    """Lessons on single examples, to be read in any order; what does not fit memory is in files."""

    def __init__(self) -> None:
        self._shelf = Shelf()
        self._held: list[Any] = []
        weakref.finalize(self, self._shelf.close)

    def __len__(self) -> int:
        return len(self._held)

    def add(self, lesson: _Lesson) -> None:
        """Keep a batch, example by example."""
        for example in zip(*lesson.inputs, lesson.answers, strict=True):
            self._held.append(self._shelf.put(example))

    def part(self, chosen: Sequence[int]) -> _Lesson:
        """The chosen examples as a batch."""
        columns = zip(*(self._shelf.get(self._held[index]) for index in chosen), strict=True)
        *inputs, answers = (torch.stack(column) for column in columns)
        return _Lesson(tuple(inputs), answers)

    def take_last(self, count: int) -> _Lesson:
        """The last examples as a batch; they are kept no longer."""
        first = len(self) - count
        lesson = self.part(range(first, len(self)))
        for handle in self._held[first:]:
            self._shelf.drop(handle)
        del self._held[first:]
        return lesson


@torch.no_grad()
def _lessons(
    model: QuantizedGraph, task: Task, options: LsqOptions
) -> tuple[_Lessons, _Lesson | None]:
    """What is learned from; and what only judges, one batch at most, if there are enough."""
    own = _Lessons()
    for batch in task.batches():
        for chunk in zip(*(x.split(options.batch_size) for x in batch), strict=True):
            own.add(_Lesson(chunk, model.graph.module(*chunk)[0]))
    held = min(round(options.held_out * len(own)), options.batch_size)
    return own, own.take_last(held) if held and len(own) >= FEWEST else None


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def _state(model: QuantizedGraph, optimiser: torch.optim.Adam) -> dict[str, Tensor]:
    """The model's state and Adam's moments, so that a resumed run is the same run."""
    tensors = model.state()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser/{index}/{key}"] = value.detach().clone()
    return tensors


def _restore(model: QuantizedGraph, optimiser: torch.optim.Adam, task: Task) -> int:
    """Load a checkpoint in place; returns the first epoch that is still to do."""
    stored = task.checkpoint.load()
    if stored is None:
        return 0
    tensors, epoch = stored
    _load(model, optimiser, tensors)
    return epoch


def _load(
    model: QuantizedGraph, optimiser: torch.optim.Adam, tensors: Mapping[str, Tensor]
) -> None:
    """Restore what `_state` gave."""
    moments = {k: v for k, v in tensors.items() if k.startswith("optimiser/")}
    model.load_values({k: v for k, v in tensors.items() if k not in moments})
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for key, value in moments.items():
        _, index, name = key.split("/")
        optimiser.state[parameters[int(index)]][name] = value
