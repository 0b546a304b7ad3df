"""The guilty-layer game: which three layers of a quantized network deserve to stay float?

    damage of a layer = KL(float ‖ only this layer quantized)          of the network's answer, nats

A layer's own error says little about it; what counts is what the network makes of that error.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from workbench.foundation.options import Options
from workbench.graph.quantized import QuantizedGraph
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import Axis, Bars, Reading, Scene, Table, numbers
from workbench.lessons.registry import demo
from workbench.maths.metrics import spearman
from workbench.session.execute import quantized
from workbench.session.recipe import Recipe, WeightSpec
from workbench.signals.distillation import distillation

MODELS = {"MobileNet": "digits-mobilenet", "ResNet": "digits-resnet"}
EXAMPLES, KEPT = 100, 3
CLUES = {
    "weight error": ("weight_sqnr_db", "SQNR of its weights", "dB"),
    "weights": ("parameters", "weights it has", ""),
    "work": ("macs", "multiply-adds for a picture", ""),
}


class GuiltyOptions(Options):
    """What can be moved."""

    model: Annotated[Literal["MobileNet", "ResNet"], Field(description="Sample model.")] = (
        "MobileNet"
    )
    bits: Annotated[
        int, Field(ge=3, le=5, description="Bits of all weights, one scale for each tensor.")
    ] = 3
    clue: Annotated[
        Literal["weight error", "weights", "work"],
        Field(description="What is known of a layer before anything is run."),
    ] = "weight error"
    kept: Annotated[
        tuple[int, ...], Field(description="Layers that stay float; the first three count.")
    ] = ()


def recipe_of(model: str, bits: int) -> Recipe:
    """Nearest rounding over the whole range of each weight; activations stay float."""
    weights = WeightSpec(bits=bits, granularity="tensor")
    session = material.session(MODELS[model])
    return session.recipe(weights, None, "rtn", None, weight_calibrator="minmax")


@lru_cache(maxsize=6)
def suspects(model: str, bits: int) -> tuple[list[dict[str, Any]], list[str], QuantizedGraph]:
    """Records of all layers, those that the engine's diagnosis accuses, and the network."""
    session, recipe = material.session(MODELS[model]), recipe_of(model, bits)
    found = session.diagnose(recipe=recipe)
    return found.records, found.guilty[:KEPT], quantized(session, recipe)


@lru_cache(maxsize=256)
@torch.no_grad()
def tried(model: str, bits: int, kept: frozenset[str]) -> tuple[float, int]:
    """(nats lost, digits right of `EXAMPLES`) with these layers float."""
    _, _, network = suspects(model, bits)
    network.enable(lambda site: site.name.removesuffix(".weight") not in kept)
    session = material.session(MODELS[model])
    inputs, labels = next(session.data.batches("test", EXAMPLES, EXAMPLES))
    reference, found = session.model(*inputs)[0], network(*inputs)[0]
    return float(distillation(reference, found)), int((found.argmax(-1) == labels).sum())


