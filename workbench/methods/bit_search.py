"""Bits of single weights searched by training, then settled so that a budget holds exactly.

    search   each weight is a mixture of grids, and a penalty holds the expected cost to the budget
    settle   every mixture comes to one number of bits; while that exceeds the budget, the weight
             that was rounded up most gets the next fewer bits; then, while there is room, the one
             that was rounded down most gets the next more

Which weights keep their bits says `workbench.graph.costs.open_widths`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError
from workbench.foundation.spelling import joined
from workbench.graph.costs import costs, open_widths
from workbench.graph.quantized import QuantizedGraph
from workbench.methods.base import SiteSignals
from workbench.methods.network_plan import NetworkPlan, Search, use
from workbench.quantizers.mixture import Mixture, worded

MILLION = 1e6
BYTE = 8
SLACK = 1 + 1e-9  # of sums of floats
NAMED = 12  # weights of one width that a sentence names

Bits = Mapping[str, int]
Widths = tuple[int, ...]


class BitSearch:
    """The search for the bits of a graph's weights.

    Args:
        model: with the bits that were asked for.
        search: how it is done, and under which budget.

    Attributes:
        open: the widths to choose from, by site.
        settled: the bits that were chosen, by site; {} before that.

    Raises:
        RecipeError: there is nothing to choose, or the budget is too small for the fewest bits.
    """

    def __init__(self, model: QuantizedGraph, search: Search) -> None:
        self._model = model
        self._search = search
        self._costs = costs(model.graph, model.sites.values())
        self._asked = {site.name: model.asked[site.name].bits for site in model.of_kind("weight")}
        self.open = self._widths()
        self.settled: dict[str, int] = {}
        asked = self.average(self._asked)
        self._average = search.average_bits or (0.0 if search.bops else asked)
        self._offset = (search.average_bits or asked) - asked
        self._require()

    def plan(self, plan: NetworkPlan) -> NetworkPlan:
        """The plan with the budget among its signals."""
        limits = {"average_bits": self._average, "bops": self._search.bops}
        term = use("budget", self._search.weight, **limits)
        return plan.model_copy(update={"signals": (*plan.signals, term)})

    def quantizers(self) -> dict[str, str]:
        """What sits on each weight while its bits are searched."""
        return {
            name: joined(self._search.quantizer, {"widths": worded(widths)})
            for name, widths in self.open.items()
        }

    def begin(self) -> None:
        """Start from the bits asked for, moved together to the average that is wanted."""
        for name in self.open:
            self._mixture(name).begin(self._asked[name] + self._offset)

    def pace(self, steps: int) -> None:
        """Choose the rate by which a choice gets as far as it may in `steps` of them."""
        for name in self.open:
            self._mixture(name).pace(self._search.travel / max(1, steps))

    def settle(self) -> None:
        """Choose bits within the budget, and put a plain quantizer with them on each weight."""
        self._put(self._choose())

    def state(self) -> dict[str, Tensor]:
        """The bits that were chosen, to go on from."""
        return {name: torch.tensor(bits) for name, bits in self.settled.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._put({name: int(bits) for name, bits in tensors.items()})

    def average(self, bits: Mapping[str, float]) -> float:
        """Bits of each value of the weights that are open to the search."""
        values = {name: self._costs[name].values for name in self.open}
        return sum(values[name] * bits[name] for name in values) / sum(values.values())

    def bops(self, bits: Mapping[str, float]) -> float:
        """Millions of bit operations of the whole network for one example."""
        every = {**self._asked, **bits}
        return sum(self._costs[name].products * width for name, width in every.items()) / MILLION

    def holds(self, bits: Bits) -> bool:
        """Whether every budget is kept."""
        return not self._exceeded(bits)

    def now(self) -> dict[str, float]:
        """The bits of each open weight, expected or chosen."""
        return {n: float(self.settled.get(n, 0)) or self._expected(n) for n in self.open}

    def readings(self, sites: Mapping[str, SiteSignals]) -> dict[str, SiteSignals]:
        """The signals of sites, with the bits of the weights."""
        found = dict(sites)
        for name, bits in {**self._asked, **self.now()}.items():
            known = found.get(name, SiteSignals())
            found[name] = replace(known, values={**known.values, "bits": float(bits)})
        return found

    def values(self) -> dict[str, float]:
        """What the network costs now."""
        now = self.now()
        known = {"average_bits": self.average(now)}
        return known | ({"bops": self.bops(now)} if any(map(self._works, self._costs)) else {})

    def sentence(self) -> str:
        """The chosen bits, what they come to, and the layers that kept theirs."""
        by_bits: dict[int, list[str]] = {}
        for name, bits in self.settled.items():
            by_bits.setdefault(bits, []).append(name)
        parts = [f"{bits} bits: {_few(by_bits[bits])}" for bits in sorted(by_bits)]
        every = {**self._asked, **self.settled}
        size = sum(self._costs[name].values * bits for name, bits in every.items())
        whole = size / sum(self._costs[name].values for name in every)
        cost = f"on average {self.average(self.settled):.2f} bits"
        if len(every) > len(self.settled):
            cost += f" ({whole:.2f} with the {len(every) - len(self.settled)} that kept theirs)"
        if any(map(self._works, every)):
            cost += f", {self.bops(self.settled):.4g} million bit operations"
        return f"bits chosen: {'; '.join(parts)}; {cost}, {size / BYTE / 1000:.1f} kB of weights"

    def _widths(self) -> dict[str, Widths]:
        found = open_widths(self._model, self._search.least, self._search.most)
        if not found:
            raise RecipeError(
                f"no weight has a choice between '{self._search.least}' and '{self._search.most}'"
                " bits here; widen the two, or take a target with more widths"
            )
        return found

    def _require(self) -> None:
        """Refuse a budget that the fewest bits exceed."""
        least = {name: widths[0] for name, widths in self.open.items()}
        if self._search.bops and not any(map(self._works, self._costs)):
            raise RecipeError("bops cannot be counted, since shapes are not known; drop 'bops'")
        for which in self._exceeded(least):
            given = {"average_bits": self._average, "bops": self._search.bops}[which]
            fewest = {"average_bits": self.average, "bops": self.bops}[which](least)
            raise RecipeError(
                f"{which} was '{given:g}', and the fewest bits come to {fewest:.4g}; give that or"
                " more, or lower 'least'"
            )

    def _exceeded(self, bits: Bits) -> list[Literal["average_bits", "bops"]]:
        found: list[Literal["average_bits", "bops"]] = []
        if self._average and self.average(bits) > self._average * SLACK:
            found.append("average_bits")
        if self._search.bops and self.bops(bits) > self._search.bops * SLACK:
            found.append("bops")
        return found

    def _choose(self) -> dict[str, int]:
        """The choice of each mixture, mended until the budget holds, then until it is used."""
        bits = {name: self._mixture(name).chosen() for name in self.open}
        expected = {name: self._expected(name) for name in self.open}
        while exceeded := self._exceeded(bits):
            able = [n for n in bits if bits[n] > self.open[n][0]]
            if exceeded == ["bops"]:
                able = [n for n in able if self._works(n)]
            worst = max(able, key=lambda name: bits[name] - expected[name])
            bits[worst] = self._beside(worst, bits[worst], -1)
        while more := [n for n in bits if self._holds_more(bits, n)]:
            least = min(more, key=lambda name: bits[name] - expected[name])
            bits[least] = self._beside(least, bits[least], 1)
        return bits

    def _holds_more(self, bits: Bits, name: str) -> bool:
        """Whether there is room for the next more bits of a weight."""
        if bits[name] == self.open[name][-1]:
            return False
        return self.holds({**bits, name: self._beside(name, bits[name], 1)})

    def _put(self, bits: Bits) -> None:
        for name, width in bits.items():
            self._model.regrid(name, width)
            self._model.quantizer(name).fit(self._model.weight(name).detach(), "mse")
        self.settled = dict(bits)

    def _beside(self, name: str, bits: int, way: int) -> int:
        return self.open[name][self.open[name].index(bits) + way]

    def _works(self, name: str) -> bool:
        """Whether multiply-adds are known of it."""
        return self._costs[name].products > 0

    def _mixture(self, name: str) -> Mixture:
        found = self._model.quantizer(name)
        assert isinstance(found, Mixture)
        return found

    def _expected(self, name: str) -> float:
        return float(self._mixture(name).expected().detach())


def _few(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
