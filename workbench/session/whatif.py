"""What would this layer lose? Answered from moments alone, without running an example.

The layer's output error is a quadratic form of its weight error (see `workbench.maths.moments`), so
once the moments of all inputs have been gathered, any bit-width, granularity, range or rounding is
judged by a few small matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from workbench.foundation.errors import RecipeError, unknown_name
from workbench.graph.quantized import uniform
from workbench.graph.sites import Site, layers
from workbench.graph.targets import WeightGrid, target
from workbench.maths.metrics import decibels
from workbench.maths.moments import Moments
from workbench.methods.base import Task
from workbench.methods.calibrate import narrow
from workbench.methods.linear import LinearView
from workbench.methods.moments import MomentStore
from workbench.methods.registry import METHODS, make
from workbench.methods.second_order import SecondOrder, settled
from workbench.quantizers.base import Quantizer
from workbench.quantizers.codes import Codes

if TYPE_CHECKING:
    from workbench.session.session import Session

Progress = Callable[[float, str], None]
NEAREST = "nearest"
#: enough for moments that rank bit-widths and grids
EXAMPLES = 128


@dataclass(frozen=True)
class WhatIf:
    """What one layer would lose.

    Attributes:
        layer, weight: names; op: its operator.
        method: how codes would be chosen; grid: in short words.
        sqnr_db: of the layer's output, its input being float.
        errors: mean squared error of each output channel, as a share of that channel's power.
        scale: of the weight, flattened.
        note: what the grid that was asked for became, or "".
    """

    layer: str
    weight: str
    op: str
    method: str
    grid: str
    sqnr_db: float
    errors: tuple[float, ...]
    scale: tuple[float, ...]
    note: str

    @property
    def worst_db(self) -> float:
        """SQNR of the channel that loses most."""
        return decibels(1.0, max(self.errors))

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def methods() -> list[str]:
    """Ways of rounding that moments can answer for."""
    entries = (entry for entry in METHODS if issubclass(cast(type, entry.make), SecondOrder))
    return [NEAREST, *(entry.name for entry in entries)]


def gathered(
    session: Session, examples: int = EXAMPLES, progress: Progress | None = None
) -> MomentStore:
    """The session's moments; the first time examples are run, which takes one float pass.

    Args:
        session: with data.
        examples: of the calibration split.
        progress: told the share that is done and the layer.

    Raises:
        DataError: there are no data.
    """
    if examples not in session.moments:
        data = session.data.calibrate_on(examples)
        size = session.batch_size
        task = Task(lambda: (x for x, _ in data.batches("calibration", size)), examples)
        store, total = MomentStore(session.graph), len(layers(session.graph))
        for done, name in enumerate(store.gather(task), 1):
            if progress is not None:
                progress(done / total, name)
        session.moments[examples] = store
    return session.moments[examples]


@torch.no_grad()
def what_if(
    session: Session,
    layer: str = "",
    weights: int | WeightGrid | None = None,
    *,
    method: str | None = None,
    calibrator: str | None = None,
    share: float | None = None,
    examples: int = EXAMPLES,
    progress: Progress | None = None,
) -> list[WhatIf]:
    """What the weights of a layer, or of all, would lose; one answer for each weight.

    Args:
        session: with data.
        layer: its name, or that of a weight; "" for all layers.
        weights: the grid, or bits for each channel; by default 4, or what the layer is tuned to.
        method: one of `methods()`; by default what the layer is tuned to, or nearest.
        calibrator: range of the weights, where the method searches none; share: part of it that is
            kept, for nearest rounding; by default as the layer is tuned.
        examples: to gather moments from, the first time.
        progress: see `gathered`.

    Raises:
        RecipeError: bits that no grid has, an unknown layer, method or calibrator, or a layer
            without moments.
        DataError: there are no data.
    """
    if method is not None and method not in methods():
        raise RecipeError(unknown_name("method", method, methods()))
    wanted = _weights(session, layer)
    sites = _sites(session, weights)
    store = gathered(session, examples, progress)
    own = [name for name in wanted if name in store.views and name in sites]
    if not own:
        raise RecipeError(
            f"there are no moments for layer '{layer}'; quantize or diagnose the model instead"
        )
    return [
        _answer(
            session,
            store.views[name],
            store[name],
            sites[name],
            *_ways(session, sites[name], method, calibrator, share),
        )
        for name in own
    ]


def _sites(session: Session, weights: int | WeightGrid | None) -> dict[str, Site]:
    """The weights on the grid, or with the bits that layers are tuned to."""
    from workbench.session.tuning import overrides

    given = {} if weights is None else {"bits": weights}
    request = weights if isinstance(weights, WeightGrid) else WeightGrid.parse(given, "weights")
    own = overrides(session.tuned) if weights is None else ()
    every = target("weight-only").sites(session.graph, request, None, own, edges=None)
    return {site.name: site for site in every}


def _ways(
    session: Session, site: Site, method: str | None, calibrator: str | None, share: float | None
) -> tuple[str, str, float]:
    """Method, calibrator and share as they are given, else as the layer is tuned."""
    own = session.tuned.get(site.layer or "")
    if own is None:
        return method or NEAREST, calibrator or "mse", 1.0 if share is None else share
    way = method or own.method or NEAREST
    return way, calibrator or own.calibrator, own.share if share is None else share


def _weights(session: Session, name: str) -> list[str]:
    """The weights of the layer called `name`, of all layers for ""."""
    known = layers(session.graph)
    found = [
        weight.name for layer in known for weight in layer.weights
        if name in ("", layer.name, weight.name)
    ]  # fmt: skip
    if not found:
        raise RecipeError(unknown_name("layer", name, [layer.name for layer in known]))
    return found


def rounded(
    view: LinearView,
    moments: Moments,
    site: Site,
    weight: Tensor,
    method: str,
    calibrator: str = "mse",
    *,
    share: float = 1.0,
    bias: bool = True,
) -> tuple[Quantizer, bool]:
    """A weight's quantizer by one of `methods()`, and whether the layer's bias takes up the mean.

    Args:
        view: of the weight; moments: of what it multiplies; site: with the grid.
        calibrator: range of the weight, where the method searches none.
        share: part of that range that nearest rounding keeps.
        bias: whether the layer's bias may be corrected, where it has one.
    """
    quantizer = uniform(site)
    quantizer.fit(weight, calibrator)
    if method == NEAREST:
        narrow(quantizer, share)
        return quantizer, False
    rounder = cast(SecondOrder, make(method))
    centred = bias and rounder.centred() and view.layer.offset is not None
    found = rounder.round(
        view.matrix(weight),
        moments,
        site.grid,
        quantizer.table(),
        centred=centred,
        calibrator=calibrator,
    )
    chosen = Codes(site.grid, site.shape)
    chosen.take(quantizer)
    return settled(chosen, view, found), centred


def _answer(
    session: Session,
    view: LinearView,
    moments: Moments,
    site: Site,
    method: str,
    calibrator: str,
    share: float,
) -> WhatIf:
    layer = view.layer
    weight = session.graph.parameter(site.tensor).detach()
    matrix = view.matrix(weight)
    quantizer, centred = rounded(view, moments, site, weight, method, calibrator, share=share)
    gap = view.matrix(quantizer(weight)) - matrix
    noise = moments.output(gap)
    if centred:  # the bias takes up the mean
        noise = (
            noise
            - (gap.double() @ moments.sum_quantized[..., None] / moments.count).square()[..., 0]
        )
    bias = None if layer.offset is None else session.graph.parameter(layer.offset).detach()
    power = moments.output(matrix, None if bias is None else bias.reshape(matrix.shape[:2]))
    return WhatIf(
        layer=layer.name,
        weight=site.name,
        op=layer.op,
        method=method,
        grid=site.grid.describe(),
        sqnr_db=decibels(float(power.sum()), float(noise.sum())),
        errors=_numbers(noise / power.clamp(min=1e-30)),
        scale=_numbers(quantizer.affine()[0]),
        note=site.note,
    )


def _numbers(tensor: Tensor) -> tuple[float, ...]:
    return tuple(float(value) for value in tensor.flatten())
