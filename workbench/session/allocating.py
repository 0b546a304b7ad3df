"""The steps of one choice of bits; what they are says `workbench.session.allocation`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from torch import Tensor

from workbench.analysis.bits import haq, refine, sensitivity, ties, trace
from workbench.analysis.bits.candidates import Candidates, MixedNetwork, Rounder, nearest
from workbench.analysis.bits.pareto import knee, sweep
from workbench.analysis.bits.problem import Bits, Problem, Table, problem
from workbench.analysis.bits.programme import require, solve
from workbench.foundation.errors import RecipeError
from workbench.graph.costs import open_widths
from workbench.graph.sites import Site
from workbench.methods.base import Task
from workbench.methods.moments import MomentStore
from workbench.methods.registry import make
from workbench.quantizers.base import Quantizer
from workbench.session.activation_bits import ActivationBits
from workbench.session.allocation import (
    Allocation,
    AllocationOptions,
    Budgets,
    Choice,
    measured_kl,
    within,
)
from workbench.session.bit_costs import BitCosts, layer_states
from workbench.session.execute import build
from workbench.session.recipe import Override, Recipe
from workbench.session.whatif import NEAREST, methods, rounded

if TYPE_CHECKING:
    from workbench.session.session import Session

Progress = Callable[[float, str], None]
Batch = tuple[Tensor, ...]

TRACE_BATCH = 16  # examples; the graph of the gradient is kept
SHARE = 0.8  # of the work that the sensitivities are, for the progress


#: of a sweep
MOST_POINTS = 200


def allocate(
    session: Session,
    recipe: Recipe,
    budgets: Budgets,
    options: AllocationOptions | None = None,
    pins: Mapping[str, int] | None = None,
    points: int = 0,
    progress: Progress | None = None,
) -> Allocation:
    """Choose bits; see the module.

    Args:
        session: with data.
        recipe: whose weights get other bits; its overrides stay as they are.
        budgets: without any a sweep's knee is taken.
        options: how.
        pins: bits by pattern, as overrides have them; 0 keeps float.
        points: of a sweep over the first resource that has a budget (average bits if none has).
        progress: told the share that is done and what is being done.

    Raises:
        RecipeError: no choice keeps the budgets, there is nothing to choose, too many points, or
            bits of activations are asked for and no budget depends on them.
        DataError: there are no data.
    """
    options = options or AllocationOptions()
    if not 0 <= points <= MOST_POINTS:
        raise RecipeError(f"points was {points}; give 0 to {MOST_POINTS}")
    if options.activations and not {"bops", "latency_ms"} & budgets.limits().keys():
        raise RecipeError(
            "bits of activations are chosen only under a budget of bit operations or latency, since"
            " they cost no bytes; give one, or leave them out"
        )
    extra = tuple(Override(pattern=name, weights=bits) for name, bits in (pins or {}).items())
    pinned = recipe.changed(overrides=(*recipe.overrides, *extra))
    work = _Allocator(session, pinned, options, progress or _silent)
    return work.run(budgets, points)


class _Allocator:
    """What the steps of one allocation share."""

    def __init__(
        self, session: Session, recipe: Recipe, options: AllocationOptions, progress: Progress
    ) -> None:
        if options.rounding not in methods():
            raise RecipeError(
                f"rounding was '{options.rounding}'; give one of {', '.join(methods())}"
            )
        self._session = session
        self._recipe = recipe
        self._options = options
        self._progress = progress
        self._began = time.monotonic()
        self._data = session.calibrating(recipe)
        self._model = build(session, recipe).eval()
        self._choices = ActivationBits(session, recipe, self._model, options)
        self._costs = BitCosts(session, self._model, recipe, options.activations)
        self._widths = self._costs.open(open_widths(self._model, options.least, options.most))

    def run(self, budgets: Budgets, points: int) -> Allocation:
        limits = budgets.limits()
        if not limits and not points:
            raise RecipeError("no budget was given; give one, or ask for a sweep")
        task = self._problem_before(limits)
        self._calibrate()
        task = self._problem(task)
        swept = next(iter(limits), "average_bits")
        found = self._sweep(task, swept, limits, points) if points else ()
        bend = knee([c.costs[swept] for c in found], [c.harm for c in found]) if found else None
        if limits:
            bits = self._best(task, limits)
        else:
            bits = _variables(task, found[len(found) // 2 if bend is None else bend].bits)
        uniform = [
            self._choice(task, f"uniform {w}" + (f", activations {a}" if a else ""), bits)
            for w in task.widths()
            for a in task.widths("activation") or (0,)
            for bits in [task.uniform(w, a)]
        ]
        mixed = self._choice(task, "mixed", bits)
        chosen = min(
            [mixed, *(c for c in uniform if limits and within(c, limits))], key=measured_kl
        )
        self._progress(1.0, "done")
        return Allocation(
            base=self._recipe,
            chosen=chosen,
            uniform=tuple(uniform),
            points=found,
            resource=swept,
            knee=bend,
            budgets=limits,
            patterns=self._costs.patterns(self._widths) | self._choices.patterns,
            options=self._options,
            sensitivities=self._harm,
            note="" if chosen is mixed else f"{chosen.name} is nearer to float than what was found",
            seconds=time.monotonic() - self._began,
            activations=tuple(self._choices.widths),
        )

    def _problem_before(self, limits: Mapping[str, float]) -> Problem:
        """The problem without its objective, so that an impossible budget is refused at once."""
        every = {**self._widths, **self._choices.widths}
        blank = {name: dict.fromkeys(widths, 0.0) for name, widths in every.items()}
        found = self._priced(blank, timed="latency_ms" in limits).tied(self._groups())
        require(found, limits)
        return found

    def _calibrate(self) -> None:
        self._progress(0.0, "calibrating")
        size = self._session.batch_size
        task = Task(
            lambda: (x for x, _ in self._data.batches("calibration", size)),
            self._data.size("calibration"),
            self._recipe.seed,
        )
        for _ in make("rtn").learn(self._model, task):
            pass
        self._choices.calibrate(task)

    def _priced(self, harm: Table, *, timed: bool) -> Problem:
        """The problem with this objective."""
        found = self._costs.priced(self._widths, self._choices.widths, timed=timed)
        return problem(harm, found.tables, found.fixed, self._choices.widths, found.pairs)

    def _problem(self, before: Problem) -> Problem:
        """The same with the measured objective, and terms of pairs where they are asked for."""
        self._harm = self._sensitivities()
        alone = self._priced(self._harm, timed="latency_ms" in before.resources)
        pairs = alone.pairs
        if self._options.pairs:
            graph = self._model.graph
            names = ties.pairs_of_weights(graph, ties.residual_pairs(graph), set(self._widths))
            pairs += self._fisher.pairs(alone, names)
        return Problem(alone.variables, alone.fixed, pairs).tied(self._groups())

    def _groups(self) -> list[tuple[str, ...]]:
        graph, wanted = self._model.graph, self._options.ties
        groups = ties.residual_groups(graph) if wanted in ("residual", "both") else []
        groups += ties.common_inputs(graph) if wanted in ("inputs", "both") else []
        return ties.of_weights(graph, groups, set(self._widths))

    def _sensitivities(self) -> Table:
        kind = "hawq" if self._options.method == "hawq" else self._options.sensitivity
        if kind == "fisher":
            return self._fisher.harm
        if kind == "exact":
            return sensitivity.exact(self._candidates, self._batches, self._told("each width"))
        told, traces = self._told("traces of the Hessian"), None
        for traces in trace.traces(self._candidates, self._small, self._recipe.seed):
            told(traces.step, traces.total)
        assert traces is not None
        return trace.harm(self._candidates, traces)

    @cached_property
    def _fisher(self) -> sensitivity.Fisher:
        told = self._told("gradients")
        return sensitivity.fisher(self._candidates, self._batches, self._recipe.seed, watch=told)

    @cached_property
    def _batches(self) -> list[Batch]:
        return [inputs for inputs, _ in self._some(self._options.examples)]

    def _some(self, examples: int) -> Iterator[tuple[Batch, Tensor | None]]:
        """Examples that calibrate, with their classes where they have any."""
        most = max(examples, self._data.fixed)
        size, classes = min(self._session.batch_size, most), self._data.task == "classify"
        for inputs, labels in self._data.batches("calibration", size, most):
            yield inputs, labels if classes else None

    @property
    def _small(self) -> list[Batch]:
        """The same in small batches."""
        starts = [(b, i) for b in self._batches for i in range(0, len(b[0]), TRACE_BATCH)]
        return [tuple(x[i : i + TRACE_BATCH] for x in batch) for batch, i in starts]

    @cached_property
    def _candidates(self) -> Candidates:
        return Candidates(self._model, self._widths, self._rounder(), self._choices.quantizers)

    def _rounder(self) -> Rounder:
        """Nearest, or in closed form by moments of the float network's layers."""
        if self._options.rounding == NEAREST:
            return nearest
        store = MomentStore(self._model.graph)
        task = Task(lambda: iter(self._batches), self._options.examples, self._recipe.seed)
        for name in store.gather(task):
            self._progress(0.0, f"moments: {name}")

        def rounder(site: Site, weight: Tensor) -> Quantizer:
            if site.name not in store.views:
                return nearest(site, weight)
            view, moments = store.views[site.name], store[site.name]
            return rounded(view, moments, site, weight, self._options.rounding, bias=False)[0]

        return rounder

    @cached_property
    def _network(self) -> MixedNetwork:
        return MixedNetwork(self._model, self._candidates, self._some(self._options.judged))

    def _sweep(
        self, task: Problem, swept: str, limits: Mapping[str, float], points: int
    ) -> tuple[Choice, ...]:
        others = {name: limit for name, limit in limits.items() if name != swept}
        found = list(sweep(task, swept, points, others))
        return tuple(
            self._choice(task, f"point {index}", each.bits) for index, each in enumerate(found, 1)
        )

    def _best(self, task: Problem, limits: Mapping[str, float]) -> dict[str, int]:
        """The optimum of the programme, or the best that a search has run."""
        method, search = self._options.method, self._options.search
        if method in ("milp", "hawq"):
            return solve(task, limits)

        def measured(bits: Bits) -> float:
            return self._network.kl(task.expanded(bits))

        if method == "haq":
            tried = haq.search(
                task,
                limits,
                lambda bits: self._network.percent(task.expanded(bits)),
                self._network.percent(None),
                layer_states(self._model, task),
                search,
            )
        else:
            run = refine.CrossEntropy if method == "cem" else refine.Evolution
            tried = run(task, limits, measured, solve(task, limits), search)
        return self._least(tried)

    def _least(self, tried: Iterable[refine.Tried]) -> dict[str, int]:
        best: refine.Tried | None = None
        for each in tried:
            if best is None or each.score < best.score:
                best = each
            share = SHARE + (1 - SHARE) * each.step / max(1, each.total)
            self._progress(share, f"tried {each.step} of {each.total}, best {best.score:.4g}")
        if best is None:
            raise RecipeError("no choice that was tried keeps the budgets; raise one of them")
        return best.bits

    def _choice(self, task: Problem, name: str, bits: Bits) -> Choice:
        every = task.expanded(bits)
        return Choice(name, every, task.harm(bits), task.costs(bits), self._network.kl(every))

    def _told(self, what: str) -> sensitivity.Watch:
        return lambda step, total: self._progress(SHARE * step / max(1, total), what)


def _variables(task: Problem, bits: Bits) -> dict[str, int]:
    """Bits by variable, from bits by weight."""
    return {v.name: bits[v.members[0]] for v in task.variables}


def _silent(share: float, what: str) -> None:
    """Nobody watches."""
