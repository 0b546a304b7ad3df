"""What the app must hold to, and whether it did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: where the number is -> (words, most)
PERSON = {
    ("drag", "median_ms"): ("drag, handle to picture, median", 60),
    ("drag", "worst_ms"): ("drag, handle to picture, worst", 250),
    ("drag_with_job", "median_ms"): ("drag while a job runs, median", 60),
    ("drag_with_job", "worst_ms"): ("drag while a job runs, worst", 250),
    ("layer", "median_ms"): ("layer change, median", 300),
    ("layer_with_job", "median_ms"): ("layer change while a job runs, median", 300),
    ("lesson", "median_ms"): ("control of a lesson, median", 300),
}
FIRST = 3.0  # seconds
CHEAP = 250  # milliseconds
CLICKS, SECONDS = 12, 120
WIDGET = 60  # milliseconds


@dataclass(frozen=True)
class Verdict:
    """A number beside its budget, both with the unit."""

    words: str
    value: float | None
    most: float
    unit: str

    @property
    def held(self) -> bool:
        """Whether it was measured, and is no more than it may be."""
        return self.value is not None and self.value <= self.most


def verdicts(record: Mapping[str, Any]) -> Iterator[Verdict]:
    """Of what was measured."""
    if person := record.get("person"):
        yield Verdict("first screen after the address", person["first_screen_s"], FIRST, "s")
        for (part, name), (words, most) in PERSON.items():
            yield Verdict(words, person.get(part, {}).get(name), most, "ms")
    if newcomer := record.get("newcomer"):
        yield Verdict("clicks of a newcomer to a verified file", newcomer["count"], CLICKS, "")
        yield Verdict("their time", newcomer["seconds"], SECONDS, "s")
        yield Verdict("worst layers that they left uncured", int(not newcomer["cured"]), 0, "")
        yield Verdict("files of theirs that do not run", int(not newcomer["runs"]), 0, "")
    for words, found in record.get("notebook", {}).items():
        yield Verdict(f"widget {words}, median", found.get("median_ms"), WIDGET, "ms")
    if crowd := record.get("class"):
        words = f"cheap interactions of {crowd['browsers']} browsers, median"
        yield Verdict(words, crowd["cheap"].get("median_ms"), CHEAP, "ms")
        yield Verdict("errors", len(crowd["errors"]), 0, "")
