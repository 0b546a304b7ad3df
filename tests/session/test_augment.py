"""More pictures from few: what is added, and what stays as it is."""

from __future__ import annotations

import pytest
import torch

from workbench.foundation.errors import RecipeError
from workbench.session.augment import augmented


def pictures(count: int = 3) -> torch.Tensor:
    return torch.arange(count * 2 * 28 * 28, dtype=torch.float32).reshape(count, 2, 28, 28)


def test_the_first_version_is_the_batch_itself() -> None:
    x, tokens = pictures(), torch.arange(6).reshape(3, 2)
    found = list(augmented(iter([(x, tokens), (x + 1, tokens)]), 3, seed=0))
    assert len(found) == 6
    assert found[0][0] is x
    assert torch.equal(found[3][0], x + 1)
    assert all(batch[1] is tokens for batch in found)


def test_one_version_adds_nothing() -> None:
    assert len(list(augmented(iter([(pictures(),)] * 2), 1, seed=0))) == 2


def test_a_version_is_mirrored_or_moved_and_holds_no_new_value() -> None:
    x = pictures(8)
    _, (changed,) = augmented(iter([(x,)]), 2, seed=0)
    assert changed.shape == x.shape
    for before, after in zip(x, changed, strict=True):
        assert set(after.flatten().tolist()) <= set(before.flatten().tolist())
    rising = (changed[:, 0, 14, 15] - changed[:, 0, 14, 14]).sign()
    assert set(rising.tolist()) == {-1.0, 1.0}  # some were mirrored, some not
    assert not torch.equal(changed.flip(-1), x)


def test_same_seed_same_pictures() -> None:
    x = pictures()
    first, second, other = (
        list(augmented(iter([(x,)]), 4, seed=seed))[-1][0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_values_beside_a_picture_stay() -> None:
    mask = torch.zeros(3, 2, 4, 5, dtype=torch.int64)
    _, (changed, same) = augmented(iter([(pictures(), mask)]), 2, seed=0)
    assert same is mask
    assert not torch.equal(changed, pictures())


def test_tokens_cannot_be_mirrored() -> None:
    with pytest.raises(RecipeError, match="augment was '2', but the model reads no pictures"):
        list(augmented(iter([(torch.arange(6).reshape(2, 3),)]), 2, seed=0))
