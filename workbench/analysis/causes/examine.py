"""All causes of a layer's or site's damage, the one that explains most first."""

from __future__ import annotations

from dataclasses import replace

from workbench.analysis.causes.case import Case
from workbench.analysis.causes.finding import Finding, ranked
from workbench.analysis.causes.registry import CAUSES

#: less than this, in nats for each position, is no damage
NOTHING = 1e-7


def examine(case: Case) -> list[Finding]:
    """The established causes; none where the place does no damage."""
    if case.own_damage < NOTHING:
        return []
    found = []
    for unit in case.units:
        for entry in CAUSES:
            if unit.site.kind not in entry.facts["serves"]:
                continue
            seen = entry.make(case, unit)
            if seen is not None and seen.established:
                named = {"cause": entry.name, "title": entry.title, "order": entry.facts["order"]}
                more = bool(entry.facts.get("more_bits"))
                found.append(replace(seen, **named, more_bits=more))
    return ranked(found)
