"""What goes wrong while something learns: noticed in one place, for every learner, with the cure.

A `Watch` is told what a unit (a layer, a block, the network) reports and ends with its concerns. It
changes nothing: what is done about a concern is the learner's to decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["diverged", "dead", "over-fits", "no gain"]

KEPT = "its start was kept"
#: how far the held-out error may rise above its best before that is over-fitting
RISE = 1.1
#: times the loss it began with, from which learning has gone astray
ASTRAY = 2.0
#: more than what is left by arithmetic
ROUNDED = 1.001
#: of a course: steps in a running mean, and steps before it is judged
SMOOTH, PATIENCE = 10, 20
#: times that its loss may grow, if it is also a share of that of a network that knows nothing: a
#: small one is worth a word, and near to it all is lost
FAR, AT_ALL, HARDLY = 3.0, 0.01, 0.8
#: sites that are named one by one
NAMED = 5


@dataclass(frozen=True)
class Concern:
    """Something that went wrong.

    Attributes:
        kind: of what sort.
        site: the unit or site it happened to.
        text: one sentence with the name and the cure.
    """

    kind: Kind
    site: str
    text: str


class Watch:
    """Looks at the reports of one unit.

    Attributes:
        ended: a step said that learning has to end.
        chance: the loss of a network that gives all classes the same.

    Args:
        name: of the unit.
        kept: what is there instead, if learning fails.
        steady: all losses are over the same examples, so one can be compared with another.
    """

    def __init__(self, name: str, kept: str = KEPT, *, steady: bool = False) -> None:
        self._name = name
        self._kept = kept
        self._steady = steady
        self._losses: list[float] = []
        self._alive: dict[str, bool] = {}
        self._judged: list[tuple[int, float, float]] = []
        self._found: list[Concern] = []
        self._first = self._latest = 0.0
        self._steps = 0
        self.ended = False
        self.chance = 0.0
        self._warned = False
        self._said_count = 0

    def step(self, value: float) -> bool:
        """See the loss of one step; False if training goes astray and has to end.

        The first loss, or the best since, is compared with a running mean of the latest ones.
        """
        self._steps += 1
        if not math.isfinite(value):
            return self._astray("the loss is no number any more")
        if self._steps == 1:
            self._first = self._latest = value
            return True
        self._latest += (value - self._latest) / SMOOTH
        if self._steps < PATIENCE or self._latest <= FAR * self._first:
            self._first = min(self._first, self._latest)
            return True
        times = f"{self._latest / max(self._first, 1e-12):.3g} times what it was"
        if self._latest > HARDLY * self.chance:
            return self._astray(f"after {self._steps} steps the loss is {times}")
        if not self._warned and self._latest > AT_ALL * self.chance:
            self._warned = True
            text = f"loses ground: after {self._steps} steps the loss is {times}"
            self._note("diverged", f"{text}; stop, and lower the learning rate")
        return True

    @property
    def sound(self) -> bool:
        """Whether the steps so far give a state to go back to."""
        return self._latest <= FAR * self._first or self._latest <= AT_ALL * self.chance

    @property
    def has_news(self) -> bool:
        """Whether `fresh` would give anything."""
        return len(self._found) > self._said_count

    def fresh(self) -> list[Concern]:
        """What was noticed since the last call, to be said at once."""
        found = self._found[self._said_count :]
        self._said_count = len(self._found)
        return found

    def memory(self) -> list[float]:
        """What `step` remembers, as numbers."""
        return [self._first, self._latest, float(self._steps), float(self._warned)]

    def remember(self, numbers: list[float]) -> None:
        """The inverse of `memory`."""
        self._first, self._latest, self._steps = numbers[0], numbers[1], int(numbers[2])
        self._warned = bool(numbers[3])

    def forget(self) -> None:
        """The losses to come are of another kind, as after a change of bits."""
        self.remember([0.0, 0.0, 0.0, 0.0])
        self._losses.clear()
        self._judged.clear()

    def _astray(self, what: str) -> bool:
        self._note("diverged", f"diverged: {what}, so {self._kept}; lower the learning rate")
        self.ended = True
        return False

    def loss(self, value: float) -> bool:
        """See a loss; False if it is no number, and learning has to end."""
        self._losses.append(value)
        if math.isfinite(value):
            return True
        self._note(
            "diverged",
            f"diverged: the loss is no number any more, so {self._kept}; lower the learning rate",
        )
        return False

    def gradients(self, norms: Mapping[str, float]) -> None:
        """See the norm of the gradient at each site."""
        for site, norm in norms.items():
            self._alive[site] = self._alive.get(site, False) or norm != 0.0

    def judged(self, step: int, trained: float, held_out: float) -> None:
        """See the error on what is learned from, and on what is held out."""
        self._judged.append((step, trained, held_out))

    def failed(self, *, better_on_own: bool) -> None:
        """Note that the end is worse than the start; on held-out examples only, if told so."""
        if better_on_own:
            self._note(
                "over-fits",
                "over-fits: better on the examples it learned from, worse on those held out, so"
                f" {self._kept}; give more calibration examples or fewer iterations",
            )
        else:
            self._note(
                "no gain",
                f"did not beat nearest rounding, so {self._kept}; take more iterations or a lower"
                " learning rate",
            )

    def solved(self, before: float, after: float) -> None:
        """See the error of a layer that is solved in closed form, nearest and learned."""
        if not math.isfinite(after):
            self._note(
                "diverged",
                "has an error that is no number; look for infinite values in the calibration data,"
                " or raise the damping",
            )
        elif after > ROUNDED * before:
            self._note(
                "no gain",
                f"was not improved on nearest rounding ({before:.2g} to {after:.2g} of the output's"
                " power); give more calibration examples",
            )

    def concerns(self, *, best_kept: bool = False) -> list[Concern]:
        """Everything that was noticed; the rise of the held-out error only if it had effect."""
        quiet = best_kept or bool(self._found)
        late = [] if quiet else [*self._grew(), *self._rose()]
        return [*self.fresh(), *late, *self._dead()]

    def _grew(self) -> Iterator[Concern]:
        """A loss that ended above where it began."""
        first, last = (self._losses[0], self._losses[-1]) if self._losses else (0.0, 0.0)
        if self._steady and last > ASTRAY * first > 0:
            text = f"diverges: the loss ended at {last / first:.1f} times what it was at first"
            yield self._said("diverged", f"{text}; lower the learning rate")

    def _rose(self) -> Iterator[Concern]:
        """A held-out error that rose while that on its own examples fell."""
        if not self._judged:
            return
        best = min(self._judged, key=lambda seen: seen[2])
        step, trained, held_out = self._judged[-1]
        if held_out > RISE * best[2] and trained < best[1]:
            yield self._said(
                "over-fits",
                f"over-fits after step {best[0]}: the held-out error rose by"
                f" {100 * (held_out / best[2] - 1):.0f} % until step {step}, while that on its own"
                " examples fell; give more calibration examples or stop earlier",
            )

    def _dead(self) -> list[Concern]:
        dead = [site for site, alive in self._alive.items() if not alive]
        if dead and len(dead) == len(self._alive):
            dead = [self._name]
        cure = "calibrate with 'minmax', so that fewer values are clipped"
        named = [
            Concern("dead", site, f"'{site}' is dead: no gradient reached it; {cure}")
            for site in dead[:NAMED]
        ]
        more = len(dead) - len(named)
        rest = f"{more} more sites of '{self._name}' are dead: no gradient reached them; {cure}"
        return [*named, Concern("dead", self._name, rest)] if more else named

    def _note(self, kind: Kind, text: str) -> None:
        self._found.append(self._said(kind, text))

    def _said(self, kind: Kind, text: str) -> Concern:
        return Concern(kind, self._name, f"'{self._name}' {text}")
