"""What removes a difference between a file and ONNX Runtime, and what that costs: all measured.

A cure either opens the same file with other session settings or rewrites weights of the layers that
depart. Each is tried on the data at hand: agreement with the float model, score, latency, and how
many tensors still depart.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxruntime as ort
import torch
from torch import Tensor

from workbench.deploy.compare import AgreementTally, FloatTally
from workbench.deploy.expand import expand
from workbench.deploy.foreign import FileSimulation
from workbench.deploy.latency import medians
from workbench.deploy.rewrite import Rewrite, rewrite
from workbench.deploy.runtime import EXACT, FLOAT_MATMUL, NO_INTEGER_FUSION, open_session, run
from workbench.deploy.simulation import LAYERS, Batch
from workbench.deploy.verification import Cure, Price
from workbench.deploy.verify import (
    FUSION,
    OPTIMISATION,
    ROUNDED_INPUT,
    SATURATION,
    Limits,
    Setting,
    Study,
)
from workbench.foundation.errors import ExportError
from workbench.foundation.positive import positive
from workbench.graph import load
from workbench.graph.batching import count_examples, first_examples

REPEATS = 15
#: examples on which a cured file is compared tensor by tensor
COMPARED = 8
#: layers that a message names at most
NAMED = 8
#: how often a rewriting cure is extended
ROUNDS = 3


@dataclass(frozen=True)
class Remedy:
    """A way to cure.

    Attributes:
        words: what it does. causes: what it is tried for.
        config: session settings. rewrite: how weights are rewritten.
    """

    words: str
    causes: tuple[str, ...]
    config: Mapping[str, str] = field(default_factory=dict)
    rewrite: Rewrite | None = None


REMEDIES: dict[str, Remedy] = {
    "exact-kernels": Remedy(
        "open the session with session.x64quantprecision=1",
        (SATURATION,),
        EXACT,
    ),
    "7-bit": Remedy(
        "a rewritten file: weights of the departing layers in 7 bits",
        (SATURATION,),
        rewrite="7-bit",
    ),
    "fitted": Remedy(
        "a rewritten file: weights of the departing layers scaled, channel by channel, until no "
        "two products saturate",
        (SATURATION,),
        rewrite="fitted",
    ),
    "uint8-weights": Remedy(
        "a rewritten file: the same weights of the departing layers as uint8",
        (SATURATION,),
        rewrite="uint8-weights",
    ),
    "float-matmul": Remedy(
        "float inputs of MatMulNBits: open the session with "
        "session.qdq_matmulnbits_accuracy_level=1",
        (ROUNDED_INPUT,),
        FLOAT_MATMUL,
    ),
    "no-integer-fusion": Remedy(
        "no integer kernels: open the session with session.disable_quant_qdq=1",
        (FUSION, OPTIMISATION),
        NO_INTEGER_FUSION,
    ),
}


@dataclass(frozen=True)
class Applied:
    """A cure that was applied.

    Attributes:
        path: the file to run. config: session settings to run it with.
        layers: whose weights were rewritten.
    """

    path: Path
    config: dict[str, str]
    layers: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"path": str(self.path), "config": self.config, "layers": list(self.layers)}

    def sentence(self) -> str:
        """One line for people."""
        if self.layers:
            layers = "1 layer" if len(self.layers) == 1 else f"{len(self.layers)} layers"
            return f"wrote '{self.path}', with new weight codes in {layers}"
        settings = ", ".join(f"{key}={value}" for key, value in self.config.items())
        return f"open '{self.path}' with the session settings {settings}; no file was written"


def apply_cure(
    path: str | Path,
    cure: str,
    layers: Sequence[str] | None = None,
    out: str | Path | None = None,
) -> Applied:
    """Cure a quantized file.

    Args:
        path: the file; it is not changed.
        cure: one of `REMEDIES`.
        layers: nodes whose weights are rewritten; None for all, as for a processor other than this
            one. Cures by session settings need none.
        out: the file to write; by default beside `path`, as `NAME.CURE.onnx`. Where settings alone
            cure, none is written.

    Raises:
        ExportError: an unknown cure or layer, a cure that changes nothing in this file, or `out`
            is the file itself.
    """
    path = Path(path)
    remedy = REMEDIES.get(cure)
    if remedy is None:
        raise ExportError(f"there is no cure '{cure}'; known are: {', '.join(REMEDIES)}")
    if remedy.rewrite is None:
        return Applied(path, dict(remedy.config), ())
    out = path.with_suffix(f".{cure}.onnx") if out is None else Path(out)
    if out.resolve() == path.resolve():
        raise ExportError(f"'{out}' is the file that is to be cured; write to another path")
    data, changed = _rewritten(path, layers, remedy.rewrite)
    if not changed:
        raise ExportError(
            f"'{cure}' changes nothing in '{path.name}': none of the layers has int8 weights that "
            "can saturate; use 'exact-kernels'"
        )
    _write(out, data)
    return Applied(out, {}, changed)


class Pricing:
    """Measures a quantized file beside its float model, cured in one way or another.

    Args:
        float_path, path: the two files.
        batches: inputs; labels: the class of each example, (examples,), or None.
        threads: of each session.
        limits: what counts as no difference.
    """

    def __init__(
        self,
        float_path: str | Path,
        path: str | Path,
        batches: Sequence[Batch],
        labels: Tensor | None,
        threads: int,
        limits: Limits,
    ) -> None:
        self.path, self.batches, self.labels = Path(path), batches, labels
        self.threads, self.limits = positive("threads", threads), limits
        self.float_session = open_session(float_path, threads=threads)
        self._reference = [self._first(self.float_session, batch) for batch in batches]
        self._specs = self.float_session.get_inputs()
        self._one = first_examples(self._specs, batches[0], 1)
        total = sum(count_examples(self._specs, batch) for batch in batches)
        if labels is not None and len(labels) != total:
            raise ExportError(
                f"there are {len(labels)} labels for {total} examples; give one for each"
            )

    def as_it_is(self, departing: int) -> Price:
        """The file as users run it."""
        return self._price(open_session(self.path, threads=self.threads), departing)

    def cures(self, causes: Collection[str], layers: Sequence[str]) -> tuple[Cure, ...]:
        """All that may remove one of the causes, each tried; without those that change nothing."""
        found = [
            self._cure(name, remedy, layers)
            for name, remedy in REMEDIES.items()
            if any(cause in causes for cause in remedy.causes)
        ]
        return tuple(cure for cure in found if cure is not None)

    def _cure(self, name: str, remedy: Remedy, layers: Sequence[str]) -> Cure | None:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "cured.onnx"
            try:
                applied, departing = self._applied(name, layers, out)
            except ExportError:
                return None
            session = open_session(applied.path, threads=self.threads, config=applied.config)
            price = self._price(session, departing)
        return Cure(name, remedy.words, applied.config, applied.layers, price)

    def _applied(self, name: str, layers: Sequence[str], out: Path) -> tuple[Applied, int]:
        """The cure, extended to layers that depart only once those before them are mended."""
        cured, rounds = set(layers), 0
        while True:
            applied = apply_cure(self.path, name, tuple(cured), out)
            departing, blamed = self._departing(applied)
            rounds += 1
            if not applied.layers or blamed <= cured or rounds == ROUNDS:
                return applied, departing
            cured |= blamed

    def _departing(self, applied: Applied) -> tuple[int, set[str]]:
        """How many tensors do not do what the cured file says, on a few examples; their layers."""
        simulation = FileSimulation(applied.path)
        batch = first_examples(simulation.graph.inputs, self.batches[0], COMPARED)
        with simulation.quiet():
            study = Study(applied.path, simulation, [batch], self.limits)
            (mode,) = study.modes([Setting("on", config=applied.config)])
            names = study.departing(mode)
        return len(names), {layer for name in names for layer in simulation.blame(name)}

    def _price(self, session: ort.InferenceSession, departing: int) -> Price:
        fidelity, agreement = FloatTally(), AgreementTally()
        right, float_right, start = 0, 0, 0
        for batch, wanted in zip(self.batches, self._reference, strict=True):
            got = self._first(session, batch)
            fidelity.add(wanted, got, got)
            agreement.add(wanted, got)
            count = count_examples(self._specs, batch)
            truth = None if self.labels is None else self.labels[start : start + count]
            start += count
            if truth is not None:
                right += _right(got, truth)
                float_right += _right(wanted, truth)
        float_ms, ms = medians([self.float_session, session], self._one, REPEATS)
        labelled = self.labels is not None
        return Price(
            agreement=agreement.share(),
            sqnr_db=fidelity.row("").sqnr_db,
            score=right / start if labelled else None,
            float_score=float_right / start if labelled else None,
            latency_ms=ms,
            float_latency_ms=float_ms,
            threads=self.threads,
            departing=departing,
            examples=start,
        )

    def _first(self, session: ort.InferenceSession, batch: Batch) -> Tensor:
        return torch.from_numpy(next(iter(run(session, batch).values())))


def _rewritten(
    path: Path, layers: Sequence[str] | None, kind: Rewrite
) -> tuple[bytes, tuple[str, ...]]:
    model = expand(load(path))
    names = {str(node.name): node.op_type for node in model.graph}
    chosen = list(names) if layers is None else layers
    unknown = next((name for name in chosen if name not in names), None)
    if unknown is not None:
        known = [name for name, operator in names.items() if operator in LAYERS]
        near = difflib.get_close_matches(unknown, known) or known[:NAMED]
        raise ExportError(
            f"'{path.name}' has no layer '{unknown}'; its layers are {', '.join(near)}"
        )
    changed = rewrite(model, chosen, kind)
    model.metadata_props["workbench.cure"] = f"{kind}: {', '.join(changed)}"
    return ir.to_proto(model).SerializeToString(), changed


def _write(out: Path, data: bytes) -> None:
    """Beside `out` first, so that a reader sees no half file."""
    part = out.with_name(f".{out.name}.part")
    try:
        part.write_bytes(data)
        part.replace(out)
    except OSError as error:
        raise ExportError(f"cannot write '{out}': {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def _right(logits: Tensor, labels: Tensor) -> int:
    return int((logits.argmax(-1) == labels.to(logits.device)).sum())
