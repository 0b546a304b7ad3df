"""The choice of bits as a small problem: what each choice harms, what it costs, what is allowed.

    minimise    Σ_i harm_i(b_i)  +  Σ_ij harm_ij(b_i, b_j)
    subject to  cost_r + Σ_i cost_ri(b_i) + Σ_ij cost_rij(b_i, b_j) <= budget_r
                                                             for each resource r

The terms of pairs are there where two weights' errors do not simply add (CLADO, arXiv:2307.05657),
and where a cost is a product, as bit operations are of a weight's bits and those of its data.
A variable stands for one weight or activation, or for several that are tied to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from itertools import chain

from workbench.foundation.errors import RecipeError

Bits = Mapping[str, int]
#: site -> bits -> value
Table = Mapping[str, Mapping[int, float]]
#: choice of one variable, choice of another -> value
Grid = tuple[tuple[float, ...], ...]

SLACK = 1e-9  # of sums of floats, as a share of the budget


@dataclass(frozen=True)
class Variable:
    """A number of bits to choose.

    Attributes:
        name: of the weight, or of the first of those tied.
        bits: the choices, increasing.
        harm: of each choice, in nats or another unit of the objective.
        costs: of each choice, by resource.
        members: the weights that get these bits.
        kind: "weight" or "activation".
    """

    name: str
    bits: tuple[int, ...]
    harm: tuple[float, ...]
    costs: Mapping[str, tuple[float, ...]]
    members: tuple[str, ...]
    kind: str = "weight"

    def at(self, bits: int) -> int:
        """Index of a choice."""
        return self.bits.index(bits)


@dataclass(frozen=True)
class Pair:
    """What two variables do to each other: harm[a][b], and costs, beyond the sums of both."""

    first: str
    second: str
    harm: Grid
    costs: Mapping[str, Grid] = field(default_factory=dict)

    def mapped(self, change: Callable[[Grid], Grid]) -> Pair:
        """The same with other tables."""
        costs = {name: change(table) for name, table in self.costs.items()}
        return replace(self, harm=change(self.harm), costs=costs)


@dataclass(frozen=True)
class Problem:
    """Variables, what the rest of the network costs, and terms of pairs.

    Attributes:
        fixed: cost by resource of all that has no choice.
    """

    variables: tuple[Variable, ...]
    fixed: Mapping[str, float] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, Variable]:
        """The variables by name."""
        return {variable.name: variable for variable in self.variables}

    @property
    def resources(self) -> tuple[str, ...]:
        """Names of what a budget can limit."""
        return tuple(self.variables[0].costs) if self.variables else ()

    def harm(self, bits: Bits) -> float:
        """The objective, for bits by variable."""
        alone = sum(v.harm[v.at(bits[v.name])] for v in self.variables)
        return alone + sum(self.pair_harm(pair, bits) for pair in self.pairs)

    def pair_harm(self, pair: Pair, bits: Bits) -> float:
        """The term of one pair."""
        return self._joint(pair, pair.harm, bits)

    def _joint(self, pair: Pair, table: Grid, bits: Bits) -> float:
        first, second = self.by_name[pair.first], self.by_name[pair.second]
        return table[first.at(bits[pair.first])][second.at(bits[pair.second])]

    def _paid(self, resource: str) -> list[Pair]:
        return [pair for pair in self.pairs if resource in pair.costs]

    def _price(self, variable: Variable, resource: str) -> Callable[[int], tuple[float, float]]:
        """Of a choice of a variable: its own cost with the least of its pairs, and its harm."""
        rows = [list(variable.costs[resource])]
        for pair in self._paid(resource):
            table = pair.costs[resource]
            rows += [[min(row) for row in table]] if pair.first == variable.name else []
            rows += [[*map(min, zip(*table, strict=True))]] if pair.second == variable.name else []
        return lambda k: (sum(row[k] for row in rows), variable.harm[k])

    def cost(self, resource: str, bits: Bits) -> float:
        """What a choice costs of one resource, the rest of the network included."""
        own = sum(v.costs[resource][v.at(bits[v.name])] for v in self.variables)
        both = sum(self._joint(pair, pair.costs[resource], bits) for pair in self._paid(resource))
        return self.fixed.get(resource, 0.0) + own + both

    def dearer(self, resource: str, bits: Bits, name: str, wanted: int) -> float:
        """What a choice costs more of a resource if one variable has other bits."""
        own, pairs = self.by_name[name], self._paid(resource)
        row, changed = own.costs[resource], {**bits, name: wanted}
        more = row[own.at(wanted)] - row[own.at(bits[name])]
        for pair in pairs:
            if name in (pair.first, pair.second):
                table = pair.costs[resource]
                more += self._joint(pair, table, changed) - self._joint(pair, table, bits)
        return more

    def cheapest(self, resource: str) -> dict[str, int]:
        """The choice that costs least of one resource; of several the one that harms least.

        Costs of pairs are taken to rise with the bits of both.
        """
        return {
            v.name: v.bits[min(range(len(v.bits)), key=self._price(v, resource))]
            for v in self.variables
        }

    def costs(self, bits: Bits) -> dict[str, float]:
        """What a choice costs of every resource."""
        return {name: self.cost(name, bits) for name in self.resources}

    def holds(self, bits: Bits, budgets: Mapping[str, float]) -> bool:
        """Whether every budget is kept."""
        return not self.exceeded(bits, budgets)

    def exceeded(self, bits: Bits, budgets: Mapping[str, float]) -> list[str]:
        """The resources of which more is used than allowed."""
        limits = {name: limit + SLACK * abs(limit) for name, limit in budgets.items()}
        return [name for name, limit in limits.items() if self.cost(name, bits) > limit]

    def range(self, resource: str) -> tuple[float, float]:
        """The least and the most that a choice can cost."""
        rows = [v.costs[resource] for v in self.variables]
        rows += [tuple(chain(*pair.costs[resource])) for pair in self._paid(resource)]
        rest = self.fixed.get(resource, 0.0)
        return rest + sum(map(min, rows)), rest + sum(map(max, rows))

    def uniform(self, bits: int, activations: int = 0) -> dict[str, int]:
        """The same bits for all; where that is no choice, the nearest, the fewer of two.

        Args:
            bits: of weights.
            activations: of activations; 0 for as many as weights have.
        """
        wanted = {"weight": bits, "activation": activations or bits}
        return {
            v.name: min(v.bits, key=lambda b, w=wanted[v.kind]: (abs(b - w), b))
            for v in self.variables
        }

    def widths(self, kind: str = "weight") -> tuple[int, ...]:
        """All bits that some variable of a kind may have."""
        return tuple(sorted({bits for v in self.variables if v.kind == kind for bits in v.bits}))

    def expanded(self, bits: Bits) -> dict[str, int]:
        """Bits by weight, from bits by variable."""
        return {name: bits[v.name] for v in self.variables for name in v.members}

    def tied(self, groups: Iterable[Sequence[str]]) -> Problem:
        """The same with one variable for each group; groups that share a name become one.

        Raises:
            RecipeError: an unknown name, or no bits that all of a group can have.
        """
        problem = self
        for names in _joined(groups):
            problem = problem._merged(names)
        return problem

    def pinned(self, bits: Bits) -> Problem:
        """The same with some variables, named by any of their members, held at given bits.

        Raises:
            RecipeError: an unknown name, or bits that it cannot have.
        """
        owner = {member: v.name for v in self.variables for member in v.members}
        held: dict[str, int] = {}
        for name, wanted in bits.items():
            variable = self.by_name[_known(name, owner)]
            if wanted not in variable.bits:
                raise RecipeError(
                    f"'{name}' was pinned to {wanted} bits, and its choices are"
                    f" {_listed(variable.bits)}; pin it to one of them"
                )
            if held.setdefault(variable.name, wanted) != wanted:
                raise RecipeError(
                    f"'{name}' was pinned to {wanted} bits, and what it is tied to has"
                    f" {held[variable.name]}; pin both alike, or drop the tie"
                )
        return self._kept({name: [self.by_name[name].at(b)] for name, b in held.items()})

    def _kept(self, keep: Mapping[str, Sequence[int]]) -> Problem:
        """The same with some of the choices of some variables."""
        every = {v.name: keep.get(v.name, range(len(v.bits))) for v in self.variables}
        variables = tuple(_restricted(v, every[v.name]) for v in self.variables)
        pairs = tuple(
            p.mapped(
                lambda table, p=p: tuple(
                    tuple(table[a][b] for b in every[p.second]) for a in every[p.first]
                )
            )
            for p in self.pairs
        )
        return Problem(variables, self.fixed, pairs)

    def _merged(self, names: Sequence[str]) -> Problem:
        owner = {member: v.name for v in self.variables for member in v.members}
        own = list(dict.fromkeys(_known(name, owner) for name in names))
        if len(own) < 2:
            return self
        common = sorted(set.intersection(*(set(self.by_name[n].bits) for n in own)))
        if not common:
            raise RecipeError(
                f"'{own[0]}' and '{own[1]}' are tied and have no bits in common; drop the tie"
            )
        narrowed = self._kept({n: [self.by_name[n].at(b) for b in common] for n in own})
        merged = reduce(_sum, (narrowed.by_name[n] for n in own))
        for pair in narrowed.pairs:
            if pair.first in own and pair.second in own:
                merged = _with_diagonal(merged, pair)
        variables = [merged if v.name == own[0] else v for v in narrowed.variables]
        left = tuple(v for v in variables if v.name == own[0] or v.name not in own)
        return Problem(left, self.fixed, _renamed(narrowed.pairs, own))


def problem(
    harm: Table,
    costs: Mapping[str, Table],
    fixed: Mapping[str, float] | None = None,
    activations: Collection[str] = (),
    pairs: Sequence[Pair] = (),
) -> Problem:
    """A variable for each site of `harm`, with the bits that stand there.

    Args:
        harm: by site and bits.
        costs: by resource, site and bits.
        fixed: by resource, what has no choice costs.
        activations: sites of `harm` that are no weights.
        pairs: terms of pairs.
    """
    variables = []
    for name, row in harm.items():
        bits = tuple(sorted(row))
        own = {resource: tuple(table[name][b] for b in bits) for resource, table in costs.items()}
        kind = "activation" if name in activations else "weight"
        variables.append(Variable(name, bits, tuple(row[b] for b in bits), own, (name,), kind))
    return Problem(tuple(variables), dict(fixed or {}), tuple(pairs))


def _joined(groups: Iterable[Sequence[str]]) -> list[list[str]]:
    """Groups that share a name as one."""
    found: list[list[str]] = []
    for group in groups:
        touching = [known for known in found if set(known) & set(group)]
        found = [known for known in found if known not in touching]
        found.append(list(dict.fromkeys([*(n for known in touching for n in known), *group])))
    return found


def _renamed(pairs: Sequence[Pair], own: Sequence[str]) -> tuple[Pair, ...]:
    """The pairs that are left when `own` are one variable under the first one's name."""
    names = dict.fromkeys(own, own[0])
    moved = [
        replace(p, first=names.get(p.first, p.first), second=names.get(p.second, p.second))
        for p in pairs
    ]
    return tuple(p for p in moved if p.first != p.second)


