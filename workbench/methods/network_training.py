"""The one loop of training: the whole network under a plan, epoch after epoch.

    min over weights and scales of Σ weight · signal(quantized network, teacher, labels)

A method of this kind is a row: options, and the `NetworkPlan` that they amount to. Everything a
step depends on (order, augmentation, rates) follows from its number, and everything it changes is
in the checkpoint, so that a course stopped or killed anywhere ends with the very same weights.
"""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.base import Event, Method, SiteSignals, Task
from workbench.methods.bit_search import BitSearch
from workbench.methods.calibrate import ensure_ranges
from workbench.methods.concerns import Watch
from workbench.methods.descent import Descent
from workbench.methods.installing import replaced
from workbench.methods.judging import Judge
from workbench.methods.lessons import Lesson, augmented, chance, collect, order
from workbench.methods.network_plan import NetworkPlan, Precision
from workbench.methods.norms import NORM, Norms
from workbench.methods.overflow import make_room_for_biases
from workbench.methods.readings import Thinned
from workbench.methods.tracking import Tracker
from workbench.methods.trainable import Trainable

SAVE_SECONDS = 20.0  # between checkpoints inside an epoch
TOLD = 8  # events of an epoch, beside the one that ends it
LIVE = 0.8  # share of the steps before norms are folded
CLOSED = "the last good epoch, or the start, was kept"


class NetworkTraining(Method):
    """A method that trains the network as its plan says."""

    @abstractmethod
    def plan(self) -> NetworkPlan:
        """What the options amount to."""

    def learn(self, model: QuantizedGraph, task: Task) -> Iterator[Event]:
        """Some events an epoch; each epoch is a checkpoint, and moments inside a long one are."""
        yield from ensure_ranges(model, task)
        plan = self.plan()
        course = _Course(model, plan, task)
        yield from (self.event("note", task, text=text) for text in course.remarks)
        thinned = Thinned(plan.course.epochs)
        for told in course.run():
            for concern in course.watch.fresh():
                yield self.concern(task, concern, step=told.step, total=course.steps)
            whole = told.kind == "layer"
            yield self.event(
                told.kind,
                task,
                site=f"epoch {told.epoch + 1}",
                values=told.values,
                counts=told.counts,
                sites=thinned.next(told.sites) if whole else {},
                step=told.step,
                total=course.steps,
                text="" if whole else told.text,
            )
        yield from (
            self.concern(task, concern, step=course.reached, total=course.steps)
            for concern in course.watch.concerns(best_kept=plan.course.keep_best)
        )


@dataclass(frozen=True)
class Told:
    """What there is to say at a step, at the end of an epoch (kind "layer"), or in between."""

    kind: Literal["step", "layer", "note"]
    epoch: int
    step: int
    values: Mapping[str, float]
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sites: Mapping[str, SiteSignals] = field(default_factory=dict)
    text: str = ""


