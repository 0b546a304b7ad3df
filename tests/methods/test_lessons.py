"""Changes that pictures and labels go through before a step."""

from __future__ import annotations

import pytest
import torch

from workbench.methods.lessons import NO_LABEL, Lesson, augmented, chance
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
