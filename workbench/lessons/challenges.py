"""Challenges: the best held-out score of a sample model under a budget of bytes.

A choice is what `Session.recipe` takes, as plain values. It is learned and judged here, with the
seed and the examples of the challenge, so two people who choose the same get the same score.
Half of the held-out examples give the score that is shown while people try; the other half, which
nobody has tried recipes on, gives the final one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from workbench.foundation.errors import RecipeError, unknown_name
from workbench.graph.costs import costs
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import layers
from workbench.lessons.material import session
from workbench.session.execute import Extent
from workbench.session.recipe import ActivationSpec, Recipe
from workbench.session.session import Session, Watch
from workbench.session.session import open as open_session

FIVE_MINUTES = 300.0
HELD_OUT = 3000
FLOAT_BYTES = 4
#: what no choice may change: everyone learns from the same examples, with the same chance
ALIKE: Mapping[str, Any] = {"seed": 0, "teacher": "", "target": "ort-cpu", "synthetic": None}


@dataclass(frozen=True)
class Challenge:
    """A task with a budget.

    Attributes:
        name: the lesson's number.
        model: sample model; task: what to do, in a sentence.
        most_bytes: of the weights, as `packed_bytes` counts them.
        given: what the choice may not change, fields of a recipe.
        seconds: of the process's own time that the run may take.
    """

    name: str
    model: str
    task: str
    most_bytes: int
    given: Mapping[str, Any] = field(default_factory=lambda: {**ALIKE, "calibration_examples": 256})
    seconds: float = FIVE_MINUTES


_FEW_BITS = {**ALIKE, "calibration_examples": 256, "activations": ActivationSpec(bits=4)}
_EVERY = (
    Challenge("4", "digits-resnet", "Round to some two bits a weight.", 22_000),
    Challenge("6", "digits-mobilenet", "Let second moments round to two bits a weight.", 34_000),
    Challenge("7", "digits-gru", "Train for as little as you can afford.", 30_000),
    Challenge("11", "digits-vit", "Two-bit weights beside 4-bit activations.", 46_000, _FEW_BITS),
    Challenge("12", "digits-mobilenet", "Spend the bits where they matter.", 40_000),
)
CHALLENGES = {challenge.name: challenge for challenge in _EVERY}


@dataclass(frozen=True)
class Score:
    """What a choice came to; scores sort by `rank`.

    Attributes:
        score: top-1 in percent on held-out examples; bytes: of the weights; budget: of bytes.
        seconds: of this process, on this computer; it does not count.
        final: judged on the half of the examples that is kept for the end.
    """

    challenge: str
    score: float
    float_score: float
    bytes: int
    budget: int
    seconds: float
    final: bool

    @property
    def within(self) -> bool:
        """The budget is kept."""
        return self.bytes <= self.budget

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Larger is better: within the budget, then the score, then fewer bytes."""
        return self.within, self.score, -self.bytes

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "within": self.within}

    def __str__(self) -> str:
        fits = "" if self.within else f", {self.bytes - self.budget:,} too many: it does not count"
        return (
            f"challenge {self.challenge}: {self.score:.2f} % (float {self.float_score:.2f} %)"
            f" in {self.bytes:,} of {self.budget:,} bytes{fits}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        tone = "#1f7a37" if self.within else "#b3261e"
        return f'<p style="color:{tone};font-weight:600">{escape(str(self))}</p>'


def score(name: str, choice: Mapping[str, Any] | Recipe, *, final: bool = False) -> Score:
    """Learn what was chosen, and judge it.

    Args:
        name: of the challenge, such as "4".
        choice: plain values as `Session.recipe` takes them, or a recipe.
        final: on the half of the held-out examples that is kept for the end.

    Raises:
        RecipeError: no such challenge, no recipe, or one that changes what is given.
    """
    challenge = find(name)
    opened = _judging(challenge, final)
    recipe = chosen(opened, challenge, choice)
    started = time.process_time()
    quick = Extent(naive=False, layers=False, verify=False, latency=False)
    with TemporaryDirectory(prefix="challenge-") as folder:
        place, watch = Path(folder) / "run", _limited(challenge.seconds)
        run = opened.quantize(recipe=recipe, out=place, extent=quick, progress=watch)
        scores = {kind: float(run.scores[kind]["score"]) for kind in ("learned", "float")}
        size = packed_bytes(run.model)
    seconds = time.process_time() - started
    found = scores["learned"], scores["float"], size
    return Score(name, *found, challenge.most_bytes, seconds, final)


def packed_bytes(model: QuantizedGraph) -> int:
    """Of all layers' weights: tightly packed codes and their scales, or four bytes for a float."""
    known = costs(model.graph, model.sites.values())
    weights = {w.name: w.shape for layer in layers(model.graph) for w in layer.weights}
    return sum(
        known[name].bytes(model.sites[name].grid.bits)
        if name in known
        else FLOAT_BYTES * math.prod(shape)
        for name, shape in weights.items()
    )


def find(name: str) -> Challenge:
    """A challenge by its name.

    Raises:
        RecipeError: unknown.
    """
    if name not in CHALLENGES:
        raise RecipeError(unknown_name("challenge", name, list(CHALLENGES)))
    return CHALLENGES[name]


def chosen(opened: Session, challenge: Challenge, choice: Mapping[str, Any] | Recipe) -> Recipe:
    """The recipe of a choice, with what the challenge fixes.

    Raises:
        RecipeError: it changes what is given, or is no recipe.
    """
    if isinstance(choice, Recipe):
        return choice.changed(**challenge.given)
    if not isinstance(choice, Mapping):
        raise RecipeError(f"a choice is a dict such as {{'method': 'gram'}}, not '{choice!r}'")
    fixed = sorted(set(choice) & set(challenge.given))
    if fixed:
        raise RecipeError(f"'{fixed[0]}' is given: {challenge.given[fixed[0]]!r}; leave it out")
    try:
        return opened.recipe(**choice).changed(**challenge.given)
    except TypeError as error:
        raise RecipeError(f"no recipe: {error}") from None


def _judging(challenge: Challenge, final: bool) -> Session:
    """The model with one half of its held-out examples, in a session of its own."""
    shared = session(challenge.model)
    opened = open_session(challenge.model)
    opened.use_data(replace(shared.data, test=shared.data.test[int(final) : HELD_OUT : 2]))
    return opened


def _limited(seconds: float) -> Watch:
    """A watch that ends what takes longer."""
    started = time.process_time()

    def watch(*_: object) -> None:
        if time.process_time() - started > seconds:
            raise RecipeError(f"this takes longer than {seconds:g} s; choose less of it")

    return watch