def _restricted(variable: Variable, keep: Sequence[int]) -> Variable:
    return replace(
        variable,
        bits=tuple(variable.bits[i] for i in keep),
        harm=tuple(variable.harm[i] for i in keep),
        costs={name: tuple(row[i] for i in keep) for name, row in variable.costs.items()},
    )


def _sum(one: Variable, other: Variable) -> Variable:
    """Two variables with the same choices as one."""
    return replace(
        one,
        harm=_added(one.harm, other.harm),
        costs={name: _added(row, other.costs[name]) for name, row in one.costs.items()},
        members=(*one.members, *other.members),
    )


def _with_diagonal(variable: Variable, pair: Pair) -> Variable:
    """A variable with what a pair adds whose both sides it is now."""
    places = range(len(variable.bits))
    costs = dict(variable.costs)
    for name, table in pair.costs.items():
        costs[name] = _added(costs[name], [table[i][i] for i in places])
    harm = _added(variable.harm, [pair.harm[i][i] for i in places])
    return replace(variable, harm=harm, costs=costs)


def _added(one: Sequence[float], other: Sequence[float]) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _known(name: str, owner: Mapping[str, str]) -> str:
    if name not in owner:
        raise RecipeError(
            f"'{name}' is no weight whose bits can be chosen; those are: {', '.join(owner)}"
        )
    return owner[name]


def _listed(bits: Sequence[int]) -> str:
    return ", ".join(map(str, bits))
