"""Hadamard matrices: entries ±1, rows at right angles, H Hᵀ = n I.

Sylvester's doubling gives every power of two. Paley's constructions give q + 1 for primes q of the
form 4k + 3 (12, 20, 24 ...) and 2 (q + 1) for primes of the form 4k + 1 (28, 36, 60 ...), and
Kronecker products of these the widths that transformers have: 96 = 8 · 12, 576 = 16 · 36,
768 = 64 · 12. Divided by √n such a matrix is a rotation that spreads one large entry over all n.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def hadamard(n: int) -> Tensor | None:
    """H of order n, `(n, n)` float64 with entries ±1; None where no construction here gives one.

    Example:
        >>> hadamard(2).tolist()
        [[1.0, 1.0], [1.0, -1.0]]
    """
    doublings = 0
    while n >= 1:
        core = _core(n)
        if core is not None:
            for _ in range(doublings):
                core = torch.cat([torch.cat([core, core], 1), torch.cat([core, -core], 1)])
            return core
        if n % 2:
            return None
        n, doublings = n // 2, doublings + 1
    return None


def block_hadamard(n: int) -> Tensor:
    """A rotation from Hadamard matrices, `(n, n)` float64: one, or equal blocks of a power of two.

    Where n is odd this is the identity, which rotates nothing.
    """
    whole = hadamard(n)
    if whole is not None:
        return whole / math.sqrt(n)
    size = n & -n  # the largest power of two in n
    block = hadamard(size)
    assert block is not None
    return torch.block_diag(*[block / math.sqrt(size)] * (n // size))


def randomised_hadamard(n: int, generator: torch.Generator) -> Tensor | None:
    """Q = diag(±1) H / √n with random signs, so that x Q spreads any fixed direction; or None."""
    whole = hadamard(n)
    if whole is None:
        return None
    signs = torch.randint(0, 2, (n, 1), generator=generator, dtype=torch.float64) * 2 - 1
    return signs * whole / math.sqrt(n)


def random_orthogonal(n: int, generator: torch.Generator) -> Tensor:
    """A rotation drawn evenly from all, `(n, n)` float64 (QR of normal numbers, Mezzadri 2007)."""
    normal = torch.randn(n, n, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    return q * torch.sign(torch.diagonal(r))


def _core(n: int) -> Tensor | None:
    """Orders that need no doubling."""
    if n == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    if n % 4 == 0 and _is_prime(n - 1):
        return _paley_first(n - 1)
    if n % 4 == 0 and (n // 2 - 1) % 4 == 1 and _is_prime(n // 2 - 1):
        return _paley_second(n // 2 - 1)
    return None


def _paley_first(q: int) -> Tensor:
    """I + S of order q + 1, with S skew."""
    skew = _bordered(q)
    skew[1:, 0] = -1.0
    return skew + torch.eye(q + 1, dtype=torch.float64)


def _paley_second(q: int) -> Tensor:
    """Order 2 (q + 1): a conference matrix with 2 x 2 blocks for its entries."""
    conference = _bordered(q)
    plus = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    diagonal = torch.tensor([[1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    eye = torch.eye(q + 1, dtype=torch.float64)
    return torch.kron(conference, plus) + torch.kron(eye, diagonal)


def _bordered(q: int) -> Tensor:
    """Quadratic characters of differences modulo q, with a border of ones and a zero corner."""
    squares = {i * i % q for i in range(1, q)}
    character = torch.tensor([0.0] + [1.0 if i in squares else -1.0 for i in range(1, q)])
    places = torch.arange(q)
    matrix = torch.ones(q + 1, q + 1, dtype=torch.float64)
    matrix[0, 0] = 0.0
    matrix[1:, 1:] = character.double()[(places[:, None] - places[None, :]) % q]
    return matrix


def _is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1))
