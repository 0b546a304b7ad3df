"""LSQ live: gradient descent on one step size (Esser et al. 2020, arXiv:1902.08153).

    L(s) = Σ (v̂ - v)²,   s ← s - rate g ∂L/∂s,   g = 1 / sqrt(N Qp)

∂v̂/∂s = round(v/s) - v/s inside the range and the outermost code beyond it: rounding pulls the step
down, clipping pulls it up, and descent ends where the two are equal.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.demos.clip_or_round import Title
from workbench.lessons.panels import Axis, Bars, Lines, Mark, Reading, Scene, Series, numbers
from workbench.lessons.registry import demo
from workbench.maths.grid import Grid, fake_quantize
from workbench.quantizers.lsq import LSQ

STEPS = 60
POINTS = 45
SPREAD = 8.0  # the landscape reaches from 1 / 8 of the paper's first step to 8 times that
TAIL = 10
STILL = 2e-3  # a relative change of the step below which it has settled
SETTLES, ON_ITS_WAY, SWINGS, ZERO = (
    "it settles",
    "it is still on its way",
    "it swings to and fro",
    "it grows until all weights are zero",
)


class LsqOptions(Options):
    """What can be moved."""

    tensor: Annotated[Title, Field(description="Weights of a sample model.")] = "ResNet convolution"
    bits: Annotated[int, Field(ge=2, le=8, description="Bits of the grid.")] = 3
    rate: Annotated[
        float, Field(ge=1e-5, le=1, description="Learning rate.", json_schema_extra={"log": True})
    ] = 0.01
    init: Annotated[
        float,
        Field(ge=0.15, le=6, description="First step, in units of the paper's 2 E|v| / sqrt(Qp).",
              json_schema_extra={"log": True}),
    ] = 3.0  # fmt: skip
    gradient_scale: Annotated[
        bool, Field(description="Multiply the gradient by g = 1 / sqrt(N Qp), as the paper does.")
    ] = True
    step: Annotated[
        int,
        Field(ge=0, le=STEPS, description="How many steps of descent are shown.",
              json_schema_extra={"play": True}),
    ] = STEPS  # fmt: skip


def started(tensor: str, bits: int, init: float) -> LSQ:
    """A quantizer at the paper's first step times `init`."""
    weight = material.weight(tensor)
    quantizer = LSQ(Grid(bits), tuple(weight.shape))
    quantizer.init_from(weight)
    with torch.no_grad():
        quantizer.scale.mul_(init)
    return quantizer


def loss_of(quantizer: LSQ, weight: Tensor) -> Tensor:
    """L(s), the squared error of the layer's weights."""
    return (quantizer.fake_quantize(weight) - weight).square().sum()


@lru_cache(maxsize=32)
def path(tensor: str, bits: int, rate: float, init: float, scaled: bool) -> tuple[list[float], ...]:
    """Steps and losses of `STEPS` steps of descent, the first ones before any."""
    weight, quantizer = material.weight(tensor), started(tensor, bits, init)
    divisor = 1.0 if scaled else quantizer.gradient_factor(weight)
    steps, losses = [], []
    for _ in range(STEPS + 1):
        loss = loss_of(quantizer, weight)
        (gradient,) = torch.autograd.grad(loss, quantizer.scale)
        steps.append(float(quantizer.affine()[0].detach()))
        losses.append(float(loss.detach()))
        with torch.no_grad():
            quantizer.scale -= rate * gradient / divisor
    return steps, losses


@lru_cache(maxsize=16)
@torch.no_grad()
def landscape(tensor: str, bits: int) -> tuple[Tensor, Tensor]:
    """L(s) around the paper's first step."""
    weight, quantizer = material.weight(tensor), started(tensor, bits, 1.0)
    steps = quantizer.scale * torch.logspace(-1, 1, POINTS, SPREAD)
    zero = torch.zeros(())
    losses = [(fake_quantize(weight, s, zero, Grid(bits)) - weight).square_().sum() for s in steps]
    return steps, torch.stack(losses)


