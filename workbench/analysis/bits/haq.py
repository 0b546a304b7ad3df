"""HAQ as a baseline: a policy that says the bits of each layer, and learns from the score alone.

    action   a in [0, 1] for each layer in turn  ->  b = round(b_min - 1/2 + a (b_max - b_min + 1))
    budget   bits are lowered, layer after layer, until it holds
    reward   0.1 (score - score of the float network)         [score in percent]

(Wang et al. 2019, arXiv:1811.08886.) Action, budget and reward are the paper's. The learner is not:
in place of DDPG, which wants 600 episodes, the few weights of a = sigmoid(θ · state) are found by
the cross-entropy method on the same reward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.analysis.bits.problem import Bits, Problem
from workbench.analysis.bits.refine import SearchOptions, Tried

REWARD = 0.1
#: percent; higher is better
Percent = Callable[[Bits], float]


@dataclass(frozen=True)
class LayerState:
    """What the policy knows of one variable, beside the bits it gave the one before.

    Attributes:
        depthwise: the layer has a group for each channel.
        inputs, outputs: channels.
        stride, kernel: of the first axis; 1 where there is none.
        values: weights.
        positions: outputs of a channel for one example.
    """

    depthwise: bool
    inputs: int
    outputs: int
    stride: int
    kernel: int
    values: int
    positions: int


def reward(score: float, original: float) -> float:
    """HAQ's reward of a score, both in percent."""
    return REWARD * (score - original)


def bits_of(action: float, least: int, most: int) -> int:
    """An action in [0, 1] as bits.

    Example:
        >>> [bits_of(a, 2, 8) for a in (0.0, 0.5, 1.0)]
        [2, 5, 8]
    """
    found = math.floor(least - 0.5 + action * (most - least + 1) + 0.5)
    return max(least, min(most, found))


def lowered(problem: Problem, budgets: Mapping[str, float], bits: Bits) -> dict[str, int] | None:
    """Each layer in turn one choice down, again and again, until the budgets hold, or None."""
    found = dict(bits)
    while problem.exceeded(found, budgets):
        before = dict(found)
        for v in problem.variables:
            if not problem.exceeded(found, budgets):
                break
            found[v.name] = v.bits[max(0, v.at(found[v.name]) - 1)]
        if found == before:
            return None
    return found


def search(
    problem: Problem,
    budgets: Mapping[str, float],
    percent: Percent,
    original: float,
    states: Mapping[str, LayerState],
    options: SearchOptions | None = None,
) -> Iterator[Tried]:
    """Try the choices of policies drawn at random around one that learns.

    Args:
        problem: its objective is not looked at.
        budgets: by resource.
        percent: score of a choice.
        original: score of the float network.
        states: by variable.
        options: rounds and their size.

    Yields:
        Each choice; `score` is the negative reward, so that lower is better here too.
    """
    options = options or SearchOptions()
    chance = np.random.default_rng(options.seed)
    features = _features([states[v.name] for v in problem.variables])
    mean, spread = np.zeros(features.shape[1] + 2), np.ones(features.shape[1] + 2)
    total, step = options.rounds * options.population, 0
    keep = max(2, round(options.elite * options.population))
    for _ in range(options.rounds):
        drawn: list[tuple[float, NDArray[np.float64]]] = []
        for _ in range(options.population):
            theta = mean + spread * chance.standard_normal(len(mean))
            bits = lowered(problem, budgets, _actions(problem, features, theta))
            step += 1
            if bits is not None:
                score = -reward(percent(bits), original)
                drawn.append((score, theta))
                yield Tried(bits, score, step, total)
        best = [theta for _, theta in sorted(drawn, key=lambda each: each[0])[:keep]]
        if best:
            mean, spread = np.mean(best, axis=0), np.std(best, axis=0) + 0.05


def _actions(
    problem: Problem, features: NDArray[np.float64], theta: NDArray[np.float64]
) -> dict[str, int]:
    """Layer after layer: the bits before are part of the state."""
    found: dict[str, int] = {}
    before = 1.0
    for v, row in zip(problem.variables, features, strict=True):
        value = float(np.dot(theta, [1.0, before, *row]))
        before = 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, value))))
        wanted = bits_of(before, v.bits[0], v.bits[-1])
        found[v.name] = min(v.bits, key=lambda b: (abs(b - wanted), b))
    return found


def _features(states: Sequence[LayerState]) -> NDArray[np.float64]:
    """One row a layer, each column scaled to [-1, 1]."""
    rows = [
        (
            float(s.depthwise),
            math.log(s.inputs),
            math.log(s.outputs),
            s.stride,
            s.kernel,
            math.log(s.values),
            math.log(max(1, s.positions)),
            index,
        )
        for index, s in enumerate(states)
    ]
    table = np.asarray(rows, dtype=float)
    low, high = table.min(0), table.max(0)
    return 2 * (table - low) / np.where(high > low, high - low, 1.0) - 1
