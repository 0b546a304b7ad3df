"""Distillation from the float model's logits (Hinton et al. 2015, arXiv:1503.02531).

    L = T² KL(softmax(z_teacher / T) ‖ softmax(z_student / T))

With the float model as its own teacher no labels are needed (SQAKD, AISTATS 2024).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def distillation(teacher: Tensor, student: Tensor, temperature: float = 1.0) -> Tensor:
    """Scalar loss in nats over logits of shape (..., classes); leading positions are averaged."""
    classes = teacher.shape[-1]
    target = functional.log_softmax(teacher.reshape(-1, classes) / temperature, dim=-1)
    logits = functional.log_softmax(student.reshape(-1, classes) / temperature, dim=-1)
    loss = functional.kl_div(logits, target, log_target=True, reduction="batchmean")
    return loss * temperature**2
