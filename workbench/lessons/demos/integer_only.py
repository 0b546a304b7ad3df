"""Integer-only inference, one output of a real layer step by step (Jacob et al. 2018, 1712.05877).

    acc = Σ (q_x - z_x) q_w + q_b                     int32, in steps of s_x s_w
    q_y = clip(round(M acc) + z_y),   M = s_x s_w / s_y ≈ m 2^-n with a whole number m

The codes come from the exported file as it runs in ONNX Runtime, and so do those that the whole
numbers are compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from workbench.deploy import runtime
from workbench.deploy.export import export
from workbench.foundation.options import Options
from workbench.lessons import material
from workbench.lessons.base import Demo, Question
from workbench.lessons.panels import (
    Axis,
    Cells,
    Lines,
    Mark,
    Reading,
    Scene,
    Series,
    Table,
    numbers,
)
from workbench.lessons.registry import demo
from workbench.session.execute import quantized

MODEL, EXAMPLES = "digits-resnet", 16
LAYERS = {
    "first, 9 products": ("stem", "image", "relu", 1),
    "second, 144 products": ("blocks.0.conv1", "relu", "blocks.0.relu", 1),
    "late, 288 products": ("blocks.2.conv1", "blocks.1.relu_2", "blocks.2.relu", 2),
}
PARTS = 12
NEEDED = ((8, "8 bits: that is what goes in"), (16, "9 to 16 bits: a product has no more"),
          (20, "17 to 20 bits"), (64, "21 bits or more"))  # fmt: skip


class IntegerOptions(Options):
    """What can be moved."""

    layer: Annotated[
        Literal["first, 9 products", "second, 144 products", "late, 288 products"],
        Field(description="Convolution of the ResNet, with the ReLU behind it."),
    ] = "second, 144 products"
    channel: Annotated[int, Field(ge=0, le=15, description="Output channel.")] = 2
    accumulator: Annotated[int, Field(ge=8, le=32, description="Bits of the accumulator.")] = 16
    multiplier: Annotated[
        int, Field(ge=2, le=31, description="Bits of the whole number m in M ≈ m 2^-n.")
    ] = 8
    part: Annotated[
        int,
        Field(ge=0, le=PARTS, description="How many twelfths of the products are added up.",
              json_schema_extra={"play": True}),
    ] = PARTS  # fmt: skip
    place: Annotated[
        int, Field(ge=0, le=783, description="Which output.", json_schema_extra={"hidden": True})
    ] = 239


@dataclass(frozen=True)
class Integers:
    """A layer's whole numbers on `EXAMPLES` held-out pictures, as int64.

    Attributes:
        x: codes of the data less the zero-point, (examples, inputs, height, width).
        weight, bias: their codes.
        sums: accumulators of all outputs, exact.
        codes: outputs as ONNX Runtime wrote them.
        product: s_x s_w of each channel; multiplier: M of each channel.
        scale, zero: of the output.
        stride: of the convolution.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    sums: Tensor
    codes: Tensor
    product: Tensor
    multiplier: Tensor
    scale: float
    zero: int
    stride: int


@lru_cache(maxsize=1)
def run_file() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors stored in the exported file, and codes that ONNX Runtime wrote while it ran.

    Weights and activations have 8 bits; the target `ort-cpu` takes 7 for weights where the kernels
    of some processors would saturate.
    """
    session = material.session(MODEL)
    recipe = session.recipe(8, 8, "rtn", 8, calibration_examples=64, calibrator="minmax")
    model = quantized(session, recipe)
    inputs, _ = next(session.data.batches("test", EXAMPLES, EXAMPLES))
    names = [f"{value}__q" for _, *values, _ in LAYERS.values() for value in values]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export(model, path)
        stored = runtime.stored_tensors(path)
        opened = runtime.open_session(runtime.with_outputs(path, names), exact=True, threads=1)
    written = runtime.run(opened, inputs, names)
    held, seen = (
        {name: torch.from_numpy(value.copy()) for name, value in found.items()
         if value.dtype.kind in "iuf"}
        for found in (stored, written)
    )  # fmt: skip
    return held, seen


@lru_cache(maxsize=3)
def integers(layer: str) -> Integers:
    """All outputs of a layer in whole numbers."""
    name, source, result, stride = LAYERS[layer]
    held, seen = run_file()
    x = seen[f"{source}__q"].long() - int(held[f"{source}__zero_point"])
    weight, bias = (held[f"{name}.{part}__q"].long() for part in ("weight", "bias"))
    # float64 holds whole numbers exactly far beyond 32 bits
    sums = functional.conv2d(x.double(), weight.double(), stride=stride, padding=1).long()
    scale = float(held[f"{result}__scale"])
    product = (held[f"{source}__scale"] * held[f"{name}.weight__scale"]).double()
    return Integers(
        x,
        weight,
        bias,
        sums + bias.reshape(-1, 1, 1),
        seen[f"{result}__q"].long(),
        product,
        product / scale,
        scale,
        int(held[f"{result}__zero_point"]),
        stride,
    )


def wrapped(sums: Tensor, bits: int) -> Tensor:
    """What `bits` bits keep of whole numbers, in two's complement."""
    half = 2 ** (bits - 1)
    return (sums + half) % (2 * half) - half


