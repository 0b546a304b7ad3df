"""The bit budget: more bits where they matter, by an integer programme (HAWQ-V3, 2011.10680).

    minimise Σ harm_i(b_i)   subject to   Σ n_i b_i / Σ n_i <= budget

harm_i(b) is what layer i alone, rounded to b bits, does to the network's answer, in nats.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Annotated

from pydantic import Field

from workbench.analysis.bits.candidates import Candidates, MixedNetwork
from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import (
    Axis,
    Cells,
    Lines,
    Mark,
    Reading,
    Scene,
    Series,
    Table,
    numbers,
)
from workbench.lessons.registry import demo
from workbench.session.allocation import Allocation, Choice
from workbench.session.execute import build

MODEL, EXAMPLES = "digits-resnet", 64
SLACK = 1e-9  # of sums of floats
LEAST, MOST = 2, 6
WIDTHS = tuple(range(LEAST, MOST + 1))
POINTS = 4 * (MOST - LEAST) + 1
RESOURCE = "average_bits"
SHARES = ((0.25, "less than a quarter"), (0.5, "a quarter to a half"),
          (0.85, "a half to 85 %"), (10.0, "as good as all of it"))  # fmt: skip


class BudgetOptions(Options):
    """What can be moved."""

    budget: Annotated[
        float,
        Field(ge=LEAST, le=MOST, description="Bits that a weight may have on average.",
              json_schema_extra={"step": 0.25}),
    ] = 3.0  # fmt: skip
    usual: Annotated[
        int, Field(ge=LEAST, le=MOST, description="Your own: bits of layers you did not click.")
    ] = 3
    own: Annotated[tuple[int, ...], Field(description="Your own: cells that were clicked.")] = ()


@lru_cache(maxsize=1)
def allocation() -> Allocation:
    """The integer programme at budgets from least to most, each choice run as a whole."""
    session = material.session(MODEL)
    recipe = session.recipe(4, None, "rtn", None)
    return session.allocate(
        recipe, {}, points=POINTS, least=LEAST, most=MOST, examples=EXAMPLES, judged=EXAMPLES
    )


@lru_cache(maxsize=1)
def network() -> tuple[MixedNetwork, dict[str, int]]:
    """The network that runs with any choice of bits, and the size of each weight."""
    session = material.session(MODEL)
    model = build(session, session.recipe(4, None, "rtn", None))
    sizes = {site.name: model.weight(site.name).numel() for site in model.of_kind("weight")}
    candidates = Candidates(model, dict.fromkeys(sizes, WIDTHS))
    batches = session.data.batches("calibration", EXAMPLES, EXAMPLES)
    return MixedNetwork(model, candidates, batches), sizes


@lru_cache(maxsize=512)
def measured(bits: tuple[int, ...]) -> float:
    """Nats lost with these bits for the layers, in order."""
    mixed, sizes = network()
    return mixed.kl(dict(zip(sizes, bits, strict=True)))


@demo(
    "bit_budget",
    title="The bit budget",
    topic="Networks",
    order=3,
    citation="Yao et al. 2021, arXiv:2011.10680",
)
class BitBudget(Demo):
    """Spend a budget of bits over the layers yourself, and play against an integer programme."""

    Options = BudgetOptions
    options: BudgetOptions

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Weights in each layer."""
        return network()[1]

    @cached_property
    def chosen(self) -> Choice:
        """What the programme takes within the budget."""
        return self._within(self.options.budget)

    @cached_property
    def uniform(self) -> Choice:
        """The same bits everywhere, as many as the budget allows."""
        limit = self.options.budget + SLACK
        fitting = [c for c in allocation().uniform if c.costs[RESOURCE] <= limit]
        return max(fitting, key=lambda choice: choice.costs[RESOURCE])

    @cached_property
    def mine(self) -> dict[str, int]:
        """Bits of each layer by hand."""
        clicked = dict(divmod(place, len(WIDTHS)) for place in self.options.own)
        usual = self.options.usual - LEAST
        return {name: LEAST + clicked.get(i, usual) for i, name in enumerate(self.sizes)}

    @cached_property
    def my_point(self) -> tuple[float, float]:
        """Average bits and nats lost of the choice by hand."""
        cost = sum(self.sizes[name] * bits for name, bits in self.mine.items())
        return cost / sum(self.sizes.values()), measured(tuple(self.mine.values()))

    def question(self) -> Question:
        bits = round(self.uniform.costs[RESOURCE])
        return Question(
            f"With {bits} bits in every layer the ResNet loses {self.uniform.kl:.3g} nats of KL to"
            f" its float answer. An integer programme spreads {self.options.budget:g} bits per"
            " weight over the layers as it likes. How much of that loss is left?",
            choices=tuple(words for _, words in SHARES),
            hint="the layers with few weights cost next to nothing; what do they harm?",
        )

    def answer(self) -> str:
        share = self._kl(self.chosen) / self._kl(self.uniform)
        return next(words for most, words in SHARES if share <= most)

    def explanation(self) -> str:
        o, c = self.options, self.chosen
        most = max(c.bits, key=lambda name: (c.bits[name], -self.sizes[name]))
        least = min(c.bits, key=lambda name: (c.bits[name], -self.sizes[name]))
        total = sum(self.sizes.values())
        return (
            f"Within {o.budget:g} bits the programme loses {self._kl(c):.3g} nats,"
            f" {100 * self._kl(c) / self._kl(self.uniform):.3g} % of the"
            f" {self._kl(self.uniform):.3g} of {self.uniform.name}. It gives {c.bits[most]} bits to"
            f" {_short(most)}, {100 * self.sizes[most] / total:.2g} % of all weights, and"
            f" {c.bits[least]} to {_short(least)}, {100 * self.sizes[least] / total:.2g} % of"
            " them.\n\n"
            "What counts is harm per bit, not harm: a sensitive layer with few weights is cheap to"
            f" protect. The programme adds up what each layer does alone, {c.harm:.3g}; run"
            f" together they lose {self._kl(c):.3g}, since errors of layers do not simply add. Your"
            f" own choice has {self.my_point[0]:.3g} bits and loses {self.my_point[1]:.3g}."
        )

    def scene(self) -> Scene:
        return Scene([self._own(), self._front(), self._harm(), self._outcome()], self._readings())

    def code(self) -> str:
        return (
            "import workbench\n\n"
            f'session = workbench.open("{MODEL}")\n'
            'recipe = session.recipe(4, None, "rtn", None)\n'
            "found = session.allocate(\n"
            f"    recipe, {{}}, points={POINTS}, least={LEAST}, most={MOST},"
            f" examples={EXAMPLES}, judged={EXAMPLES}\n"
            ")\n"
            f"limit = {self.options.budget + SLACK}\n"
            f'fits = [p for p in found.points if p.costs["{RESOURCE}"] <= limit]\n'
            f'chosen = max(fits, key=lambda point: point.costs["{RESOURCE}"])\n'
            "print(dict(chosen.bits))\n"
            "result = chosen.kl\n"
        )

    def _within(self, budget: float) -> Choice:
        points = allocation().points
        fitting = [p for p in points if p.costs[RESOURCE] <= budget + SLACK]
        return max(fitting, key=lambda choice: choice.costs[RESOURCE], default=points[0])

    @staticmethod
    def _kl(choice: Choice) -> float:
        assert choice.kl is not None
        return choice.kl

    def _own(self) -> Cells:
        total = sum(self.sizes.values())
        costs = [[size * bits / total for bits in WIDTHS] for size in self.sizes.values()]
        return Cells(
            "Your own choice: what each cell adds to the average bits",
            tuple(numbers(row) for row in costs),
            low=0.0,
            high=max(map(max, costs)),
            rows=tuple(map(_short, self.sizes)),
            columns=tuple(f"{bits} bits" for bits in WIDTHS),
            texts=tuple(tuple(f"{cost:.2g}" for cost in row) for row in costs),
            chosen=tuple((i, bits - LEAST) for i, bits in enumerate(self.mine.values())),
            sets="own",
            one_per_row=True,
            note=f"Click a cell in a row, again to let go. Average: {self.my_point[0]:.3g} bits.",
            veiled=False,
        )

    def _front(self) -> Lines:
        found = allocation()
        rows = [("integer programme", found.points, "quant"), ("same bits", found.uniform, "float")]
        lines = [
            Series(words, numbers(p.costs[RESOURCE] for p in points),
                   numbers(map(self._kl, points)), tone)
            for words, points, tone in rows
        ]  # fmt: skip
        dots = [
            Series("yours", (self.my_point[0],), (self.my_point[1],), "bad", "dots"),
            Series("", (self.chosen.costs[RESOURCE],), (self._kl(self.chosen),), "quant", "dots"),
        ]
        return Lines(
            "What bits buy",
            Axis("average bits", low=LEAST - 0.1, high=MOST + 0.1),
            Axis("lost, nats", log=True),
            (*lines, *dots),
            marks=(Mark(self.options.budget, "budget", sets="budget"),),
        )

    def _harm(self) -> Cells:
        table = allocation().sensitivities
        harms = [[table[name][bits] for bits in WIDTHS] for name in self.sizes]
        most = max(map(max, harms))
        chosen = [(i, self.chosen.bits[name] - LEAST) for i, name in enumerate(self.sizes)]
        return Cells(
            "Harm of each layer alone, nats",
            tuple(numbers(harm**0.25 for harm in row) for row in harms),
            low=0.0,
            high=most**0.25,
            rows=tuple(map(_short, self.sizes)),
            columns=tuple(f"{bits} bits" for bits in WIDTHS),
            texts=tuple(tuple(f"{harm:.1g}" for harm in row) for row in harms),
            chosen=tuple(chosen),
            note="Framed: the programme's choice.",
        )

    def _outcome(self) -> Table:
        rows = (
            (self.uniform.name, self.uniform.costs[RESOURCE], self._kl(self.uniform)),
            ("yours", *self.my_point),
            ("the programme, with no more than yours", *self._against()),
            (f"the programme, within {self.options.budget:g}", self.chosen.costs[RESOURCE],
             self._kl(self.chosen)),
        )  # fmt: skip
        texts = tuple((words, f"{bits:.3g}", f"{kl:.3g}") for words, bits, kl in rows)
        tones = ("dim", "bad", "", "quant")
        return Table("The outcome", ("choice", "average bits", "lost, nats"), texts, tones)

    def _against(self) -> tuple[float, float]:
        """What the programme does with the bits of the choice by hand."""
        rival = self._within(self.my_point[0])
        return rival.costs[RESOURCE], self._kl(rival)

    def _readings(self) -> list[Reading]:
        bits, kl = self.my_point
        rival = self._against()[1]
        return [
            Reading("lost by the programme", self._kl(self.chosen), "nats",
                    f"{self.uniform.name}: {self._kl(self.uniform):.3g}", tone="quant"),
            Reading("your average", bits, "bits", veiled=False),
            Reading("lost by yours", kl, "nats", f"the programme {rival:.3g}"),
            Reading("your score", round(100 * rival / max(kl, 1e-9)), "points", "the programme 100",
                    tone="good" if kl <= rival else "ink"),
        ]  # fmt: skip


def _short(name: str) -> str:
    return name.removesuffix(".weight")
