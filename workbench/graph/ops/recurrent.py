"""Recurrent layers, written out step by step so that they can be read and differentiated.

Shapes, with D directions, T steps, N batch, I inputs, H hidden: X (T, N, I), W (D, gates H, I),
R (D, gates H, H), B (D, 2 gates H: input bias then recurrent bias), Y (T, D, N, H). Inputs of all
steps are multiplied at once; only the recurrent product runs in the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from workbench.graph.ops.registry import op

Unary = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]
Step = Callable[[Tensor, State], State]

# Each takes alpha and beta as far as it has them; the numbers are the defaults.
ACTIVATIONS: Mapping[str, tuple[Callable[..., Tensor], tuple[float, ...]]] = {
    "sigmoid": (torch.sigmoid, ()),
    "tanh": (torch.tanh, ()),
    "relu": (torch.relu, ()),
    "softsign": (F.softsign, ()),
    "softplus": (F.softplus, ()),
    "elu": (F.elu, (1.0,)),
    "leakyrelu": (F.leaky_relu, (0.01,)),
    "thresholdedrelu": (lambda x, a: torch.where(x > a, x, 0.0), (1.0,)),
    "affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
    "scaledtanh": (lambda x, a, b: a * torch.tanh(b * x), (1.0, 1.0)),
    "hardsigmoid": (lambda x, a, b: (a * x + b).clamp(0, 1), (0.2, 0.5)),
}


def _refuse(attributes: Mapping[str, Any]) -> str | None:
    unknown = [a for a in attributes.get("activations", ()) if a.lower() not in ACTIVATIONS]
    if unknown:
        return f"activation '{unknown[0]}' is not known; use Sigmoid, Tanh or Relu"
    return None


def _functions(
    names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]
) -> list[Unary]:
    """The activations, each taking the next alpha and beta if it has one."""
    given = iter(alphas), iter(betas)
    found = []
    for name in names:
        function, defaults = ACTIVATIONS[name.lower()]
        slopes = [next(rest, default) for rest, default in zip(given, defaults, strict=False)]
        found.append(_with(function, slopes))
    return found


def _with(function: Callable[..., Tensor], slopes: Sequence[float]) -> Unary:
    return (lambda x: function(x, *slopes)) if slopes else function


@dataclass(frozen=True)
class _Layer:
    """What the three cells share: the walk over directions and steps."""

    direction: str
    layout: int
    clip: float | None
    activations: Sequence[Unary]

    def functions(self, index: int, per_direction: int) -> list[Unary]:
        """Activations of one direction, their arguments clipped where asked for."""
        mine = self.activations[index * per_direction : (index + 1) * per_direction]
        return [self._clipped(function) for function in mine]

    def _clipped(self, function: Unary) -> Unary:
        clip = self.clip
        return function if clip is None else lambda x: function(x.clamp(-clip, clip))

    def backwards(self, index: int) -> bool:
        return self.direction == "reverse" or index == 1

    def walk(
        self,
        projected: Sequence[Tensor],
        cells: Sequence[Step],
        initial: Sequence[State],
        lens: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """Run each direction's cell over its projected inputs (T, N, gates H).

        Returns Y (T, D, N, H) and the last states (D, N, H), axes moved for layout 1.
        """
        outputs, finals = [], []
        for index, (steps, cell) in enumerate(zip(projected, cells, strict=True)):
            y, state = _run(steps, cell, initial[index], lens, self.backwards(index))
            outputs.append(y)
            finals.append(state)
        y = torch.stack(outputs, 1)
        last = tuple(torch.stack(parts) for parts in zip(*finals, strict=True))
        if self.layout:
            return y.permute(2, 0, 1, 3), *(part.transpose(0, 1) for part in last)
        return y, *last


def _run(
    steps: Tensor, cell: Step, state: State, lens: Tensor | None, backwards: bool
) -> tuple[Tensor, State]:
    """One direction. Steps beyond a sequence's length leave the state and give zeros."""
    outputs: list[Tensor] = []
    count = steps.shape[0]
    rows = steps.unbind(0)
    for t in reversed(range(count)) if backwards else range(count):
        new = cell(rows[t], state)
        if lens is None:
            state, y = new, new[0]
        else:
            alive = (t < lens).unsqueeze(1)
            state = tuple(torch.where(alive, a, b) for a, b in zip(new, state, strict=True))
            y = torch.where(alive, new[0], torch.zeros_like(new[0]))
        outputs.append(y)
    return torch.stack(outputs[::-1] if backwards else outputs), state


