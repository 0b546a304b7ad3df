"""The staircase and the straight-through estimator (Bengio et al. 2013, arXiv:1308.3432).

ŵ = s round(w / s),   ∂ŵ/∂w = 0 almost everywhere         what automatic differentiation finds
∂ŵ/∂w := 1                                                straight-through
∂ŵ/∂w := 1 inside the range, 0 outside                    clipped straight-through
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import Axis, Lines, Mark, Reading, Scene, Series, numbers
from workbench.lessons.registry import demo
from workbench.maths.estimators.base import Estimator
from workbench.maths.estimators.curves import slope
from workbench.maths.estimators.registry import make
from workbench.maths.grid import Grid, affine_range, fake_quantize
from workbench.maths.ranges import weight_range

TENSOR = "ResNet convolution"
RANGE = "l2"
RATE, STEPS = 0.1, 30
LOWEST, HIGHEST, POINTS = -0.5, 0.5, 401
ZERO, ROUNDED, LATENT = (
    "zero",
    "2 (ŵ - t): rounding counts as if it were not there",
    "2 (w - t): the grid has no part in it",
)


class OwnDerivative(Estimator):
    """Rounding with the derivative that it has."""

    def round(self, x: Tensor, steps: int) -> Tensor:
        return torch.round(x)


class StaircaseOptions(Options):
    """What can be moved."""

    value: Annotated[
        float, Field(ge=LOWEST, le=HIGHEST, description="The weight w that is to learn.",
                     json_schema_extra={"step": 0.005})
    ] = -0.15  # fmt: skip
    target: Annotated[
        float, Field(ge=LOWEST, le=HIGHEST, description="Where the loss (ŵ - t)² wants ŵ to be, t.",
                     json_schema_extra={"step": 0.005})
    ] = 0.12  # fmt: skip
    bits: Annotated[int, Field(ge=2, le=5, description="Bits of the grid.")] = 2
    backward: Annotated[
        Literal["as it is", "straight-through", "clipped"],
        Field(description="Derivative that rounding is given: its own, 1, or 1 inside the range."),
    ] = "as it is"
    step: Annotated[
        int,
        Field(ge=0, le=STEPS, description="How many steps of descent are shown.",
              json_schema_extra={"play": True}),
    ] = STEPS  # fmt: skip


def rule(backward: str) -> Estimator:
    """The estimator behind a choice of `backward`."""
    names = {"straight-through": "ste", "clipped": "clipped_ste"}
    return make(names[backward]) if backward in names else OwnDerivative()


@lru_cache(maxsize=8)
def affine(bits: int) -> tuple[Tensor, Tensor]:
    """Scale and zero-point with the least squared error of the whole weight."""
    grid = Grid(bits)
    return affine_range(*weight_range(material.weight(TENSOR), grid, RANGE), grid)


@lru_cache(maxsize=32)
def reached(bits: int, backward: str) -> float:
    """Share of all weights of the layer that a gradient reaches."""
    steps = material.weight(TENSOR) / affine(bits)[0]
    return float((slope(rule(backward), steps, Grid(bits), 1.0) != 0).double().mean())


@demo(
    "staircase",
    title="The staircase, and straight through it",
    topic="Learning",
    order=1,
    citation="Bengio et al. 2013, arXiv:1308.3432",
)
class StaircaseDemo(Demo):
    """Rounding is flat, so no gradient comes through: what does training do about that?"""

    Options = StaircaseOptions
    options: StaircaseOptions

    @cached_property
    def grid(self) -> Grid:
        """The grid of the options."""
        return Grid(self.options.bits)

    @cached_property
    def path(self) -> list[tuple[float, float, float]]:
        """(w, ŵ, ∂L/∂w) from step to step, the first before any."""
        w = torch.tensor(self.options.value, requires_grad=True)
        found = []
        for _ in range(STEPS + 1):
            snapped = self._snapped(w)
            (gradient,) = torch.autograd.grad((snapped - self.options.target).square(), w)
            found.append((float(w.detach()), float(snapped.detach()), float(gradient)))
            with torch.no_grad():
                w -= RATE * gradient
        return found

    @property
    def passed(self) -> float:
        """∂ŵ/∂w at the weight, under the rule."""
        return float(self._slope(torch.tensor(self.options.value), self.options.backward))

    def question(self) -> Question:
        o, landed = self.options, self.path[0][1]
        ways = {
            "as it is": "Automatic differentiation goes through rounding as it is.",
            "straight-through": "Backwards, rounding and clipping count as if they did nothing.",
            "clipped": "Backwards, rounding counts as if it did nothing, but clipping does not.",
        }
        return Question(
            f"The weight w = {o.value:g} is stored as ŵ = {landed:.3g}, and the loss is (ŵ - t)²"
            f" with t = {o.target:g}. {ways[o.backward]} Which gradient does w receive?",
            choices=(ZERO, ROUNDED, LATENT),
            hint="move w by a millionth: how far does ŵ move, and what does the rule make of it",
        )

    def answer(self) -> str:
        return ROUNDED if self.passed else ZERO

    def explanation(self) -> str:
        o, (_, landed, gradient) = self.options, self.path[0]
        last = self.path[-1]
        shares = (
            100 * reached(o.bits, each) for each in ("as it is", "straight-through", "clipped")
        )
        own, through, clipped = shares
        return (
            f"∂L/∂ŵ = 2 (ŵ - t) = {2 * (landed - o.target):.3g}, and the rule passes"
            f" {self.passed:g} times that: {gradient:.3g}. After {STEPS} steps at the rate {RATE}"
            f" w is {last[0]:.3g} and ŵ is {last[1]:.3g}, where {o.target:g} was wanted.\n\n"
            f"Of the {material.weight(TENSOR).numel():,} weights of the {TENSOR}, a gradient"
            f" reaches {own:.3g} % as it is, {through:.3g} % straight through, and {clipped:.4g} %"
            " when what is clipped is left out. Straight-through is not the derivative of this"
            " staircase but that of a line through it. It points the right way, so ŵ arrives at a"
            " level next to t; between two levels it cannot stay, and may go to and fro."
        )

    def scene(self) -> Scene:
        return Scene([self._forward(), self._backward(), self._course()], self._readings())

    def code(self) -> str:
        o = self.options
        own = (
            "class OwnDerivative(Estimator):\n"
            "    def round(self, x, steps):\n"
            "        return torch.round(x)\n\n\n"
        )
        name = {"straight-through": 'make("ste")', "clipped": 'make("clipped_ste")'}
        base = "base import Estimator" if o.backward == "as it is" else "registry import make"
        return (
            f"import torch\n{material.opening(TENSOR)}\n"
            f"from workbench.maths.estimators.{base}\n"
            "from workbench.maths.grid import Grid, affine_range, fake_quantize\n"
            "from workbench.maths.ranges import weight_range\n\n\n"
            f"{own if o.backward == 'as it is' else ''}"
            f"grid, estimator = Grid({o.bits}), {name.get(o.backward, 'OwnDerivative()')}\n"
            f'ends = weight_range(weight, grid, "{RANGE}")\n'
            "scale, zero_point = affine_range(*ends, grid)\n"
            f"w = torch.tensor({o.value}, requires_grad=True)\n"
            "snapped = fake_quantize(w, scale, zero_point, grid, estimator=estimator)\n"
            f"(gradient,) = torch.autograd.grad((snapped - {o.target}).square(), w)\n"
            "result = float(gradient)\n"
        )

    def _snapped(self, w: Tensor) -> Tensor:
        found = affine(self.options.bits)
        return fake_quantize(w, *found, self.grid, estimator=rule(self.options.backward))

    def _slope(self, w: Tensor, backward: str) -> Tensor:
        return slope(rule(backward), w / affine(self.options.bits)[0], self.grid, 1.0)

    def _forward(self) -> Lines:
        x = torch.linspace(LOWEST, HIGHEST, POINTS)
        with torch.no_grad():
            y = self._snapped(x)
        at, ends = numbers(x), numbers(torch.tensor([LOWEST, HIGHEST]))
        w = self.options.value
        return Lines(
            "Forwards: what w is stored as",
            Axis("weight w", low=LOWEST, high=HIGHEST),
            Axis("ŵ", low=LOWEST, high=HIGHEST),
            (
                Series("no rounding", ends, ends, "float", "dashed"),
                Series("staircase", at, numbers(y), "quant"),
                Series("", (w,), numbers([self.path[0][1]]), "ink", "dots"),
            ),
            marks=(Mark(w, "w", sets="value"), Mark(self.options.target, "t", "y", "good")),
            note="Drag w.",
            veiled=False,
        )

    def _backward(self) -> Lines:
        x = torch.linspace(LOWEST, HIGHEST, POINTS)
        rules = (
            ("as it is", "bad", "line"),
            ("straight-through", "float", "dashed"),
            ("clipped", "quant", "line"),
        )
        drawn = [
            Series(name, numbers(x), numbers(self._slope(x, name)), tone, style)  # type: ignore[arg-type]
            for name, tone, style in rules
        ]
        here = Series("", (self.options.value,), (self.passed,), "ink", "dots")
        return Lines(
            "Backwards: the share of the gradient that is passed",
            Axis("weight w", low=LOWEST, high=HIGHEST),
            Axis("∂ŵ/∂w", low=-0.1, high=1.2),
            (*drawn, here),
            marks=(Mark(self.options.value, "w"),),
            note="The derivative itself is zero on every tread, and has no value between.",
        )

    def _course(self) -> Lines:
        walked = self.path[: self.options.step + 1]
        count = numbers(float(k) for k in range(len(walked)))
        return Lines(
            "Descent on this one weight",
            Axis("step of descent", low=0, high=STEPS),
            Axis("value", low=LOWEST, high=HIGHEST),
            (
                Series("w", count, numbers(p[0] for p in walked), "float"),
                Series("ŵ", count, numbers(p[1] for p in walked), "quant", "step"),
            ),
            marks=(Mark(self.options.target, "t", "y", "good"),),
        )

    def _readings(self) -> list[Reading]:
        o, (_, landed, gradient) = self.options, self.path[0]
        return [
            Reading("gradient at w", gradient, reference=f"∂L/∂ŵ is {2 * (landed - o.target):.3g}"),
            Reading("weights reached", 100 * reached(o.bits, o.backward), "% of the layer"),
            Reading("loss at first", (landed - o.target) ** 2, veiled=False),
            Reading(f"loss after {STEPS} steps", (self.path[-1][1] - o.target) ** 2),
        ]
