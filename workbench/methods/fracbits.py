"""FracBits: bits searched along a fraction (Yang and Jin 2021, arXiv:2007.02017).

    min over W, s, λ of L(Q_λ(W)) + κ max(0, C(λ) / C* - 1)
    Q_λ = (1 - f) Q_⌊λ⌋ + f Q_⌈λ⌉,   f = λ - ⌊λ⌋

In the first epochs each weight has a fractional number of bits λ that moves with the network; the
cost C is its average or the network's bit operations. Then λ is rounded so that the budget holds,
and the network trains on with LSQ at those bits. The paper also searches the bits of activations
and of single kernels; here activations keep what was asked for, and a weight has one number of
bits.
"""

from __future__ import annotations

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.search_options import SearchOptions


class FracBitsOptions(SearchOptions):
    """Options of FracBits."""


@method(
    "fracbits",
    title="FracBits: learned bits under a budget",
    options=FracBitsOptions,
    citation="Yang and Jin 2021, arXiv:2007.02017",
    signal="distillation from the float model's logits, or labels; a budget of bits",
    scope="network",
    learnables="weights, scales, bits",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes",
    cells=("allocation/task_loss", "allocation/resources", "training/prediction"),
    strategy="constraints",
    use="for the best weights of a given size: a few layers need more bits than the rest",
)
class FracBitsTraining(NetworkTraining):
    """Learns a fractional number of bits for each weight, then rounds it to meet the budget."""

    options: FracBitsOptions

    def plan(self) -> NetworkPlan:
        return self.options.searching("frac_bits")
