"""What was found at a site: a cause with its number, and the cures that it proposes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

#: a cause that removes so little of the damage explains nothing
ESTABLISHED = 0.2
#: causes within this share of the best explain as much as it does
AS_MUCH = 0.8
#: more bits help whatever the cause is: what they take away counts this much beside other causes
MORE_BITS = 0.625
#: a layer with less than this share of the network's damage is not what is ill
IDLE = 0.01


@dataclass(frozen=True)
class Cure:
    """A change of the recipe.

    Attributes:
        name: short; words: what it does.
        edit: what changes, as plain values; see `workbench.session.edits`.
        damage: of the layer alone after this very change, in nats, as measured; None where only
            trying can tell.
    """

    name: str
    words: str
    edit: Mapping[str, Any]
    damage: float | None = None


@dataclass(frozen=True)
class Finding:
    """A cause that a counterfactual has measured.

    Attributes:
        site: where; sentence: the cause with its number.
        before_db, after_db: SQNR at the site as it is, and with the one thing changed.
        before, after: damage to the network's answer in nats for each position, likewise.
        cures: what can be done, the most fitting first.
        evidence: further numbers.
        cause: its registered name; title, order: as registered.
        more_bits: the one thing changed was the number of bits.
        own: where `before` and `after` are the whole network's damage, what the layer has of it by
            itself; None where they are the layer's.
    """

    site: str
    sentence: str
    before_db: float
    after_db: float
    before: float
    after: float
    cures: tuple[Cure, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    cause: str = ""
    title: str = ""
    order: int = 0
    more_bits: bool = False
    own: float | None = None

    @property
    def whose(self) -> str:
        """Whose damage `before` and `after` are, for a sentence."""
        return "the damage" if self.own is None else "the whole network's damage"

    @property
    def removed(self) -> float:
        """Damage that the change takes away, in nats."""
        return self.before - self.after

    @property
    def established(self) -> bool:
        """The change takes away a good share of the damage."""
        return self.removed >= ESTABLISHED * self.before > 0

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {"removed": self.removed, "whose": self.whose}


def ranked(found: list[Finding]) -> list[Finding]:
    """The cause that explains most comes first; of those that explain as much, the most special.

    A bit more takes away three quarters of any error, so it explains less than it removes. What is
    said of the whole network's damage does not compare with what the layer does by itself: it comes
    last, or first where the layer does next to nothing.

    Example:
        >>> def case(name: str, after: float, order: int, more: bool = False) -> Finding:
        ...     return Finding("w", "", 0, 0, 1, after, cause=name, order=order, more_bits=more)
        >>> [f.cause for f in ranked([case("value", 0.1, 9), case("channels", 0.2, 1)])]
        ['channels', 'value']
        >>> [f.cause for f in ranked([case("bits", 0.1, 9, True), case("shape", 0.5, 1)])]
        ['shape', 'bits']
        >>> before = Finding("w", "", 0, 0, 90, 1, cause="upstream", own=1.0)
        >>> [f.cause for f in ranked([before, case("shape", 0.5, 1)])]
        ['shape', 'upstream']
    """
    far = [f for f in found if f.own is not None]
    idle = [f for f in far if f.own is not None and f.own < IDLE * f.before]
    near = [f for f in found if f.own is None]
    return [*idle, *_by_weight(near), *(f for f in far if f not in idle)]


def _by_weight(found: list[Finding]) -> list[Finding]:
    left, ordered = sorted(found, key=_explained, reverse=True), []
    while left:
        most = _explained(left[0])
        alike = [f for f in left if _explained(f) >= AS_MUCH * most or f is left[0]]
        ordered += sorted(alike, key=lambda f: (f.order, -f.removed))
        left = left[len(alike) :]
    return ordered


def _explained(finding: Finding) -> float:
    return finding.removed * (MORE_BITS if finding.more_bits else 1.0)
