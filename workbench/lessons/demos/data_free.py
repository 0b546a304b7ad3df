"""Calibration without data: ranges from noise, from batch norms, from real pictures.

    min_x Σ_l ‖μ_l(x) - β_l‖² + ‖σ_l(x) - |γ_l|‖²            ZeroQ (Cai et al. 2020, 2001.00281)

A folded network still knows what each batch norm gave out in training: mean β and deviation |γ|.
Pictures that bring the same about are made by descent on their pixels.
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
from workbench.lessons.panels import Axis, Bars, Cells, Lines, Reading, Scene, Series, numbers
from workbench.lessons.registry import demo
from workbench.session.execute import quantized
from workbench.session.recipe import Recipe, Synthetic
from workbench.signals.distillation import distillation

MODEL, PICTURES, JUDGED = "digits-resnet", 16, 128
NOISE, NORMS, REAL = "noise", "batch norms", "real pictures"
KINDS = (NOISE, NORMS, REAL)
TONES = ("dim", "quant", "float")
MAKERS = {
    NOISE: Synthetic(maker="random", examples=PICTURES),
    NORMS: Synthetic(
        maker="zeroq", examples=PICTURES, options={"iterations": 60, "batch_size": PICTURES}
    ),
    REAL: None,
}


class DataFreeOptions(Options):
    """What can be moved."""

    source: Annotated[
        Literal["noise", "batch norms", "real pictures"],
        Field(description="What the ranges of activations are taken from."),
    ] = "batch norms"
    activations: Annotated[int, Field(ge=3, le=8, description="Bits of the activations.")] = 4
    calibrator: Annotated[
        Literal["mse", "minmax"],
        Field(description="The range of least squared error, or the whole range."),
    ] = "mse"
    picture: Annotated[
        int, Field(ge=0, le=PICTURES - 1, description="Which of the pictures is shown.")
    ] = 0


@dataclass(frozen=True)
class Outcome:
    """A network whose activations were calibrated on one kind of pictures.

    Attributes:
        ends: upper end of the range of each activation, in order.
        kl: nats lost on held-out digits; right: how many of `JUDGED` are right.
    """

    ends: tuple[float, ...]
    kl: float
    right: int


def recipe_of(source: str, bits: int, calibrator: str) -> Recipe:
    """Weights in 8 bits by nearest rounding, so that only activations matter."""
    return material.session(MODEL).recipe(
        8, bits, "rtn", 8, calibration_examples=PICTURES, synthetic=MAKERS[source],
        calibrator=calibrator,
    )  # fmt: skip


@lru_cache(maxsize=3)
def pictures(source: str) -> Tensor:
    """(pictures, 28, 28) what is calibrated on."""
    session = material.session(MODEL)
    data = session.calibrating(recipe_of(source, 8, "minmax"))
    inputs, _ = next(data.batches("calibration", PICTURES, PICTURES))
    return inputs[0][:, 0]


@lru_cache(maxsize=64)
@torch.no_grad()
def outcome(source: str, bits: int, calibrator: str) -> Outcome:
    """Calibrated on one kind of pictures, judged on held-out digits."""
    session = material.session(MODEL)
    model = quantized(session, recipe_of(source, bits, calibrator))
    inputs, labels = next(session.data.batches("test", JUDGED, JUDGED))
    reference, found = session.model(*inputs)[0], model(*inputs)[0]
    ends = []
    for site in model.of_kind("activation"):
        scale, zero_point = model.quantizer(site.name).affine()
        ends.append(float(scale * (site.grid.qmax - zero_point)))
    right = int((found.argmax(-1) == labels).sum())
    return Outcome(tuple(ends), float(distillation(reference, found)), right)


@demo(
    "data_free",
    title="Calibration without data",
    topic="Ranges",
    order=8,
    citation="Cai et al. 2020, arXiv:2001.00281",
)
class DataFree(Demo):
    """Ranges from noise, from pictures made to please the batch norms, and from real ones."""

    Options = DataFreeOptions
    options: DataFreeOptions

    @cached_property
    def found(self) -> dict[str, Outcome]:
        """What each kind of pictures leads to."""
        o = self.options
        return {source: outcome(source, o.activations, o.calibrator) for source in KINDS}

    def question(self) -> Question:
        o = self.options
        whole = "the whole range seen" if o.calibrator == "minmax" else "the range of least error"
        return Question(
            f"The ResNet's activations get {o.activations} bits, on {whole} for {PICTURES}"
            " pictures: noise; pictures made by descent until what comes out of every batch norm"
            " has the mean and deviation of training; or real digits. Which loses least on"
            " held-out digits?",
            choices=KINDS,
            hint="a range may be too wide as well as too narrow, and few bits mind the first more",
        )

    def answer(self) -> str:
        return min(self.found, key=lambda source: self.found[source].kl)

    def explanation(self) -> str:
        f = self.found
        told = ", ".join(f"{source} {f[source].kl:.3g}" for source in KINDS)
        off = {s: self._off(s) for s in (NOISE, NORMS)}
        whole = (
            "With the whole range, few bits suffer from ranges that are wide: what noise fails to"
            " reach is cut off, which can even help. It helps by chance, and at 8 bits it harms."
            if self.options.calibrator == "minmax"
            else "The calibrator of least error cuts on its own, so what it needs is values that"
            " lie as the real ones do."
        )
        return (
            f"Nats lost: {told}. Right of {JUDGED}: "
            f"{', '.join(f'{source} {f[source].right}' for source in KINDS)}.\n\n"
            f"Ranges from noise are off from those of real pictures by a factor of"
            f" {off[NOISE]:.3g} on average, up or down; those from batch norms by {off[NORMS]:.3g}."
            " Noise excites the first layer, and then dies away or adds up where real features"
            " would not. The norms remember mean and deviation of every channel from the training"
            " data, and a picture that brings them about need not look like a digit at all."
            f"\n\n{whole}"
        )

    def scene(self) -> Scene:
        return Scene([self._picture(), self._ranges(), self._losses()], self._readings())

    def code(self) -> str:
        o, maker = self.options, MAKERS[self.options.source]
        made = "None"
        if maker is not None:
            made = f"Synthetic(\n    maker={maker.maker!r}, examples={PICTURES},"
            made += f" options={maker.options}\n)"
        return (
            "import torch\n\n"
            "import workbench\n"
            "from workbench.session.execute import quantized\n"
            "from workbench.session.recipe import Synthetic\n"
            "from workbench.signals.distillation import distillation\n\n"
            f'session = workbench.open("{MODEL}")\n'
            f"synthetic = {made}\n"
            "recipe = session.recipe(\n"
            f'    8, {o.activations}, "rtn", 8, calibration_examples={PICTURES},'
            f' synthetic=synthetic,\n    calibrator="{o.calibrator}",\n'
            ")\n"
            "model = quantized(session, recipe)\n"
            f'inputs, labels = next(session.data.batches("test", {JUDGED}, {JUDGED}))\n'
            "with torch.no_grad():\n"
            "    reference, found = session.model(*inputs)[0], model(*inputs)[0]\n"
            "result = float(distillation(reference, found))\n"
        )

    def _off(self, source: str) -> float:
        """Mean factor between ranges of a source and those of real pictures, 1 or more."""
        own, real = (torch.tensor(self.found[s].ends) for s in (source, REAL))
        usable = (own > 0) & (real > 0)
        return float((own[usable] / real[usable]).log().abs().mean().exp())

    def _picture(self) -> Cells:
        shown = pictures(self.options.source)[self.options.picture]
        return Cells(
            f"Picture {self.options.picture} of {PICTURES}: {self.options.source}",
            tuple(numbers(row) for row in shown - shown.min()),
            low=0.0,
            high=float(shown.max() - shown.min()),
            note="Brightness above the darkest pixel.",
            veiled=False,
        )

    def _ranges(self) -> Lines:
        places = numbers(float(k) for k in range(len(self.found[REAL].ends)))
        return Lines(
            "Upper end of the range of each activation",
            Axis("activation, first to last"),
            Axis("end of the range", log=True),
            tuple(
                Series(source, places, numbers(e if e > 0 else None for e in found.ends), tone)
                for (source, found), tone in zip(self.found.items(), TONES, strict=True)
            ),
        )

    def _losses(self) -> Bars:
        bits = self.options.activations
        return Bars(
            f"Loss on held-out digits, activations in {bits} bits",
            Axis("calibrated on"),
            Axis("KL to float, nats", low=0.0),
            (("lost", "bad", numbers(found.kl for found in self.found.values())),),
            names=KINDS,
            note="Right of {}: {}.".format(
                JUDGED, ", ".join(f"{source} {f.right}" for source, f in self.found.items())
            ),
        )

    def _readings(self) -> list[Reading]:
        own, real = self.found[self.options.source], self.found[REAL]
        return [
            Reading("lost", own.kl, "nats", f"real pictures {real.kl:.3g}"),
            Reading("digits right", own.right, f"of {JUDGED}", f"real pictures {real.right}"),
            Reading("ranges are off by", self._off(self.options.source), "times", "1: as real"),
            Reading("pictures", PICTURES, self.options.source, veiled=False),
        ]
