"""GPTQ, column by column (Frantar et al. 2023, arXiv:2210.17323).

    min over codes of tr (Ŵ - W) H (Ŵ - W)ᵀ,   H = E x xᵀ + λ mean(diag H) I

Once the columns D are rounded with errors δ_D, the best that the free columns F can do is
δ_F = -δ_D H_DF H_FF⁻¹: that is what GPTQ hands on, one column at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import Axis, Cells, Lines, Mark, Reading, Scene, Series, numbers
from workbench.lessons.registry import demo
from workbench.maths.gram import Points, values
from workbench.maths.grid import Granularity, Grid
from workbench.maths.moments import Problem
from workbench.methods.gptq import Gptq, GptqOptions
from workbench.session.whatif import gathered

MODEL, EXAMPLES = "digits-mobilenet", 64
LAYERS = {"first layer, 9 inputs": "stem", "expansion, 16 inputs": "blocks.0.expand"}
ROWS = 10  # of the weight that are shown
MOST = 16
BETTER, WORSE, BOTH, NEITHER = (
    "closer outputs, weights further off",
    "closer weights, outputs further off",
    "closer weights and closer outputs",
    "neither is closer",
)


class GptqDemoOptions(Options):
    """What can be moved."""

    layer: Annotated[
        Literal["first layer, 9 inputs", "expansion, 16 inputs"],
        Field(description="Weight of the MobileNet."),
    ] = "expansion, 16 inputs"
    bits: Annotated[int, Field(ge=2, le=6, description="Bits of the weights.")] = 3
    order: Annotated[
        Literal["largest H first", "as they lie"],
        Field(description="In which order columns are rounded."),
    ] = "largest H first"
    damping: Annotated[
        float,
        Field(ge=1e-4, le=1, description="λ, added to the diagonal as a share of its mean.",
              json_schema_extra={"log": True}),
    ] = 0.01  # fmt: skip
    column: Annotated[
        int,
        Field(ge=0, le=MOST, description="How many columns are rounded.",
              json_schema_extra={"play": True}),
    ] = 5  # fmt: skip


@dataclass(frozen=True)
class Course:
    """What became of a weight, column by column.

    Attributes:
        hessian: (K, K) undamped. order: (K,) of the columns.
        gaps: (K + 1, O, K) weight errors after each column, of GPTQ; nearest: of nearest rounding.
        scale: (O, 1).
    """

    hessian: Tensor
    order: Tensor
    gaps: Tensor
    nearest: Tensor
    scale: Tensor

    def error(self, gaps: Tensor) -> Tensor:
        """Mean squared output error of weight errors (..., O, K), summed over the outputs."""
        return ((gaps @ self.hessian) * gaps).sum((-1, -2))


@lru_cache(maxsize=16)
@torch.no_grad()
def course(layer: str, bits: int, order: str, damping: float) -> Course:
    """The engine's GPTQ, and what its codes leave to the free columns."""
    name = LAYERS[layer]
    session = material.session(MODEL)
    store = gathered(session, EXAMPLES)
    view, moments = store.views[f"{name}.weight"], store[f"{name}.weight"]
    weight = view.matrix(material.parameter(MODEL, f"{name.replace('.', '_')}_weight"))
    grid = Grid(bits, granularity=Granularity("channel", 0))
    hessian = moments.second[0].float() / moments.count
    method = Gptq(GptqOptions(act_order=order != "as they lie", damping=damping))
    found = method.round(weight, moments, grid, None, centred=False, calibrator="mse")
    points = Points(grid)
    gap, nearest = (
        values(codes, found.scale, found.zero_point, points)[0] - weight[0]
        for codes in (found.codes, found.start)
    )
    places = torch.arange(weight.shape[-1])
    if order != "as they lie":
        places = found.problem.hessian[0].diagonal().argsort(descending=True)
    gaps = torch.stack([handed_on(found.problem, gap, places, k) for k in range(len(places) + 1)])
    return Course(hessian, places, gaps, nearest, found.scale[0])


def handed_on(problem: Problem, gap: Tensor, order: Tensor, count: int) -> Tensor:
    """Weight errors (O, K) when `count` columns have those of `gap` and the others are free."""
    done, free = order[:count], order[count:]
    found, hessian = torch.zeros_like(gap), problem.hessian[0]
    found[:, done] = gap[:, done]
    if count and len(free):
        pull = gap[:, done] @ hessian[done][:, free]
        found[:, free] = -torch.linalg.solve(hessian[free][:, free], pull, left=False)
    return found


