"""Architectures of the package `transformers`, small and with random weights."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Case:
    """How to make a network, and inputs of a given batch size and length.

    Attributes:
        make: the module.
        inputs: by name, for (batch, length).
        axes: open besides the batch; none where all lengths are fixed.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[int, int], Inputs]
    axes: Mapping[int, str] = field(default_factory=dict)


SEQUENCE = {1: "sequence"}
VOCABULARY = 60


class Wrapped(nn.Module):
    """Named inputs in, tensors out, no cache of keys and values."""

    def __init__(self, model: nn.Module, **options: bool) -> None:
        super().__init__()
        self.model = model
        self.options = options


class Encoder(Wrapped):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(input_ids=input_ids, attention_mask=attention_mask)
        return found.last_hidden_state, found.pooler_output


class Causal(Wrapped):
    def forward(self, input_ids: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, use_cache=False).logits


class Pictures(Wrapped):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values=pixel_values).logits


class Sound(Wrapped):
    def forward(self, input_features: Tensor) -> Tensor:
        return self.model(input_features=input_features).last_hidden_state


class Translator(Wrapped):
    def forward(self, input_ids: Tensor, decoder_input_ids: Tensor) -> Tensor:
        found = self.model(
            input_ids=input_ids, decoder_input_ids=decoder_input_ids, use_cache=False
        )
        return found.logits


def shaken(module: nn.Module) -> nn.Module:
    """Evaluation mode; no bias is zero and no norm is plain, so that a forgotten one is seen."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def tokens(batch: int, length: int) -> Tensor:
    return torch.randint(1, VOCABULARY, (batch, length))


def masked(batch: int, length: int) -> Inputs:
    """The last sentence of the batch is shorter than the others."""
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[-1, length // 2 :] = 0
    return {"input_ids": tokens(batch, length), "attention_mask": mask}


def _made(kind: str, head: str, **options: Any) -> nn.Module:
    """A network by its configuration; the package is an extra, so nothing imports it by name."""
    package = importlib.import_module("transformers")
    modelling = importlib.import_module(
        f"transformers.models.{kind.lower()}.modeling_{kind.lower()}"
    )
    return getattr(modelling, head)(getattr(package, f"{kind}Config")(**options))


def bert() -> nn.Module:
    model = _made(
        "Bert",
        "BertModel",
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=40,
    )
    return Encoder(model)


def llama() -> nn.Module:
    """Grouped-query attention (4 heads, 2 of keys), RMSNorm, rotary positions, a gated MLP."""
    model = _made(
        "Llama",
        "LlamaForCausalLM",
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=40,
    )
    return Causal(model)


def vit() -> nn.Module:
    model = _made(
        "ViT",
        "ViTForImageClassification",
        image_size=32,
        patch_size=8,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        num_labels=7,
    )
    return Pictures(model)


def swin() -> nn.Module:
    """Shifted windows: rolls, masks, relative position biases, patch merging."""
    model = _made(
        "Swin",
        "SwinForImageClassification",
        image_size=32,
        patch_size=2,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
        num_labels=7,
    )
    return Pictures(model)


def convnext() -> nn.Module:
    model = _made(
        "ConvNext",
        "ConvNextForImageClassification",
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 2, 1],
        num_labels=7,
        image_size=64,
    )
    return Pictures(model)


def whisper() -> nn.Module:
    model = _made(
        "Whisper",
        "WhisperEncoder",
        num_mel_bins=10,
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=48,
        max_source_positions=20,
    )
    return Sound(model)


def t5() -> nn.Module:
    """Encoder and decoder, relative position buckets, cross-attention."""
    model = _made(
        "T5",
        "T5ForConditionalGeneration",
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
    )
    return Translator(model)


def pair(batch: int, length: int) -> Inputs:
    return {
        "input_ids": tokens(batch, length),
        "decoder_input_ids": tokens(batch, length - 2),
    }


CASES = {
    "bert": Case(bert, masked, SEQUENCE),
    "llama": Case(llama, lambda batch, length: {"input_ids": tokens(batch, length)}, SEQUENCE),
    "vit": Case(vit, lambda batch, _: {"pixel_values": torch.randn(batch, 3, 32, 32)}),
    "swin": Case(swin, lambda batch, _: {"pixel_values": torch.randn(batch, 3, 32, 32)}),
    "convnext": Case(convnext, lambda batch, _: {"pixel_values": torch.randn(batch, 3, 64, 64)}),
    "whisper": Case(whisper, lambda batch, _: {"input_features": torch.randn(batch, 10, 40)}),
    "t5": Case(t5, pair, SEQUENCE),
}
