"""The survey's frame as data: at which stage a method acts, and which signal teaches it.

After Huang et al., *Learning-based Model Quantization: Methods, Challenges, and Prospects*
(DOI 10.7544/issn1000-1239.202660128): quantization seen as a process of stages, and as learning
from signals, ordered here from local and cheap to global and dear. A cell is written
"stage/signal", such as "rounding/layer_error"; whatever is registered names the cells it fills.
"""

from __future__ import annotations

from collections.abc import Iterable

STAGES: dict[str, str] = {
    "transform": "equivalent transformation of the float network",
    "calibration": "statistics, and the data they come from",
    "range": "range, scale and levels",
    "rounding": "which code each weight gets",
    "reconstruction": "a layer, a block or the network learned to give what float gave",
    "training": "end to end",
    "allocation": "how many bits where",
    "export": "what is folded away before the file is written",
}
SIGNALS: dict[str, str] = {
    "task_loss": "loss of the task, or of the network's output, by gradient or by search",
    "tensor_error": "error or distribution of the tensor itself",
    "layer_error": "error of a layer's output",
    "block_error": "error of a block's or the network's output",
    "second_order": "curvature: Hessian, Fisher, squared gradients",
    "prediction": "difference to the float network's prediction",
    "features": "inner features of the float network",
    "prior": "what the float network knows of its data: batch-norm statistics, samples",
    "resources": "size, operations, time",
    "regulariser": "a term on the weights or codes themselves, or chance",
}
STRATEGIES: dict[str, str] = {
    "parameters": "learnable parameters",
    "reconstruction": "reconstruction and approximation",
    "supervision": "auxiliary supervision",
    "constraints": "learning under data and hardware constraints",
    "baseline": "no learning",
}

Cell = tuple[str, str]


def cells(names: Iterable[str]) -> tuple[Cell, ...]:
    """Cells from their names.

    Raises:
        ValueError: a name that is not "stage/signal" of this frame.

    Example:
        >>> cells(["rounding/layer_error"])
        (('rounding', 'layer_error'),)
    """
    found = []
    for name in names:
        stage, _, signal = name.partition("/")
        if stage not in STAGES or signal not in SIGNALS:
            raise ValueError(
                f"'{name}' is no cell; join a stage ({', '.join(STAGES)}) and a signal"
                f" ({', '.join(SIGNALS)}) with '/'"
            )
        found.append((stage, signal))
    return tuple(found)
