"""Distillation from the float model's logits (Hinton et al. 2015, arXiv:1503.02531).

    L = T² KL(softmax(z_teacher / T) ‖ softmax(z_student / T))

T² keeps the size of the gradient while T changes. With the float model as its own teacher no labels
are needed (SQAKD, Zhao and Zhao, AISTATS 2024, arXiv:2403.11106).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from workbench.foundation.errors import RecipeError
from workbench.foundation.options import Options
from workbench.signals.base import Seen
from workbench.signals.registry import signal


class LogitsOptions(Options):
    """Options of the distillation of logits."""

    temperature: Annotated[float, Field(gt=0, le=100, description="T of both softmaxes")] = 2.0


def distillation(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """Scalar loss in nats over logits of shape (..., classes); leading positions are averaged."""
    classes = teacher.shape[-1]
    target = functional.log_softmax(teacher.reshape(-1, classes) / temperature, dim=-1)
    logits = functional.log_softmax(student.reshape(-1, classes) / temperature, dim=-1)
    loss = functional.kl_div(logits, target, log_target=True, reduction="batchmean")
    return loss * temperature**2


@signal(
    "logits",
    title="Distillation of the logits",
    options=LogitsOptions,
    citation="Hinton et al. 2015, arXiv:1503.02531",
    needs=("prediction",),
)
def of_logits(seen: Seen, options: LogitsOptions) -> Tensor:
    """Divergence of the quantized network's answer from the teacher's; needs no labels."""
    assert seen.prediction is not None
    teacher, student = seen.prediction
    if teacher.shape != student.shape:
        raise RecipeError(
            f"the teacher answers with {tuple(teacher.shape)} values and the network with"
            f" {tuple(student.shape)}; choose a teacher with the same classes"
        )
    return distillation(teacher, student, options.temperature)
