"""The applicability guide as data: under which condition which way is the right one, and why.

After Huang et al., *Learning-based Model Quantization: Methods, Challenges, and Prospects*
(DOI 10.7544/issn1000-1239.202660128), with the numbers of the papers that are named. Each row has
conditions (data × model × constraint), what the literature recommends, and a recipe of what is
here; `session.advice` looks rows up and fills the gaps between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: what there is to learn from, from the least to the most
DATA: Mapping[str, str] = {
    "none": "no data",
    "few": "32 to 128 examples, no labels",
    "some": "about 1,000 examples, no labels",
    "many": "thousands of examples, no labels",
    "labels": "a labelled training set",
}
#: family -> what it is, and a sample of it
MODELS: Mapping[str, tuple[str, str]] = {
    "cnn": ("convolutional network", "digits-resnet"),
    "depthwise": ("convolutional network with depthwise layers", "digits-mobilenet"),
    "vit": ("vision transformer", "digits-vit"),
    "llm": ("language model", "bytegpt"),
}
#: constraint -> what it is, and the grids that it means
CONSTRAINTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "w8a8": ("8-bit weights and activations", {"weights": 8, "activations": 8}),
    "w6a6": ("6-bit weights and activations", {"weights": 6, "activations": 6}),
    "w4a8": ("4-bit weights, 8-bit activations", {"weights": 4, "activations": 8}),
    "w4a4": ("4-bit weights and activations", {"weights": 4, "activations": 4}),
    "w3a3": ("3-bit weights and activations", {"weights": 3, "activations": 3}),
    "w2a2": ("2-bit weights and activations", {"weights": 2, "activations": 2}),
    "w1": ("weights of 1 or 1.58 bits", {"weights": 1, "activations": 8}),
    "w4": ("4-bit weights, float activations", {"weights": 4}),
    "w3": ("3-bit weights, float activations", {"weights": 3}),
    "w2": ("2-bit weights, float activations", {"weights": 2}),
    "budget": ("a budget of bytes or operations", {"weights": 4, "activations": 8}),
    "latency": ("a budget of measured time", {"weights": 8, "activations": 8}),
    "integer": ("integers only: shifts, one scale a tensor", {"weights": 8, "activations": 8}),
    "table": ("lookup tables: levels of unequal steps", {"weights": 4}),
}

ANY = tuple(MODELS)
CONVOLUTIONS = ("cnn", "depthwise")
TRANSFORMERS = ("vit", "llm")


@dataclass(frozen=True)
class Row:
    """One row of the guide.

    Attributes:
        data, models, constraints: conditions under which it holds.
        recommended: what the literature recommends; why: its reason.
        stages: method names of the recipe, in order; options: of them, by name.
        transforms, maker: before them.
        more: other fields of the recipe, which come before the constraint's grids.
        caution: what to know before relying on it, or "".
        command: what does the rest, where a recipe alone cannot say it.
    """

    data: tuple[str, ...]
    models: tuple[str, ...]
    constraints: tuple[str, ...]
    recommended: str
    why: str
    stages: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    transforms: tuple[str, ...] = ()
    maker: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)
    caution: str = ""
    command: str = ""


TERNARY = {"weights": {"bits": 2}, "activations": {"bits": 8}}
BINARY = {"weights": {"bits": 1}, "activations": {"bits": 1}}
GROUPED = {"weights": {"granularity": "group", "group_size": 32}}
ONE_SCALE = {"weights": {"bits": 8, "granularity": "tensor"}, "target": "npu-int"}
ALLOCATE = (
    "workbench allocate MODEL --average-bits 4 --sensitivity hawq --method hawq --out mixed.toml"
)
TIMED = "workbench allocate MODEL --latency MS --method haq --out mixed.toml"

GUIDE: tuple[Row, ...] = (
    Row(("none",), CONVOLUTIONS, ("w8a8", "w6a6"),
        "BN folding, cross-layer equalization and bias correction",
        "MobileNetV2 goes from 0.1 to 70.8 % without any data: what batch norms know replaces them",
        ("rtn", "bias_correction"), transforms=("equalize",), maker="zeroq"),
    Row(("none",), CONVOLUTIONS, ("w4a8", "w4a4"),
        "images made from batch-norm statistics (Genie-D, ZeroQ), then QDrop or Genie-M",
        "reconstruction on made images reaches what early training without data did not:"
        " 69.7 against 60.6 % for ResNet-18",
        ("qdrop",), maker="genie", caution="the images take minutes to hours; zeroq is quicker"),
    Row(("none",), CONVOLUTIONS, ("w3a3", "w2a2"),
        "a generator with labels (GDFQ, IntraQ, HAST), and training with distillation",
        "below 4 bits this is the only route without data",
        ("sqakd",), maker="gdfq", caution="training takes far longer than all else here"),
    Row(("none",), ("vit",), ("w8a8", "w6a6", "w4a8", "w4a4"),
        "images made from attention (PSAQ-ViT), then RepQ-ViT or PTQ4ViT",
        "without batch norms nothing in the network tells what its inputs were like",
        ("repq_vit",), transforms=("reparametrise",), maker="random",
        caution="images made by chance stand in for those of PSAQ-ViT, which is not here: give real"
        " ones if there are any"),
    Row(("none",), ("llm",), ("w4", "w3"),
        "HQQ, NF4, or nearest rounding in groups of 32 to 64; rotations",
        "takes seconds, and no calibration text can leak into the model",
        ("rtn",), {"rtn": {"weight_calibrator": "hqq"}}, maker="generated",
        more=GROUPED),
    Row(("few",), CONVOLUTIONS, ("w8a8",),
        "ranges of least squared error; equalization with depthwise layers",
        "at 8 bits even min-max costs 0.13 % on ResNets, and 0.66 % on MobileNetV2",
        ("rtn",), transforms=("equalize",)),
    Row(("few",), CONVOLUTIONS, ("w6a6",),
        "LAPQ: all clips together, by the loss",
        "between 8 and 4 bits the clips act on each other, and few examples suffice to search them",
        ("lapq",), transforms=("equalize",)),
    Row(("few",), ("vit",), ("w8a8",),
        "PTQ4ViT: twin ranges behind softmax and GELU, searched with squared gradients",
        "softmax and GELU outputs have two populations that one range cannot serve",
        ("ptq4vit", "rtn")),
    Row(("few",), ("vit",), ("w6a6", "w4a8", "w4a4"),
        "RepQ-ViT, PTQ4ViT; ERQ, AdaLog",
        "channels behind a LayerNorm and the power law of a softmax carry most of the error; at 6"
        " bits and more a search is enough",
        ("repq_vit",), transforms=("reparametrise",)),
    Row(("few",), ("llm",), ("w4",),
        "AWQ, AutoRound, or GPTQ, in groups of 128",
        "Llama-2-7B has perplexity 5.60 to 5.69 with them, 5.73 with nearest rounding: choose by"
        " cost; AWQ is quickest",
        ("gptq",), transforms=("awq",), more=GROUPED),
    Row(("few",), ("llm",), ("w3",),
        "AutoRound", "at 3 and 2 bits learned rounding is ahead of scaling alone",
        ("autoround",), more=GROUPED),
    Row(("few",), ("llm",), ("w8a8",),
        "SmoothQuant", "outliers live in a few channels of the activations",
        ("rtn",), transforms=("smooth",)),
    Row(("few",), ("llm",), ("w4a4",),
        "SpinQuant or QuaRot, then GPTQ; FlatQuant",
        "scaling alone fails: perplexity 83 to 14, against 6.1 and less with rotations",
        ("gptq",), transforms=("rotate",)),
    Row(("some",), CONVOLUTIONS, ("w4", "w4a8"),
        "AdaRound, layer by layer",
        "ResNet-18 with 4-bit weights: from 24.0 to 68.7 %, at little cost", ("adaround",)),
    Row(("some",), ("cnn",), ("w4a4", "w3a3"),
        "QDrop, with MRECG's granularity or PD-Quant's loss",
        "rounding has to know of quantized activations; BRECQ and AdaRound fit float ones",
        ("qdrop",)),
    Row(("some",), ("depthwise",), ("w4a4", "w3a3"),
        "equalization, then QDrop with scales per channel; else training with frozen codes",
        "a 3×3 depthwise filter has nine weights a channel, and little to average over",
        ("qdrop", "bn_reestimation"), {"qdrop": {"regulariser": 0.1}}, transforms=("equalize",)),
    Row(("some",), ("vit",), ("w3a3",),
        "APHQ-ViT, or AdaLog with reconstruction",
        "what follows a GELU, and a Hessian of perturbations, decide at 3 bits",
        ("qdrop",), transforms=("reparametrise",),
        caution="APHQ-ViT's Hessian is not here: blocks are reconstructed with QDrop instead"),
    Row(("many",), ("llm",), ("w2",),
        "EfficientQAT: block by block, then steps end to end; AQLM, QuIP#",
        "rounding after training has perplexity 37 at 2 bits, against 7.2 and less",
        ("block_ap", "e2e_qp"), more=GROUPED),
    Row(("many",), ANY, ("w4a4", "w3a3", "w2a2"),
        "SQAKD, or distillation of the logits from the float network",
        "labels are not needed: the teacher's answers replace them", ("sqakd",)),
    Row(("labels",), ("cnn",), ("w4a4", "w3a3", "w2a2"),
        "LSQ with distillation; LSQ+ behind swish and GELU; batch norms estimated again",
        "the best accuracy for the effort", ("lsq", "bn_reestimation"), {"lsq": {"labels": 1.0}}),
    Row(("labels",), ("depthwise",), ("w4a4", "w3a3", "w2a2"),
        "LSQ with dampening or freezing of codes that oscillate",
        "in depthwise layers codes flip to the end of training, and batch norms with them",
        ("steady", "bn_reestimation"), {"steady": {"labels": 1.0}}),
    Row(("labels",), CONVOLUTIONS, ("w1",),
        "ReActNet", "signs with learned shifts, taught by the float network", ("reactnet",),
        more=BINARY, caution="needs a long course; a recipe's usual one only shows the way"),
    Row(("labels",), TRANSFORMERS, ("w1",),
        "BitNet b1.58, or ParetoQ's levels", "balanced or ternary grids, with distillation",
        ("bitnet",), more=TERNARY, caution="needs a long course; the usual one only shows the way"),
    Row(("some", "many", "labels"), ANY, ("integer",),
        "TQT: steps that are powers of two; HAWQ-V3's dyadic scales",
        "the arithmetic allows shifts only, so thresholds are trained to suit them", ("tqt",),
        more={**ONE_SCALE, "edges": "same"}),
    Row(("none", "few"), CONVOLUTIONS, ("integer",),
        "one scale a tensor, with cross-layer equalization",
        "channels that differ a hundredfold share one step unless they are made alike first",
        ("rtn", "bias_correction"), transforms=("relu6-to-relu", "equalize", "absorb-bias"),
        more=ONE_SCALE),
    Row(("none", "few"), ANY, ("table",),
        "NF4, or levels by Lloyd and Max",
        "weights are bell-shaped, so equal steps spend levels where there is nothing",
        ("rtn",), more={"weights": {"table": "nf4"}}),
    Row(("some", "many", "labels"), ANY, ("table",),
        "APoT, LLT; AQLM's vectors at 2 bits",
        "unequal levels gain about 0.2 % (APoT), and much with vectors at 2 bits", ("apot",),
        more={"target": "ort-cpu", "activations": {"bits": 4}}),
    Row(("few", "some"), ANY, ("budget",),
        "HAWQ's traces and an integer programme; CLADO where 2 bits are a choice",
        "deterministic and solved in milliseconds; layers whose outputs are added get equal bits",
        ("gram",), command=ALLOCATE),
    Row(("many", "labels"), ANY, ("budget",),
        "FracBits, EdMIPS", "the gradient decides on bits and weights together", ("fracbits",)),
    Row(("few", "some", "many", "labels"), ANY, ("latency",),
        "HAQ, or an evolutionary search, with a table of measured times",
        "a reward needs no gradient, so a device that is a black box may judge", ("gram",),
        command=TIMED),
)  # fmt: skip
