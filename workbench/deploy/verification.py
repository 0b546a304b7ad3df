"""What a verification found, for people (`sentence`) and for files (`record`)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from workbench.deploy.compare import FloatRow, SiteRow

Verdict = Literal["equal", "within one step", "differs"]


@dataclass(frozen=True)
class Mode:
    """What one setting gave.

    Attributes:
        sites: rows of the activation sites, in the order of the graph.
        floats: rows of the outputs, and of the layers where there is no activation site.
        top1_agreement: share of equal predictions, None where the output is no vector of logits.
        first_departure: first tensor that differs by more than the verdict "equal" allows.
    """

    optimisations: str
    kernels: str
    verdict: Verdict
    sites: tuple[SiteRow, ...]
    floats: tuple[FloatRow, ...]
    top1_agreement: float | None
    first_departure: str | None

    def site(self, name: str) -> SiteRow | None:
        """The row of an activation site; None where it has none."""
        return next((row for row in self.sites if row.name == name), None)

    @property
    def max_steps(self) -> int:
        """Largest difference at any site, end to end."""
        return max((row.max_steps for row in self.sites), default=0)

    @property
    def differing(self) -> float:
        """Share of all compared codes that differ end to end."""
        count = sum(row.count for row in self.sites)
        return sum(row.share_over_half * row.count for row in self.sites) / max(1, count)


@dataclass(frozen=True)
class Suspect:
    """A tensor at which the runtime departs, and what an experiment showed of it.

    Attributes:
        tensor: where the difference arises.
        layers: nodes with weights that compute it.
        cause: whose experiment mended it.
        max_steps, share: difference with the runtime's own codes before the tensor: the largest in
            steps, and the share of codes; None for a float tensor.
        mended_share: the share that was left in the experiment.
    """

    tensor: str
    layers: tuple[str, ...]
    cause: str
    max_steps: int | None
    share: float | None
    mended_share: float | None


@dataclass(frozen=True)
class Price:
    """What a file gives and takes on the data at hand, run in one way.

    Attributes:
        agreement: share of predictions equal to the float model's; None where the first output is
            no vector of logits. sqnr_db: of the first output against the float model's.
        score: share of predictions equal to the labels, None without labels; float_score: of the
            float model.
        latency_ms: median of one call with one example; float_latency_ms: of the float model,
            called by turns with it. threads: in each call.
        departing: tensors at which ONNX Runtime still departs from what the file says.
        examples: on which agreement and score were counted.
    """

    agreement: float | None
    sqnr_db: float
    score: float | None
    float_score: float | None
    latency_ms: float
    float_latency_ms: float
    threads: int
    departing: int
    examples: int

    @property
    def ratio(self) -> float:
        """Latency over that of the float model."""
        return self.latency_ms / self.float_latency_ms


@dataclass(frozen=True)
class Cure:
    """What removes a difference, with its measured price.

    Attributes:
        name: by which it is applied. words: what it does.
        config: session settings to open the file with. layers: whose weights are rewritten.
    """

    name: str
    words: str
    config: dict[str, str]
    layers: tuple[str, ...]
    price: Price


@dataclass(frozen=True)
class Verification:
    """The comparison of a file with the simulation it was written from.

    Attributes:
        modes: off/default, on/default and, where the file runs so, on/exact, in this order.
        stored: sites whose stored numbers were compared; differing_stored: those where the values
            of a weight or bias, or an activation's scale or zero-point, are not identical.
        cause: of the difference; "not established" where no experiment isolates it, "" where
            there is none. cure: what removes it.
        batch_sizes: sizes that were run; examples: how many there are, although the first also
            runs alone.
        suspects: tensors at which the cause was established.
        file: its path; price: of the file as it is; cures: with theirs. Only where measured.
    """

    verdict: Verdict
    modes: tuple[Mode, ...]
    stored: int
    differing_stored: tuple[str, ...]
    first_departure: str | None
    cause: str
    cure: str
    batch_sizes: tuple[int, ...]
    examples: int
    notes: tuple[str, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    file: str = ""
    price: Price | None = None
    cures: tuple[Cure, ...] = ()

    @property
    def ok(self) -> bool:
        """False if the file does something else than the simulation."""
        return self.verdict != "differs"

    @property
    def layers(self) -> tuple[str, ...]:
        """Nodes with weights behind the tensors at which the cause was established."""
        return tuple(dict.fromkeys(name for s in self.suspects for name in s.layers))

    @property
    def causes(self) -> tuple[str, ...]:
        """The causes that experiments established, each once."""
        return tuple(dict.fromkeys(suspect.cause for suspect in self.suspects))

    @property
    def outputs(self) -> FloatRow:
        """The first output as users get it (optimisations on)."""
        return self.modes[1].floats[0]

    @property
    def top1_agreement(self) -> float | None:
        """Equal predictions of simulation and runtime as users get it."""
        return self.modes[1].top1_agreement

    def record(self) -> dict[str, Any]:
        """As plain JSON values; an infinite SQNR (no difference at all) becomes null."""
        plain = _plain(asdict(self))
        extra = {"ok": self.ok, "sentence": self.sentence(), "outputs": asdict(self.outputs)}
        return {**plain, **_plain(extra), "top1_agreement": self.top1_agreement}

    def sentence(self) -> str:
        """One line for people."""
        off, on = self.modes[0], self.modes[1]
        agreement = self.top1_agreement
        words = {
            "equal": "ONNX Runtime equals the simulation",
            "within one step": "ONNX Runtime stays within one step of the simulation at every site",
            "differs": f"ONNX Runtime differs from the simulation, first at "
            f"'{self.first_departure}'",
        }[self.verdict]
        words = f"{words} ({self.examples} examples)"
        parts = [words, _difference(off, on)]
        if agreement is not None:
            parts.append(f"predictions agree on {100 * agreement:.1f} % of them")
        if self.cause:
            parts.append(f"cause: {self.cause}")
        return "; ".join(parts) + "."


def _difference(off: Mode, on: Mode) -> str:
    """How far off and how far on, carried through the network."""
    if not off.sites:
        words = [f"{m.floats[0].relative:.1g} ({m.optimisations})" for m in (off, on)]
        return f"output difference over largest output, optimisations off or on: {', '.join(words)}"
    words = [
        f"{100 * m.differing:.3g} % of codes by at most {m.max_steps} steps ({m.optimisations})"
        for m in (off, on)
    ]
    return f"difference end to end, optimisations off or on: {', '.join(words)}"


def _plain(value: Any) -> Any:
    """JSON values only: tuples as lists, infinities as None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
