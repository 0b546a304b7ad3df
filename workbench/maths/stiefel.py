"""Steps on the Stiefel manifold: an orthogonal matrix moves and stays orthogonal.

Cayley SGD (Li, Fuxin and Todorovic 2020, arXiv:2002.01113). With a gradient G = ∂L/∂Q and momentum

    M ← β M - G
    Â = M Qᵀ - ½ Q (Qᵀ M Qᵀ),    A = Â - Âᵀ               skew: the direction along the manifold
    M ← A Q                                               momentum, brought back to the tangent
    Q ← (I - α/2 A)⁻¹ (I + α/2 A) Q,    α = min(rate, 1 / ‖A‖)

The paper approximates the inverse by two fixed-point iterations and repairs Q by QR now and then;
here it is solved, so that Q stays orthogonal to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def cayley_step(
    q: Tensor, gradient: Tensor, momentum: Tensor, rate: float, beta: float = 0.9
) -> tuple[Tensor, Tensor]:
    """The next Q and momentum.

    Args:
        q: orthogonal, `(n, n)`; float64 keeps it so over many steps.
        gradient: of the loss, by Q's elements; momentum: of the last step, zeros at the first.
        rate: largest step; beta: how much of the momentum is kept.
    """
    momentum = beta * momentum - gradient
    half = momentum @ q.T - 0.5 * q @ (q.T @ momentum @ q.T)
    skew = half - half.T
    step = min(rate, 1.0 / (float(torch.linalg.matrix_norm(skew)) + 1e-12))
    eye = torch.eye(len(q), dtype=q.dtype)
    turned = torch.linalg.solve(eye - 0.5 * step * skew, (eye + 0.5 * step * skew) @ q)
    return turned, skew @ q
