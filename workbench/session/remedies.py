"""A cure that someone asked for: tried in a process of its own, proved, kept where it helps.

The study "cure" (`workbench.session.studies`) lives in a folder of its own:

asked.json   the run, what is to be done, and where the cured run goes
story.json   the record so far: what was proved is there before the cured run is made
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from workbench.analysis.causes.case import Case, Examined
from workbench.analysis.causes.finding import Cure, Finding
from workbench.foundation.errors import RecipeError, RunError, WorkbenchError
from workbench.session.causes import Bill, Proposal, examined
from workbench.session.curing import EXAMPLES, Treatment, of_run
from workbench.session.edits import DATA, edited
from workbench.session.execute import Extent, learned
from workbench.session.recipe import Recipe
from workbench.session.runs import Run
from workbench.session.store import read_json, write_json
from workbench.session.studies import Study, done
from workbench.session.trials import Judged
from workbench.session.whys import Whys

Note = Callable[[str, float], None]

#: a trial that took longer is not made again to look at a layer whose cure was put back
PATIENCE = 30.0
#: shares of the whole at which things begin
OPENED, TRIED, PROVED = 0.04, 0.12, 0.25


@dataclass(frozen=True)
class Asked:
    """What is to be done.

    Attributes:
        run: folder of the run that ails; out: folder of the cured one.
        extent: how much of the cured run's outcome is wanted.
        layer, number: the cure of that number for that layer; number 0 cures automatically.
        words: what the cure does, for people.
        within: share of the float score that may be lost in the end; budget: bytes of weights.
    """

    run: str
    out: str
    extent: dict[str, Any]
    layer: str = ""
    number: int = 0
    words: str = ""
    within: float | None = None
    budget: int | None = None


class Remedy:
    """A cure, seen from outside.

    Args:
        folder: where it is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study = Study(folder, "cure")
        self._asked, self._story = folder / "asked.json", folder / "story.json"

    def ask(self, asked: Asked) -> None:
        """Write down what is to be done; the study then does it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._asked, asdict(asked))

    @property
    def asked(self) -> Asked:
        """What is to be done; what another version wrote besides is left out.

        Raises:
            RunError: nothing was asked for, or the file is damaged.
        """
        stored = read_json(self._asked, "holds no cure")
        known = {field.name for field in fields(Asked)}
        try:
            return Asked(**{key: value for key, value in stored.items() if key in known})
        except TypeError as error:
            raise RunError(
                f"'{self._asked}' is damaged ({error}); ask for the cure again"
            ) from None

    def story(self) -> dict[str, Any]:
        """The record of `treat` as far as it has come; empty before the first step."""
        return read_json(self._story, "holds no story") if self._story.exists() else {}

    def tell(self, record: Mapping[str, Any]) -> None:
        """Leave the record so far."""
        write_json(self._story, record, durable=False)


def treat(folder: Path, note: Note) -> dict[str, Any]:
    """Do what was asked for.

    Returns:
        `words` of the cure, `steps`, `end`, `before` and `after` (of the whole network), `proof`
        (of the layer; None where no single one was meant), and `run`, the cured one's name or "".

    Raises:
        WorkbenchError: in one sentence, what is not possible.
    """
    remedy = Remedy(folder)
    asked = remedy.asked
    note("opening the run", 0.02)
    run = done(Run(asked.run))
    note("measuring the recipe as it is", OPENED)
    treatment = of_run(run, EXAMPLES, lambda _: remedy.tell(_record(treatment, before)))
    before = treatment.now
    words, proof = "", None
    if asked.number:
        words, proof = _one(treatment, run, asked, note)
    else:
        note("trying cures where it hurts most", TRIED)
        treatment.auto(_score(before, asked.within), asked.budget)
    record = {**_record(treatment, before), "words": words, "proof": proof}
    remedy.tell(record)
    kept = any(step.kept for step in treatment.steps)
    return {**record, "run": _write(treatment, run, asked, note) if kept else ""}


def _score(now: Judged, within: float | None) -> float | None:
    """The score to reach, on the examples that decide."""
    if within is None:
        return None
    share = within if now.lower_is_better else -within
    return now.float_score + share * abs(now.float_score)


def _record(treatment: Treatment, before: Judged) -> dict[str, Any]:
    """What has been done; the last value is what was tried, where that was one cure."""
    steps = treatment.steps
    tried = steps[0].after if len(steps) == 1 and not steps[0].kept else treatment.now
    return {
        "words": "",
        "steps": [asdict(step) for step in steps],
        "end": treatment.end,
        "before": asdict(before),
        "after": asdict(tried),
        "proof": None,
        "run": "",
    }


def proposal_of(recipe: Recipe, found: Mapping[str, Any], number: int) -> Proposal:
    """A cure of a record of `workbench.session.causes.Causes`, ready to be applied.

    Raises:
        RecipeError: there is none of that number, or the recipe cannot take it.
    """
    cure = next((each for each in found["cures"] if each["number"] == number), None)
    if cure is None:
        known = len(found["cures"])
        raise RecipeError(f"cure was {number}; '{found['layer']}' has {known} of them, from 1")
    own = cure["cause"], cure["site"]
    cause = next(each for each in found["causes"] if (each["cause"], each["site"]) == own)
    known = {field.name for field in fields(Finding)} - {"cures"}
    finding = Finding(**{key: value for key, value in cause.items() if key in known})
    made = Cure(cure["name"], cure["words"], cure["edit"], cure["predicted_damage"])
    bill = Bill(cure["bytes"], cure["bops"])
    return Proposal(number, finding, made, edited(recipe, cure["edit"]), bill)


def _one(
    treatment: Treatment, run: Run, asked: Asked, note: Note
) -> tuple[str, dict[str, list[float | None]]]:
    """One cure of one layer: its words, and what became of the layer."""
    found = Whys(run.directory).layers().get(asked.layer)
    if found is None:
        raise RecipeError(f"the causes of '{asked.layer}' are not known yet; look for them first")
    proposal = proposal_of(treatment.recipe, found, asked.number)
    before = _seen(treatment.network, asked.layer)
    words = proposal.cure.words
    note(f"trying: {words}", TRIED)
    began = time.monotonic()
    step = treatment.apply(proposal, asked.layer)
    treatment.end = "one cure was tried"
    network: Examined | None = None
    if step.kept:
        network = treatment.network
    elif DATA not in proposal.cure.edit and time.monotonic() - began < PATIENCE:
        note("looking at the layer with the cure that was put back", PROVED)
        model = learned(treatment.session, proposal.recipe, treatment.known).model.eval()
        network = examined(treatment.session, proposal.recipe, model)
    after = _seen(network, asked.layer)
    return words, {key: [before[key], after[key]] for key in before}


def _seen(network: Examined | None, layer: str) -> dict[str, float | None]:
    """SQNR in dB of a layer's weights and input, and its damage alone in nats."""
    nothing: dict[str, float | None] = {"weights_db": None, "input_db": None, "damage": None}
    if network is None:
        return nothing
    try:
        case = network.case(layer)
    except WorkbenchError:  # nothing of it is quantized any more
        return {**nothing, "damage": 0.0}
    return {
        "weights_db": _worst(case, "weight"),
        "input_db": _worst(case, "activation"),
        "damage": case.own_damage,
    }


def _worst(case: Case, kind: str) -> float | None:
    return min((case.db(unit) for unit in case.units if unit.site.kind == kind), default=None)


def _write(treatment: Treatment, run: Run, asked: Asked, note: Note) -> str:
    """The cured run; its name."""
    note("making the cured run", PROVED)
    made = treatment.write(asked.out, Extent.from_record(asked.extent))
    given, taken = run.about.get("data") or {}, made.about.get("data") or {}
    if given.get("kind") == "path" and taken.get("kind") != "path":
        made.files.update_run(divided=given["path"])  # some of it calibrates now, the rest judges
    return made.name
