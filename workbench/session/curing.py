"""Cures applied, judged on held-out data, kept where they help: one by one, or greedily.

Only what an edit can have changed is learned again (`session.relearning`), and only what that
reaches is measured again (`analysis.layer_errors`).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.analysis.causes.case import Examined
from workbench.analysis.causes.finding import Finding
from workbench.foundation.errors import RecipeError, WorkbenchError
from workbench.graph.quantized import QuantizedGraph
from workbench.session import relearning
from workbench.session.causes import (
    Causes,
    Proposal,
    bill,
    causes,
    examined,
    joined,
    oscillations,
    proposals,
)
from workbench.session.edits import DATA
from workbench.session.execute import Extent, learned, state_key
from workbench.session.kernels import SATURATION, run_as_file, saturation
from workbench.session.recipe import Recipe
from workbench.session.relearning import Learned
from workbench.session.runs import Run
from workbench.session.scores import Remembered, compare
from workbench.session.store import Checkpoint, RunFiles, write_json
from workbench.session.trials import Judged, Step

if TYPE_CHECKING:
    from workbench.session.session import Session

Tell = Callable[[str], None]

#: held-out examples that decide
EXAMPLES = 512
#: places to look at, and cures to try there, before nothing is said to help
PLACES, TRIES = 3, 4
#: a cure that is predicted to leave more than this share of the damage is tried after the others
WEAK = 0.2
#: cures that are kept at most
MOST = 12


class Treatment:
    """A recipe under treatment. Its session may change its data, where that is the cure.

    Args:
        session: model and data.
        recipe: that ails.
        known: the recipe as it was learned; by default that is done now.
        files: of a run of it, whose kernels are looked at too.
        examples: held-out ones that decide.
        tell: called with a line for each step.

    Attributes:
        recipe, known, now: as the cures have left them.
        steps: what was tried, in order; end: why it ended.
        extent: how much of the outcome is wanted when it is written; everything if None.
    """

    def __init__(
        self,
        session: Session,
        recipe: Recipe,
        known: Learned | None = None,
        files: RunFiles | None = None,
        examples: int = EXAMPLES,
        tell: Tell | None = None,
    ) -> None:
        self.session, self.recipe = session, recipe
        self.known = learned(session, recipe) if known is None else known
        self.steps: list[Step] = []
        self.end = ""
        self.extent: Extent | None = None
        self._file = None if files is None else files.model
        self._layers = None if files is None else files.layers
        self._examples = examples
        self._tell = tell or (lambda _: None)
        self._tried = set[str]()
        self._network: Examined | None = None
        self._float = Remembered(session.model)
        self.now = self._judge(self.recipe, self.model)

    @property
    def model(self) -> QuantizedGraph:
        """The quantized network as it is now."""
        return self.known.model.eval()

    @property
    def network(self) -> Examined:
        """The network as it is now, ready to be examined."""
        if self._network is None:
            shares = oscillations(self.known.events)
            self._network = examined(self.session, self.recipe, self.model, swinging=shares)
        return self._network

    def causes(self, layer: str = "") -> Causes:
        """Why a layer suffers; "" is the one that suffers most, and what the kernels do."""
        found = causes(self.session, self.recipe, self.network, layer)
        seen = None if layer else self._kernels()
        return found if seen is None else joined(found, [seen], self.session, self.recipe)

    def _kernels(self) -> Finding | None:
        """What the default kernels do to the file, where there is one."""
        if self._file is None or not self._file.exists():
            return None
        data, size = self.session.judging(self.recipe), self.session.batch_size
        inputs = [x for x, _ in data.batches("test", size, self._examples)]
        return saturation(self.model, self._file, inputs, self.network.answer)

    def apply(self, proposal: Proposal, layer: str = "") -> Step:
        """Try one cure and keep it where it helps."""
        self._tried.add(_key(proposal))
        given = self.session.given
        if DATA not in proposal.cure.edit:
            return self._try(proposal, layer, self.now)
        _recalibrate(self.session, self.recipe)
        try:
            step = self._try(proposal, layer, self._judge(self.recipe, self.model))
        except WorkbenchError:
            self.session.use_data(given)
            raise
        if not step.kept:
            self.session.use_data(given)
        return step

    def _try(self, proposal: Proposal, layer: str, before: Judged) -> Step:
        """Quantize with the cure and compare, on the data that the session has now."""
        found, file = learned(self.session, proposal.recipe, self.known), False
        if proposal.finding.cause == SATURATION:  # which only files show
            file, before = True, self._judge(self.recipe, self.model, as_file=True)
        after = self._judge(proposal.recipe, found.model.eval(), as_file=file)
        smaller = after.bytes <= before.bytes
        kept = after.helped(before) or (before.silent and smaller and _relieves(proposal))
        if kept:
            self.recipe, self.known = proposal.recipe, found
            self.now = self._judge(self.recipe, self.model) if file else after
            self._network, self._file = None, None
        step = _step(proposal, layer, before, after, kept)
        self.steps.append(step)
        self._tell(step.line())
        return step

    def auto(self, score: float | None = None, budget: int | None = None) -> None:
        """Cure what hurts most, again and again.

        Args:
            score: to reach; by default one per cent less than float.
            budget: bytes of weights that no cure may exceed.

        Raises:
            RecipeError: a score or a budget that nothing can have.
        """
        if score is not None and self.now.unit == "%" and not 0 < score <= 100:
            raise RecipeError(f"score was {score:g}; it is a percentage: give 0 to 100")
        if budget is not None and budget < 0:
            raise RecipeError(f"budget was {budget}; give bytes of weights, such as 50000")
        kept = self._mend_kernels(budget)
        while kept < MOST and not self.now.reaches(score) and self._round(budget):
            kept += 1
        reached = self.now.reaches(score)
        least = None if budget is None else bill(self.session, self.recipe).bytes
        self.end = "the score is reached" if reached else "no cure that is left helps"
        if not reached and least is not None and budget is not None and least > budget:
            self.end = f"no cure fits {budget:,} bytes: the recipe itself takes {least:,}"
        if not reached and kept == MOST:
            self.end = f"{MOST} cures were kept; run it again to go on"
        self._tell(f"{self.end}: {self.now.score:.2f} {self.now.unit}, {self.now.bytes:,} bytes")

    def write(self, out: str | Path | None = None, extent: Extent | None = None) -> Run:
        """The recipe as it is now as a run like any other, with the story in `cure.json`."""
        files = self.session.prepare(
            self.recipe, out, extent or self.extent, self.known.ground.measured
        )
        self._hand_over(files)
        write_json(files.story, self.record())
        self.session.make(files)
        return Run(files.directory)

    def _hand_over(self, files: RunFiles) -> None:
        """What is learned and measured already, to a run in which nothing is yet."""
        state = self.known.states[-1]
        if state is not None:
            for event in self.known.events:
                files.append_event({"phase": "learn", "time": time.time(), **event})
            stored = Checkpoint(files.state, state_key(self.session, Recipe.load(files.recipe)))
            stored.save(state, len(self.recipe.stages))
        if self._layers is not None and self._layers.exists():
            shutil.copyfile(self._layers, files.layers)

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "recipe": self.recipe.toml(),
            "now": asdict(self.now),
            "end": self.end,
            "steps": [asdict(step) for step in self.steps],
        }

    def _mend_kernels(self, budget: int | None) -> int:
        """The file's own illness first: no simulation shows it. How many cures were kept."""
        seen = self._kernels()
        found = proposals(self.session, self.recipe, [seen] if seen else [])
        fitting = (p for p in found if budget is None or p.bill.bytes <= budget)
        return int(any(self.apply(proposal).kept for proposal in fitting))

    def _round(self, budget: int | None) -> bool:
        """One cure that helps; False where none is found."""
        for layer, proposal in self._candidates(budget):
            try:
                if self.apply(proposal, layer).kept:
                    return True
            except WorkbenchError as error:
                self._tell(f"{layer}: {proposal.cure.words}: not possible ({error})")
        return False

    def _candidates(self, budget: int | None) -> Iterator[tuple[str, Proposal]]:
        """Cures for the places that hurt most, each at most once in a treatment."""
        network = self.network
        for place in ("", *network.worst(PLACES)[1:]):
            found = causes(self.session, self.recipe, network, place)
            fresh = [p for p in found.proposals if _key(p) not in self._tried]
            fitting = [p for p in fresh if budget is None or p.bill.bytes <= budget]
            fitting.sort(key=lambda p: (p.cure.damage or 0.0) > WEAK * found.damage)
            for proposal in fitting[:TRIES]:
                yield found.layer, proposal

    def _judge(self, recipe: Recipe, model: QuantizedGraph, *, as_file: bool = False) -> Judged:
        """In simulation, or written and run with the default kernels of this processor."""
        data, cost = self.session.judging(recipe), bill(self.session, recipe)
        size, candidate = self.session.batch_size, run_as_file(model, recipe) if as_file else model
        found = compare(self._float, {"learned": candidate}, data, size, self._examples)
        own = found["learned"]
        return Judged(
            own["score"], found["float"]["score"], own["unit"],
            data.task in ("bytes", "tokens"), own["kl"], cost.bytes, cost.bops,
        )  # fmt: skip


