"""What was found at a site: a cause with its number, and the cures that it proposes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

#: a cause that removes so little of the damage explains nothing
ESTABLISHED = 0.2
#: causes within this share of the best explain as much as it does
AS_MUCH = 0.8


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
        return asdict(self) | {"removed": self.removed}


def ranked(found: list[Finding]) -> list[Finding]:
    """The cause that explains most comes first; of those that explain as much, the most special.

    Example:
        >>> def case(name: str, after: float, order: int) -> Finding:
        ...     return Finding("w", "", 0.0, 0.0, 1.0, after, cause=name, order=order)
        >>> [f.cause for f in ranked([case("bits", 0.1, 9), case("channels", 0.2, 1)])]
        ['channels', 'bits']
    """
    left, ordered = sorted(found, key=lambda f: -f.removed), []
    while left:
        most = left[0].removed
        alike = [f for f in left if f.removed >= AS_MUCH * most or f is left[0]]
        ordered += sorted(alike, key=lambda f: (f.order, -f.removed))
        left = left[len(alike) :]
    return ordered
