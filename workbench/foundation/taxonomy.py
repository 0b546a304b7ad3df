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

#: where the literature has methods, with some of their names
PUBLISHED: dict[str, str] = {
    "transform/task_loss": "SpinQuant",
    "transform/tensor_error": "cross-layer equalization",
    "transform/layer_error": "AWQ",
    "transform/block_error": "OmniQuant (LET), AffineQuant, FlatQuant",
    "transform/second_order": "QuIP# incoherence",
    "transform/prior": "DFQ bias absorption",
    "transform/regulariser": "QuaRot",
    "calibration/tensor_error": "min-max, percentile, MSE, KL, ACIQ",
    "calibration/prior": "ZeroQ, Genie-D, DSG, PSAQ-ViT",
    "range/task_loss": "LAPQ, LSQ, LSQ+, PACT, TQT, QIL",
    "range/tensor_error": "HQQ, NF4, TWN, RepQ-ViT",
    "range/layer_error": "AdaQuant",
    "range/block_error": "OmniQuant (LWC), Genie-M",
    "range/second_order": "PTQ4ViT",
    "range/prediction": "PD-Quant",
    "range/features": "OFQ",
    "range/resources": "Uhlich et al.",
    "range/regulariser": "KURE",
    "rounding/tensor_error": "nearest rounding, log quantizers",
    "rounding/layer_error": "AdaRound, AQuant",
    "rounding/block_error": "BRECQ, QDrop, AutoRound, FlexRound",
    "rounding/second_order": "GPTQ, QuIP#",
    "rounding/prediction": "PD-Quant",
    "rounding/regulariser": "AdaRound's regulariser",
    "reconstruction/layer_error": "AdaRound, AdaQuant, AQLM",
    "reconstruction/block_error": "BRECQ, QDrop, OmniQuant, MRECG",
    "reconstruction/second_order": "BRECQ (Fisher), ERQ, APHQ-ViT",
    "reconstruction/prediction": "PD-Quant, AQLM",
    "reconstruction/prior": "PD-Quant distribution correction, Genie",
    "training/task_loss": "LSQ, EWGS, ReActNet, TTQ, ParetoQ, EfficientQAT",
    "training/tensor_error": "XNOR-Net",
    "training/second_order": "EWGS",
    "training/prediction": "distillation, QKD, SQAKD, LLM-QAT",
    "training/features": "feature distillation, HAST, OFQ",
    "training/prior": "GDFQ, Qimera, IntraQ",
    "training/regulariser": "dampening, freezing, KURE, bin regularisation",
    "allocation/task_loss": "FracBits, EdMIPS, DNAS, BitPruning",
    "allocation/tensor_error": "ACIQ bit allocation",
    "allocation/layer_error": "AdaQuant integer programme",
    "allocation/block_error": "BRECQ genetic search",
    "allocation/second_order": "HAWQ, CLADO",
    "allocation/prediction": "ZeroQ",
    "allocation/prior": "OMPQ",
    "allocation/resources": "HAQ, HAWQ integer programme",
    "allocation/regulariser": "SDQ",
    "export/tensor_error": "FQ-ViT power-of-two factors",
    "export/prior": "batch-norm folding and re-estimation",
    "export/resources": "HAWQ-V3 dyadic scales, TQT",
}


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
