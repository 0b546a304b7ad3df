"""QLoRA: low-rank corrections beside frozen codes (Dettmers et al. 2023, arXiv:2305.14314).

    y = Ŵ x + B A x,      min over A, B of T² KL(softmax(z_float / T) ‖ softmax(z_quantized / T))

Ŵ are codes that an earlier stage chose (or nearest ones): they, their scales, biases and norms
stay; only A and B move, in float, and stay float in the file. B starts at 0, so training starts
from the quantized network as it is. The pass `low_rank` adds the corrections to the graph before
anything is quantized:

    quantize bytegpt --weights 2 --granularity 32 --activations float --target weight-only
        --transform low_rank:rank=8 --method gram --method qlora

The paper adapts a network to a new task from labels; here the float network is the teacher, and the
correction makes up for what quantization lost. With `labels` it adapts as well. The paper's codes
are NF4 in groups of 64 (`--table nf4`), its rate is 2e-4 for networks of billions; scales are not
quantized a second time here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from workbench.methods.network_plan import NetworkPlan
from workbench.methods.network_training import NetworkTraining
from workbench.methods.registry import method
from workbench.methods.training_options import TrainingOptions


class QloraOptions(TrainingOptions):
    """Options of QLoRA."""

    epochs: Annotated[int, Field(ge=1, le=10_000, description="passes over the data")] = 4
    batch_size: Annotated[int, Field(ge=1, le=65_536, description="examples per step")] = 16
    learning_rate: Annotated[
        float,
        Field(ge=0, le=10, description="of the corrections; no more than 2e-4 for large nets"),
    ] = 5e-3
    clip_norm: Annotated[
        float, Field(ge=0, le=1e6, description="largest norm of the gradient; 0: any")
    ] = 0.3


@method(
    "qlora",
    title="QLoRA: a correction beside frozen codes",
    options=QloraOptions,
    citation="Dettmers et al. 2023, arXiv:2305.14314",
    signal="distillation from the float model's logits, or labels",
    scope="network",
    learnables="low-rank corrections in float",
    data="unlabelled or labelled, 200 examples and more",
    cost="minutes",
    cells=("training/task_loss", "training/prediction"),
    strategy="parameters",
    transform="low_rank",
    use="language models at 2 to 4 bits, behind a stage that chose the codes",
)
class Qlora(NetworkTraining):
    """Trains the low-rank corrections alone."""

    options: QloraOptions

    def plan(self) -> NetworkPlan:
        return self.options.plan(weights="codes", activations="lsq", moves="branches")
