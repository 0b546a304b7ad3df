"""PACT: a clip that learns from what it clips (Choi et al. 2018, arXiv:1805.06085).

    L(α) = E[(x̂ - x)²] / E[x²] + λ α²,   ∂x̂/∂α = 1 where x >= α, else 0

Rounding has no part in that gradient: without λ the clip grows as long as anything is beyond it,
and where nothing is, it has no gradient at all.
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
from workbench.lessons.panels import Axis, Bars, Lines, Mark, Reading, Scene, Series, numbers
from workbench.lessons.registry import demo
from workbench.maths.grid import Grid, affine_range, fake_quantize
from workbench.quantizers.pact import Pact, PactOptions

MODEL, VALUE, EXAMPLES = "digits-resnet", "blocks.2.relu_2", 8
STEPS, RATE, POINTS, BINS = 60, 5.0, 60, 60
LEAST, MOST = 0.5, 20.0
NEAR, STILL = 0.1, 1e-6
ABOVE, BELOW, CLOSE, STAYS = (
    "well above it",
    "well below it",
    "within a tenth of it",
    "exactly where it started",
)


class PactDemoOptions(Options):
    """What can be moved."""

    bits: Annotated[int, Field(ge=2, le=8, description="Bits of the grid.")] = 2
    start: Annotated[
        float, Field(ge=LEAST, le=MOST, description="Where the clip α starts.",
                     json_schema_extra={"log": True})
    ] = 1.0  # fmt: skip
    decay: Annotated[
        float, Field(ge=0, le=0.01, description="λ, which pulls the clip down.",
                     json_schema_extra={"step": 0.0002})
    ] = 0.0  # fmt: skip
    step: Annotated[
        int,
        Field(ge=0, le=STEPS, description="How many steps of descent are shown.",
              json_schema_extra={"play": True}),
    ] = STEPS  # fmt: skip


@lru_cache(maxsize=1)
def values() -> Tensor:
    """The activation, flat."""
    return material.activation(MODEL, VALUE, EXAMPLES).flatten()


def loss_of(quantizer: Pact) -> Tensor:
    """L(α), the error as a share of the energy, with the penalty."""
    x = values()
    error = (quantizer.fake_quantize(x) - x).square().mean() / x.square().mean()
    return error + quantizer.penalty * quantizer.alpha.square()


@lru_cache(maxsize=64)
def path(bits: int, start: float, decay: float) -> tuple[list[float], list[float]]:
    """α and ∂L/∂α from step to step, the first before any."""
    quantizer = Pact(Grid(bits, signed=False), (0,), PactOptions(decay=decay))
    torch.nn.init.constant_(quantizer.alpha, start)
    clips, gradients = [], []
    for _ in range(STEPS + 1):
        (gradient,) = torch.autograd.grad(loss_of(quantizer), quantizer.alpha)
        clips.append(float(quantizer.alpha.detach()))
        gradients.append(float(gradient))
        with torch.no_grad():
            quantizer.alpha.sub_(RATE * gradient)
    return clips, gradients


@lru_cache(maxsize=8)
@torch.no_grad()
def landscape(bits: int) -> tuple[Tensor, Tensor]:
    """Clips, and the error at each without any penalty, as a share of the energy."""
    x, grid = values(), Grid(bits, signed=False)
    clips = torch.linspace(LEAST, float(x.max()) * 1.05, POINTS)
    affine = [affine_range(torch.tensor(0.0), clip, grid) for clip in clips]
    errors = [(fake_quantize(x, *each, grid) - x).square().mean() for each in affine]
    return clips, torch.stack(errors) / x.square().mean()


@demo(
    "pact",
    title="PACT: the clip that learns",
    topic="Learning",
    order=4,
    citation="Choi et al. 2018, arXiv:1805.06085",
)
class PactDemo(Demo):
    """A clip moves by gradient descent and hears only of what it clips: where does it end?"""

    Options = PactDemoOptions
    options: PactDemoOptions

    @cached_property
    def walked(self) -> tuple[list[float], list[float]]:
        """α and its gradient from step to step."""
        return path(self.options.bits, self.options.start, self.options.decay)

    @cached_property
    def best(self) -> tuple[float, float]:
        """The clip with the least error, and that error."""
        clips, errors = landscape(self.options.bits)
        place = int(errors.argmin())
        return float(clips[place]), float(errors[place])

    def question(self) -> Question:
        o = self.options
        penalty = f"plus λ α² with λ = {o.decay:g}" if o.decay else "without any penalty"
        return Question(
            f"The clip α of a ReLU's output starts at {o.start:.3g}, and the largest value is"
            f" {float(values().max()):.3g}. It takes {STEPS} steps of descent on the squared error"
            f" at {o.bits} bits, {penalty}. Some clip has the least error. Where does α end?",
            choices=(ABOVE, BELOW, CLOSE, STAYS),
            hint="ask which values send α a gradient, and in which direction",
        )

    def answer(self) -> str:
        clips = self.walked[0]
        if abs(clips[-1] / clips[0] - 1) < STILL:
            return STAYS
        ratio = clips[-1] / self.best[0]
        return CLOSE if abs(ratio - 1) <= NEAR else ABOVE if ratio > 1 else BELOW

    def explanation(self) -> str:
        o, last, (best, least) = self.options, self.walked[0][-1], self.best
        beyond = 100 * float((values() >= last).double().mean())
        others = ", ".join(f"{landscape_best(bits):.3g} at {bits} bits" for bits in (2, 4, 8))
        return (
            f"α ends at {last:.4g}, with an error of {100 * self._error(last):.3g} %; the least is"
            f" {100 * least:.3g} % at {best:.3g}. {beyond:.3g} % of the values are beyond α now,"
            " and only they speak: each asks for more room. Rounding errors of all others grow with"
            " the step, but ∂x̂/∂α is zero there.\n\n"
            f"So the path is the same whatever the bits, though the best clip is not: {others}."
            f" What stops the clip is λ alone, here {o.decay:g}: a choice by hand. But for λ a clip"
            f" that starts above {float(values().max()):.3g} has a dead gradient: nothing is beyond"
            " it. LSQ mends this; its step hears of rounding too."
        )

    def scene(self) -> Scene:
        return Scene(
            [self._histogram(), self._landscape(), self._course(), self._slopes()],
            self._readings(),
        )

    def code(self) -> str:
        o = self.options
        return (
            f"import torch\n{material.recording(MODEL, VALUE, EXAMPLES)}\n"
            "from workbench.maths.grid import Grid\n"
            "from workbench.quantizers.pact import Pact, PactOptions\n\n"
            "x = x.flatten()\n"
            f"quantizer = Pact(Grid({o.bits}, signed=False), (0,), PactOptions(decay={o.decay}))\n"
            f"torch.nn.init.constant_(quantizer.alpha, {o.start})\n"
            f"for _ in range({o.step}):\n"
            "    error = (quantizer.fake_quantize(x) - x).square().mean() / x.square().mean()\n"
            "    loss = error + quantizer.penalty * quantizer.alpha.square()\n"
            "    (gradient,) = torch.autograd.grad(loss, quantizer.alpha)\n"
            "    with torch.no_grad():\n"
            f"        quantizer.alpha -= {RATE} * gradient\n"
            "result = float(quantizer.alpha.detach())\n"
        )

    def _error(self, clip: float) -> float:
        """Error at a clip without any penalty, as a share of the energy."""
        x, grid = values(), Grid(self.options.bits, signed=False)
        affine = affine_range(torch.tensor(0.0), torch.tensor(clip), grid)
        return float((fake_quantize(x, *affine, grid) - x).square().mean() / x.square().mean())

    def _histogram(self) -> Bars:
        x = values()
        top = max(float(x.max()), self.options.start)
        counts = torch.histc(x, BINS, 0.0, top)
        handle = Mark(self.options.start, "start", tone="quant", sets="start")
        return Bars(
            f"Output of a ReLU: {x.numel():,} values",
            Axis("value"),
            Axis("values", log=True, low=0.5),
            (("values", "float", numbers(float(c) if c else None for c in counts)),),
            edges=numbers(torch.linspace(0.0, top, BINS + 1)),
            marks=(handle,),
            note="Drag the start.",
            veiled=False,
        )

    def _landscape(self) -> Lines:
        clips, errors = landscape(self.options.bits)
        walked = self.walked[0][: self.options.step + 1]
        shown = [clip for clip in walked if clip <= float(clips[-1])]
        series = [
            Series("error", numbers(clips), numbers(errors), "float"),
            Series("with λ α²", numbers(clips),
                   numbers(errors + self.options.decay * clips.square()), "ink", "dashed"),
            Series("", numbers(shown), numbers(self._error(c) for c in shown), "quant", "dots"),
        ]  # fmt: skip
        return Lines(
            "The path over the error",
            Axis("clip α"),
            Axis("error / energy", log=True),
            tuple(series),
            marks=(Mark(self.best[0], "least", tone="good"),),
        )

    def _course(self) -> Lines:
        walked = self.walked[0][: self.options.step + 1]
        count = numbers(float(k) for k in range(len(walked)))
        return Lines(
            "The clip, step by step",
            Axis("step of descent", low=0, high=STEPS),
            Axis("clip α", low=0.0),
            (Series("α", count, numbers(walked), "quant"),),
            marks=(
                Mark(self.best[0], "least error", "y", "good"),
                Mark(float(values().max()), "largest value", "y", "dim"),
            ),
        )

    def _slopes(self) -> Lines:
        """What α is told, and how the loss changes in truth."""
        x, (clips, errors) = values(), landscape(self.options.bits)
        pull = 2 * self.options.decay * clips
        heard = [2 * float((clip - x).clamp(max=0).mean() / x.square().mean()) for clip in clips]
        middles = (clips[1:] + clips[:-1]) / 2
        true = errors.diff() / clips.diff() + 2 * self.options.decay * middles
        return Lines(
            "The slope that α hears, and the one that is there",
            Axis("clip α"),
            Axis("∂L/∂α", low=-0.1, high=0.1),
            (
                Series("heard", numbers(clips), numbers(torch.tensor(heard) + pull), "quant"),
                Series("of the loss itself", numbers(middles), numbers(true), "float"),
            ),
            marks=(Mark(0.0, "", "y", "dim"),),
            note="Descent moves α to the right where the slope is below zero.",
        )

    def _readings(self) -> list[Reading]:
        (clips, gradients), step = self.walked, self.options.step
        return [
            Reading("clip α", clips[step], reference=f"least error at {self.best[0]:.3g}"),
            Reading("error", 100 * self._error(clips[step]), "% of the energy",
                    f"least {100 * self.best[1]:.3g}"),
            Reading("gradient at α", gradients[step], tone="quant"),
            Reading("beyond α", 100 * float((values() >= clips[step]).double().mean()),
                    "% of the values"),
        ]  # fmt: skip


def landscape_best(bits: int) -> float:
    """The clip with the least error at a number of bits."""
    clips, errors = landscape(bits)
    return float(clips[errors.argmin()])
