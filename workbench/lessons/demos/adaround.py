"""AdaRound by hand, then learned (Nagel et al. 2020, arXiv:2004.10568).

    min over up or down of E (f(w·x + b) - f(ŵ·x + b))²,   ŵ = s clip(floor(w / s) + h(V))

Nine weights have 512 ways to be rounded, few enough to try them all; AdaRound finds a good one by
gradient, while β falls from 20 to 2 and drives every h(V) to 0 or 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import Axis, Cells, Lines, Mark, Reading, Scene, Series, numbers
from workbench.lessons.registry import demo
from workbench.maths.grid import position
from workbench.methods.base import Task
from workbench.methods.registry import make as make_method
from workbench.quantizers.rounding import Rounding, rectified_sigmoid
from workbench.session.execute import build
from workbench.session.recipe import Override
from workbench.signals.regularisers import annealed_beta

MODEL, LAYER = "digits-resnet", "stem"
KERNELS, SIZE = 16, 3
WAYS = 2 ** (SIZE * SIZE)
EXAMPLES, BATCH = 64, 8
STEPS, FRAMES = 400, 40
LEARNING = {"iterations": STEPS, "batch_size": BATCH, "held_out": 0.0, "learning_rate": 0.05,
            "regulariser": 0.2}  # fmt: skip
HALF, DECIDED = 0.5, 0.49
PLACES = ((1, "first: nothing is better"), (10, "among the first ten"),
          (100, "among the first hundred"), (WAYS, "further back"))  # fmt: skip


class AdaRoundOptions(Options):
    """What can be moved."""

    kernel: Annotated[
        int, Field(ge=0, le=KERNELS - 1, description="Kernel of the ResNet's first layer.")
    ] = 3
    bits: Annotated[int, Field(ge=2, le=4, description="Bits of the weights.")] = 3
    turned: Annotated[
        tuple[int, ...], Field(description="Weights that are not rounded to the nearest level.")
    ] = ()
    progress: Annotated[
        int,
        Field(ge=0, le=FRAMES, description=f"Learning: each is {STEPS // FRAMES} steps.",
              json_schema_extra={"play": True}),
    ] = FRAMES  # fmt: skip


@dataclass(frozen=True)
class Learned:
    """What AdaRound did to the layer.

    Attributes:
        place: (kernels, 9) weights in steps, as the grid lets them be: w / s.
        scale: (kernels, 1).
        h: (frames, kernels, 9) how far each weight is rounded up.
        qmin, qmax: ends of the grid.
    """

    place: Tensor
    scale: Tensor
    h: Tensor
    qmin: int
    qmax: int


@lru_cache(maxsize=3)
def learned(bits: int) -> Learned:
    """The engine's AdaRound on the layer, all else in float; h(V) is noted at each gradient."""
    session = material.session(MODEL)
    only = (Override(pattern="*", weights=0), Override(pattern=LAYER, weights=bits))
    recipe = session.recipe(bits, None, "adaround", None, overrides=only, **LEARNING)
    model = build(session, recipe)
    (site,) = model.sites
    task = Task(
        lambda: (x for x, _ in session.data.batches("calibration", BATCH, EXAMPLES)), EXAMPLES
    )
    rounding, noted = None, []
    for _ in make_method("adaround", LEARNING).learn(model, task):
        quantizer = model.quantizer(site)
        if rounding is None and isinstance(quantizer, Rounding):
            rounding = quantizer
            _ = rounding.v.register_hook(lambda _, v=quantizer.v: noted.append(v.detach().clone()))
    assert rounding is not None
    place = position(model.original(site).detach(), *rounding.affine(), rounding.grid)
    every = [place - place.floor(), *map(rectified_sigmoid, [*noted, rounding.v.detach()])]
    h = torch.stack(every[:: STEPS // FRAMES]).reshape(-1, KERNELS, SIZE * SIZE)
    scale = rounding.scale.reshape(KERNELS, 1)
    grid = rounding.grid
    return Learned(place.reshape(KERNELS, -1), scale, h, grid.qmin, grid.qmax)


@lru_cache(maxsize=8)
@torch.no_grad()
def every_way(kernel: int, bits: int) -> tuple[Tensor, Tensor]:
    """(512, 9) all codes of a kernel, up or down, and (512,) their mean squared output errors."""
    found = learned(bits)
    ups = torch.tensor(list(product((0.0, 1.0), repeat=SIZE * SIZE)))
    codes = (found.place[kernel].floor() + ups).clamp(found.qmin, found.qmax)
    return codes, errors(kernel, codes * found.scale[kernel])


@torch.no_grad()
def errors(kernel: int, rounded: Tensor) -> Tensor:
    """(N,) mean squared errors behind the ReLU, of N kernels (N, 9)."""
    weight = material.parameter(MODEL, "stem_weight")[kernel].reshape(1, -1)
    bias = material.parameter(MODEL, "stem_bias")[kernel]
    patches = functional.unfold(inputs(), SIZE, padding=1).movedim(1, 2).flatten(0, 1)
    wanted = (patches @ weight.T + bias).relu()
    parts = rounded.split(64)
    return torch.cat([((patches @ p.T + bias).relu() - wanted).square_().mean(0) for p in parts])


@lru_cache(maxsize=1)
def inputs() -> Tensor:
    """The pictures that the layer is learned and judged on."""
    found, _ = next(material.session(MODEL).data.batches("calibration", EXAMPLES, EXAMPLES))
    return found[0]


@demo(
    "adaround",
    title="AdaRound by hand",
    topic="Rounding",
    order=1,
    citation="Nagel et al. 2020, arXiv:2004.10568",
)
class AdaRoundDemo(Demo):
    """Round nine real weights up or down by hand, then let AdaRound do it: is nearest best?"""

    Options = AdaRoundOptions
    options: AdaRoundOptions

    @cached_property
    def learned(self) -> Learned:
        """AdaRound's course."""
        return learned(self.options.bits)

    @cached_property
    def place(self) -> Tensor:
        """(9,) weights of the kernel in steps."""
        return self.learned.place[self.options.kernel]

    @cached_property
    def nearest(self) -> Tensor:
        """(9,) nearest codes."""
        return self.place.round().clamp(self.learned.qmin, self.learned.qmax)

    @cached_property
    def by_hand(self) -> Tensor:
        """(9,) codes with the weights turned that were clicked."""
        turned = torch.tensor([i in self.options.turned for i in range(SIZE * SIZE)])
        other = 2 * self.place.floor() + 1 - self.place.round()
        codes = torch.where(turned, other, self.nearest)
        return codes.clamp(self.learned.qmin, self.learned.qmax)

    @cached_property
    def free(self) -> Tensor:
        """(9,) whether a weight has both levels, up and down."""
        down = self.place.floor()
        return (down >= self.learned.qmin) & (down < self.learned.qmax)

    @cached_property
    def h(self) -> Tensor:
        """How far each weight is rounded up, (frames, 9)."""
        return self.learned.h[:, self.options.kernel]

    @cached_property
    def ends(self) -> Tensor:
        """(9,) codes that AdaRound ends with."""
        codes = self.place.floor() + (self.h[-1] >= HALF)
        return codes.clamp(self.learned.qmin, self.learned.qmax)

    @cached_property
    def errors(self) -> dict[str, float]:
        """Output errors: by hand, of nearest rounding, of AdaRound at its end, and the best."""
        codes = torch.stack([self.by_hand, self.nearest, self.ends])
        found = errors(self.options.kernel, codes * self.learned.scale[self.options.kernel])
        names = ("hand", "nearest", "learned")
        best = float(self.ranked[0])
        return {**dict(zip(names, found.tolist(), strict=True)), "best": best}

    @cached_property
    def ranked(self) -> Tensor:
        """(512,) output errors of all ways, least first."""
        return every_way(self.options.kernel, self.options.bits)[1].sort().values

    def question(self) -> Question:
        return Question(
            f"Nine weights can be rounded up or down in {WAYS} ways. Rounding each to its nearest"
            f" level on {2**self.options.bits} levels leaves the least error in every weight."
            f" Sorted by the error of the layer's output, where does it stand among the {WAYS}?",
            choices=tuple(words for _, words in PLACES),
            hint="what reaches the output is the sum of nine errors, each times its pixel",
        )

    def answer(self) -> str:
        rank = self._rank(self.errors["nearest"])
        return next(words for most, words in PLACES if rank <= most)

    def explanation(self) -> str:
        e, rank = self.errors, self._rank(self.errors["nearest"])
        moved = int((self.ends != self.nearest).sum())
        won = (
            "so no other way is better"
            if rank == 1
            else f"the best has {e['best']:.3g}, {e['nearest'] / e['best']:.3g} times less"
        )
        return (
            f"Nearest rounding is number {rank} of {WAYS} with an error of {e['nearest']:.3g};"
            f" {won}. AdaRound never tries them out: it turned {moved} of 9 weights by gradient"
            f" and came to {e['learned']:.3g}, number {self._rank(e['learned'])}.\n\n"
            "Neighbouring pixels are alike, so an error upwards in one weight is taken back by one"
            " downwards beside it. Rounding to nearest never looks at that: it minimises the error"
            " of the weights, not of what they compute. With more weights trying is hopeless (100"
            " have 10^30 ways), so AdaRound lets each h(V) slide between 0 and 1, and only in the"
            " end, as β falls, pushes it to one of the two."
        )

    def scene(self) -> Scene:
        return Scene([self._kernel(), self._ranking(), self._course(), self._beta()],
                     self._readings())  # fmt: skip

    def code(self) -> str:
        codes = [int(code) for code in self.by_hand]
        k = self.options.kernel
        return (
            "import torch\n"
            "from torch.nn import functional\n\n"
            "import workbench\n"
            "from workbench.maths.calibrators.base import Samples\n"
            "from workbench.maths.calibrators.registry import CALIBRATORS\n"
            "from workbench.maths.grid import Grid, affine_range\n\n"
            f'session = workbench.open("{MODEL}")\n'
            f"(x,), _ = next(session.data.batches('calibration', {EXAMPLES}, {EXAMPLES}))\n"
            "weight, bias = (session.model.get_parameter(f'stem_{p}').detach()\n"
            "                for p in ('weight', 'bias'))\n"
            f"w, b = weight[{k}:{k + 1}], bias[{k}:{k + 1}]\n"
            f"grid = Grid({self.options.bits})\n"
            "low, high = CALIBRATORS['mse'].make(Samples(w.reshape(1, -1)), grid)\n"
            "scale, _ = affine_range(low, high, grid)\n"
            f"codes = torch.tensor({codes}).reshape(w.shape)\n\n"
            "wanted = functional.conv2d(x, w, b, padding=1).relu()\n"
            "found = functional.conv2d(x, scale * codes, b, padding=1).relu()\n"
            "result = float((found - wanted).square().mean())\n"
        )

    def _rank(self, error: float) -> int:
        return 1 + int((self.ranked < error * (1 - 1e-5)).sum())

    def _kernel(self) -> Cells:
        moved = (self.by_hand - self.place).reshape(SIZE, SIZE)
        pairs = zip(self.place.tolist(), self.by_hand.tolist(), strict=True)
        texts = [f"{place:.2f} → {code:.0f}" for place, code in pairs]
        turned = [divmod(i, SIZE) for i in self.options.turned if i < SIZE * SIZE]
        return Cells(
            f"Kernel {self.options.kernel}: each weight in steps, and its code",
            tuple(numbers(row) for row in moved),
            low=-1.0,
            high=1.0,
            texts=tuple(tuple(texts[i * SIZE : (i + 1) * SIZE]) for i in range(SIZE)),
            chosen=tuple(turned),
            sets="turned",
            note="Click a weight to round it the other way; at the grid's end it has no choice.",
            veiled=False,
        )

    def _ranking(self) -> Lines:
        e = self.errors
        places = (("by hand", e["hand"], "ink"), ("nearest", e["nearest"], "float"),
                  ("AdaRound", e["learned"], "good"))  # fmt: skip
        return Lines(
            f"Output error of all {WAYS} ways, sorted",
            Axis("place", log=True, low=1.0, high=float(WAYS)),
            Axis("mean squared error", log=True),
            (Series("all ways", numbers(float(i + 1) for i in range(WAYS)), numbers(self.ranked),
                    "quant"),),
            marks=tuple(Mark(self._rank(error), f"{name}: {self._rank(error)}", tone=tone)
                        for name, error, tone in places),
        )  # fmt: skip

    def _course(self) -> Lines:
        shown = self.options.progress + 1
        steps = numbers(float(k * STEPS // FRAMES) for k in range(shown))
        return Lines(
            "AdaRound: h(V) of the nine weights",
            Axis("step", low=0, high=STEPS),
            Axis("rounded up by", low=0.0, high=1.0),
            tuple(
                Series(f"weight {i + 1}", steps, numbers(self.h[:shown, i]), f"run-{i % 8}")
                for i in range(SIZE * SIZE)
            ),
            marks=(Mark(0.2 * STEPS, "regulariser sets in", tone="dim"),),
        )

    def _beta(self) -> Lines:
        every = [float(k) for k in range(0, STEPS + 1, STEPS // FRAMES)]
        now = self.options.progress * STEPS // FRAMES
        return Lines(
            "The regulariser's exponent β",
            Axis("step", low=0, high=STEPS),
            Axis("β", low=0.0, high=21.0),
            (Series("β", numbers(every), numbers(annealed_beta(int(k), STEPS) for k in every),
                    "ink"),),
            marks=(Mark(float(now), f"β = {annealed_beta(now, STEPS):.3g}", tone="quant"),),
            note="1 - |2h - 1|^β: flat in the middle at first, later a slope towards both ends.",
        )  # fmt: skip

    def _readings(self) -> list[Reading]:
        e, h = self.errors, self.h[self.options.progress]
        open_ones = int((((h - HALF).abs() < DECIDED) & self.free).sum())
        return [
            Reading("output error, by hand", e["hand"], reference=f"nearest {e['nearest']:.3g}",
                    veiled=False),
            Reading("of AdaRound", e["learned"], reference=f"best of all {e['best']:.3g}",
                    tone="good"),
            Reading("nearest rounding", f"{self._rank(e['nearest'])}.", f"of {WAYS}"),
            Reading("undecided at this step", open_ones, f"of {int(self.free.sum())}"),
        ]  # fmt: skip
