"""Reconstruction of layers, blocks or the whole network, with dropping (BRECQ, QDrop).

    min over rounding of E ‖unit(x) - unit_quantized(x̂)‖² + λ Σ (1 - |2 h(V) - 1|^β)
    x̂ = M x_quantized + (1 - M) x_float,   M drawn anew at each step, element by element

(Li et al. 2021, arXiv:2102.05426; Wei et al. 2022, arXiv:2203.05740.) The larger the unit, the
nearer its loss is to what counts, and the fewer numbers hold its many roundings in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.taps import capture
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import Axis, Bars, Lines, Reading, Scene, Series, Table, numbers
from workbench.lessons.registry import demo
from workbench.maths import metrics
from workbench.methods.base import Task
from workbench.methods.registry import make as make_method
from workbench.session.execute import build

MODEL, JUDGED = "digits-resnet", 128
WEIGHTS, ACTIVATIONS = 2, 4
STEPS, BATCH = 40, 8
SCOPES = ("layer", "block", "network")
NEAREST = "none: nearest rounding"
#: values along the network, each behind a layer or a block
VALUES = ("relu", "blocks.0.relu", "blocks.0.relu_2", "blocks.1.relu", "blocks.1.relu_2",
          "blocks.2.relu", "blocks.2.relu_2", "logits")  # fmt: skip
LEARNING = {
    "inputs": "mixed", "iterations": STEPS, "batch_size": BATCH, "held_out": 0.0,
    "learning_rate": 0.08, "regulariser": 0.1,
}  # fmt: skip


class ReconstructionOptions(Options):
    """What can be moved."""

    unit: Annotated[
        Literal["layer", "block", "network"], Field(description="What is shown in detail.")
    ] = "network"
    images: Annotated[
        Literal["16", "64"], Field(description="Pictures, without labels, that it learns from.")
    ] = "16"
    dropping: Annotated[
        Literal["0", "0.5"],
        Field(description="Chance that an activation is left in float at a step of learning."),
    ] = "0"


@dataclass(frozen=True)
class Judged:
    """How far some pictures are from the float network.

    Attributes:
        kl: of the answers, in nats.
        errors: relative squared error of each of `VALUES`.
        same: share of equal answers.
    """

    kl: float
    errors: tuple[float, ...]
    same: float


@dataclass(frozen=True)
class Outcome:
    """What learning led to, on the pictures learned from and on others."""

    own: Judged
    held: Judged

    @property
    def ratio(self) -> float:
        """How many times worse it is on pictures never seen."""
        return self.held.kl / self.own.kl


@lru_cache(maxsize=14)
def outcome(unit: str, images: int, dropping: float) -> Outcome:
    """One real run of the engine; `NEAREST` learns nothing."""
    session = material.session(MODEL)
    model = build(session, session.recipe(WEIGHTS, ACTIVATIONS, "rtn", 8))
    task = Task(lambda: (x for x, _ in session.data.batches("calibration", BATCH, images)), images)
    given = {**LEARNING, "scope": unit, "keep": 1 - dropping}
    method = make_method("rtn") if unit == NEAREST else make_method("reconstruct", given)
    for _ in method.learn(model, task):
        pass
    own, _ = next(session.data.batches("calibration", images, images))
    held, _ = next(session.data.batches("test", JUDGED, JUDGED))
    return Outcome(judged(model, own), judged(model, held))


@torch.no_grad()
def judged(model: QuantizedGraph, inputs: tuple[Tensor, ...]) -> Judged:
    """The quantized network beside the float one on these pictures."""
    wanted = capture(model.graph.module, inputs, list(VALUES))
    found = capture(model.module, inputs, list(VALUES))
    errors = tuple(
        float((found[n] - wanted[n]).square().sum() / wanted[n].square().sum()) for n in VALUES
    )
    last = wanted[VALUES[-1]], found[VALUES[-1]]
    return Judged(metrics.kl_divergence(*last), errors, metrics.agreement(*last))


@demo(
    "reconstruction",
    title="Layer, block or network",
    topic="Rounding",
    order=3,
    citation="Li et al. 2021, arXiv:2102.05426; Wei et al. 2022, arXiv:2203.05740",
)
class ReconstructionDemo(Demo):
    """Rounding learned from a handful of pictures, by layers, by blocks or all at once."""

    Options = ReconstructionOptions
    options: ReconstructionOptions

    @cached_property
    def found(self) -> dict[str, Outcome]:
        """What each unit leads to, and nearest rounding."""
        images, dropping = int(self.options.images), float(self.options.dropping)
        learned = {unit: outcome(unit, images, dropping) for unit in SCOPES}
        return {NEAREST: outcome(NEAREST, images, 0.0), **learned}

    def question(self) -> Question:
        nearest = self.found[NEAREST]
        return Question(
            f"The ResNet with {WEIGHTS}-bit weights and {ACTIVATIONS}-bit activations, rounded to"
            f" nearest, loses {nearest.held.kl:.3g} nats. Rounding is now learned from"
            f" {self.options.images} pictures: layer after layer, block after block, or for the"
            " network's output at once. Which is nearest to float on pictures it has never seen?",
            choices=(*SCOPES, NEAREST),
            hint="count what holds each rounding in place: numbers that the unit must reproduce",
        )

    def answer(self) -> str:
        return min(self.found, key=lambda unit: self.found[unit].held.kl)

    def explanation(self) -> str:
        told = "; ".join(
            f"{unit}: {found.own.kl:.3g} nats on its own pictures, {found.held.kl:.3g} on others"
            for unit, found in self.found.items()
            if unit != NEAREST
        )
        images, sizes = int(self.options.images), self._sizes()
        network, nearest = self.found["network"], self.found[NEAREST]
        return (
            f"{told}. The network as one unit is {network.ratio:.3g} times worse on"
            " pictures that it has not seen. Nothing asks it to keep what lies inside: at"
            f" {VALUES[1]} its relative error is {network.held.errors[1]:.2g}, that of nearest"
            f" rounding {nearest.held.errors[1]:.2g}.\n\n"
            f"{images} pictures give the network's output {images * 10} numbers to hit with"
            f" {sizes['network']:,} roundings: it can learn them by heart. The last"
            f" convolution alone has {sizes['layer']:,} roundings for {images * 64 * 49:,} numbers,"
            " but does not know what later layers do with its errors. A block stands between the"
            " two, and BRECQ puts it there, given enough pictures and steps. Dropping (QDrop) lets"
            " the roundings do well under many versions of the activations, and not under one;"
            f" {STEPS} steps for each unit, as here, are few for it: papers take 20,000."
        )

    def scene(self) -> Scene:
        return Scene([self._bars(), self._along(), self._table()], self._readings())

    def code(self) -> str:
        o = self.options
        given = {**LEARNING, "scope": o.unit, "keep": 1 - float(o.dropping)}
        return (
            "import torch\n\n"
            "import workbench\n"
            "from workbench.maths.metrics import kl_divergence\n"
            "from workbench.methods.base import Task\n"
            "from workbench.methods.registry import make\n"
            "from workbench.session.execute import build\n\n"
            f'session = workbench.open("{MODEL}")\n'
            f'model = build(session, session.recipe({WEIGHTS}, {ACTIVATIONS}, "rtn", 8))\n'
            "def batches():\n"
            f'    return (x for x, _ in session.data.batches("calibration", {BATCH}, {o.images}))\n'
            f"options = {given}\n"
            f'for event in make("reconstruct", options).learn(model, Task(batches, {o.images})):\n'
            "    pass\n"
            f'inputs, _ = next(session.data.batches("test", {JUDGED}, {JUDGED}))\n'
            "with torch.no_grad():\n"
            "    result = kl_divergence(session.model(*inputs)[0], model(*inputs)[0])\n"
        )

    def _sizes(self) -> dict[str, int]:
        """Roundings of the whole network, and of its last convolution."""
        parameters = material.session(MODEL).model.named_parameters()
        weights = {name: p.numel() for name, p in parameters if name.endswith("_weight")}
        return {"network": sum(weights.values()), "layer": weights["blocks_2_conv2_weight"]}

    def _bars(self) -> Bars:
        units = list(self.found)
        return Bars(
            "Loss on the pictures learned from, and on others",
            Axis("unit that is reconstructed"),
            Axis("KL to float, nats", low=0.0),
            (
                ("learned from", "float", numbers(self.found[unit].own.kl for unit in units[1:])),
                ("never seen", "bad", numbers(self.found[unit].held.kl for unit in units[1:])),
            ),
            names=tuple(units[1:]),
            note=f"Nearest rounding: {self.found[NEAREST].held.kl:.3g} nats.",
        )

    def _along(self) -> Lines:
        shown, nearest = self.found[self.options.unit], self.found[NEAREST]
        places = numbers(float(k) for k in range(len(VALUES)))
        return Lines(
            f"Error along the network, unit: {self.options.unit}",
            Axis("layer, first to last"),
            Axis("relative squared error", log=True),
            (
                Series("nearest", places, numbers(nearest.held.errors), "dim", "dashed"),
                Series("never seen", places, numbers(shown.held.errors), "bad"),
                Series("learned from", places, numbers(shown.own.errors), "float"),
            ),
            note=f"At {', '.join(VALUES)}.",
        )

    def _table(self) -> Table:
        rows = tuple(
            (unit, f"{found.own.kl:.3g}", f"{found.held.kl:.3g}", f"{found.ratio:.2g}",
             f"{100 * found.held.same:.3g} %")
            for unit, found in self.found.items()
        )  # fmt: skip
        tones = tuple("good" if unit == self.answer() else "" for unit in self.found)
        columns = ("unit", "learned from", "never seen", "ratio", "same answers")
        return Table("KL to float in nats", columns, rows, tones)

    def _readings(self) -> list[Reading]:
        shown, nearest = self.found[self.options.unit], self.found[NEAREST]
        return [
            Reading("lost on pictures never seen", shown.held.kl, "nats", self.options.unit),
            Reading("on those it learned from", shown.own.kl, "nats", tone="float"),
            Reading("same answers as float", 100 * shown.held.same, "%",
                    f"nearest {100 * nearest.held.same:.3g} %"),
            Reading("steps", STEPS, "for each unit", veiled=False),
        ]  # fmt: skip
