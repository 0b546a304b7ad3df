"""Powell's method (1964, Computer Journal 7, 155-162): minimise without gradients, line by line.

A round searches along each direction of a set, which begins as the coordinates, from where the last
search ended. Then the way that the whole round went takes the place of the direction of the largest
decrease, so that directions become conjugate; but only where that direction is a large part of it
and the way still leads down, since otherwise directions would fall together (Brent 1973, chapter
7). Each line is searched in three evaluations: one on each side, and one at the minimum of the
parabola through them. Steps shrink where little was moved, and grow where more was wanted. The
state is a plain value, so a search can be stored and taken up again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

Objective = Callable[[Tensor], float]

SHRINK = 0.5
#: of its step: a move below the first makes the next step smaller, one of the second larger
SMALL_SHARE, FARTHEST = 0.25, 2.0


@dataclass(frozen=True)
class State:
    """Where a search is.

    Attributes:
        point: (n,) best so far; loss: its value.
        directions: (n, n) one a row; steps: (n,) how far each is tried.
        origin: where the round began; gains: (n,) decrease along each direction in this round.
        line: the next direction; rounds: those finished; evaluations: of the objective, in all.
    """

    point: Tensor
    loss: float
    directions: Tensor
    steps: Tensor
    origin: Tensor
    gains: Tensor
    line: int = 0
    rounds: int = 0
    evaluations: int = 0


def packed(state: State) -> dict[str, Tensor]:
    """A state as tensors of their own, to be stored: what shares memory cannot be."""
    values = ((field.name, getattr(state, field.name)) for field in fields(state))
    return {name: torch.as_tensor(value, dtype=torch.float64).clone() for name, value in values}


def unpacked(tensors: Mapping[str, Tensor]) -> State:
    """The inverse of `packed`; other tensors are left alone."""
    kept: dict[str, Any] = {field.name: tensors[field.name] for field in fields(State)}
    kept |= {name: int(kept[name]) for name in ("line", "rounds", "evaluations")}
    return State(**{**kept, "loss": float(kept["loss"])})


def start(size: int, loss: float, step: float) -> State:
    """A search in `size` dimensions that begins at zero, with the coordinates as directions.

    Args:
        loss: at zero.
        step: how far a coordinate is tried first.
    """
    none = torch.zeros(size, dtype=torch.float64)
    return State(none, loss, torch.eye(size).double(), torch.full_like(none, step), none, none)


def search(objective: Objective, state: State, rounds: int) -> Iterator[State]:
    """The state after every line, until so many rounds are done."""
    while state.rounds < rounds:
        state = _along_line(objective, state)
        if state.line == len(state.point):
            state = _turned(objective, state)
        yield state


def _along_line(objective: Objective, state: State) -> State:
    """The best of three points along the next direction, or where the search was."""
    step, direction = float(state.steps[state.line]), state.directions[state.line]
    left = objective(state.point - step * direction)
    right = objective(state.point + step * direction)
    tried = {-step: left, step: right}
    place = _parabola(left, state.loss, right) * step
    if place not in tried and place != 0:
        tried[place] = objective(state.point + place * direction)
    best = min(tried, key=tried.__getitem__)
    steps, gains = state.steps.clone(), state.gains.clone()
    lower = tried[best] < state.loss
    gains[state.line] = max(0.0, state.loss - tried[best])
    if not lower or abs(best) < step * SMALL_SHARE:
        steps[state.line] *= SHRINK
    elif abs(best) >= step * FARTHEST:
        steps[state.line] /= SHRINK
    return replace(
        state,
        point=state.point + best * direction if lower else state.point,
        loss=tried[best] if lower else state.loss,
        steps=steps,
        gains=gains,
        line=state.line + 1,
        evaluations=state.evaluations + len(tried),
    )


def _turned(objective: Objective, state: State) -> State:
    """After a round: its whole way may replace the direction of the largest decrease."""
    way = state.point - state.origin
    directions, steps = state.directions, state.steps
    length = float(way.norm())
    most, evaluations = int(state.gains.argmax()), state.evaluations
    if length > 0:
        beyond, evaluations = objective(state.point + way), evaluations + 1
        if _leads_down(state, beyond):
            rest = [index for index in range(len(directions)) if index != most]
            directions = torch.cat([directions[rest], way[None] / length])
            steps = torch.cat([steps[rest], steps[most : most + 1]])
    none = torch.zeros_like(state.gains)
    turned = replace(state, directions=directions, steps=steps, origin=state.point, gains=none)
    return replace(turned, line=0, rounds=state.rounds + 1, evaluations=evaluations)


def _leads_down(state: State, beyond: float) -> bool:
    """Whether the round's way is worth a place among the directions (Brent 1973)."""
    decrease, largest = float(state.gains.sum()), float(state.gains.max())
    before = state.loss + decrease
    bend = 2 * (before - 2 * state.loss + beyond) * (decrease - largest) ** 2
    return beyond < before and bend < largest * (before - beyond) ** 2


def _parabola(left: float, middle: float, right: float) -> float:
    """Where the parabola through (-1, left), (0, middle), (1, right) is least, within `FARTHEST`.

    Example:
        >>> _parabola(4.0, 1.0, 0.0)
        1.0
    """
    bend = left - 2 * middle + right
    if bend <= 0:
        return FARTHEST if right < left else -FARTHEST
    return max(-FARTHEST, min(FARTHEST, (left - right) / (2 * bend)))