class _Course:
    """The state of training between its steps.

    Attributes:
        steps: of the whole course; reached: the last one that was made.
        watch: what went wrong.
        remarks: what a person should know before it starts.
    """

    def __init__(self, model: QuantizedGraph, plan: NetworkPlan, task: Task) -> None:
        self._model = model
        self._together = task.together
        plan = _in_precision(plan, self._together.precision)
        self._search = BitSearch(model, plan.search) if plan.search else None
        self._plan = plan = self._search.plan(plan) if self._search else plan
        self._task = task
        self._phase = -1
        self.watch = Watch("network", CLOSED, steady=True)
        self._lessons = self._held = None
        self._norms = Norms(model, plan, task)
        self._enter(0)
        self._gather()
        per_epoch = len(self._order(0))
        self._whole = -(-per_epoch // plan.course.accumulate)
        self.steps = plan.course.epochs * self._whole
        self._begin()
        self.watch.chance = self._together.agreed(self._trainable.chance(self._shown()))
        self._epoch_sum = 0.0
        self.reached = 0
        self._saved = time.monotonic()
        self._best = (math.inf, 0)
        self._good: dict[str, Tensor] = {}
        self.remarks = self._remarks()

    def run(self) -> Iterator[Told]:
        """Every step that is left; norms leave the network even if it is given up halfway."""
        try:
            yield from self._run()
        finally:
            self._norms.fold()

    def _run(self) -> Iterator[Told]:
        start = self.reached = self._restore()
        self._good = self._agree()
        for epoch in range(start // self._whole, self._plan.course.epochs):
            if self._enter(epoch):
                self._afresh(epoch)
                yield from self._say(epoch, epoch * self._whole)
            first = start - epoch * self._whole if epoch == start // self._whole else 0
            yield from self._epoch(epoch, first)
            if self.watch.ended or self._patient(epoch):
                break
        self._end()
        yield from self._say(self._plan.course.epochs - 1, self.steps)

    def _epoch(self, epoch: int, first: int) -> Iterator[Told]:
        groups = self._groups(epoch)
        every = max(1, len(groups) // TOLD)
        for index in range(first, len(groups)):
            number = epoch * self._whole + index
            if self._norms and number >= LIVE * self.steps:
                self._without_norms(epoch)
            loss = self._step(groups[index], number)
            self._epoch_sum += loss
            if not self.watch.step(loss):
                self._load(self._good)
                return
            news = self.watch.has_news
            if (index % every == every - 1 or news) and index + 1 < len(groups):
                text = f"epoch {epoch + 1}: step {index + 1} of {len(groups)}"
                yield Told("step", epoch, number + 1, self._now(loss), text=text)
            if time.monotonic() - self._saved > SAVE_SECONDS:
                self._save(number + 1)
        yield self._close(epoch, len(groups))

    def _without_norms(self, epoch: int) -> None:
        """What is left trains on scales and biases as the file has them."""
        watched = self._tracker.state()  # codes stay, and so does what is known of them
        self._norms.fold()
        self._phase = -1
        self._enter(epoch)
        self._afresh(epoch)
        self._tracker.load(watched)
        self._good = self._agree()

    def _afresh(self, epoch: int) -> None:
        """With other bits, or without norms, nothing compares with what was before."""
        self._begin()
        self.watch.forget()
        self._best = (math.inf, epoch)
        self._good = self._agree()

    def _step(self, chunks: list[list[int]], number: int) -> float:
        """One step of the optimiser; the mean loss of its batches."""
        total, weight, count = 0.0, 1.0, sum(map(len, chunks))
        self._descent.clear()
        for place, chosen in enumerate(chunks):
            lesson, weight = self._lesson(chosen, number, place)
            share = len(chosen) / count * weight
            with self._norms.live(self._together, counts=weight > 0):
                loss = self._trainable.of(lesson, number + 1, self.steps)
            (loss * share).backward()
            total += float(loss.detach()) * share
        total = self._over_all(total, weight)
        self._descent.step(number)
        self._tracker.step((number + 1) / self.steps)
        self.reached = number + 1
        return total

    def _lesson(self, chosen: list[int], number: int, place: int) -> tuple[Lesson, float]:
        """This process's share of a batch, and its weight in it.

        Chance changes the batch as a whole, so that it does not depend on how many share it.
        """
        assert self._lessons is not None
        course = self._plan.course
        if not course.augments:
            own, weight = self._together.share(chosen)
            return self._lessons.part(own), weight
        draw = chance(self._task.seed, number, place, 1)
        whole = augmented(self._lessons.part(chosen), course, self._classes, draw)
        rows, weight = self._together.share(range(len(chosen)))
        return (whole if weight == 1 else whole.rows(rows)), weight

    def _over_all(self, loss: float, weight: float) -> float:
        """Gradients and terms of the loss over all processes; the loss over them."""
        if self._together.count == 1:
            return loss
        self._descent.gather(self._together)
        parts = self._trainable.parts
        own = [float(value) * weight for value in parts.values()]
        loss, *terms = self._together.totals([loss, *own])
        self._trainable.parts = dict(zip(parts, map(torch.tensor, terms), strict=True))
        return loss

    def _close(self, epoch: int, count: int) -> Told:
        """The end of an epoch: make the network whole, look at it, and keep it."""
        make_room_for_biases(self._model)
        loss = self._epoch_sum / count
        self.watch.loss(loss)
        self._epoch_sum = 0.0
        values, sites, counts = self._judge.look(self._tracker.readings(), self.watch)
        values = {**self._now(loss), **self._together.agreed(values)}
        if "held_out" in values:
            self.watch.judged(epoch + 1, loss, values["held_out"])
        if self._search:
            values, sites = {**values, **self._search.values()}, self._search.readings(sites)
        now = self._state()
        self._good = now if self.watch.sound else self._good
        if values.get("held_out", loss) < self._best[0]:
            self._best = (values.get("held_out", loss), epoch)
            self._kept = now
        self._save((epoch + 1) * self._whole)
        return Told("layer", epoch, (epoch + 1) * self._whole, values, counts, sites)

    def _now(self, loss: float) -> dict[str, float]:
        parts = {name: float(value) for name, value in self._trainable.parts.items()}
        parts = parts if len(parts) > 1 else {}
        now = {"loss": loss, "rate": self._descent.rate, "gradient": self._descent.norm}
        return {**now, **parts}

    def _patient(self, epoch: int) -> bool:
        """True if the held-out loss has not improved for longer than is waited."""
        patience = self._plan.course.patience
        return bool(patience) and epoch - self._best[1] >= patience and not self._searching

    @property
    def _searching(self) -> bool:
        """Whether bits are still to be chosen."""
        return self._search is not None and not self._search.settled

    def _say(self, epoch: int, step: int) -> Iterator[Told]:
        """The bits that were chosen."""
        if self._search is not None and self._search.settled:
            yield Told("note", epoch, step, {}, text=self._search.sentence())

    def _end(self) -> None:
        if self._plan.course.keep_best and math.isfinite(self._best[0]):
            self._load(self._kept)
        elif not self.watch.ended:
            self._descent.settle()
            self._tracker.hold()
        if self._search is not None and self._searching:
            self._search.settle()
        self._norms.fold()
        make_room_for_biases(self._model)

    def _enter(self, epoch: int) -> bool:
        """Begin the phase of an epoch, with its bits; False if it goes on."""
        path, epochs, search = self._plan.bits, self._plan.course.epochs, self._search
        phase = min(epoch * (len(path) + 1) // epochs, len(path))
        if self._plan.search:
            phase = int(epoch >= self._plan.search.epochs(epochs))
        if phase == self._phase:
            return False
        self._phase = phase
        if search and phase and not search.settled:
            search.settle()
        bits = path[phase] if phase < len(path) else 0
        own = search.quantizers() if search and not phase else {}
        self._trainable = Trainable(self._model, self._plan, self._task.teacher, bits, own)
        self._norms.hold()
        if search and not phase:
            search.begin()
        make_room_for_biases(self._model)
        return True

    def _begin(self) -> None:
        """A fresh optimiser, tracker and judge, for new parameters."""
        if self._search and self._plan.search and not self._phase:
            epochs = self._plan.search.epochs(self._plan.course.epochs)
            self._search.pace(epochs * self._whole)
        self._descent = Descent(self._trainable, self._plan.course, self.steps)
        self._tracker = Tracker(self._model, self._plan.freeze)
        self._kept = {}
        self._judge = Judge(self._model, self._trainable, self._shown(), self._held)

    def _gather(self) -> None:
        """The lessons, with what the teacher says where it stays what it is."""
        course, trainable = self._plan.course, self._trainable
        self._lessons = collect(self._task.examples_to_learn())
        if trainable.taught and not course.augments:
            self._lessons.teach(trainable.teacher, course.batch_size)
        self._held = self._lessons.hold_out(course.held_out)
        if self._plan.needs("labels") and not self._lessons.labelled:
            raise RecipeError(
                f"{self._plan.signals[0].name} asks for labels, and the data have none; give"
                " labelled data, or take a method that learns from the float model, such as lsq"
            )
        self._classes = int(self._trainable.teacher(self._lessons.part([0]).inputs)[0].shape[-1])

    def _remarks(self) -> list[str]:
        assert self._lessons is not None
        held = 0 if self._held is None else len(self._held)
        labels = "with labels" if self._plan.needs("labels") else "without labels"
        found = [f"training on {len(self._lessons)} examples {labels}, {held} held out"]
        if self._together.count > 1:
            found.append(f"{self._together.count} processes share each batch")
        if self._together.precision:
            found.append(f"the forward pass is in {self._together.precision}, as was launched")
        if self._task.teacher is not None and not self._trainable.taught:
            found.append("this stage learns nothing from the teacher: logits and features weigh 0")
        if self._norms:
            found.append(f"{len(self._norms)} convolutions are normalised for most of the steps")
        note = replaced(self._model, self._plan)
        return [*found, note] if note else found

    def _shown(self) -> Lesson:
        """Examples to look at the activations with."""
        lessons = self._held or self._lessons
        assert lessons is not None
        return lessons.part(range(min(self._plan.course.batch_size, len(lessons))))

    def _order(self, epoch: int) -> list[list[int]]:
        assert self._lessons is not None
        course = self._plan.course
        return list(order(len(self._lessons), course.batch_size, self._task.seed, epoch))

    def _groups(self, epoch: int) -> list[list[list[int]]]:
        """The batches of each step."""
        chunks, each = self._order(epoch), self._plan.course.accumulate
        return [chunks[i : i + each] for i in range(0, len(chunks), each)]

    def _agree(self) -> dict[str, Tensor]:
        """The state from here on, which is that of the first process in all of them."""
        state = self._together.agreed(self._state())
        self._load(state)
        return state

    def _state(self) -> dict[str, Tensor]:
        """Everything that a step changes."""
        module = {f"module/{k}": v.detach().clone() for k, v in self._values().items()}
        descent = {f"descent/{k}": v.detach().clone() for k, v in self._descent.state().items()}
        tracker = {f"tracker/{k}": v.clone() for k, v in self._tracker.state().items()}
        search = self._search.state() if self._search else {}
        return {**module, **descent, **tracker, **{f"search/{k}": v for k, v in search.items()}}

    def _values(self) -> dict[str, Tensor]:
        return self._model.module.state_dict(keep_vars=True)

    def _save(self, step: int) -> None:
        numbers = torch.tensor([self._epoch_sum, *self._best, *self.watch.memory()])
        tensors = {**self._state(), "numbers": numbers.double()}
        tensors |= {f"kept/{k}": v for k, v in self._kept.items() if self._plan.course.keep_best}
        self._task.checkpoint.save(tensors, step)
        self._saved = time.monotonic()

    def _restore(self) -> int:
        """Go on from a checkpoint; the number of the next step."""
        stored = self._task.checkpoint.load()
        if stored is None:
            return 0
        tensors, step = stored
        last = max(0, step - 1) // self._whole
        chosen = {k[7:]: v for k, v in tensors.items() if k.startswith("search/")}
        if self._search and chosen:
            self._search.load(chosen)
        if self._norms and not any(NORM in key for key in tensors):
            self._norms.fold()
            self._phase = -1
        if self._enter(last):
            self._begin()
        self._load({k: v for k, v in tensors.items() if "/" in k and not k.startswith("kept/")})
        total, best, epoch, *memory = tensors["numbers"].tolist()
        self._epoch_sum, self._best = total, (best, int(epoch))
        self.watch.remember(memory)
        self._kept = {k[5:]: v for k, v in tensors.items() if k.startswith("kept/")}
        return step

    @torch.no_grad()
    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `_state` gave."""
        kinds = ("module", "descent", "tracker", "search")
        parts: dict[str, dict[str, Tensor]] = {kind: {} for kind in kinds}
        for key, value in tensors.items():
            kind, _, name = key.partition("/")
            parts[kind][name] = value
        held = self._values()
        for name, value in parts["module"].items():
            held[name].copy_(value)
        self._descent.load(parts["descent"])
        self._tracker.load(parts["tracker"])


def _in_precision(plan: NetworkPlan, precision: Precision | None) -> NetworkPlan:
    """The plan with the precision that a launcher asks for, if it asks for one."""
    if precision is None:
        return plan
    course = plan.course.model_copy(update={"precision": precision})
    return plan.model_copy(update={"course": course})
