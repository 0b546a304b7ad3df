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
class Verification:
    """The comparison of a file with the simulation it was written from.

    Attributes:
        modes: off/default, on/default and on/exact, in this order.
        stored: sites whose stored numbers were compared; differing_stored: those where the values
            of a weight or bias, or an activation's scale or zero-point, are not identical.
        cause: of the difference; "not established" where no experiment isolates it, "" where
            there is none. cure: what removes it.
        batch_sizes: sizes that were run; examples: how many.
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

    @property
    def ok(self) -> bool:
        """False if the file does something else than the simulation."""
        return self.verdict != "differs"

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
            parts.append(f"predictions agree on {100 * agreement:.1f} %")
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
