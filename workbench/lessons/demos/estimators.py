"""Gradient estimators compared: what rounding passes backwards, and where descent ends with it.

    L(W) = ‖X (Ŵ - W₀)‖² / ‖X W₀‖²,   Ŵ = round(W),   W ← W - rate ∂L/∂W

All round alike going forward; what differs is the slope that stands in for that of rounding (Bengio
et al. 2013, arXiv:1308.3432, and the papers of each).
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import Axis, Lines, Reading, Scene, Series, Table, numbers
from workbench.lessons.registry import demo
from workbench.maths.estimators.curves import SHOWN, curves
from workbench.maths.estimators.registry import ESTIMATORS, EstimatorName, make
from workbench.maths.grid import Grid, affine_range, fake_quantize, quantize
from workbench.maths.ranges import weight_range

MODEL, VALUE, PARAMETER = "digits-vit", "blocks.1.norm1", "blocks_1_attention_query_weight"
HEAD = 16  # columns of the first head
RANGE, REFERENCE = "l2", "clipped_ste"
STEPS, POINTS, TAIL = 30, 300, 10
ALIKE, CLOSE = "all end within a tenth of each other", 1.1


class EstimatorOptions(Options):
    """What can be moved."""

    estimator: Annotated[EstimatorName, Field(description="Whose curves are drawn.")] = "reste"
    bits: Annotated[int, Field(ge=1, le=4, description="Bits of the grid.")] = 2
    rate: Annotated[
        float,
        Field(ge=0.03, le=3, description="Learning rate, in units of 1 / the largest curvature.",
              json_schema_extra={"log": True}),
    ] = 1.0  # fmt: skip
    step: Annotated[
        int,
        Field(ge=0, le=STEPS, description="How many steps of descent are shown.",
              json_schema_extra={"play": True}),
    ] = STEPS  # fmt: skip


@lru_cache(maxsize=1)
def problem() -> tuple[Tensor, Tensor, float, float]:
    """The weights (64, 16), XᵀX of their inputs, ‖X W₀‖², and the largest curvature of L."""
    weight = material.parameter(MODEL, PARAMETER)[:, :HEAD]
    x = material.activation(MODEL, VALUE).flatten(0, -2)
    gram = x.T @ x
    size = float((weight * (gram @ weight)).sum())
    return weight, gram, size, 2 * float(torch.linalg.eigvalsh(gram)[-1]) / size


def stated() -> str:
    """Lines of Python for the problem, behind those that record `x`."""
    return (
        f'weight = session.model.get_parameter("{PARAMETER}").detach()[:, :{HEAD}]\n'
        "gram = x.flatten(0, -2).T @ x.flatten(0, -2)\n"
        "size = (weight * (gram @ weight)).sum()\n"
        "curvature = 2 * torch.linalg.eigvalsh(gram)[-1] / size\n"
    )


@lru_cache(maxsize=64)
def descents(bits: int, rate: float) -> dict[str, tuple[list[float], list[int]]]:
    """Of each estimator L from step to step, the first before any, and codes that a step changed.

    They run side by side, (estimators, 64, 16): one product and one backward pass for all.
    """
    (weight, gram, size, curvature), grid = problem(), Grid(bits)
    affine = affine_range(*weight_range(weight, grid, RANGE), grid)
    rivals = {name: make(name, SHOWN.get(name)) for name in ESTIMATORS.names()}
    latent = weight.expand(len(rivals), -1, -1).clone().requires_grad_()
    losses, flips, before = [], [], quantize(latent.detach(), *affine, grid)
    for _ in range(STEPS + 1):
        pairs = zip(latent, rivals.values(), strict=True)
        snapped = [fake_quantize(x, *affine, grid, estimator=rule) for x, rule in pairs]
        gap = torch.stack(snapped) - weight
        loss = (gap * (gram @ gap)).sum((1, 2)) / size
        (gradient,) = torch.autograd.grad(loss.sum(), latent)
        losses.append(loss.detach())
        with torch.no_grad():
            codes = quantize(latent, *affine, grid)
            latent -= rate / curvature * gradient
        flips.append((codes != before).sum((1, 2)))
        before = codes
    courses = zip(torch.stack(losses, 1).tolist(), torch.stack(flips, 1).tolist(), strict=True)
    return dict(zip(rivals, courses, strict=True))


@lru_cache(maxsize=64)
def drawn(name: str, bits: int) -> dict[str, Any]:
    """The curves of an estimator and of the clipped straight-through one."""
    return curves([name, REFERENCE], bits=bits)


@demo(
    "estimators",
    title="Gradient estimators compared",
    topic="Learning",
    order=2,
    citation="Bengio et al. 2013, arXiv:1308.3432; Lee et al. 2021, arXiv:2104.00903",
)
class EstimatorsDemo(Demo):
    """All round alike but pass back other slopes: with which does a real weight learn best?"""

    Options = EstimatorOptions
    options: EstimatorOptions

    @cached_property
    def paths(self) -> dict[str, tuple[list[float], list[int]]]:
        """What descent does with each estimator."""
        return descents(self.options.bits, self.options.rate)

    @cached_property
    def ends(self) -> dict[str, float]:
        """L after the last step, the least first."""
        return dict(
            sorted(((n, p[0][-1]) for n, p in self.paths.items()), key=lambda pair: pair[1])
        )

    def question(self) -> Question:
        o, start = self.options, self.paths[REFERENCE][0][0]
        return Question(
            f"A weight of {problem()[0].numel():,} values on {2**o.bits} levels starts at nearest"
            f" rounding, with {100 * start:.3g} % output error, and takes {STEPS} steps of descent"
            f" at the rate {o.rate:.3g}. With which estimator does it end best?",
            choices=(*(entry.title for entry in ESTIMATORS), ALIKE),
            hint="a value that is to rest on a level must not be pushed as hard as one between two",
        )

    def answer(self) -> str:
        found = list(self.ends.values())
        return ALIKE if found[-1] <= CLOSE * found[0] else ESTIMATORS[next(iter(self.ends))].title

    def restless(self, name: str) -> float:
        """Codes that change in a step, on average over the last ones."""
        return sum(self.paths[name][1][-TAIL:]) / TAIL

    def explanation(self) -> str:
        first, last = next(iter(self.ends)), list(self.ends)[-1]
        one_bit = (
            " With one bit most weights are clipped, and only plain straight-through moves them."
            if self.options.bits == 1
            else ""
        )
        return (
            f"Nearest rounding has {100 * self.paths[first][0][0]:.3g} % output error. After"
            f" {STEPS} steps {_lower(first)} has {100 * self.ends[first]:.3g} %, and {_lower(last)}"
            f" {100 * self.ends[last]:.3g} %. Over the last {TAIL} steps {self.restless(first):.3g}"
            f" and {self.restless(last):.3g} codes changed in each.{one_bit}\n\n"
            "Going forward the loss is a function of codes, and codes change only where a latent"
            " weight crosses the middle between two levels. Straight-through pushes all weights"
            " alike, so at a large rate many cross to and fro. Soft staircases push most near the"
            " middle and little on a level, where codes come to rest. With a small rate the"
            " differences shrink: what is left of them acts like another learning rate for each"
            " weight."
        )

    def scene(self) -> Scene:
        return Scene(
            [self._forward(), self._backward(), self._course(), self._table()], self._readings()
        )

    def code(self) -> str:
        o = self.options
        return (
            f"import torch\n{material.recording(MODEL, VALUE)}\n"
            "from workbench.maths.estimators.registry import make\n"
            "from workbench.maths.grid import Grid, affine_range, fake_quantize\n"
            "from workbench.maths.ranges import weight_range\n\n"
            f"{stated()}\n"
            f'grid, estimator = Grid({o.bits}), make("{o.estimator}",'
            f" {dict(SHOWN.get(o.estimator, {}))})\n"
            f'ends = weight_range(weight, grid, "{RANGE}")\n'
            "scale, zero_point = affine_range(*ends, grid)\n"
            "latent = weight.clone().requires_grad_()\n"
            f"for step in range({o.step + 1}):\n"
            "    snapped = fake_quantize(latent, scale, zero_point, grid, estimator=estimator)\n"
            "    gap = snapped - weight\n"
            "    loss = (gap * (gram @ gap)).sum() / size\n"
            "    (gradient,) = torch.autograd.grad(loss, latent)\n"
            "    with torch.no_grad():\n"
            f"        latent -= {o.rate} / curvature * gradient\n"
            "result = 100 * float(loss.detach())\n"
        )

    def _forward(self) -> Lines:
        found = drawn(self.options.estimator, self.options.bits)
        record, thin = found["estimators"][0], _thinned(found["x"])
        soft = [] if record["soft"] is None else [(record["title"], record["soft"], "quant")]
        lines = [("staircase", found["forward"], "float"), *soft]
        return Lines(
            "Forwards, and what stands in for it backwards",
            Axis("w / s, in steps"),
            Axis("ŵ / s"),
            tuple(Series(n, numbers(thin(found["x"])), numbers(thin(y)), t) for n, y, t in lines),
            veiled=False,
        )

    def _backward(self) -> Lines:
        found = drawn(self.options.estimator, self.options.bits)
        record, thin = found["estimators"][0], _thinned(found["x"])
        lines = [
            ("clipped straight-through", found["estimators"][1]["slope"], "dim"),
            ("pushed down", record["slope"], "quant"),
        ]
        if record["slope_negative"] is not None:
            lines.append(("pushed up", record["slope_negative"], "good"))
        else:
            lines[1] = (record["title"], record["slope"], "quant")
        return Lines(
            "Backwards: the slope that rounding is given",
            Axis("w / s, in steps"),
            Axis("∂ŵ/∂w", low=-0.1),
            tuple(Series(n, numbers(thin(found["x"])), numbers(thin(y)), t) for n, y, t in lines),
            veiled=False,
        )

    def _course(self) -> Lines:
        shown = self.options.step + 1
        count = numbers(float(k) for k in range(shown))
        series = (
            Series(ESTIMATORS[n].title, count, numbers(100 * v for v in p[0][:shown]), f"run-{k}")
            for k, (n, p) in enumerate(self.paths.items())
        )
        return Lines(
            "Output error while the weight learns",
            Axis("step of descent", low=0, high=STEPS),
            Axis("error", "%", log=True),
            tuple(series),
        )

    def _table(self) -> Table:
        rows = (
            (ESTIMATORS[n].title, f"{100 * self.paths[n][0][0]:.3g}", f"{100 * end:.3g}",
             f"{self.restless(n):.3g}")
            for n, end in self.ends.items()
        )  # fmt: skip
        return Table(
            "Best first",
            (
                "estimator",
                "error before, %",
                f"after {STEPS} steps, %",
                "codes changed a step",
            ),
            tuple(rows),
            tuple("quant" if n == self.options.estimator else "" for n in self.ends),
        )

    def _readings(self) -> list[Reading]:
        losses, flips = self.paths[self.options.estimator]
        return [
            Reading("output error", 100 * losses[self.options.step], "%",
                    f"at step {self.options.step}, {_lower(self.options.estimator)}"),
            Reading("least on the way", 100 * min(losses), "%"),
            Reading("nearest rounding", 100 * losses[0], "%", veiled=False),
            Reading("codes that changed", flips[self.options.step], "in this step"),
        ]  # fmt: skip


def _thinned(x: list[float]) -> Any:
    """Keeps few enough of a curve's points."""
    every = max(1, len(x) // POINTS)
    return lambda values: values[::every]


def _lower(name: str) -> str:
    """The title of an estimator within a sentence."""
    title = ESTIMATORS[name].title
    return title[:1].lower() + title[1:]