def chosen(found: Causes, number: int) -> Proposal:
    """The cure of that number.

    Raises:
        RecipeError: there is none.
    """
    for proposal in found.proposals:
        if proposal.number == number:
            return proposal
    known = len(found.proposals)
    raise RecipeError(f"cure was {number}; '{found.layer}' has {known} of them, from 1")


def of_run(run: Run, examples: int = EXAMPLES, tell: Tell | None = None) -> Treatment:
    """A finished run under treatment; what comes of it is written to the same extent."""
    known = relearning.of_run(run)
    found = Treatment(run.session, run.recipe, known, run.files, examples, tell)
    found.extent = Extent.from_record(run.about.get("extent", {}))
    return found


def _relieves(proposal: Proposal) -> bool:
    """Whether a place suffers half as much by itself with a cure.

    That is what counts while the network as a whole answers as by chance: it cannot tell which of
    several ills is cured first.
    """
    after, before = proposal.cure.damage, proposal.finding.before
    return after is not None and after <= before / 2


def _step(proposal: Proposal, layer: str, before: Judged, after: Judged, kept: bool) -> Step:
    finding, cure = proposal.finding, proposal.cure
    return Step(
        layer or finding.site, finding.cause, finding.sentence, cure.name, cure.words,
        dict(cure.edit), cure.damage, before, after, kept,
    )  # fmt: skip


def _key(proposal: Proposal) -> str:
    return json.dumps(proposal.cure.edit, sort_keys=True)


def _recalibrate(session: Session, recipe: Recipe) -> None:
    """From now on only what was held out is data: some of it calibrates, the rest judges."""
    data = session.judging(recipe)
    arrays: dict[str, Any] = {
        spec.name: tensor.numpy()
        for spec, tensor in zip(session.graph.inputs, data.split("test"), strict=True)
    }
    if data.source.labels is not None:
        arrays["labels"] = data.source.labels[data.test]
    session.use_data(arrays)
