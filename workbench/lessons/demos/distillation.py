"""Labels against soft targets (Hinton et al. 2015, arXiv:1503.02531).

    labels         L = -log p_y                            -∂L/∂z_k = [k = y] - p_k
    distillation   L = T² KL(softmax(z̄/T) ‖ softmax(z/T))  -∂L/∂z_k = T (p̄_k(T) - p_k(T))

z are the quantized network's logits and z̄ those of the float network, on a real digit.
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
from workbench.session.execute import quantized
from workbench.signals.distillation import distillation
from workbench.signals.labels import cross_entropy

MODEL, EXAMPLES, SHOWN = "digits-resnet", 256, 24
CLASSES = 10
HOTTEST, COLDEST, POINTS = 50.0, 0.5, 41
DOWN, UP, HARDLY = "down, as labels do", "up, against the labels", "hardly at all"
LITTLE = 0.03  # of the largest pull


class DistillationOptions(Options):
    """What can be moved."""

    digit: Annotated[
        int,
        Field(ge=0, le=SHOWN - 1, description="Held-out digit; 0: float is least sure of it."),
    ] = 0
    temperature: Annotated[
        float,
        Field(ge=COLDEST, le=HOTTEST, description="T, which divides the logits of both.",
              json_schema_extra={"log": True}),
    ] = 2.0  # fmt: skip
    bits: Annotated[
        int, Field(ge=2, le=5, description="Weights of the quantized network, the student.")
    ] = 2


@lru_cache(maxsize=4)
@torch.no_grad()
def answers(bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """(digits, classes) logits of float and of quantized, and labels; the least sure first."""
    session = material.session(MODEL)
    student = quantized(session, session.recipe(bits, None, "rtn", None))
    inputs, labels = next(session.data.batches("test", EXAMPLES, EXAMPLES))
    assert labels is not None
    teacher, found = session.model(*inputs)[0], student(*inputs)[0]
    order = teacher.softmax(-1).amax(-1).argsort()[:SHOWN]
    return teacher[order], found[order], labels[order]


def pull(loss: Tensor, logits: Tensor) -> Tensor:
    """Where descent moves the logits: minus the gradient."""
    (gradient,) = torch.autograd.grad(loss, logits)
    return -gradient


def entropy(shares: Tensor) -> float:
    """In bits."""
    return float(torch.special.entr(shares).sum() / torch.tensor(2.0).log())


def _article(digit: int) -> str:
    return f"an {digit}" if digit == 8 else f"a {digit}"


@demo(
    "distillation",
    title="Labels or soft targets",
    topic="Learning",
    order=8,
    citation="Hinton et al. 2015, arXiv:1503.02531",
)
class DistillationDemo(Demo):
    """What a label asks of a quantized network, and what its float original asks of it at T."""

    Options = DistillationOptions
    options: DistillationOptions

    @cached_property
    def logits(self) -> tuple[Tensor, Tensor, int]:
        """Of float and of quantized on the digit, (10,), and its label."""
        teacher, student, labels = answers(self.options.bits)
        k = self.options.digit
        return teacher[k], student[k], int(labels[k])

    @cached_property
    def pulls(self) -> dict[str, Tensor]:
        """Where labels and soft targets move the student's logits, (10,)."""
        return {"labels": self._by_label(), "soft": self._by_float(self.options.temperature)}

    @cached_property
    def rival(self) -> int:
        """The most probable class of the float network that is not the label."""
        teacher, _, label = self.logits
        return int(teacher.index_fill(0, torch.tensor([label]), -torch.inf).argmax())

    def question(self) -> Question:
        teacher, student, label = self.logits
        p, q = (float(z.softmax(-1)[self.rival]) for z in (teacher, student))
        return Question(
            f"This digit is {_article(label)}. The float network gives {100 * p:.2g} % to"
            f" {self.rival}, the quantized one {100 * q:.2g} %. The label pulls the quantized"
            f" network's logit of {self.rival} down. Where does distillation at"
            f" T = {self.options.temperature:g} pull it?",
            choices=(DOWN, UP, HARDLY),
            hint="compare what both give to this class once all logits are divided by T",
        )

    def answer(self) -> str:
        pulled, most = self.pulls["soft"][self.rival], self.pulls["soft"].abs().max()
        if float(pulled.abs() / most) < LITTLE:
            return HARDLY
        return UP if pulled > 0 else DOWN

    def explanation(self) -> str:
        teacher, student, label = self.logits
        t = self.options.temperature
        soft, own = ((z / t).softmax(-1) for z in (teacher, student))
        far = torch.nn.functional.cosine_similarity(*self.pulls.values(), dim=0)
        return (
            f"At T = {t:g} the float network gives {self.rival} a share of"
            f" {float(soft[self.rival]):.3g} and the quantized one {float(own[self.rival]):.3g}."
            f" The pull is T times the difference, {float(self.pulls['soft'][self.rival]):.3g};"
            f" the label's is {float(self.pulls['labels'][self.rival]):.3g}.\n\n"
            f"A label knows one thing: everything but {label} is wrong, and equally so. Its target"
            f" holds 0 bits beyond the class; the soft one holds {entropy(soft):.3g}: which classes"
            f" this {label} resembles. The cosine of the two pulls is {float(far):.2f}. With a high"
            " T every class counts alike and the logits themselves are matched, up to a constant;"
            " with a low one only the top class is left, and a confident float network is no more"
            " than a label. The factor T² keeps the size of the gradient while T changes."
        )

    def scene(self) -> Scene:
        return Scene([self._targets(), self._pulls(), self._entropies(), self._sizes()],
                     self._readings())  # fmt: skip

    def code(self) -> str:
        o = self.options
        return (
            "import torch\n\n"
            "import workbench\n"
            "from workbench.session.execute import quantized\n"
            "from workbench.signals.distillation import distillation\n"
            "from workbench.signals.labels import cross_entropy\n\n"
            f'session = workbench.open("{MODEL}")\n'
            f'student = quantized(session, session.recipe({o.bits}, None, "rtn", None))\n'
            f'inputs, labels = next(session.data.batches("test", {EXAMPLES}, {EXAMPLES}))\n'
            "with torch.no_grad():\n"
            "    teacher, found = session.model(*inputs)[0], student(*inputs)[0]\n"
            f"k = int(teacher.softmax(-1).amax(-1).argsort()[{o.digit}])\n"
            "logits = found[k].clone().requires_grad_()\n"
            "by_label = torch.autograd.grad(cross_entropy(logits, labels[k]), logits)\n"
            f"loss = distillation(teacher[k], logits, {o.temperature})\n"
            "by_float = torch.autograd.grad(loss, logits, retain_graph=True)\n"
            "result = float(loss.detach())\n"
        )

    def _student(self) -> Tensor:
        return self.logits[1].clone().requires_grad_()

    def _by_label(self) -> Tensor:
        logits = self._student()
        return pull(cross_entropy(logits, torch.tensor(self.logits[2])), logits)

    def _by_float(self, temperature: float) -> Tensor:
        logits = self._student()
        return pull(distillation(self.logits[0], logits, temperature), logits)

    def _loss(self) -> float:
        teacher, student, _ = self.logits
        return float(distillation(teacher, student, self.options.temperature))

    def _over(self) -> list[float]:
        """Temperatures from coldest to hottest."""
        return torch.logspace(0, 1, POINTS, HOTTEST / COLDEST).mul(COLDEST).tolist()

    def _targets(self) -> Bars:
        teacher, student, label = self.logits
        t = self.options.temperature
        hard = torch.nn.functional.one_hot(torch.tensor(label), CLASSES)
        return Bars(
            f"Targets for {_article(label)}, and the student, at T = {t:g}",
            Axis("class"),
            Axis("share", low=0.0, high=1.0),
            (
                ("label", "dim", numbers(hard.double())),
                ("float network", "float", numbers((teacher / t).softmax(-1))),
                ("quantized network", "quant", numbers((student / t).softmax(-1))),
            ),
            names=tuple(map(str, range(CLASSES))),
            veiled=False,
        )

    def _pulls(self) -> Bars:
        return Bars(
            "Where the student's logits are pulled",
            Axis("class"),
            Axis("- ∂L/∂z"),
            (
                ("by the label", "dim", numbers(self.pulls["labels"])),
                ("by the float network", "float", numbers(self.pulls["soft"])),
            ),
            names=tuple(map(str, range(CLASSES))),
        )

    def _entropies(self) -> Lines:
        teacher, student, _ = self.logits
        heat = self._over()
        lines = (("float network", teacher, "float"), ("quantized network", student, "quant"))
        return Lines(
            "What the targets hold",
            Axis("temperature T", log=True),
            Axis("entropy", "bits", low=0.0),
            tuple(
                Series(words, numbers(heat), numbers(entropy((z / t).softmax(-1)) for t in heat),
                       tone)
                for words, z, tone in lines
            ),
            marks=(Mark(self.options.temperature, "T", sets="temperature"),),
            note="A label holds 0 bits; ten equal shares hold 3.32.",
        )  # fmt: skip

    def _sizes(self) -> Lines:
        heat = self._over()
        sizes = [float(self._by_float(t).norm()) for t in heat]
        bare = [size / t**2 for size, t in zip(sizes, heat, strict=True)]
        return Lines(
            "How hard the logits are pulled",
            Axis("temperature T", log=True),
            Axis("size of the gradient", log=True),
            (
                Series("soft targets", numbers(heat), numbers(sizes), "float"),
                Series("the same without T²", numbers(heat), numbers(bare), "float", "dashed"),
            ),
            marks=(
                Mark(float(self.pulls["labels"].norm()), "label", axis="y", tone="dim"),
                Mark(self.options.temperature, "T", sets="temperature"),
            ),
        )

    def _readings(self) -> list[Reading]:
        label, soft = self.pulls["labels"], self.pulls["soft"]
        teacher, _, _ = self.logits
        held = entropy((teacher / self.options.temperature).softmax(-1))
        alike = float(torch.nn.functional.cosine_similarity(label, soft, dim=0))
        return [
            Reading("loss by soft targets", self._loss(), "nats", reference="T² KL"),
            Reading("the soft target holds", held, "bits", veiled=False),
            Reading("cosine of the two pulls", alike),
            Reading("size of the pull", float(soft.norm()),
                    reference=f"label {float(label.norm()):.3g}"),
        ]  # fmt: skip
