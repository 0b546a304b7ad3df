"""Channel by channel: range, shape, use of the grid, and who carries the error.

One record for each output channel of a weight, or for each feature of an activation, from sums that
take no more memory for more data; below it single weights, the worst first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx

from workbench.foundation.errors import RecipeError, unknown_name
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import Site, layers
from workbench.graph.taps import capture, channel_axis, value_nodes
from workbench.maths.metrics import decibels
from workbench.quantizers.base import Quantizer

#: a channel is an outlier where its reach is so many times the median of all channels
OUTLIER = 4.0
#: shares of the error are told for the fewest channels that carry so much of it
CARRIED = 0.8
#: codes are told apart up to so many bits
COUNTED_BITS = 10
TINY = 1e-30
WORST = 20


class ChannelSums:
    """Running sums of each channel's values, and of what the grid makes of them.

    Args:
        quantizer: of the site.
        channels: how many there are.
    """

    def __init__(self, quantizer: Quantizer, channels: int) -> None:
        self._quantizer = quantizer
        self._powers = torch.zeros(channels, 4, dtype=torch.float64)
        self._absolute, self._noise, self._clipped, self._ends = torch.zeros(
            4, channels, dtype=torch.float64
        )
        self._low = torch.full((channels,), torch.inf)
        self._high = torch.full((channels,), -torch.inf)
        self._count = 0
        grid = quantizer.grid
        self._levels = grid.qmax - grid.qmin + 1
        counted = grid.bits <= COUNTED_BITS and not quantizer.form
        self._used = torch.zeros(channels, self._levels, dtype=torch.bool) if counted else None

    @torch.no_grad()
    def add(self, x: Tensor, axis: int) -> None:
        """Count a tensor whose channels lie along `axis`."""
        rounded = self._quantizer.fake_quantize(x)
        rows, error = (t.detach().movedim(axis, 0).flatten(1).double() for t in (x, x - rounded))
        self._count += rows.shape[1]
        self._powers += torch.stack([rows.pow(k).sum(dim=1) for k in (1, 2, 3, 4)], dim=1)
        self._absolute += rows.abs().sum(dim=1)
        self._noise += error.square().sum(dim=1)
        self._low = torch.minimum(self._low, rows.amin(dim=1).float())
        self._high = torch.maximum(self._high, rows.amax(dim=1).float())
        if not self._quantizer.form:
            self._count_codes(x, rounded, axis)

    def record(self) -> list[dict[str, Any]]:
        """One for each channel; see `channel_records`."""
        mean, second, third, fourth = (self._powers / max(1, self._count)).T
        variance = (second - mean.square()).clamp(min=0)
        central = fourth - 4 * mean * third + 6 * mean.square() * second - 3 * mean.pow(4)
        kurtosis = central / variance.square().clamp(min=TINY)
        reach = torch.maximum(self._low.abs(), self._high.abs())
        columns = {
            "low": self._low,
            "high": self._high,
            "mean": mean,
            "deviation": variance.sqrt(),
            "kurtosis": torch.where(variance > TINY, kurtosis, torch.nan),
            "asymmetry": self._powers[:, 0] / self._absolute.clamp(min=TINY),
            "clipped": self._clipped / max(1, self._count),
            "saturated": self._ends / max(1, self._count),
            "error_share": self._noise / self._noise.sum().clamp(min=TINY),
        }
        power = self._powers[:, 1].tolist()
        typical = float(reach.median())
        noise = self._noise.tolist()
        used = None if self._used is None else self._used.sum(dim=1).tolist()
        table = {name: column.tolist() for name, column in columns.items()}
        return [
            {
                "channel": index,
                **{name: column[index] for name, column in table.items()},
                "sqnr_db": decibels(power[index], noise[index]),
                "codes_used": None if used is None else used[index],
                "codes": self._levels,
                "dead": table["low"][index] == table["high"][index]
                or (used is not None and used[index] == 1),
                "outlier": float(reach[index]) > OUTLIER * typical,
            }
            for index in range(len(noise))
        ]

    def _count_codes(self, x: Tensor, rounded: Tensor, axis: int) -> None:
        quantizer = self._quantizer
        grid = quantizer.grid
        codes = quantizer.codes(x)
        ends = (codes == grid.qmin) | (codes == grid.qmax)
        step = grid.granularity.expand(quantizer.affine()[0].detach(), x)
        beyond = ends & ((x - rounded).abs() > 0.5 * step * (1 + 1e-5))
        self._ends += _rows(ends & (rounded != 0), axis).sum(dim=1)
        self._clipped += _rows(beyond, axis).sum(dim=1)
        if self._used is not None:
            index = (_rows(codes, axis) - grid.qmin).long()
            self._used |= torch.zeros_like(self._used).scatter(1, index, True)


def channel_records(
    model: QuantizedGraph, site: str, batches: Iterable[tuple[Tensor, ...]] = ()
) -> list[dict[str, Any]]:
    """One record for each channel of a site.

    Args:
        model: quantized.
        site: of a weight or an activation.
        batches: inputs; activations are those of the float network.

    Returns:
        Records with `channel` (its index), `low`, `high`, `mean`, `deviation`, `kurtosis` (3 for a
        normal distribution; NaN where nothing varies), `asymmetry` (mean over mean size, 1 where no
        value is negative), `clipped` (share beyond the grid), `saturated` (share on a last level
        that is not zero), `error_share`, `sqnr_db`, `codes_used` of `codes`, `dead` (all values on
        one level), `outlier`.

    Raises:
        RecipeError: no such site.
    """
    known = {s.name: s for s in model.sites.values() if s.kind != "bias"}
    if site not in known:
        raise RecipeError(unknown_name("site", site, list(known)))
    place = known[site]
    if place.kind == "weight":
        axis, weight = weight_axis(model, place), model.weight(site).detach()
        sums = ChannelSums(model.quantizer(site), weight.shape[axis])
        sums.add(weight, axis)
        return sums.record()
    node = value_nodes(model.graph.module)[place.tensor]
    return _activation(model, place, node, batches)


def carriers(shares: Iterable[float], wanted: float = CARRIED) -> list[int]:
    """The fewest channels that together carry `wanted` of the error, the worst first.

    Example:
        >>> carriers([0.1, 0.6, 0.05, 0.25])
        [1, 3]
    """
    found, total = [], 0.0
    for index, share in sorted(enumerate(shares), key=lambda pair: -pair[1]):
        if total >= wanted:
            break
        found.append(index)
        total += share
    return found


@torch.no_grad()
def worst_weights(
    model: QuantizedGraph, site: str, channel: int | None = None, count: int = WORST
) -> list[dict[str, Any]]:
    """Single weights with the largest error: `index`, `value`, `code`, `rounded`, `error`, `share`.

    Args:
        model: quantized.
        site: of a weight.
        channel: output channel to look at; None for all.
        count: how many.

    Raises:
        RecipeError: no such weight or channel.
    """
    known = [s.name for s in model.of_kind("weight")]
    if site not in known:
        raise RecipeError(unknown_name("weight", site, known))
    axis, weight = weight_axis(model, model.sites[site]), model.weight(site).detach()
    if channel is not None and not 0 <= channel < weight.shape[axis]:
        raise RecipeError(f"channel was {channel}; '{site}' has 0 to {weight.shape[axis] - 1}")
    frozen = model.frozen()[site]
    assert frozen.codes is not None
    rounded, codes = frozen.values(), frozen.codes
    error = weight - rounded
    squares = error.double().square()
    looked = squares if channel is None else torch.full_like(squares, -1.0)
    if channel is not None:
        looked.select(axis, channel).copy_(squares.select(axis, channel))
    total = float(squares.sum().clamp(min=TINY))
    count = min(count, int((looked >= 0).sum()))
    best = looked.flatten().topk(count).indices
    places = torch.stack(torch.unravel_index(best, error.shape), dim=1).tolist()
    return [
        {
            "index": place,
            "value": float(weight[tuple(place)]),
            "code": int(codes[tuple(place)]),
            "rounded": float(rounded[tuple(place)]),
            "error": float(error[tuple(place)]),
            "share": float(error[tuple(place)]) ** 2 / total,
        }
        for place in places
    ]


def weight_axis(model: QuantizedGraph, site: Site) -> int:
    """The axis of a weight with one index for each output channel."""
    return weight_axes(model)[site.name]


def weight_axes(model: QuantizedGraph) -> Mapping[str, int]:
    """The same of all weights, by the name of their site; 0 for one that no layer owns."""
    owned = {weight.name: weight for layer in layers(model.graph) for weight in layer.weights}
    found = {name: weight.channel_axis for name, weight in owned.items()}
    return defaultdict(int, found)


def _activation(
    model: QuantizedGraph, site: Site, node: fx.Node, batches: Iterable[tuple[Tensor, ...]]
) -> list[dict[str, Any]]:
    sums: ChannelSums | None = None
    for batch in batches:
        value = capture(model.graph.module, batch, {site.tensor})[site.tensor]
        axis = channel_axis(node, value.ndim)
        if sums is None:
            sums = ChannelSums(model.quantizer(site.name), value.shape[axis])
        sums.add(value, axis)
    return [] if sums is None else sums.record()


def _rows(x: Tensor, axis: int) -> Tensor:
    return x.movedim(axis, 0).flatten(1)