def _start(initial: Tensor | None, index: int, batch: int, hidden: int, like: Tensor) -> Tensor:
    if initial is None:
        return like.new_zeros(batch, hidden)
    return initial[index].to(like.device)  # zeros made from a shape come from the CPU


def _biases(b: Tensor | None, index: int, like: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Input and recurrent bias of one direction, each (gates H,)."""
    if b is None:
        return like.new_zeros(width), like.new_zeros(width)
    return b[index, :width], b[index, width:]


def _batch_second(layout: int, *tensors: Tensor | None) -> list[Tensor | None]:
    return [t.transpose(0, 1) if layout and t is not None else t for t in tensors]


def _lens(sequence_lens: Tensor | None, x: Tensor) -> Tensor | None:
    return None if sequence_lens is None else sequence_lens.to(x.device)


@op("RNN", since=7, refuse=_refuse)
def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    hidden_size: int | None = None,
    direction: str = "forward",
    activations: Sequence[str] = ("Tanh", "Tanh"),
    clip: float | None = None,
    layout: int = 0,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    n_outputs: int = 1,
) -> Any:
    """RNN-22: `h' = f(x Wᵀ + h Rᵀ + Wb + Rb)`; outputs Y, Y_h."""
    steps, initial_h = _batch_second(layout, x, initial_h)
    assert steps is not None
    functions = _functions(activations, activation_alpha, activation_beta)
    layer = _Layer(direction, layout, clip, functions)
    hidden = r.shape[-1]
    projected, cells, initial = [], [], []
    for i in range(w.shape[0]):
        wb, rb = _biases(b, i, steps, hidden)
        projected.append(F.linear(steps, w[i], wb + rb))
        cells.append(_rnn_cell(r[i], *layer.functions(i, 1)))
        initial.append((_start(initial_h, i, steps.shape[1], hidden, steps),))
    return _first(layer.walk(projected, cells, initial, _lens(sequence_lens, x)), n_outputs)


def _rnn_cell(r: Tensor, f: Unary) -> Step:
    return lambda x, state: (f(x + F.linear(state[0], r)),)


@op("GRU", since=7, refuse=_refuse)
def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    hidden_size: int | None = None,
    direction: str = "forward",
    activations: Sequence[str] = ("Sigmoid", "Tanh", "Sigmoid", "Tanh"),
    clip: float | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    n_outputs: int = 1,
) -> Any:
    """GRU-22, gates in the order z, r, h; outputs Y, Y_h.

    z = f(x Wzᵀ + h Rzᵀ + bz)        r = f(x Wrᵀ + h Rrᵀ + br)
    n = g(x Whᵀ + (r h) Rhᵀ + bh)    or, linear before reset, g(x Whᵀ + r (h Rhᵀ + Rbh) + Wbh)
    h' = (1 - z) n + z h
    """
    steps, initial_h = _batch_second(layout, x, initial_h)
    assert steps is not None
    functions = _functions(activations, activation_alpha, activation_beta)
    layer = _Layer(direction, layout, clip, functions)
    hidden = r.shape[-1]
    projected, cells, initial = [], [], []
    for i in range(w.shape[0]):
        wb, rb = _biases(b, i, steps, 3 * hidden)
        projected.append(F.linear(steps, w[i], wb))
        cell = _gru_reset_after if linear_before_reset else _gru_reset_before
        cells.append(cell(r[i], rb, *layer.functions(i, 2)))
        initial.append((_start(initial_h, i, steps.shape[1], hidden, steps),))
    return _first(layer.walk(projected, cells, initial, _lens(sequence_lens, x)), n_outputs)


def _gru_reset_after(r: Tensor, rb: Tensor, f: Unary, g: Unary) -> Step:
    def step(x: Tensor, state: State) -> State:
        (h,) = state
        xz, xr, xn = x.chunk(3, -1)
        hz, hr, hn = F.linear(h, r, rb).chunk(3, -1)
        z, reset = f(xz + hz), f(xr + hr)
        n = g(xn + reset * hn)
        return (n + z * (h - n),)

    return step


def _gru_reset_before(r: Tensor, rb: Tensor, f: Unary, g: Unary) -> Step:
    hidden = r.shape[-1]
    gates, gates_b = r[: 2 * hidden], rb[: 2 * hidden]
    inner, inner_b = r[2 * hidden :], rb[2 * hidden :]

    def step(x: Tensor, state: State) -> State:
        (h,) = state
        xz, xr, xn = x.chunk(3, -1)
        hz, hr = F.linear(h, gates, gates_b).chunk(2, -1)
        z, reset = f(xz + hz), f(xr + hr)
        n = g(xn + F.linear(reset * h, inner, inner_b))
        return (n + z * (h - n),)

    return step


@op("LSTM", since=7, refuse=_refuse)
def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    p: Tensor | None = None,
    *,
    hidden_size: int | None = None,
    direction: str = "forward",
    activations: Sequence[str] = ("Sigmoid", "Tanh", "Tanh", "Sigmoid", "Tanh", "Tanh"),
    clip: float | None = None,
    input_forget: int = 0,
    layout: int = 0,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    n_outputs: int = 1,
) -> Any:
    """LSTM-22, gates in the order i, o, f, c, peepholes P (D, 3 H); outputs Y, Y_h, Y_c.

    i = f(x Wiᵀ + h Riᵀ + Pi c + bi)      f = f(x Wfᵀ + h Rfᵀ + Pf c + bf)
    c' = f c + i g(x Wcᵀ + h Rcᵀ + bc)    o = f(x Woᵀ + h Roᵀ + Po c' + bo)
    h' = o h(c')
    """
    steps, initial_h, initial_c = _batch_second(layout, x, initial_h, initial_c)
    assert steps is not None
    functions = _functions(activations, activation_alpha, activation_beta)
    layer = _Layer(direction, layout, clip, functions)
    hidden, batch = r.shape[-1], steps.shape[1]
    projected, cells, initial = [], [], []
    for i in range(w.shape[0]):
        wb, rb = _biases(b, i, steps, 4 * hidden)
        projected.append(F.linear(steps, w[i], wb + rb))
        peepholes = None if p is None else p[i].chunk(3)
        cells.append(_lstm_cell(r[i], peepholes, input_forget, *layer.functions(i, 3)))
        h = _start(initial_h, i, batch, hidden, steps)
        initial.append((h, _start(initial_c, i, batch, hidden, steps)))
    return _first(layer.walk(projected, cells, initial, _lens(sequence_lens, x)), n_outputs)


def _lstm_cell(
    r: Tensor, peepholes: Sequence[Tensor] | None, coupled: int, f: Unary, g: Unary, h_of: Unary
) -> Step:
    def step(x: Tensor, state: State) -> State:
        h, c = state
        i, o, forget, new = (x + F.linear(h, r)).chunk(4, -1)
        if peepholes is not None:
            i, forget = i + peepholes[0] * c, forget + peepholes[2] * c
        i = f(i)
        forget = 1 - i if coupled else f(forget)
        c = forget * c + i * g(new)
        o = f(o if peepholes is None else o + peepholes[1] * c)
        return o * h_of(c), c

    return step


def _first(values: tuple[Tensor, ...], n_outputs: int) -> Any:
    return values[0] if n_outputs == 1 else values[:n_outputs]