@demo(
    "lsq",
    title="LSQ live",
    topic="Learning",
    order=3,
    citation="Esser et al. 2020, arXiv:1902.08153",
)
class LsqDemo(Demo):
    """A step size learns by gradient descent on a real weight: does it arrive, or run away?"""

    Options = LsqOptions
    options: LsqOptions

    @cached_property
    def steps(self) -> list[float]:
        """The step size, step by step."""
        return self._path[0]

    @cached_property
    def _path(self) -> tuple[list[float], ...]:
        o = self.options
        return path(o.tensor, o.bits, o.rate, o.init, o.gradient_scale)

    @cached_property
    def best(self) -> tuple[float, float]:
        """Step with the least loss on the landscape, and that loss."""
        steps, losses = landscape(self.options.tensor, self.options.bits)
        place = int(losses.argmin())
        return float(steps[place]), float(losses[place])

    def question(self) -> Question:
        o = self.options
        scaled = "with" if o.gradient_scale else "without"
        return Question(
            f"The step size starts at {o.init:g} × the paper's first value and takes {STEPS} steps"
            f" of gradient descent at the rate {o.rate:g}, {scaled} the gradient scale g. What"
            " becomes of it?",
            choices=(SETTLES, ON_ITS_WAY, SWINGS, ZERO),
            hint="all weights pull at one step size, and their gradients are added up",
        )

    def answer(self) -> str:
        steps = torch.tensor(self.steps[-TAIL - 1 :])
        changes = steps.diff() / steps[:-1]
        if float(steps[-1]) > 2 * float(material.weight(self.options.tensor).abs().max()):
            return ZERO
        if float(changes.abs().max()) < STILL:
            return SETTLES
        turns = int((changes[1:] * changes[:-1] < 0).sum())
        return SWINGS if turns >= TAIL // 2 else ON_ITS_WAY

    def explanation(self) -> str:
        factor = started(self.options.tensor, self.options.bits, 1.0).gradient_factor(
            material.weight(self.options.tensor)
        )
        best, least = self.best
        last, loss = self._path[0][-1], self._path[1][-1]
        return (
            f"After {STEPS} steps s = {last:.4g} and the loss is {loss:.4g}; the least on the"
            f" landscape is {least:.4g} at s = {best:.4g}. So {self.answer()}.\n\n"
            f"All {material.weight(self.options.tensor).numel():,} weights share one step, and"
            f" their gradients add up. The gradient scale g = {factor:.3g} makes up for that:"
            f" without it, the rate {self.options.rate:g} acts like"
            f" {self.options.rate / factor:.3g} with it. Descent ends where rounding"
            " pulls down as much as clipping pulls up; that is near the least loss, but it is not"
            " the same place, since the gradient passes straight through rounding."
        )

    def scene(self) -> Scene:
        axis = Axis("step size s", log=True)
        steps, losses = landscape(self.options.tensor, self.options.bits)
        shown = self.options.step + 1
        walked, heights = self._path[0][:shown], self._path[1][:shown]
        over = Lines(
            "The path over the loss",
            axis,
            Axis("loss", log=True),
            (
                Series("loss", numbers(steps), numbers(losses), "float"),
                Series("path", numbers(walked), numbers(heights), "quant", "dashed"),
                Series("", numbers(walked), numbers(heights), "quant", "dots"),
            ),
            marks=(Mark(self.best[0], "least", tone="good"),),
        )
        return Scene([over, self._course(walked), self._pulls()], self._readings())

    def code(self) -> str:
        o = self.options
        unscaled = "" if o.gradient_scale else " / quantizer.gradient_factor(weight)"
        return (
            f"{material.opening(o.tensor)}\n"
            "import torch\n\n"
            "from workbench.maths.grid import Grid\n"
            "from workbench.quantizers.lsq import LSQ\n\n"
            f"quantizer = LSQ(Grid({o.bits}), tuple(weight.shape))\n"
            "quantizer.init_from(weight)\n"
            "with torch.no_grad():\n"
            f"    quantizer.scale *= {o.init}\n"
            f"for _ in range({o.step}):\n"
            "    loss = (quantizer.fake_quantize(weight) - weight).square().sum()\n"
            "    (gradient,) = torch.autograd.grad(loss, quantizer.scale)\n"
            "    with torch.no_grad():\n"
            f"        quantizer.scale -= {o.rate} * gradient{unscaled}\n"
            "result = float(quantizer.affine()[0].detach())\n"
        )

    def _course(self, walked: list[float]) -> Lines:
        count = numbers(float(k) for k in range(len(walked)))
        return Lines(
            "Step size, step by step",
            Axis("step of descent", low=0, high=STEPS),
            Axis("step size s", log=True),
            (Series("s", count, numbers(walked), "quant"),),
            marks=(Mark(self.best[0], "least", axis="y", tone="good"),),
        )

    def _pulls(self) -> Bars:
        """What pulls at the step now, from the gradient of both parts of the weights."""
        weight = material.weight(self.options.tensor).flatten()
        quantizer = started(self.options.tensor, self.options.bits, self.options.init)
        with torch.no_grad():
            quantizer.scale.fill_(self.steps[self.options.step])
        ends = (
            quantizer.scale.detach() * quantizer.grid.qmin,
            (quantizer.scale.detach() * quantizer.grid.qmax),
        )
        beyond = (weight < ends[0]) | (weight > ends[1])
        pulls = []
        for part in (~beyond, beyond):
            gaps = (quantizer.fake_quantize(weight) - weight) * part
            (gradient,) = torch.autograd.grad(gaps.square().sum(), quantizer.scale)
            pulls.append(-float(gradient))
        return Bars(
            "What pulls at the step now",
            Axis("below zero: towards finer steps"),
            Axis("- g ∂L/∂s"),
            (("pull", "quant", numbers(pulls)),),
            names=("rounding", "clipping"),
        )

    def _readings(self) -> list[Reading]:
        best, least = self.best
        at, loss = self.steps[self.options.step], self._path[1][self.options.step]
        return [
            Reading("step size", at, reference=f"least loss at {best:.4g}"),
            Reading("loss", loss, reference=f"least {least:.4g}"),
            Reading("first step", self.steps[0], veiled=False),
        ]
