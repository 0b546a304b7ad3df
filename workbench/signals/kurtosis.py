"""Kurtosis regularisation, KURE (Shkolnik et al. 2020, arXiv:2002.07686).

    L = Σ over layers (K(w) - K*)² / layers,   K(w) = mean ((w - μ) / σ)⁴

A uniform distribution has K = 1.8, a normal one 3. Weights that are spread evenly suffer least from
a step that is not the best one, so the network serves several bit-widths and step sizes.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.signals.base import Seen
from workbench.signals.registry import signal

UNIFORM = 1.8
SMALLEST = 1e-12


class KurtosisOptions(Options):
    """Options of the kurtosis regulariser."""

    target: Annotated[
        float, Field(ge=1, le=10, description="kurtosis that is wanted; 1.8 is uniform")
    ] = UNIFORM


def kurtosis(x: Tensor) -> Tensor:
    """Fourth standardised moment of all values; 0 where they are all equal."""
    deviations = x.float() - x.float().mean()
    # K does not depend on the unit, so one is chosen in which powers stay in range
    deviations = deviations / deviations.detach().abs().amax().clamp(min=torch.finfo().tiny)
    variance = deviations.square().mean().clamp(min=SMALLEST)
    return deviations.pow(4).mean() / variance.square()


@signal(
    "kurtosis",
    title="Kurtosis (KURE)",
    options=KurtosisOptions,
    citation="Shkolnik et al. 2020, arXiv:2002.07686",
    needs=("weights",),
)
def of_weights(seen: Seen, options: KurtosisOptions) -> Tensor:
    """Pulls the distribution of each layer's weights towards a uniform one."""
    if not seen.weights:
        return seen.nothing()
    found = torch.stack([kurtosis(own.weight) for own in seen.weights])
    return (found - options.target).square().mean()
