"""A budget of bits: what weights cost beyond it (FracBits, Yang and Jin 2021, arXiv:2007.02017).

    L = max(0, C / C* - 1), summed over the budgets that were given
    C = Σ n_l b_l / Σ n_l             average bits of the weights whose bits are learned
    C = Σ MACs_l b_l a_l              bit operations of the whole network for one example

b_l is the expected number of bits, so the cost is as smooth as the mixture (EdMIPS, Cai and
Vasconcelos 2020, arXiv:2004.05795, sums it over branches in the same way). Below the budget there
is no penalty, and the other signals let bits grow again.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from workbench.foundation.options import Options
from workbench.quantizers.mixture import Mixture
from workbench.signals.base import Seen, Trained
from workbench.signals.registry import signal

MILLION = 1e6


class BudgetOptions(Options):
    """Options of the budget; 0 is no limit."""

    average_bits: Annotated[float, Field(ge=0, le=8, description="of each weight")] = 0.0
    bops: Annotated[float, Field(ge=0, description="millions of bit operations")] = 0.0


@signal(
    "budget",
    title="Budget of bits",
    options=BudgetOptions,
    citation="Yang and Jin 2021, arXiv:2007.02017",
    needs=("weights", "bits"),
)
def of_bits(seen: Seen, options: BudgetOptions) -> Tensor:
    """How far the expected cost exceeds its budget."""
    learning = [own for own in seen.weights if isinstance(own.quantizer, Mixture)]
    loss = seen.nothing()
    if not learning:
        return loss
    if options.average_bits:
        values = sum(own.weight.numel() for own in learning)
        average = sum((_bits(own) * own.weight.numel() for own in learning), loss) / values
        loss = loss + (average / options.average_bits - 1).clamp(min=0)
    if options.bops:
        total = sum((_bits(own) * (own.products / MILLION) for own in seen.weights), seen.nothing())
        loss = loss + (total / options.bops - 1).clamp(min=0)
    return loss


def _bits(own: Trained) -> Tensor:
    """Expected bits of a weight, as a scalar."""
    if isinstance(own.quantizer, Mixture):
        return own.quantizer.expected()
    return own.weight.new_tensor(float(own.quantizer.asked.bits))
