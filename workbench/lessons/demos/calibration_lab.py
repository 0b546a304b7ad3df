"""The calibration lab: an observer sees examples, and a range comes of it (Nagel et al. 2021).

arXiv:2106.08295, section 3.1. Observers see each batch once, in the order in which it comes, and
keep a histogram and the extremes; a calibrator then chooses the range. Judged is the error on
examples that were not seen.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import Axis, Bars, Lines, Mark, Reading, Scene, Series, Table, numbers
from workbench.lessons.registry import demo
from workbench.maths.calibrators.registry import CALIBRATORS
from workbench.maths.grid import Grid, affine_range, fake_quantize
from workbench.maths.histogram import Histogram
from workbench.maths.metrics import sqnr_db
from workbench.maths.ranges import histogram_range

SITES: dict[str, tuple[str, str]] = {
    "ResNet, behind a ReLU": ("digits-resnet", "blocks.2.relu_2"),
    "ResNet, before that ReLU": ("digits-resnet", "blocks.2.add"),
    "ViT, residual stream": ("digits-vit", "blocks.3.add"),
}
BATCH, MOST, HELD_OUT = 4, 256, 64
COUNTS = (4, 16, 64, 256)
NEAR = 0.5  # dB
BINS = 60
COMPARED = ("minmax", "moving_average", "percentile", "mse", "entropy")
BETTER, WORSE, ALIKE = "better", "worse", f"the same, within {NEAR:g} dB"


class CalibrationOptions(Options):
    """What can be moved."""

    site: Annotated[
        Literal["ResNet, behind a ReLU", "ResNet, before that ReLU", "ViT, residual stream"],
        Field(description="An activation of a sample model."),
    ] = "ResNet, before that ReLU"
    observer: Annotated[
        Literal["minmax", "moving_average", "percentile", "mse", "entropy"],
        Field(description="The calibrator that chooses the range."),
    ] = "minmax"
    order: Annotated[
        Literal["as they come", "largest first", "largest last"],
        Field(description="In which order the examples are seen, by their largest value."),
    ] = "as they come"
    bits: Annotated[int, Field(ge=2, le=8, description="Bits of the grid.")] = 4
    batches: Annotated[
        int, Field(ge=1, le=MOST // BATCH, description=f"Batches seen, of {BATCH} examples each.",
                   json_schema_extra={"play": True})
    ] = MOST // BATCH  # fmt: skip


@lru_cache(maxsize=12)
def seen(site: str, order: str) -> Tensor:
    """The examples in the order in which they are seen."""
    x = material.activation(*SITES[site], MOST)
    if order == "as they come":
        return x
    largest = x.abs().flatten(1).amax(1)
    return x[largest.argsort(descending=order == "largest first")]


@lru_cache(maxsize=12)
def histograms(site: str, order: str) -> list[Histogram]:
    """What the observer has after each batch."""
    found, histogram = [], Histogram()
    for batch in seen(site, order).split(BATCH):
        histogram.add(batch)
        found.append(deepcopy(histogram))
    return found


@lru_cache(maxsize=1024)
def outcome(site: str, order: str, batches: int, observer: str, bits: int) -> tuple[float, ...]:
    """Lower and upper end of the range, and held-out SQNR in dB."""
    grid = Grid(bits, signed=False, symmetric=False)
    low, high = histogram_range(histograms(site, order)[batches - 1], grid, observer)
    held_out = material.activation(*SITES[site], HELD_OUT, "test")
    found = fake_quantize(held_out, *affine_range(low, high, grid), grid)
    return float(low), float(high), sqnr_db(held_out, found)


@demo(
    "calibration_lab",
    title="The calibration lab",
    topic="Ranges",
    order=4,
    citation="Nagel et al. 2021, arXiv:2106.08295",
)
class CalibrationLab(Demo):
    """Does calibration need many examples, which observer, and does their order matter?"""

    Options = CalibrationOptions
    options: CalibrationOptions

    @cached_property
    def course(self) -> list[float]:
        """Held-out SQNR after each of `COUNTS` examples."""
        return [self._outcome(n // BATCH, self.options.observer)[2] for n in COUNTS]

    def question(self) -> Question:
        o = self.options
        title = CALIBRATORS[o.observer].title
        order = "" if o.order == "as they come" else f", {o.order},"
        return Question(
            f"A range at {o.bits} bits is chosen by '{title[:1].lower()}{title[1:]}', once from"
            f" {COUNTS[0]} examples, once from {MOST}{order} of the same kind. The signal-to-noise"
            " ratio on examples that were not seen: with the larger set it is ...",
            choices=(BETTER, WORSE, ALIKE),
            hint="an example has thousands of values; which of them does this observer listen to",
        )

    def answer(self) -> str:
        change = self.course[-1] - self.course[0]
        return ALIKE if abs(change) <= NEAR else BETTER if change > 0 else WORSE

    def explanation(self) -> str:
        o = self.options
        course = ", ".join(
            f"{here:.3g} dB after {n}" for n, here in zip(COUNTS, self.course, strict=True)
        )
        rivals = {name: self._outcome(MOST // BATCH, name)[2] for name in COMPARED}
        best = max(rivals, key=lambda name: rivals[name])
        values = seen(o.site, o.order)[0].numel()
        return (
            f"Held out: {course} examples. Each example brings {values:,} values, so the shape of"
            " the histogram is known after a few; what goes on growing are its extremes. An"
            " observer of extremes follows them, which can make it worse with more examples; one"
            " that minimises an error hardly moves.\n\n"
            f"After {MOST} examples '{best}' is best here, with {rivals[best]:.3g} dB against"
            f" {rivals['minmax']:.3g} of 'minmax'. In the end order matters to the moving average"
            " alone, which remembers the last ten batches or so; a histogram forgets nothing. What"
            " no number of examples mends is a set that is unlike the data to come."
        )

    def scene(self) -> Scene:
        return Scene([self._histogram(), self._curve(), self._table()], self._readings())

    def code(self) -> str:
        o, (model, value) = self.options, SITES[self.options.site]
        sort = ""
        if o.order != "as they come":
            sort = (
                "largest = x.abs().flatten(1).amax(1)\n"
                f"x = x[largest.argsort(descending={o.order == 'largest first'})]\n"
            )
        return (
            f"{material.recording(model, value, MOST)}\n"
            "from workbench.maths.grid import Grid, affine_range, fake_quantize\n"
            "from workbench.maths.histogram import Histogram\n"
            "from workbench.maths.metrics import sqnr_db\n"
            "from workbench.maths.ranges import histogram_range\n\n"
            f"{sort}histogram = Histogram()\n"
            f"for batch in x.split({BATCH})[:{o.batches}]:\n"
            "    histogram.add(batch)\n"
            f"grid = Grid({o.bits}, signed=False, symmetric=False)\n"
            f'low, high = histogram_range(histogram, grid, "{o.observer}")\n\n'
            f'inputs, _ = next(session.data.batches("test", {HELD_OUT}, {HELD_OUT}))\n'
            f'others = capture(session.graph.module, tuple(inputs), ["{value}"])["{value}"]\n'
            "others = others.detach()\n"
            "found = fake_quantize(others, *affine_range(low, high, grid), grid)\n"
            "result = sqnr_db(others, found)\n"
        )

    def _outcome(self, batches: int, observer: str) -> tuple[float, ...]:
        return outcome(self.options.site, self.options.order, batches, observer, self.options.bits)

    def _histogram(self) -> Bars:
        o, count = self.options, self.options.batches * BATCH
        x = seen(o.site, o.order)
        low, high = (float(end) for end in torch.aminmax(x))
        counts = torch.histc(x[:count], BINS, low, high)
        ends = self._outcome(o.batches, o.observer)[:2]
        return Bars(
            f"Seen so far: {x[:count].numel():,} values of {count} examples",
            Axis("value"),
            Axis("values", log=True, low=0.5),
            (("values", "float", numbers(float(c) if c else None for c in counts)),),
            edges=numbers(torch.linspace(low, high, BINS + 1)),
            marks=(Mark(ends[0], "low", tone="quant"), Mark(ends[1], "high", tone="quant")),
            note="Play the batches, and watch the ends of the range.",
            veiled=False,
        )

    def _curve(self) -> Lines:
        o = self.options
        series = [
            Series(name, numbers(float(n) for n in COUNTS),
                   numbers(self._outcome(n // BATCH, name)[2] for n in COUNTS), tone, "line")
            for name, tone in {"minmax": "dim", o.observer: "quant"}.items()
        ]  # fmt: skip
        return Lines(
            "Error on examples that were not seen",
            Axis("examples", log=True, low=float(COUNTS[0]), high=float(MOST)),
            Axis("held-out SQNR", "dB"),
            tuple(series),
            marks=(Mark(float(o.batches * BATCH), "here"),),
        )

    def _table(self) -> Table:
        o = self.options
        rows = {name: self._outcome(o.batches, name) for name in COMPARED}
        best = max(rows, key=lambda name: rows[name][2])
        return Table(
            f"All observers after {o.batches * BATCH} examples",
            ("observer", "low", "high", "held-out SQNR, dB"),
            tuple((n, f"{r[0]:.3g}", f"{r[1]:.3g}", f"{r[2]:.3g}") for n, r in rows.items()),
            tuple("good" if n == best else "quant" if n == o.observer else "" for n in rows),
        )

    def _readings(self) -> list[Reading]:
        o = self.options
        low, high, quality = self._outcome(o.batches, o.observer)
        return [
            Reading("held-out SQNR", quality, "dB", f"{self.course[-1]:.3g} after {MOST} examples"),
            Reading("low", low, tone="quant", veiled=False),
            Reading("high", high, tone="quant", veiled=False),
            Reading("examples seen", o.batches * BATCH, veiled=False),
        ]
