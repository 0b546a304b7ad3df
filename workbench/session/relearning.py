"""A recipe learned again after an edit: what the edit cannot have changed is taken over.

A stage's outcome at a site stands where the float network, the data and the stages up to this one
are those of before, and the method says that no changed site reaches it (`Method.keeps`):

    rtn                                      all but the changed sites
    gram, gptq, bias_correction,             what lies before the first changed site; what follows
    bn_reestimation, reconstruction          sees other inputs and is learned anew
    all others, and other float networks     nothing

A site that a stage has to learn anew counts as changed for the stages behind it. So the outcome is
that of learning everything, tensor by tensor, and only the work differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from workbench.graph.passes.registry import Measured
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site
from workbench.methods.kept import NOTHING, Kept
from workbench.methods.registry import make
from workbench.session.recipe import Recipe
from workbench.session.version import VERSION, code

if TYPE_CHECKING:
    from workbench.session.runs import Run
    from workbench.session.session import Session

State = Mapping[str, Tensor]
#: fields of a recipe that decide what a stage learns, besides sites and stages
_ELSE = (
    "synthetic",
    "seed",
    "augment",
    "calibration_examples",
    "training_examples",
    "teacher",
)


@dataclass(frozen=True)
class Ground:
    """What learning stands on besides sites and stages.

    Attributes:
        given: the data that the session was given.
        asked: of the recipe, as text.
        measured: what transformations saw in the data.
    """

    given: object
    asked: str
    measured: Measured

    @classmethod
    def of(cls, session: Session, recipe: Recipe, measured: Measured) -> Ground:
        """That of a recipe with the data that the session has now."""
        asked = f"{recipe.preparation}{recipe.model_dump_json(include=set(_ELSE))}"
        return cls(session.given, asked, measured)

    def same(self, other: Ground) -> bool:
        """Whether both are one."""
        if self.given is not other.given or self.asked != other.asked:
            return False
        mine, theirs = self.measured, other.measured
        return mine.keys() == theirs.keys() and all(mine[k].equal(theirs[k]) for k in mine)


@dataclass(frozen=True)
class Learned:
    """A recipe as it was learned.

    Attributes:
        recipe: that was asked.
        model: at the end.
        ground: what it stands on.
        states: after each stage; None where that was not kept.
        events: what learning reported, stage after stage, as records.
    """

    recipe: Recipe
    model: QuantizedGraph
    ground: Ground
    states: tuple[State | None, ...]
    events: tuple[Mapping[str, Any], ...] = ()


def of_run(run: Run) -> Learned:
    """What a finished run has learned. It kept its last stage's state only.

    Nothing is taken over of another version's run, or where the state was learned elsewhere.
    """
    measured = run.files.read_measured() or {}
    about, stages = run.about, run.recipe.stages
    follows = bool(about.get("digest")) and about.get("code") == code()
    last = run.model.state() if follows and about.get("version") == VERSION else None
    return Learned(
        run.recipe,
        run.model,
        Ground.of(run.session, run.recipe, measured),
        (*[None] * (len(stages) - 1), last),
        tuple(event for event in run.events() if event.get("phase") == "learn"),
    )


@dataclass
class Memory:
    """What earlier learning left that still stands, and what the learning at hand leaves.

    Args:
        recipe, model, ground: of the learning at hand; the model is at its start.
        before: earlier learning; None if there was none.

    Attributes:
        finished: stages that stand as a whole.
        states, events: as of `Learned`, so far.
    """

    recipe: Recipe
    model: QuantizedGraph
    ground: Ground
    before: Learned | None = None
    finished: int = 0
    states: list[State | None] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._whole = Kept(frozenset(self.model.sites))
        self._kept = self._standing()
        for index, kept in enumerate(self._kept):
            state = self._earlier(index)
            if kept is self._whole and state is not None:
                self.finished = index + 1
                self.model.load_state(state)
        for index in range(self.finished):
            self._take_over(index, self._whole.sites)
            self.states.append(self._earlier(index))

    def recall(self, stage: int) -> frozenset[str]:
        """Put what stands into the model before a stage learns; names of these sites."""
        kept, state = self._kept[stage], self._earlier(stage)
        if state is None or not kept.sites:
            return frozenset()
        self.model.load_part(state, kept.sites, kept.parameters)
        self._take_over(stage, kept.sites)
        return kept.sites

    def keep(self) -> None:
        """A stage has ended."""
        self.states.append(self.model.state())

    def learned(self) -> Learned:
        """All stages have ended."""
        return Learned(self.recipe, self.model, self.ground, tuple(self.states), tuple(self.events))

    def _earlier(self, stage: int) -> State | None:
        states = () if self.before is None else self.before.states
        return states[stage] if stage < len(states) else None

    def _standing(self) -> list[Kept]:
        """What each stage would learn again just as it was."""
        before, stages = self.before, self.recipe.stages
        if before is None or not before.ground.same(self.ground):
            return [NOTHING] * len(stages)
        changed, found = changes(before.model, self.model), list[Kept]()
        gone = [site for site in changed if site.name not in self.model.sites]
        for index, stage in enumerate(stages):
            same = index < len(before.recipe.stages) and stage == before.recipe.stages[index]
            kept = NOTHING
            if same and not changed:
                kept = self._whole
            elif same:
                kept = make(stage.method, stage.options).keeps(self.model, changed)
            found.append(kept)
            others = [s for s in self.model.sites.values() if s.name not in kept.sites]
            changed = [*others, *gone]
        return found

    def _take_over(self, stage: int, sites: frozenset[str]) -> None:
        """What was reported of sites that stand."""
        assert self.before is not None
        whole = sites == self._whole.sites
        names = {*sites, *(s.layer for s in self.model.of_kind("weight") if s.name in sites)}
        for event in self.before.events:
            seen = event.get("sites", {}).keys()
            own = event.get("site") in names or (seen and seen <= sites)
            if event.get("stage") == stage and (whole or own):
                self.events.append(event)


def changes(before: QuantizedGraph, now: QuantizedGraph) -> list[Site]:
    """Sites that differ, as they were and as they are, with all that share their scale."""
    old, new = _signatures(before), _signatures(now)
    names = {name for name in old | new if old.get(name) != new.get(name)}
    found: list[Site] = []
    for model in (before, now):
        sites = _asked(model)
        leaders = {site.shares or site.name for site in sites if site.name in names}
        found += [site for site in sites if (site.shares or site.name) in leaders]
    return found


def _asked(model: QuantizedGraph) -> list[Site]:
    """Sites with the grids that were asked for; learning may have put others there."""
    return [replace(site, grid=model.first[name]) for name, site in model.sites.items()]


def _signatures(model: QuantizedGraph) -> dict[str, tuple[Any, ...]]:
    joined = model.joined()
    return {s.name: (s, s.own_levels, joined.get(s.name)) for s in _asked(model)}
