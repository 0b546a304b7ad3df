"""A cure that was tried: what the recipe was worth before and after, and whether it stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: the divergence has to fall by this share
LEAST = 0.01
#: the score may fall by this share of the float one while the divergence falls
CHANCE = 0.005
#: a recipe is healthy within this share of the float score
HEALTHY = 0.01
#: a score of this share of the float one says nothing about single cures
SILENT = 0.05


@dataclass(frozen=True)
class Judged:
    """A recipe on held-out data.

    Attributes:
        score, float_score: in `unit`; lower_is_better: of these.
        kl: divergence from the float network in nats. bytes, bops: as of `Bill`.
    """

    score: float
    float_score: float
    unit: str
    lower_is_better: bool
    kl: float
    bytes: int
    bops: float

    @property
    def lost(self) -> float:
        """What the score has lost against float; negative where it has won."""
        gap = self.float_score - self.score
        return -gap if self.lower_is_better else gap

    def reaches(self, score: float | None) -> bool:
        """The score that was asked for; by default one per cent less than float."""
        if score is None:
            return self.lost <= HEALTHY * abs(self.float_score)
        return self.score <= score if self.lower_is_better else self.score >= score

    @property
    def silent(self) -> bool:
        """So little is left that the network cannot tell what helps."""
        return not self.lower_is_better and self.score <= SILENT * self.float_score

    def helped(self, before: Judged) -> bool:
        """Nearer to float than before, at no cost in the score beyond chance."""
        nearer = self.kl < (1 - LEAST) * before.kl
        return nearer and self.lost <= before.lost + CHANCE * abs(self.float_score)


@dataclass(frozen=True)
class Step:
    """A cure that was tried.

    Attributes:
        layer, cause, sentence: why; cure, words: what.
        edit: of the recipe.
        predicted: damage of the layer alone after it, in nats; None where only trying told.
        before, after: on the same held-out data.
        kept: whether it stays.
    """

    layer: str
    cause: str
    sentence: str
    cure: str
    words: str
    edit: dict[str, Any]
    predicted: float | None
    before: Judged
    after: Judged
    kept: bool

    def line(self) -> str:
        """One line for people."""
        mark = "kept" if self.kept else "dropped"
        a, b = self.before, self.after
        return (
            f"{self.layer}: {self.sentence}. {self.words}: KL {a.kl:.4g} → {b.kl:.4g}, score"
            f" {a.score:.2f} → {b.score:.2f} {b.unit}, {b.bytes - a.bytes:+,} bytes; {mark}"
        )