@demo(
    "guilty_game",
    title="The guilty-layer game",
    topic="Networks",
    order=2,
    citation="Wu et al. 2020, arXiv:2004.09602",
)
class GuiltyGame(Demo):
    """Three layers may stay float: click those that you suspect, and play against the diagnosis."""

    Options = GuiltyOptions
    options: GuiltyOptions

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """All layers in order."""
        return suspects(self.options.model, self.options.bits)[0]

    @cached_property
    def accused(self) -> list[str]:
        """The layers that the diagnosis accuses, worst first."""
        return suspects(self.options.model, self.options.bits)[1]

    @cached_property
    def mine(self) -> list[str]:
        """The layers that were clicked."""
        names = [str(record["layer"]) for record in self.records]
        return [names[i] for i in self.options.kept if i < len(names)][:KEPT]

    def question(self) -> Question:
        o = self.options
        return Question(
            f"All {len(self.records)} layers of the {o.model} get {o.bits}-bit weights, and"
            f" {self._with([])[1]} of {EXAMPLES} held-out digits are right. Quantize one layer"
            " alone, and measure what it does to the answer: which hurts most?",
            choices=self._offered(),
            hint="a large error hurts little where the network is robust, and the other way round",
        )

    def answer(self) -> str:
        return self.accused[0]

    def explanation(self) -> str:
        none, tool = self._with([]), self._with(self.accused)
        damages = [float(record["damage_kl"]) for record in self.records]
        alike = spearman(
            -torch.tensor([record["weight_sqnr_db"] for record in self.records]),
            torch.tensor(damages),
        )
        worst = next(r for r in self.records if r["layer"] == self.accused[0])
        own = next(r for r in self._by_error() if r["layer"] != self.accused[0])
        return (
            f"{self.accused[0]} alone costs {worst['damage_kl']:.3g} nats, with weights at"
            f" {worst['weight_sqnr_db']:.3g} dB. Among the others {own['layer']} has the largest"
            f" error of its own, {own['weight_sqnr_db']:.3g} dB, and costs {own['damage_kl']:.3g}."
            f" Over all layers the rank correlation of weight error and damage is {alike:.2f}.\n\n"
            f"With {', '.join(self.accused)} in float, {tool[1]} of {EXAMPLES} digits are right"
            f" instead of {none[1]}, and {none[0]:.3g} nats become {tool[0]:.3g}. The damages of"
            f" single layers add up to {sum(damages):.3g}, while all together do {none[0]:.3g}:"
            " errors of different layers meet and interfere. So a ranking of single layers is a"
            " good start, and three others together may still beat it. Try."
        )

    def scene(self) -> Scene:
        return Scene([self._clue(), self._damage(), self._outcome()], self._readings())

    def code(self) -> str:
        o = self.options
        return (
            "import torch\n\n"
            "import workbench\n"
            "from workbench.session.execute import quantized\n"
            "from workbench.session.recipe import WeightSpec\n"
            "from workbench.signals.distillation import distillation\n\n"
            f'session = workbench.open("{MODELS[o.model]}")\n'
            f'weights = WeightSpec(bits={o.bits}, granularity="tensor")\n'
            'recipe = session.recipe(weights, None, "rtn", None, weight_calibrator="minmax")\n'
            "print(session.diagnose(recipe=recipe).guilty)\n\n"
            f"kept = {self.mine}\n"
            "network = quantized(session, recipe)\n"
            'network.enable(lambda site: site.name.removesuffix(".weight") not in kept)\n'
            f'inputs, labels = next(session.data.batches("test", {EXAMPLES}, {EXAMPLES}))\n'
            "with torch.no_grad():\n"
            "    reference, found = session.model(*inputs)[0], network(*inputs)[0]\n"
            "result = float(distillation(reference, found))\n"
        )

    def _with(self, kept: list[str]) -> tuple[float, int]:
        return tried(self.options.model, self.options.bits, frozenset(kept))

    def _offered(self) -> tuple[str, ...]:
        """The culprit, and layers that stand out by what one sees at once."""
        by_size = max(self.records, key=lambda record: record["parameters"])
        by_work = max(self.records, key=lambda record: record["macs"])
        ends = self.records[0], self.records[-1]
        named = {str(r["layer"]) for r in (*self._by_error()[:2], by_size, by_work, *ends)}
        wanted = named | {self.accused[0]}
        return tuple(str(r["layer"]) for r in self.records if r["layer"] in wanted)

    def _by_error(self) -> list[dict[str, Any]]:
        """All layers, the largest error of weights first."""
        return sorted(self.records, key=lambda record: record["weight_sqnr_db"])

    def _numbers(self, names: list[str]) -> tuple[int, ...]:
        return tuple(i for i, record in enumerate(self.records) if record["layer"] in names)

    def _bars(self, title: str, unit: str, key: str, **more: Any) -> Bars:
        heights = numbers(float(record[key]) for record in self.records)
        return Bars(
            title,
            Axis("layer"),
            Axis(unit, low=0.0),
            ((unit, "float" if key != "damage_kl" else "bad", heights),),
            names=tuple(str(record["layer"]) for record in self.records),
            **more,
        )

    def _clue(self) -> Bars:
        key, words, unit = CLUES[self.options.clue]
        names = ", ".join(self.mine) or "none yet"
        return self._bars(
            f"Each layer: {words}",
            unit or self.options.clue,
            key,
            sets="kept",
            chosen=self._numbers(self.mine),
            note=f"Click up to three bars to keep these layers in float. Yours: {names}.",
            veiled=False,
        )

    def _damage(self) -> Bars:
        return self._bars(
            "Damage of each layer, quantized alone",
            "damage, nats",
            "damage_kl",
            sets="kept",
            chosen=self._numbers(self.mine),
            note=f"The diagnosis accuses {', '.join(self.accused)}.",
        )

    def _outcome(self) -> Table:
        cases = (
            ("none", []),
            ("yours: " + (", ".join(self.mine) or "none"), self.mine),
            ("the diagnosis: " + ", ".join(self.accused), self.accused),
        )
        found = [(words, *self._with(kept)) for words, kept in cases]
        rows = tuple((words, f"{kl:.3g}", str(right)) for words, kl, right in found)
        columns = ("in float", "lost, nats", f"right of {EXAMPLES}")
        return Table("The outcome", columns, rows, tones=("dim", "quant", "good"))

    def _readings(self) -> list[Reading]:
        none, mine, tool = (self._with(kept) for kept in ([], self.mine, self.accused))
        score = 100 * (none[0] - mine[0]) / max(none[0] - tool[0], 1e-9)
        return [
            Reading("lost with yours in float", mine[0], "nats", reference=f"none {none[0]:.3g}"),
            Reading("digits right", mine[1], f"of {EXAMPLES}", f"the diagnosis {tool[1]}"),
            Reading("your score", round(score), "points", "the diagnosis 100",
                    tone="good" if score >= 100 else "ink"),
            Reading("layers to choose", KEPT - len(self.mine), f"of {KEPT}", veiled=False),
        ]  # fmt: skip
