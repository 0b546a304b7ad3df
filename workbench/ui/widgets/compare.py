"""Finished runs side by side, in a notebook cell.

widget = CompareWidget(first, second, third)
widget.part = "layers"        # "asked", "layers" or "predictions"; follows clicks too
widget.chosen = (0, 2)        # which of the runs
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import traitlets

from workbench.foundation.errors import RunError
from workbench.session.comparing import compare
from workbench.session.runs import Run
from workbench.ui.widgets.base import Message, MessageError, Pictured, look, pictures, text
from workbench.ui.widgets.fallback import part_html
from workbench.views import comparison, strings, study
from workbench.views.thumbnails import of_examples

MOST = 8  # colours that can be told apart


class CompareWidget(Pictured):
    """Only what differs, score against size and time, layer by layer, and flipped predictions.

    Args:
        runs: two or more finished runs, or their folders; deltas are against the first.

    Attributes:
        part: that is shown.
        chosen: places of the runs that are compared.
    """

    _esm = pictures(("_view", "study", "mountStudy"))
    _css = look()
    kinds: ClassVar[Mapping[str, str]] = {"part": "_choose_part", "compared": "_toggle"}

    part = traitlets.Enum(tuple(strings.COMPARE_PARTS), "asked").tag(sync=True)
    chosen = traitlets.Tuple().tag(sync=True)

    def __init__(self, *runs: Run | str | Path, **traits: Any) -> None:
        self.runs = [run if isinstance(run, Run) else Run(run) for run in runs]
        if not 2 <= len(self.runs) <= MOST:
            raise RunError(f"{len(runs)} runs cannot be compared here; name two to {MOST}")
        self._records: dict[tuple[int, ...], Mapping[str, Any]] = {}
        every = tuple(range(len(self.runs)))
        self._compared(every)
        super().__init__(**{"_look": "compare", "chosen": every, **traits})
        self._draw()

    def html(self) -> str:
        """What differs, scores, layers and flips as tables."""
        return part_html(comparison.part(self._compared(self.chosen)))

    @traitlets.validate("chosen")
    def _possible(self, proposal: Any) -> tuple[int, ...]:
        places = tuple(sorted(set(proposal["value"])))
        if len(places) < 2 or not all(place in range(len(self.runs)) for place in places):
            raise traitlets.TraitError(f"choose two or more of 0 to {len(self.runs) - 1}")
        return places

    @traitlets.observe("part", "chosen")
    def _draw(self, _: object = None) -> None:
        entries = [(key, title, "") for key, title in strings.COMPARE_PARTS.items()]
        body = {**self._body(), "choices": self._choices()}
        self.draw(study.section(entries, self.part, body))

    def _compared(self, places: tuple[int, ...]) -> Mapping[str, Any]:
        if places not in self._records:
            self._records[places] = compare([self.runs[place] for place in places])
        return self._records[places]

    def _body(self) -> study.Part:
        record = self._compared(self.chosen)
        if self.part == "layers":
            return comparison.layers(record)
        if self.part == "predictions":
            first = self.runs[self.chosen[0]]
            drawn = of_examples(first.session, first.recipe, comparison.flipped(record))
            return comparison.predictions(record, drawn)
        return comparison.asked(record)

    def _choices(self) -> list[Mapping[str, Any]]:
        found = []
        for place, run in enumerate(self.runs):
            on = place in self.chosen
            series = self.chosen.index(place) if on else 0
            letter = f"{chr(ord('A') + series)} · " if on else ""
            message = {"kind": "compared", "run": str(place)}
            found.append(study.choice(letter + run.name, message, on, series, run.name))
        return found

    def _choose_part(self, message: Message) -> None:
        self.part = text(message, "part")

    def _toggle(self, message: Message) -> None:
        """Put a run into the comparison, or take it out; two stay."""
        name = text(message, "run")
        if not name.isdecimal() or int(name) >= len(self.runs):
            raise MessageError(f"there is no run {name}")
        place = int(name)
        kept = tuple(one for one in self.chosen if one != place)
        self.chosen = kept if place in self.chosen else (*self.chosen, place)
