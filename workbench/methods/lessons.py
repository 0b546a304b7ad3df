"""What a network learns from: single examples in any order, with labels and a teacher's answers.

Examples are kept in memory up to a budget and in files beyond it. The order of an epoch, and every
change of a picture, come from the seed, the epoch and the step alone, so that training which was
stopped anywhere goes on as if it had not been.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from workbench.foundation.seeds import seed_of
from workbench.methods.base import Batch
from workbench.methods.network_plan import Course
from workbench.methods.shelf import Shelf

FEWEST = 64  # examples, for some to be held out
MOST_HELD = 512  # examples that judge
NO_LABEL = -100
MOST_FEATURES = 3 << 28  # bytes of a teacher's inner values, of all examples
Teach = Callable[[Batch], tuple[Tensor, tuple[Tensor, ...]]]


class Lesson(NamedTuple):
    """Examples as a batch.

    Attributes:
        inputs: of the network.
        labels: int64 classes of the logits' leading shape, or shares of them; None without any.
        answers: the teacher's logits, where they were kept; features: its inner values.
    """

    inputs: Batch
    labels: Tensor | None = None
    answers: Tensor | None = None
    features: tuple[Tensor, ...] = ()

    def rows(self, chosen: Sequence[int]) -> Lesson:
        """Some of the examples."""
        labels, answers = (None if x is None else x[chosen] for x in (self.labels, self.answers))
        features = tuple(x[chosen] for x in self.features)
        return Lesson(tuple(x[chosen] for x in self.inputs), labels, answers, features)


class Lessons:
    """Lessons on single examples; what does not fit memory is in files."""

    def __init__(self, batches: Iterable[Lesson]) -> None:
        self._shelf = Shelf()
        self._held: list[Any] = []
        self._width = 0
        self._labelled = self._answered = False
        weakref.finalize(self, self._shelf.close)
        for lesson in batches:
            self._add(lesson)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def labelled(self) -> bool:
        """Whether the examples have labels."""
        return self._labelled

    def part(self, chosen: Sequence[int]) -> Lesson:
        """The chosen examples as a batch."""
        columns = zip(*(self._shelf.get(self._held[index]) for index in chosen), strict=True)
        stacked = [torch.stack(column) for column in columns]
        inputs, rest = stacked[: self._width], stacked[self._width :]
        labels = rest.pop(0) if self._labelled else None
        answers = rest.pop(0) if self._answered else None
        return Lesson(tuple(inputs), labels, answers, tuple(rest))

    def teach(self, teacher: Teach, size: int) -> None:
        """Keep what the teacher answers to every example, `size` at a time.

        Its features are kept where all of them fit into a budget that does not depend on the
        machine: training that goes on elsewhere sees the same values. Answers always are.
        """
        room: int | None = None
        for chosen in torch.arange(len(self)).split(size):
            answers, features = teacher(self.part(chosen.tolist()).inputs)
            if room is None:
                one = sum(x[0].numel() * x.element_size() for x in features)
                room = MOST_FEATURES - one * len(self)
            kept = (answers, *features) if room >= 0 else (answers,)
            for index, *own in zip(chosen.tolist(), *kept, strict=True):
                held = self._held[index]
                value = self._shelf.get(held)
                self._shelf.drop(held)
                self._held[index] = self._shelf.put((*value, *(x.clone() for x in own)))
        self._answered = True

    def batches(self, size: int) -> Iterator[Lesson]:
        """All examples in order."""
        for chosen in torch.arange(len(self)).split(size):
            yield self.part(chosen.tolist())

    def hold_out(self, share: float) -> Lessons | None:
        """Take the last examples out, to judge by; None where there are too few."""
        count = min(round(share * len(self)), MOST_HELD)
        if not count or len(self) < FEWEST:
            return None
        apart = Lessons(())
        apart._width, apart._labelled, apart._answered = self._width, self._labelled, self._answered
        apart._shelf, apart._held = self._shelf, self._held[-count:]
        del self._held[-count:]
        return apart

    def _add(self, lesson: Lesson) -> None:
        """Keep a batch, example by example."""
        self._width = len(lesson.inputs)
        self._labelled = lesson.labels is not None
        columns = [*lesson.inputs, lesson.labels]
        for example in zip(*(c for c in columns if c is not None), strict=True):
            self._held.append(self._shelf.put(tuple(x.clone() for x in example)))


def order(count: int, size: int, seed: int, epoch: int) -> Sequence[list[int]]:
    """The batches of an epoch, as positions; a last one of a single example joins the one before.

    Example:
        >>> [len(batch) for batch in order(7, 3, seed=0, epoch=0)]
        [3, 4]
    """
    shuffled = torch.randperm(count, generator=chance(seed, epoch)).split(size)
    found = [chosen.tolist() for chosen in shuffled]
    return [*found[:-2], found[-2] + found[-1]] if len(found) > 1 and len(found[-1]) == 1 else found


def chance(seed: int, *places: int) -> torch.Generator:
    """Chance that depends on the seed and the place in the course alone."""
    return torch.Generator().manual_seed(seed_of("/".join(map(str, (seed, *places)))))


def augmented(lesson: Lesson, course: Course, classes: int, draw: torch.Generator) -> Lesson:
    """The lesson with its pictures moved, mirrored and mixed; what is no picture stays.

    Args:
        lesson, course: the examples, and what is done to them.
        classes: that the labels tell apart.
        draw: all chance comes from here.
    """
    if not any(map(is_picture, lesson.inputs)):
        return lesson
    inputs = tuple(_moved(x, course, draw) if is_picture(x) else x for x in lesson.inputs)
    changed = Lesson(inputs, lesson.labels)
    return _mixed(changed, course.mixup, classes, draw) if course.mixup else changed


def is_picture(x: Tensor) -> bool:
    """A batch of pictures (N, C, H, W)."""
    return x.ndim == 4 and x.is_floating_point()


def _moved(x: Tensor, course: Course, draw: torch.Generator) -> Tensor:
    count, _, height, width = x.shape
    if course.crop:
        by = min(course.crop, height - 1, width - 1)
        wide = functional.pad(x, (by, by, by, by), mode="reflect")
        down, across = torch.randint(2 * by + 1, (2, count), generator=draw)
        rows = (down[:, None] + torch.arange(height))[:, None, :, None]
        columns = (across[:, None] + torch.arange(width))[:, None, None, :]
        channels = torch.arange(x.shape[1])[None, :, None, None]
        x = wide[torch.arange(count)[:, None, None, None], channels, rows, columns]
    if course.flip:
        turned = torch.rand(count, generator=draw) < 0.5
        x = torch.where(turned[:, None, None, None], x.flip(-1), x)
    return x


def _mixed(lesson: Lesson, alpha: float, classes: int, draw: torch.Generator) -> Lesson:
    """Pairs mixed by one share (mixup, Zhang et al. 2018, arXiv:1710.09412); labels as well."""
    share = _beta(alpha, draw)
    partner = torch.randperm(len(lesson.inputs[0]), generator=draw)
    inputs = tuple(
        share * x + (1 - share) * x[partner] if x.is_floating_point() else x for x in lesson.inputs
    )
    labels = lesson.labels
    if labels is not None:
        known = (labels != NO_LABEL)[..., None]
        labels = functional.one_hot(labels.clamp(min=0), classes).float() * known
        labels = share * labels + (1 - share) * labels[partner]
    return Lesson(inputs, labels)


def _beta(alpha: float, draw: torch.Generator) -> float:
    """A draw from Beta(α, α), as a quotient of two gamma draws."""
    shape = torch.full((2,), alpha, dtype=torch.float64)
    pair = torch._standard_gamma(shape, generator=draw)
    return float(pair[0] / pair.sum())


def collect(batches: Iterator[tuple[Batch, Tensor | None]]) -> Lessons:
    """All examples."""
    return Lessons(Lesson(inputs, labels) for inputs, labels in batches)
