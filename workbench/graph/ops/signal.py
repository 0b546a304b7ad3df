"""Signal processing: Fourier transforms, windows and the mel scale.

Complex numbers have a last axis of two, real ones of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.graph.ops.common import ints, number
from workbench.graph.ops.dtypes import torch_dtype
from workbench.graph.ops.registry import op

Number = Tensor | Sequence[float] | float
Ints = Tensor | Sequence[int] | int | None


@op("DFT", since=17, host=("dft_length",))
def dft_by_attribute(
    x: Tensor, dft_length: Ints = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """DFT-17: as DFT-20, the axis an attribute."""
    return dft(x, dft_length, axis, inverse=inverse, onesided=onesided)


@op("DFT", since=20, host=("dft_length", "axis"))
def dft(
    x: Tensor, dft_length: Ints = None, axis: Ints = -2, *, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """DFT-20: along `axis`, cut or filled to `dft_length`; `onesided` leaves out what mirrors.

    The inverse of a one-sided spectrum is a real signal, of even length by default.
    """
    dim = ints(axis)[0]
    dim = dim + x.ndim if dim < 0 else dim
    length = ints(dft_length)[0] if dft_length is not None else None
    signal = _complex(x)
    if inverse and onesided:
        return torch.fft.irfft(signal, length, dim).unsqueeze(-1).to(x.dtype)
    if inverse:
        return _pairs(torch.fft.ifft(signal, length, dim), x)
    if onesided:
        return _pairs(torch.fft.rfft(x.squeeze(-1), length, dim), x)
    return _pairs(torch.fft.fft(signal, length, dim), x)


def _complex(x: Tensor) -> Tensor:
    if x.shape[-1] == 1:
        return x.squeeze(-1) + 0j
    return torch.view_as_complex(x.contiguous())


def _pairs(x: Tensor, like: Tensor) -> Tensor:
    return torch.view_as_real(x).to(like.dtype)


@op("STFT", since=17, host=("frame_step", "frame_length"))
def stft(
    signal: Tensor,
    frame_step: Ints,
    window: Tensor | None = None,
    frame_length: Ints = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """STFT-17: signal (N, L, 1 or 2) to (N, frames, bins, 2), a spectrum of each windowed frame."""
    if frame_length is not None:
        length = ints(frame_length)[0]
    else:
        length = signal.shape[1] if window is None else window.shape[0]
    frames = signal.unfold(1, length, ints(frame_step)[0]).movedim(-1, 2)  # (N, frames, L, 1 or 2)
    if window is not None:
        frames = frames * window.to(frames).unsqueeze(-1)
    spectrum = dft(frames, axis=2, onesided=int(bool(onesided) and signal.shape[-1] == 1))
    return spectrum[:, :, : length // 2 + 1] if onesided else spectrum


def _angles(size: Tensor | Sequence[int] | int, periodic: int) -> Tensor:
    """2 pi n / N for each sample n of a window, N one less where it is symmetric."""
    count = ints(size)[0]
    steps = count if periodic else count - 1
    return 2 * math.pi * torch.arange(count, dtype=torch.float64) / max(steps, 1)


@op("HannWindow", since=17, host=("size",))
def hann_window(
    size: Tensor | Sequence[int] | int, *, output_datatype: int = 1, periodic: int = 1
) -> Tensor:
    """HannWindow-17: `1/2 - 1/2 cos(2 pi n / N)`."""
    return (0.5 - 0.5 * _angles(size, periodic).cos()).to(torch_dtype(output_datatype))


@op("HammingWindow", since=17, host=("size",))
def hamming_window(
    size: Tensor | Sequence[int] | int, *, output_datatype: int = 1, periodic: int = 1
) -> Tensor:
    """HammingWindow-17: `25/46 - 21/46 cos(2 pi n / N)`."""
    window = 25 / 46 - 21 / 46 * _angles(size, periodic).cos()
    return window.to(torch_dtype(output_datatype))


@op("BlackmanWindow", since=17, host=("size",))
def blackman_window(
    size: Tensor | Sequence[int] | int, *, output_datatype: int = 1, periodic: int = 1
) -> Tensor:
    """BlackmanWindow-17: `0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N)`."""
    angles = _angles(size, periodic)
    window = 0.42 - 0.5 * angles.cos() + 0.08 * (2 * angles).cos()
    return window.to(torch_dtype(output_datatype))


_MEL_HOST = ("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz")


@op("MelWeightMatrix", since=17, host=_MEL_HOST)
def mel_weight_matrix(
    num_mel_bins: Number,
    dft_length: Number,
    sample_rate: Number,
    lower_edge_hertz: Number,
    upper_edge_hertz: Number,
    *,
    output_datatype: int = 1,
) -> Tensor:
    """MelWeightMatrix-17: triangles (dft_length / 2 + 1, mel bins), evenly spaced in mel.

    `mel = 2595 log10(1 + hertz / 700)`; the edges are rounded down to bins of the spectrum.
    """
    bins, length = int(number(num_mel_bins)), int(number(dft_length))
    low, high = (
        2595 * math.log10(1 + number(edge) / 700) for edge in (lower_edge_hertz, upper_edge_hertz)
    )
    mels = low + torch.arange(bins + 2, dtype=torch.float64) * (high - low) / (bins + 2)
    hertz = 700 * (torch.pow(10, mels / 2595) - 1)
    edges = ((length + 1) * hertz / number(sample_rate)).floor()
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    row = torch.arange(length // 2 + 1, dtype=torch.float64).unsqueeze(1)  # (spectrum bins, 1)
    rising = torch.where(centre > left, (row - left) / (centre - left).clamp(min=1), row == centre)
    falling = (right - row) / (right - centre).clamp(min=1)
    weights = torch.where(row <= centre, rising, falling)
    inside = (row >= left) & ((row < right) | (row == centre))
    at_centre = (row == centre) & (right > centre)
    weights = torch.where(at_centre, torch.ones_like(weights), weights)
    return torch.where(inside, weights, 0.0).to(torch_dtype(output_datatype))
