"""Batch norms folded, then layers equalized (Nagel et al. 2019, arXiv:1906.04721).

    BN(W x) = (a W) x + c                                   folding
    W2 f(W1 x + b) = (W2 S) f(S⁻¹ W1 x + S⁻¹ b)             equalization, f(s x) = s f(x) for s > 0

Neither changes what the network computes in float, and both change what a grid makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.build import Graph, build
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.targets import WeightGrid, target
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import Axis, Bars, Lines, Reading, Scene, Series, Table, numbers
from workbench.lessons.registry import demo
from workbench.methods.calibrate import calibrate_weight
from workbench.signals.distillation import distillation

MODELS = {"MobileNet": "digits-mobilenet", "ResNet": "digits-resnet"}
TRAINED, FOLDED, EQUAL = "batch norms apart", "folded", "folded and equalized"
FORMS = (TRAINED, FOLDED, EQUAL)
TONES = ("dim", "float", "quant")
EXAMPLES = 128
MORE = ("folding alone loses more than 3 times as much", "folding alone loses somewhat more",
        "they lose the same: they compute the same", "folding alone loses less")  # fmt: skip
BORDERS = (3.0, 1.25, 0.8)


class FoldingOptions(Options):
    """What can be moved."""

    model: Annotated[Literal["MobileNet", "ResNet"], Field(description="Sample model.")] = (
        "MobileNet"
    )
    form: Annotated[
        Literal["batch norms apart", "folded", "folded and equalized"],
        Field(description="How the same network is written."),
    ] = "folded"
    bits: Annotated[int, Field(ge=2, le=8, description="Bits of the weights.")] = 3
    scales: Annotated[
        Literal["tensor", "channel"], Field(description="Which weights share a scale.")
    ] = "tensor"
    layer: Annotated[
        int,
        Field(ge=0, le=23, description="Whose channels are shown.",
              json_schema_extra={"hidden": True}),
    ] = 20  # fmt: skip


@dataclass(frozen=True)
class Lost:
    """What a form of the network loses on held-out digits, and how far its float output is off."""

    kl: float
    right: int
    off: float


@lru_cache(maxsize=6)
def form_of(model: str, form: str) -> Graph:
    """The network in one of its forms."""
    session = material.session(MODELS[model])
    if form == TRAINED:
        return build(session.source.clone())
    return session.transformed(("equalize",) if form == EQUAL else ())


@lru_cache(maxsize=6)
def ranges(model: str, form: str) -> dict[str, Tensor]:
    """Largest weight of each output channel, by layer."""
    graph = form_of(model, form)
    sites = target("weight-only").sites(graph, WeightGrid(), None, edges=None)
    found = {}
    for site in sites:
        if site.kind == "weight":
            weight = graph.parameter(site.tensor).detach()
            found[site.name.removesuffix(".weight")] = weight.abs().flatten(1).amax(1)
    return found


def spread(channels: Tensor) -> float:
    """The largest channel against the usual one (geometric mean)."""
    alive = channels[channels > 0]
    return float(alive.max() / alive.log().mean().exp())


@lru_cache(maxsize=64)
@torch.no_grad()
def lost(model: str, form: str, bits: int, scales: str) -> Lost:
    """The form with weights rounded to nearest over their whole range, on held-out digits."""
    session, graph = material.session(MODELS[model]), form_of(model, form)
    inputs, labels = next(session.data.batches("test", EXAMPLES, EXAMPLES))
    request = WeightGrid.parse({"bits": bits, "granularity": scales}, "weights")
    sites = target("weight-only").sites(graph, request, None, edges=None)
    quantized = QuantizedGraph(graph, sites)
    for site in quantized.of_kind("weight"):
        calibrate_weight(quantized, site, "minmax")
    reference, own, found = (net(*inputs)[0] for net in (session.model, graph.module, quantized))
    right = int((found.argmax(-1) == labels).sum())
    off = float((own - reference).abs().max() / reference.abs().max())
    return Lost(float(distillation(reference, found)), right, off)


@demo(
    "folding",
    title="Folding and equalization",
    topic="Networks",
    order=1,
    citation="Nagel et al. 2019, arXiv:1906.04721",
)
class Folding(Demo):
    """One network, written in three ways that compute the same: why does a grid tell them apart?"""

    Options = FoldingOptions
    options: FoldingOptions

    @cached_property
    def lost(self) -> dict[str, Lost]:
        """What each form loses."""
        o = self.options
        return {form: lost(o.model, form, o.bits, o.scales) for form in FORMS}

    @cached_property
    def ranges(self) -> dict[str, dict[str, Tensor]]:
        """Of each form, by layer."""
        return {form: ranges(self.options.model, form) for form in FORMS}

    @cached_property
    def layer(self) -> str:
        """Whose channels are shown."""
        names = list(self.ranges[FOLDED])
        return names[min(self.options.layer, len(names) - 1)]

    def question(self) -> Question:
        o = self.options
        return Question(
            f"The {o.model}'s batch norms are folded into its convolutions; then neighbouring"
            " layers are equalized. The float output stays the same both times. Now weights get"
            f" {o.bits} bits and one scale for each {o.scales}. What does the answer lose, folded"
            " alone against folded and equalized?",
            choices=MORE,
            hint="a grid does not see the function, it sees the numbers in one tensor",
        )

    def answer(self) -> str:
        ratio = self.lost[FOLDED].kl / max(self.lost[EQUAL].kl, 1e-12)
        place = next((i for i, border in enumerate(BORDERS) if ratio > border), len(BORDERS))
        return MORE[place]

    def explanation(self) -> str:
        apart, folded, equal = (self.lost[form] for form in FORMS)
        wide = {form: spread(self.ranges[form][self.layer]) for form in FORMS}
        return (
            f"Folded, the network loses {folded.kl:.3g} nats and has {folded.right} of {EXAMPLES}"
            f" held-out digits right; equalized, {equal.kl:.3g} nats and {equal.right}. With the"
            f" norms left apart it would be {apart.kl:.3g} nats and {apart.right}. In float the"
            f" three agree to {max(apart.off, equal.off):.1g} of the largest output.\n\n"
            f"Folding multiplies each channel by its norm's a. In {self.layer} the widest channel"
            f" was {wide[TRAINED]:.3g} times the usual one before, and {wide[FOLDED]:.3g} times"
            " after it: with one scale for the tensor, the widest sets the step and the others are"
            " left with few levels. Equalization moves a factor per channel from one layer to the"
            f" next through the ReLU, until both have the same range: {wide[EQUAL]:.3g} times."
            " With a scale for each channel there is nothing to mend, and levelling what was fine"
            " can even cost a little."
        )

    def scene(self) -> Scene:
        return Scene([self._channels(), self._spreads(), self._table()], self._readings())

    def code(self) -> str:
        o = self.options
        graphs = {
            TRAINED: "build(session.source.clone())",
            FOLDED: "session.graph",
            EQUAL: 'session.transformed(["equalize"])',
        }
        return (
            "import torch\n\n"
            "import workbench\n"
            "from workbench.graph.build import build\n"
            "from workbench.graph.quantized import QuantizedGraph\n"
            "from workbench.graph.targets import WeightGrid, target\n"
            "from workbench.signals.distillation import distillation\n\n"
            f'session = workbench.open("{MODELS[o.model]}")\n'
            f"graph = {graphs[o.form]}\n"
            f'request = WeightGrid(bits={o.bits}, granularity="{o.scales}")\n'
            'sites = target("weight-only").sites(graph, request, None, edges=None)\n'
            "quantized = QuantizedGraph(graph, sites)\n"
            'for site in quantized.of_kind("weight"):\n'
            '    quantized.quantizer(site.name).fit(quantized.weight(site.name), "minmax")\n\n'
            f'inputs, labels = next(session.data.batches("test", {EXAMPLES}, {EXAMPLES}))\n'
            "with torch.no_grad():\n"
            "    reference, found = session.model(*inputs)[0], quantized(*inputs)[0]\n"
            "result = float(distillation(reference, found))\n"
        )

    def _channels(self) -> Lines:
        order = self.ranges[FOLDED][self.layer].argsort(descending=True)
        places = numbers(float(i) for i in range(len(order)))
        shown = FORMS[: FORMS.index(self.options.form) + 1]
        series = tuple(
            Series(form, places, numbers(self.ranges[form][self.layer][order]), tone, "step")
            for form, tone in zip(FORMS, TONES, strict=True)
            if form in shown
        )
        return Lines(
            f"{self.layer}: largest weight of each channel",
            Axis("channel, widest first once folded"),
            Axis("largest weight", log=True),
            series,
            veiled=False,
        )

    def _spreads(self) -> Bars:
        names = list(self.ranges[FOLDED])
        groups = tuple(
            (form, tone, numbers(spread(self.ranges[form][name]) for name in names))
            for form, tone in zip(FORMS, TONES, strict=True)
        )
        return Bars(
            "Widest channel of each layer against its usual one",
            Axis("layer"),
            Axis("times", low=0.0),
            groups,
            names=tuple(names),
            sets="layer",
            note="Click a layer to see its channels. 1: all channels are equally wide.",
        )

    def _table(self) -> Table:
        rows = tuple(
            (form, f"{found.off:.1g}", f"{found.kl:.3g}", f"{found.right}")
            for form, found in self.lost.items()
        )
        o = self.options
        return Table(
            f"In float, and with {o.bits} bits for each {o.scales}",
            ("network", "float output off by", "lost, nats", f"right of {EXAMPLES}"),
            rows,
            tones=tuple("quant" if form == o.form else "" for form in FORMS),
        )

    def _readings(self) -> list[Reading]:
        form = self.options.form
        found, wide = self.lost[form], spread(self.ranges[form][self.layer])
        return [
            Reading("lost", found.kl, "nats", reference=form),
            Reading("digits right", found.right, f"of {EXAMPLES}"),
            Reading("float output is off by", float(f"{found.off:.1g}"), "of the largest",
                    veiled=False),
            Reading(f"spread of {self.layer}", wide, "times", veiled=False),
        ]  # fmt: skip
