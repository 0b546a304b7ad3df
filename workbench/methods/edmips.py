"""EdMIPS: bits searched among branches (Cai and Vasconcelos 2020, arXiv:2004.05795).

    min over W, s, α of L(Σ_b p_b Q_b(W)) + κ max(0, C(α) / C* - 1),   p = softmax(α)

In the first epochs each weight is the sum of its quantized selves, weighed by a softmax; C is the
expected cost. Then each weight gets the bits of its largest α, so that the budget holds, and the
network trains on with LSQ at those bits. The paper's penalty is the cost itself with a weight that
is found by trial; its activations are searched too, and its network is trained afresh behind the
search, while here it goes on.
"""

from __future__ import annotations

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.search_options import SearchOptions, Travel


class EdmipsOptions(SearchOptions):
    """Options of EdMIPS."""

    travel: Travel = 6.0


@method(
    "edmips",
    title="EdMIPS: bits chosen among branches",
    options=EdmipsOptions,
    citation="Cai and Vasconcelos 2020, arXiv:2004.05795",
    signal="distillation from the float model's logits, or labels; a budget of bits",
    scope="network",
    learnables="weights, scales, bits",
    data="unlabelled or labelled, 500 examples and more",
    cost="minutes; the search costs as many quantizations as there are widths",
    cells=("allocation/task_loss", "allocation/resources", "training/prediction"),
    strategy="constraints",
    use="where FracBits stays at neighbouring bits: all widths are weighed at once",
)
class Edmips(NetworkTraining):
    """Weighs the bits of each weight against each other, then takes the best that fit a budget."""

    options: EdmipsOptions

    def plan(self) -> NetworkPlan:
        return self.options.searching("branch_bits")
