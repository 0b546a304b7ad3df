"""Cayley steps stay orthogonal and go downhill."""

from __future__ import annotations

import torch

from workbench.maths.hadamard import random_orthogonal
from workbench.maths.stiefel import cayley_step


def test_it_finds_a_rotation_and_stays_orthogonal() -> None:
    generator = torch.Generator().manual_seed(0)
    wanted = random_orthogonal(6, generator)
    wanted[:, 0] *= torch.sign(torch.det(wanted))  # in the component of the identity
    x = torch.randn(200, 6, generator=generator, dtype=torch.float64)
    q, momentum = torch.eye(6, dtype=torch.float64), torch.zeros(6, 6, dtype=torch.float64)
    losses = []
    for _ in range(200):
        q.requires_grad_(True)
        loss = (x @ q - x @ wanted).square().mean()
        (gradient,) = torch.autograd.grad(loss, q)
        q, momentum = cayley_step(q.detach(), gradient, momentum, rate=0.3)
        losses.append(float(loss.detach()))
    assert losses[-1] < 1e-3 * losses[0]
    eye = torch.eye(6, dtype=torch.float64)
    assert float((q @ q.T - eye).abs().max()) < 1e-12


def test_a_gradient_of_zero_moves_nothing() -> None:
    q = random_orthogonal(5, torch.Generator().manual_seed(1))
    zero = torch.zeros(5, 5, dtype=torch.float64)
    after, momentum = cayley_step(q, zero, zero, rate=1.0)
    assert torch.allclose(after, q, atol=1e-14)
    assert float(momentum.abs().max()) == 0.0
