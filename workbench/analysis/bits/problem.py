"""The choice of bits as a small problem: what each choice harms, what it costs, what is allowed.

    minimise    Σ_i harm_i(b_i)  +  Σ_ij harm_ij(b_i, b_j)
    subject to  cost_r + Σ_i cost_ri(b_i) <= budget_r        for each resource r

The terms of pairs are there where two weights' errors do not simply add (CLADO, arXiv:2307.05657).
A variable stands for one weight, or for several that are tied to the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce

from workbench.foundation.errors import RecipeError

Bits = Mapping[str, int]
#: site -> bits -> value
Table = Mapping[str, Mapping[int, float]]

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
    """

    name: str
    bits: tuple[int, ...]
    harm: tuple[float, ...]
    costs: Mapping[str, tuple[float, ...]]
    members: tuple[str, ...]

    def at(self, bits: int) -> int:
        """Index of a choice."""
        return self.bits.index(bits)


@dataclass(frozen=True)
class Pair:
    """What two variables do to each other: harm[a][b] beyond the sum of both."""

    first: str
    second: str
    harm: tuple[tuple[float, ...], ...]


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
        first, second = self.by_name[pair.first], self.by_name[pair.second]
        return pair.harm[first.at(bits[pair.first])][second.at(bits[pair.second])]

    def cost(self, resource: str, bits: Bits) -> float:
        """What a choice costs of one resource, the rest of the network included."""
        own = sum(v.costs[resource][v.at(bits[v.name])] for v in self.variables)
        return self.fixed.get(resource, 0.0) + own

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
        low = sum(min(v.costs[resource]) for v in self.variables)
        high = sum(max(v.costs[resource]) for v in self.variables)
        rest = self.fixed.get(resource, 0.0)
        return rest + low, rest + high

    def uniform(self, bits: int) -> dict[str, int]:
        """The same bits for all; where that is no choice, the nearest, the fewer of two."""
        return {v.name: min(v.bits, key=lambda b: (abs(b - bits), b)) for v in self.variables}

    def widths(self) -> tuple[int, ...]:
        """All bits that some variable may have."""
        return tuple(sorted({bits for v in self.variables for bits in v.bits}))

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
            replace(
                p, harm=tuple(tuple(p.harm[a][b] for b in every[p.second]) for a in every[p.first])
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
        inside = [p for p in narrowed.pairs if p.first in own and p.second in own]
        extra = [sum(p.harm[i][i] for p in inside) for i in range(len(common))]
        merged = reduce(_sum, (narrowed.by_name[n] for n in own))
        merged = replace(merged, harm=_added(merged.harm, extra))
        variables = [merged if v.name == own[0] else v for v in narrowed.variables]
        left = tuple(v for v in variables if v.name == own[0] or v.name not in own)
        return Problem(left, self.fixed, _renamed(narrowed.pairs, own))


def problem(
    harm: Table, costs: Mapping[str, Table], fixed: Mapping[str, float] | None = None
) -> Problem:
    """A variable for each weight of `harm`, with the bits that stand there.

    Args:
        harm: by weight and bits.
        costs: by resource, weight and bits.
        fixed: by resource, what has no choice costs.
    """
    variables = []
    for name, row in harm.items():
        bits = tuple(sorted(row))
        own = {resource: tuple(table[name][b] for b in bits) for resource, table in costs.items()}
        variables.append(Variable(name, bits, tuple(row[b] for b in bits), own, (name,)))
    return Problem(tuple(variables), dict(fixed or {}))


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
