"""Oscillation: a latent weight swings between two codes (Nagel et al. 2022, arXiv:2203.11086).

    L = ‖X (Ŵ - W₀)‖² / ‖X W₀‖² + λ(t) ‖Ŵ - clip(W)‖²                                dampening
    f > threshold(t)  →  the code is fixed at round(mean of its codes)                freezing

Where the best value lies between two levels, the straight-through gradient points up below the
middle and down above it: the weight is driven to the place where its code changes, and stays there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.demos.estimators import MODEL, RANGE, VALUE, problem, stated
from workbench.lessons.panels import Axis, Bars, Lines, Mark, Reading, Scene, Series, numbers
from workbench.lessons.registry import demo
from workbench.maths.grid import Grid
from workbench.methods.tracking import CodeHistory, falling
from workbench.quantizers.uniform import Uniform
from workbench.signals.dampening import annealed, dampening

STEPS, RATE, THRESHOLD = 60, 0.3, 0.02
TAIL = 10
RESTLESS = 10  # weights that can be looked at
BINS, EVEN_SHARE = 24, 0.39
ON, MIDDLE, EVEN = (
    "near the levels",
    "near the middles between two levels",
    "evenly in between",
)


class OscillationOptions(Options):
    """What can be moved."""

    bits: Annotated[int, Field(ge=2, le=4, description="Bits of the grid.")] = 3
    cure: Annotated[
        Literal["none", "dampening", "freezing"],
        Field(description="Nothing; a pull towards the level; or codes that swing are fixed."),
    ] = "none"
    strength: Annotated[
        float,
        Field(ge=0.001, le=1, description="λ of the dampening at the end.",
              json_schema_extra={"log": True}),
    ] = 0.1  # fmt: skip
    weight: Annotated[
        int,
        Field(ge=0, le=RESTLESS - 1, description="Which weight is drawn, the most restless first."),
    ] = 0
    step: Annotated[
        int,
        Field(ge=0, le=STEPS, description="How many steps are shown.",
              json_schema_extra={"play": True}),
    ] = STEPS  # fmt: skip


@dataclass(frozen=True)
class Course:
    """What happens from step to step.

    Attributes:
        losses, flips: output error before each step, and codes that it changed.
        latent: (steps + 1, weights) flat, in steps of the grid; codes: the same.
        history: of the codes.
    """

    losses: list[float]
    flips: list[int]
    latent: Tensor
    codes: Tensor
    history: CodeHistory


def fitted(bits: int) -> Uniform:
    """The grid of the weight, which stays as it is."""
    weight = problem()[0]
    found = Uniform(Grid(bits), tuple(weight.shape))
    found.fit(weight, RANGE)
    return found


@lru_cache(maxsize=32)
def course(bits: int, cure: str, strength: float) -> Course:
    """Descent with the straight-through estimator and a cure."""
    (weight, gram, size, curvature), quantizer = problem(), fitted(bits)
    latent, history = weight.clone().requires_grad_(), CodeHistory(quantizer.codes(weight))
    losses, flips, walked, codes = [], [], [weight], [history.codes.clone()]
    for step in range(1, STEPS + 1):
        gap = quantizer.fake_quantize(latent) - weight
        loss = (gap * (gram @ gap)).sum() / size
        losses.append(float(loss.detach()))
        if cure == "dampening":
            loss = loss + strength * annealed(step, STEPS) * dampening(latent, quantizer)
        (gradient,) = torch.autograd.grad(loss, latent)
        with torch.no_grad():
            latent -= RATE / curvature * gradient
            history.see(quantizer.codes(latent))
            if cure == "freezing":
                history.freeze(falling(THRESHOLD, step / STEPS))
                latent.copy_(torch.where(history.frozen, history.fixed * quantizer.scale, latent))
            codes.append(quantizer.codes(latent))
            flips.append(int((codes[-1] != codes[-2]).sum()))
            walked.append(latent.detach().clone())
    with torch.no_grad():
        gap = quantizer.fake_quantize(latent) - weight
        losses.append(float((gap * (gram @ gap)).sum() / size))
    steps = torch.stack(walked).flatten(1) / quantizer.scale
    return Course(losses, flips, steps, torch.stack(codes).flatten(1), history)


@demo(
    "oscillation",
    title="Weights that swing",
    topic="Learning",
    order=5,
    citation="Nagel et al. 2022, arXiv:2203.11086",
)
class OscillationDemo(Demo):
    """Late in training codes flip to and fro: where are the weights then, and what stops them?"""

    Options = OscillationOptions
    options: OscillationOptions

    @cached_property
    def now(self) -> Course:
        """With the chosen cure."""
        o = self.options
        return course(o.bits, o.cure, o.strength if o.cure == "dampening" else 0.0)

    @cached_property
    def plain(self) -> Course:
        """Without any."""
        return course(self.options.bits, "none", 0.0)

    @cached_property
    def place(self) -> int:
        """The weight that is drawn: of those that swing most without a cure."""
        order = self.plain.history.frequency.flatten().argsort(descending=True, stable=True)
        return int(order[self.options.weight])

    def distances(self, step: int) -> Tensor:
        """How far latent weights within the range are from their level, in steps of the grid."""
        latent, grid = self.now.latent[step], Grid(self.options.bits)
        inside = latent[(latent > grid.qmin) & (latent < grid.qmax)]
        return inside - inside.round()

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of the weights that end in the third by a level, and in that by a middle."""
        size = self.distances(STEPS).abs()
        return float((size < 1 / 6).double().mean()), float((size > 1 / 3).double().mean())

    def question(self) -> Question:
        o = self.options
        cures = {
            "none": "",
            "dampening": f" A dampening pulls each weight to its level, λ = {o.strength:.2g}.",
            "freezing": " Codes that swing are fixed.",
        }
        return Question(
            f"A weight of {problem()[0].numel():,} values trains on {2**o.bits} levels, straight"
            f" through, for {STEPS} steps.{cures[o.cure]} Where do the latent weights gather by"
            " the end?",
            choices=(ON, MIDDLE, EVEN),
            hint="follow one weight whose best value is between two levels: which way is it pushed"
            " from either side",
        )

    def answer(self) -> str:
        near, middle = self.shares
        if max(near, middle) < EVEN_SHARE:
            return EVEN
        return ON if near > middle else MIDDLE

    def explanation(self) -> str:
        near, middle = self.shares
        tail = [sum(c.losses[-TAIL:]) / TAIL for c in (self.plain, self.now)]
        frozen = 100 * float(self.now.history.frozen.double().mean())
        what = f", {frozen:.3g} % are frozen" if frozen else ""
        plain = "" if self.options.cure == "none" else f", and {100 * tail[0]:.3g} % without a cure"
        return (
            f"{100 * middle:.3g} % of the latent weights end in the third of a cell around a"
            f" middle, {100 * near:.3g} % in the third around a level; 33 % would be even. In the"
            f" last step {self.now.flips[-1]} codes changed{what}. Over the last {TAIL} steps the"
            f" output error was {100 * tail[1]:.3g} %{plain}.\n\n"
            "The gradient depends on the code alone. Below the middle it says up and above it says"
            " down, so the middle attracts, and a smaller rate makes the swing smaller but does"
            " not end it. Dampening adds a pull that does depend on the latent weight; too"
            " strong, it holds weights where they began. Freezing fixes the code, and others"
            " then learn around it."
        )

    def scene(self) -> Scene:
        panels = (
            self._places("Where the latent weights lie at first", 0),
            self._weight(),
            self._places("Where they lie at the end", STEPS),
            self._lines("Codes that change in a step", Axis("codes", low=0.0), _flips),
            self._lines("Output error", Axis("error", "%", log=True), _errors),
        )
        return Scene(panels, self._readings())

    def code(self) -> str:
        o = self.options
        damped = (
            f"    factor = {o.strength} * annealed(step, {STEPS})\n"
            "    loss = loss + factor * dampening(latent, quantizer)\n"
        )
        frozen = (
            f"        history.freeze(falling({THRESHOLD}, step / {STEPS}))\n"
            "        held = history.fixed * quantizer.scale\n"
            "        latent.copy_(torch.where(history.frozen, held, latent))\n"
        )
        return (
            f"import torch\n{material.recording(MODEL, VALUE)}\n"
            "from workbench.maths.grid import Grid\n"
            "from workbench.methods.tracking import CodeHistory, falling\n"
            "from workbench.quantizers.uniform import Uniform\n"
            "from workbench.signals.dampening import annealed, dampening\n\n"
            f"{stated()}\n"
            f"quantizer = Uniform(Grid({o.bits}), tuple(weight.shape))\n"
            f'quantizer.fit(weight, "{RANGE}")\n\n'
            "latent = weight.clone().requires_grad_()\n"
            "history, result = CodeHistory(quantizer.codes(weight)), 0\n"
            f"for step in range(1, {o.step} + 1):\n"
            "    gap = quantizer.fake_quantize(latent) - weight\n"
            "    loss = (gap * (gram @ gap)).sum() / size\n"
            f"{damped if o.cure == 'dampening' else ''}"
            "    (gradient,) = torch.autograd.grad(loss, latent)\n"
            "    with torch.no_grad():\n"
            "        before = quantizer.codes(latent)\n"
            f"        latent -= {RATE} / curvature * gradient\n"
            "        history.see(quantizer.codes(latent))\n"
            f"{frozen if o.cure == 'freezing' else ''}"
            "        result = int((quantizer.codes(latent) != before).sum())\n"
        )

    def _weight(self) -> Lines:
        shown = self.options.step + 1
        latent, codes = (each[:shown, self.place] for each in (self.now.latent, self.now.codes))
        whole = torch.cat([self.now.latent[:, self.place], self.now.codes[:, self.place]])
        low, high = int(whole.min().floor()), int(whole.max().ceil())
        count = numbers(float(k) for k in range(shown))
        return Lines(
            "One weight, and its code",
            Axis("step of descent", low=0, high=STEPS),
            Axis("w / s, in steps", low=low - 0.2, high=high + 0.2),
            (
                Series("latent w", count, numbers(latent), "float"),
                Series("code", count, numbers(codes), "quant", "step"),
            ),
            marks=tuple(Mark(k + 0.5, "", "y", "dim") for k in range(low, high)),
            note="Dashed: the middle, where the code changes.",
        )

    def _places(self, title: str, step: int) -> Bars:
        counts = torch.histc(self.distances(step), BINS, -0.5, 0.5)
        return Bars(
            title,
            Axis("distance from the level, in steps"),
            Axis("weights"),
            (("weights", "float", numbers(counts)),),
            edges=numbers(torch.linspace(-0.5, 0.5, BINS + 1)),
            note="Both ends are middles between two levels. What is clipped is left out.",
            veiled=step > 0,
        )

    def _lines(self, title: str, axis: Axis, of: Callable[[Course], list[float]]) -> Lines:
        """A line of the plain course and, if there is one, of the cure."""
        shown = self.options.step + 1
        count = numbers(float(k) for k in range(shown))
        rivals = {"no cure": ("dim", self.plain)}
        if self.options.cure != "none":
            rivals[self.options.cure] = ("quant", self.now)
        return Lines(
            title,
            Axis("step of descent", low=0, high=STEPS),
            axis,
            tuple(Series(n, count, numbers(of(c)[:shown]), t) for n, (t, c) in rivals.items()),
        )

    def _readings(self) -> list[Reading]:
        now, step = self.now, self.options.step
        near, middle = self.shares
        return [
            Reading("codes that changed", now.flips[step - 1] if step else 0, "in this step"),
            Reading(
                "output error", 100 * now.losses[step], "%", f"{100 * now.losses[0]:.3g} first"
            ),
            Reading("near a middle", 100 * middle, "% of the weights"),
            Reading("near a level", 100 * near, "% of the weights"),
        ]


def _flips(course: Course) -> list[float]:
    return [0.0, *map(float, course.flips)]


def _errors(course: Course) -> list[float]:
    return [100 * loss for loss in course.losses]
