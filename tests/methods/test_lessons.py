"""Changes that pictures and labels go through before a step."""

from __future__ import annotations

import pytest
import torch

from workbench.methods import lessons
from workbench.methods.lessons import NO_LABEL, Lesson, augmented, chance, collect
from workbench.methods.network_plan import Course


def test_mixed_labels_are_shares_and_nothing_where_there_was_no_label() -> None:
    labels = torch.tensor([0, 2, NO_LABEL, NO_LABEL])
    lesson = Lesson((torch.rand(4, 1, 6, 6),), labels)
    mixed = augmented(lesson, Course(mixup=0.4), 3, chance(0, 0)).labels
    assert mixed is not None
    assert mixed.shape == (4, 3)
    sums = mixed.sum(1)
    assert bool(((sums >= 0) & (sums <= 1 + 1e-6)).all())
    assert float(sums.sum()) == pytest.approx(2)  # two labels, wherever their shares went


class Counted:
    """A teacher that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, inputs: tuple[torch.Tensor, ...]):
        self.asked += 1
        (x,) = inputs
        return 2 * x.flatten(1), (x + 1, x.sum((1, 2, 3), keepdim=True))


@pytest.mark.parametrize("room", [1 << 20, 100])
def test_what_the_teacher_says_is_kept_and_features_where_they_fit(room: int, monkeypatch) -> None:
    monkeypatch.setattr(lessons, "MOST_FEATURES", room)
    x, teacher = torch.rand(70, 1, 3, 3), Counted()
    found = collect(iter([((x[:40],), None), ((x[40:],), None)]))
    found.teach(teacher, 32)
    assert teacher.asked == 3
    held = found.hold_out(0.1)
    assert held is not None
    lesson = found.part([5, 41])
    assert lesson.answers is not None
    assert torch.equal(lesson.answers, 2 * x[[5, 41]].flatten(1))
    assert len(lesson.features) == (2 if room > 100 else 0)
    for mine, theirs in zip(lesson.features, teacher(lesson.inputs)[1], strict=False):
        assert torch.equal(mine, theirs)
    assert next(held.batches(7)).features[:1] == () or room > 100