def whole(multiplier: float, bits: int) -> tuple[int, int]:
    """m and n with M ≈ m 2^-n, where m has so many bits."""
    fraction, exponent = math.frexp(multiplier)
    return round(fraction * 2**bits), bits - exponent


@demo(
    "integer_only",
    title="Integer-only inference",
    topic="Runtime",
    order=1,
    citation="Jacob et al. 2018, arXiv:1712.05877",
)
class IntegerOnly(Demo):
    """One output of a real layer in whole numbers, step by step, against ONNX Runtime's own."""

    Options = IntegerOptions
    options: IntegerOptions

    @cached_property
    def layer(self) -> Integers:
        """The layer's whole numbers."""
        return integers(self.options.layer)

    @cached_property
    def place(self) -> tuple[int, int]:
        """Row and column of the output on its map."""
        height, width = self.layer.codes.shape[-2:]
        return divmod(min(self.options.place, height * width - 1), width)

    @cached_property
    def products(self) -> Tensor:
        """(K,) products of the output, of the first picture."""
        n, (row, column) = self.layer, self.place
        padded = functional.pad(n.x[0], (1, 1, 1, 1))
        top, left = row * n.stride, column * n.stride
        window = padded[:, top : top + 3, left : left + 3]
        return (window * n.weight[self.options.channel]).flatten()

    @cached_property
    def outputs(self) -> Tensor:
        """(examples, height, width) codes of the channel in whole numbers."""
        n, o = self.layer, self.options
        kept = wrapped(n.sums[:, o.channel], o.accumulator)
        m, shift = whole(float(n.multiplier[o.channel]), o.multiplier)
        return ((kept * m + 2 ** (shift - 1) >> shift) + n.zero).clamp(0, 255)

    @cached_property
    def needed(self) -> int:
        """Bits that hold every sum of the layer, on all pictures."""
        most = int(torch.maximum(self.layer.sums, -self.layer.sums - 1).max())
        return most.bit_length() + 1

    def question(self) -> Question:
        count = self.layer.weight[0].numel()
        return Question(
            f"An output of this layer is the sum of {count} products of an 8-bit code with a 7-bit"
            f" one, and a bias. How wide must the accumulator be to hold every one of the"
            f" {self.layer.sums.numel():,} sums on {EXAMPLES} pictures?",
            choices=tuple(words for _, words in NEEDED),
            hint="one product of an 8-bit and a 7-bit code needs 15 bits, and then they add up",
        )

    def answer(self) -> str:
        return next(words for bits, words in NEEDED if self.needed <= bits)

    def explanation(self) -> str:
        n, o = self.layer, self.options
        count = n.weight[0].numel()
        worst = (count * 255 * 64).bit_length() + 1
        m, shift = whole(float(n.multiplier[o.channel]), o.multiplier)
        off = self._apart()
        return (
            f"The widest sum needs {self.needed} bits; the worst that {count} products could do is"
            f" {worst}. With {o.accumulator} bits {self._lost()} of {self.outputs.numel():,} sums"
            " of the channel do not fit, and what is kept of them is another number altogether, so"
            " hardware adds in 32 bits.\n\n"
            f"The sum counts in steps of s_x s_w = {float(n.product[o.channel]):.3g}, the output in"
            f" steps of s_y = {n.scale:.3g}. Their ratio M = {float(n.multiplier[o.channel]):.5g}"
            f" becomes {m} · 2^-{shift}: a multiplication and a shift, no float anywhere. The ReLU"
            " costs nothing: its output's zero-point is the lowest code, and the clip does it."
            f" With this m and this accumulator, {off[0]} of the channel's codes are one step from"
            f" ONNX Runtime's and {off[1]} are further off."
        )

    def scene(self) -> Scene:
        return Scene([self._map(), self._sum(), self._table()], self._readings())

    def code(self) -> str:
        o, (name, source, result, stride) = self.options, LAYERS[self.options.layer]
        return (
            "import math\n"
            "from pathlib import Path\n"
            "from tempfile import TemporaryDirectory\n\n"
            "import torch\n\n"
            "import workbench\n"
            "from workbench.deploy import runtime\n"
            "from workbench.deploy.export import export\n"
            "from workbench.session.execute import quantized\n\n"
            f'session = workbench.open("{MODEL}")\n'
            'options = {"calibration_examples": 64, "calibrator": "minmax"}\n'
            'recipe = session.recipe(8, 8, "rtn", 8, **options)\n'
            "model = quantized(session, recipe)\n"
            f'inputs, _ = next(session.data.batches("test", {EXAMPLES}, {EXAMPLES}))\n'
            "with TemporaryDirectory() as folder:\n"
            '    path = Path(folder) / "model.onnx"\n'
            "    export(model, path)\n"
            "    held = runtime.stored_tensors(path)\n"
            f'    file = runtime.with_outputs(path, ["{source}__q"])\n'
            "opened = runtime.open_session(file, exact=True, threads=1)\n"
            f'x = runtime.run(opened, inputs)["{source}__q"].astype(int)\n'
            f'x = torch.from_numpy(x) - int(held["{source}__zero_point"])\n\n'
            f"c, row, column, bits = {o.channel}, *{self.place}, {o.multiplier}\n"
            f'w = torch.from_numpy(held["{name}.weight__q"].astype(int))[c]\n'
            "padded = torch.nn.functional.pad(x[0], (1, 1, 1, 1))\n"
            f"top, left = {stride} * row, {stride} * column\n"
            "acc = int((padded[:, top:top + 3, left:left + 3] * w).sum())\n"
            f'acc += int(held["{name}.bias__q"][c])\n'
            f"half = 2 ** {o.accumulator - 1}\n"
            "acc = (acc + half) % (2 * half) - half\n"
            f'M = held["{source}__scale"] * held["{name}.weight__scale"][c]\n'
            f'fraction, exponent = math.frexp(M / float(held["{result}__scale"]))\n'
            "m, n = round(fraction * 2**bits), bits - exponent\n"
            f'code = (acc * m + 2 ** (n - 1) >> n) + int(held["{result}__zero_point"])\n'
            "result = min(255, max(0, code))\n"
        )

    def _lost(self) -> int:
        """How many sums of the channel do not fit the accumulator."""
        sums = self.layer.sums[:, self.options.channel]
        return int((wrapped(sums, self.options.accumulator) != sums).sum())

    def _apart(self) -> tuple[int, int]:
        """Codes of the channel that are one step from ONNX Runtime's, and further off."""
        off = (self.outputs - self.layer.codes[:, self.options.channel]).abs()
        return int((off == 1).sum()), int((off > 1).sum())

    def _map(self) -> Cells:
        codes = self.outputs[0].double()
        return Cells(
            f"Output codes of channel {self.options.channel}, first picture",
            tuple(numbers(row) for row in codes),
            low=0.0,
            high=max(1.0, float(self.layer.codes[0, self.options.channel].max())),
            chosen=(self.place,),
            sets="place",
            note="Click an output. A stain that does not belong there: an overflow.",
            veiled=False,
        )

    def _sum(self) -> Lines:
        o, products = self.options, self.products
        whole_sum = torch.cat([torch.zeros(1, dtype=torch.long), products.cumsum(0)])
        shown = len(products) * o.part // PARTS + 1
        at = numbers(float(k) for k in range(shown))
        kept = wrapped(whole_sum, o.accumulator)
        half = 2.0 ** (o.accumulator - 1)
        reach = float(whole_sum.abs().max())
        ends = (Mark(half, f"{o.accumulator} bits end here", axis="y", tone="bad"),
                Mark(-half, axis="y", tone="bad"))  # fmt: skip
        return Lines(
            "The sum, product after product",
            Axis("products added", low=0.0, high=float(len(products))),
            Axis("accumulator"),
            (
                Series("32 bits", at, numbers(whole_sum[:shown].double()), "float", "step"),
                Series(f"{o.accumulator} bits", at, numbers(kept[:shown].double()), "quant",
                       "step"),
            ),
            marks=ends if half < 4 * reach else (),
        )  # fmt: skip

    def _table(self) -> Table:
        n, o = self.layer, self.options
        unit, acc = float(n.product[o.channel]), int(self.products.sum())
        full = acc + int(n.bias[o.channel])
        kept = int(wrapped(torch.tensor(full), o.accumulator))
        m, shift = whole(float(n.multiplier[o.channel]), o.multiplier)
        rounded = kept * m + 2 ** (shift - 1) >> shift
        code, runtime_code = self._code(), self._runtime_code()
        rows = (
            ("sum of products", f"{acc:,}", f"{acc * unit:.4g}"),
            ("and the bias", f"{full:,}", f"{full * unit:.4g}"),
            (f"in {o.accumulator} bits", f"{kept:,}", f"{kept * unit:.4g}"),
            (f"times {m}, shifted by {shift}", f"{rounded:,}", f"{rounded * n.scale:.4g}"),
            (f"and {n.zero}, clipped to 0 to 255", f"{code}", f"{(code - n.zero) * n.scale:.4g}"),
            ("ONNX Runtime", f"{runtime_code}", f"{(runtime_code - n.zero) * n.scale:.4g}"),
        )
        tones = ("", "", "bad" if kept != full else "", "", "quant", "good")
        return Table("Step by step", ("", "whole number", "stands for"), rows, tones)

    def _code(self) -> int:
        return int(self.outputs[(0, *self.place)])

    def _runtime_code(self) -> int:
        return int(self.layer.codes[(0, self.options.channel, *self.place)])

    def _readings(self) -> list[Reading]:
        off = self._apart()
        return [
            Reading("output code", self._code(), reference=f"ONNX Runtime {self._runtime_code()}"),
            Reading("sums that do not fit", self._lost(), f"of {self.outputs.numel():,}"),
            Reading("one step from ONNX Runtime", off[0], "codes of the channel"),
            Reading("further off", off[1], "codes of the channel"),
        ]