@demo(
    "gptq",
    title="GPTQ, column by column",
    topic="Rounding",
    order=2,
    citation="Frantar et al. 2023, arXiv:2210.17323",
)
class GptqDemo(Demo):
    """Each column's rounding error is handed on to the columns that are still free."""

    Options = GptqDemoOptions
    options: GptqDemoOptions

    @cached_property
    def course(self) -> Course:
        """All columns."""
        o = self.options
        return course(o.layer, o.bits, o.order, o.damping)

    @cached_property
    def done(self) -> int:
        """How many columns are rounded."""
        return min(self.options.column, len(self.course.order))

    @cached_property
    def errors(self) -> tuple[Tensor, Tensor]:
        """(K + 1,) output errors after each column: of GPTQ, and without handing on."""
        c = self.course
        plain = torch.zeros_like(c.gaps)
        for k in range(1, len(plain)):
            plain[k:, :, c.order[k - 1]] = c.nearest[:, c.order[k - 1]]
        return c.error(c.gaps), c.error(plain)

    @cached_property
    def distances(self) -> tuple[float, float]:
        """Root mean square of the weight errors, in steps: of GPTQ, of nearest rounding."""
        c = self.course
        gptq, plain = (float((g / c.scale).square().mean().sqrt()) for g in (c.gaps[-1], c.nearest))
        return gptq, plain

    def question(self) -> Question:
        return Question(
            f"GPTQ rounds one column of the weight after the other to {2**self.options.bits}"
            " levels and moves the columns that are still free to make up for the error. Against"
            " rounding each weight to its nearest level, what does it end with?",
            choices=(BOTH, BETTER, WORSE, NEITHER),
            hint="no level is closer to a weight than the nearest one",
        )

    def answer(self) -> str:
        gptq, plain = (float(e[-1]) for e in self.errors)
        weights = self.distances[0] < self.distances[1]
        if gptq < plain:
            return BOTH if weights else BETTER
        return WORSE if weights else NEITHER

    def explanation(self) -> str:
        gptq, plain = (float(e[-1]) for e in self.errors)
        own, nearest = self.distances
        c = self.course
        off = c.hessian - torch.diag(c.hessian.diagonal())
        return (
            f"In the end GPTQ's output error is {gptq:.3g} against {plain:.3g} of nearest rounding,"
            f" while its weights are {own:.3g} steps from the float ones (root mean square)"
            f" instead of {nearest:.3g}.\n\n"
            "An error in one column can be made up for by another only as far as their inputs move"
            f" together: {100 * float(off.abs().sum() / c.hessian.abs().sum()):.3g} % of this"
            " Hessian lies off its diagonal. With inputs that have nothing to do with each other H"
            " is diagonal, nothing is handed on, and GPTQ is nearest rounding. A large damping λ"
            " has the same effect. The last columns have nobody left to hand on to, so it pays to"
            " round first what weighs most."
        )

    def scene(self) -> Scene:
        return Scene([self._hessian(), self._weights(), self._course()], self._readings())

    def code(self) -> str:
        o, name = self.options, LAYERS[self.options.layer]
        return (
            "import workbench\n"
            "from workbench.maths.gram import Points, values\n"
            "from workbench.maths.grid import Grid, Granularity\n"
            "from workbench.methods.gptq import Gptq, GptqOptions\n"
            "from workbench.session.whatif import gathered\n\n"
            f'session = workbench.open("{MODEL}")\n'
            f"store = gathered(session, {EXAMPLES})\n"
            f'view, moments = store.views["{name}.weight"], store["{name}.weight"]\n'
            f'weight = session.model.get_parameter("{name.replace(".", "_")}_weight").detach()\n'
            "weight = view.matrix(weight)\n\n"
            f'grid = Grid({o.bits}, granularity=Granularity("channel", 0))\n'
            f"options = GptqOptions(act_order={o.order != 'as they lie'}, damping={o.damping})\n"
            "found = Gptq(options).round(\n"
            '    weight, moments, grid, None, centred=False, calibrator="mse"\n'
            ")\n"
            "gap = values(found.codes, found.scale, found.zero_point, Points(grid)) - weight\n"
            "hessian = (moments.second / moments.count).float()\n"
            "result = float((gap @ hessian * gap).sum())\n"
        )

    def _hessian(self) -> Cells:
        hessian = self.course.hessian
        most = float(hessian.abs().max())
        places = [(int(c), int(c)) for c in self.course.order[: self.done]]
        return Cells(
            "H: how the inputs of the layer move together",
            tuple(numbers(row) for row in hessian),
            low=-most,
            high=most,
            chosen=tuple(places),
            note="Framed: columns that are rounded. Far from diagonal: there is much to hand on.",
            veiled=False,
        )

    def _weights(self) -> Cells:
        c = self.course
        gaps = (c.gaps[self.done] / c.scale)[:ROWS]
        latest = int(c.order[self.done - 1]) if self.done else -1
        return Cells(
            f"How far weights are moved after {self.done} columns, in steps",
            tuple(numbers(row) for row in gaps),
            low=-1.0,
            high=1.0,
            rows=tuple(f"row {i}" for i in range(len(gaps))),
            chosen=tuple((i, latest) for i in range(len(gaps)) if latest >= 0),
            note="Framed: the column rounded last; all later ones moved to make up for it.",
        )

    def _course(self) -> Lines:
        counts = numbers(float(k) for k in range(len(self.course.gaps)))
        gptq, plain = self.errors
        return Lines(
            "Output error, column after column",
            Axis("columns rounded", low=0, high=float(len(self.course.order))),
            Axis("mean squared error", low=0.0),
            (
                Series("errors stay", counts, numbers(plain), "float"),
                Series("errors handed on", counts, numbers(gptq), "quant"),
            ),
            marks=(Mark(float(self.done), tone="ink", sets="column"),),
        )

    def _readings(self) -> list[Reading]:
        (gptq, plain), k = self.errors, self.done
        own, nearest = self.distances
        return [
            Reading("output error", float(gptq[-1]), reference=f"nearest {float(plain[-1]):.3g}"),
            Reading(f"after {k} columns", float(gptq[k]), reference=f"else {float(plain[k]):.3g}"),
            Reading("weights are off by", own, "steps", reference=f"nearest {nearest:.3g}"),
            Reading("columns", len(self.course.order), veiled=False),
        ]
