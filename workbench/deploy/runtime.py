"""ONNX Runtime on the CPU, quietly: sessions, named tensors, and which kernels a file runs in."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from workbench.foundation.errors import ExportError

Model = str | Path | bytes
Array = NDArray[np.generic]

#: session settings that change results; names are ONNX Runtime's
EXACT = {"session.x64quantprecision": "1"}
FLOAT_MATMUL = {"session.qdq_matmulnbits_accuracy_level": "1"}
NO_INTEGER_FUSION = {"session.disable_quant_qdq": "1"}

_FATAL = 4  # what is worth saying comes back as an exception


def open_session(
    model: Model,
    *,
    optimise: bool = True,
    exact: bool = False,
    threads: int = 0,
    config: Mapping[str, str] | None = None,
    profile: Path | None = None,
) -> ort.InferenceSession:
    """A CPU session on a file or on serialised bytes.

    Args:
        model: a path, or the bytes of a file.
        optimise: all graph optimisations, or none.
        exact: integer kernels whose 16-bit sums cannot saturate (slower without VNNI).
        threads: within an operator; 0 lets ONNX Runtime choose.
        config: further session settings.
        profile: how the name of a file begins to which `end_profiling` writes the time of each
            node; None measures nothing.

    Raises:
        ExportError: ONNX Runtime does not load the model.
    """
    options = _options(optimise, threads, {**(EXACT if exact else {}), **(config or {})})
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return _load(model, options)


def run(
    session: ort.InferenceSession,
    inputs: Sequence[Tensor | Array],
    names: Sequence[str] | None = None,
) -> dict[str, Array]:
    """Tensors by name: those asked for, or all outputs; `inputs` in the order of the graph.

    Raises:
        ExportError: ONNX Runtime fails, or the number of inputs is wrong.
    """
    expected = [value.name for value in session.get_inputs()]
    if len(expected) != len(inputs):
        raise ExportError(f"the model takes {len(expected)} inputs, not {len(inputs)}")
    wanted = list(names) if names is not None else [v.name for v in session.get_outputs()]
    feeds = {name: _array(value) for name, value in zip(expected, inputs, strict=True)}
    try:
        values = session.run(wanted, feeds)
    except Exception as error:  # ONNX Runtime's exceptions share no base class of its own
        raise ExportError(f"ONNX Runtime failed at run time: {_reason(error)}") from error
    return {name: np.asarray(value) for name, value in zip(wanted, values, strict=True)}


def with_outputs(model: Model, names: Sequence[str]) -> bytes:
    """The model's bytes with the tensors `names` as further outputs, so that they can be fetched.

    Fetching a float tensor keeps ONNX Runtime from fusing across it; fetching codes (`t__q`) does
    not, for they are what a fused integer kernel writes.

    Raises:
        ExportError: a name that no node writes.
    """
    proto = _parse(model)
    written = {name for node in proto.graph.node for name in node.output}
    present = {value.name for value in proto.graph.output}
    known = {value.name: value for value in proto.graph.value_info}
    for name in dict.fromkeys(names):
        if name not in written:
            raise ExportError(f"no node of the file writes '{name}'; export it anew")
        if name not in present:
            proto.graph.output.append(known.get(name, onnx.ValueInfoProto(name=name)))
    return proto.SerializeToString()


def stored_tensors(model: Model) -> dict[str, Array]:
    """The initializers of a file by name; types below a byte as one byte a value."""
    return {
        tensor.name: numpy_helper.to_array(tensor) for tensor in _parse(model).graph.initializer
    }


def kernels(model: Model, *, exact: bool = False) -> Counter[str]:
    """How often each operator occurs once ONNX Runtime has optimised the graph."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "optimised.onnx"
        options = _options(True, 1, EXACT if exact else {})
        options.optimized_model_filepath = str(target)
        _load(model, options)
        return Counter(node.op_type for node in onnx.load(str(target)).graph.node)


def _parse(model: Model) -> onnx.ModelProto:
    return onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(str(model))


def _options(optimise: bool, threads: int, config: Mapping[str, str]) -> ort.SessionOptions:
    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    return options


def _load(model: Model, options: ort.SessionOptions) -> ort.InferenceSession:
    label = "the model" if isinstance(model, bytes) else f"'{model}'"
    source = model if isinstance(model, bytes) else str(model)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as in `run`
        raise ExportError(f"ONNX Runtime does not load {label}: {_reason(error)}") from error


def _array(value: Tensor | Array) -> Array:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def _reason(error: Exception) -> str:
    """ONNX Runtime's words without its prefix and line breaks."""
    text = " ".join(str(error).split())
    return text.removeprefix("[ONNXRuntimeError] : ")[:300]
