"""Does a file do in ONNX Runtime what the simulation did? By tensor, in steps, with a cause.

Three modes are run: graph optimisations off; on, as a user gets them; and on with exact integer
kernels. The verdict is

    equal             optimisations off, not one code differs; on, nothing worse than ties
    within one step   codes differ by one step at most where both sides had the same input
    differs           anything else, with the first tensor that departs, and a cause if a second
                      run with one setting changed removes the difference

A difference is judged where it arises: at each tensor, with the runtime's own codes before it. So
experiments are judged by tensor too. What one setting mends is put down to its cause, and what is
left goes to the next experiment. The simulation is the graph that a file was written from
(`verify`) or the graph of the file itself, whoever wrote it (`verify_file`).

With optimisations off only a file of integer operators uses integer kernels, and exact kernels come
with an optimisation: such a file can saturate in the first two modes, and agree in the third.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from workbench.deploy.batches import checked
from workbench.deploy.compare import FloatRow, SiteRow, Tallies, integers
from workbench.deploy.runtime import (
    FLOAT_MATMUL,
    NO_INTEGER_FUSION,
    Array,
    open_session,
    run,
    with_outputs,
)
from workbench.deploy.simulation import Batch, Expected, GraphSimulation, Reason, Simulation
from workbench.deploy.verification import Mode, Suspect, Verdict, Verification
from workbench.foundation.errors import ExportError
from workbench.graph.batching import count_examples, first_examples
from workbench.graph.quantized import QuantizedGraph

WORST: tuple[Verdict, ...] = ("equal", "within one step", "differs")


@dataclass(frozen=True)
class Setting:
    """How a file is run.

    Attributes:
        optimisations, kernels: in the report's words.
        config: further session settings (experiments only).
    """

    optimisations: Literal["off", "on"]
    kernels: Literal["default", "exact"] = "default"
    config: Mapping[str, str] = field(default_factory=dict, hash=False)

    def open(self, model: bytes) -> ort.InferenceSession:
        """A session with this setting."""
        optimise, exact = self.optimisations == "on", self.kernels == "exact"
        return open_session(model, optimise=optimise, exact=exact, config=self.config)


@dataclass(frozen=True)
class Limits:
    """What counts as no difference.

    Attributes:
        tolerance: largest float difference, relative to the tensor's largest magnitude (sums taken
            in another order).
        share: largest share of a tensor's codes that may be one step off without lying at a tie.
    """

    tolerance: float = 1e-4
    share: float = 0.01


def verify(
    path: str | Path,
    reference: QuantizedGraph,
    batches: Iterable[Batch],
    *,
    tolerance: float = 1e-4,
    share: float = 0.01,
) -> Verification:
    """Run the file at `path` and compare it with `reference`, whose export it is.

    Args:
        path: of the exported file.
        reference: the simulation.
        batches: inputs in the order of the graph; the first example also runs alone.
        tolerance, share: as in `Limits`.

    Raises:
        ExportError: nothing to compare, batches that are not the model's, all outputs zero, or ONNX
            Runtime does not run the file.
    """
    return compare(path, GraphSimulation(reference), batches, Limits(tolerance, share))


def compare(
    path: str | Path, simulation: Simulation, batches: Iterable[Batch], limits: Limits
) -> Verification:
    """As `verify`, with any simulation of the file."""
    with simulation.quiet():
        study = Study(Path(path), simulation, batches, limits)
        modes = tuple(study.runnable_modes())
        wrong = simulation.differing_stored(study.path, study.batches[0])
        verdict: Verdict = "differs" if wrong else _overall(modes)
        cause, cure, suspects = (*WRONG_FILE, ()) if wrong else study.cause(modes)
    return Verification(
        verdict,
        modes,
        simulation.stored,
        wrong,
        wrong[0] if wrong else _departure(verdict, modes),
        cause,
        cure,
        study.sizes,
        study.examples,
        study.notes,
        suspects,
    )


WRONG_FILE: Reason = ("the file stores other codes or scales", "export it again")
MODES = (Setting("off"), Setting("on"), Setting("on", "exact"))


@dataclass(frozen=True)
class Experiment:
    """A second run with one setting changed; agreement then establishes the cause."""

    setting: Setting
    cause: str
    cure: str


SATURATION = "saturating int8 kernels of this processor"
ROUNDED_INPUT = "fused MatMulNBits quantizes its input to 8 bits"
FUSION = "fusion into integer kernels changes rounding"
OPTIMISATION = "graph optimisation changes rounding or fusion"

EXPERIMENTS = (
    Experiment(
        Setting("on", "exact"),
        SATURATION,
        "open the session with session.x64quantprecision=1, or use 7-bit weights",
    ),
    Experiment(
        Setting("on", config=FLOAT_MATMUL),
        ROUNDED_INPUT,
        "open the session with session.qdq_matmulnbits_accuracy_level=1",
    ),
    Experiment(
        Setting("on", config=NO_INTEGER_FUSION),
        FUSION,
        "open the session with session.disable_quant_qdq=1 (slower)",
    ),
    Experiment(
        Setting("off"),
        OPTIMISATION,
        "open the session without graph optimisations (slower)",
    ),
)
UNKNOWN: Reason = ("not established", "")


class Study:
    """A file, its simulation and the batches, and how to compare them in one setting or more."""

    def __init__(
        self, path: Path, simulation: Simulation, batches: Iterable[Batch], limits: Limits
    ) -> None:
        self.path, self.simulation, self.limits = path, simulation, limits
        specs = simulation.graph.inputs
        given = checked(specs, batches)
        self.examples = sum(count_examples(specs, batch) for batch in given)
        self.batches, self.notes = _with_single(simulation, given)
        self.sizes = tuple(sorted({count_examples(specs, batch) for batch in self.batches}))
        self.points = simulation.points
        self.outputs, self.floats = simulation.outputs, simulation.floats

    def modes(self, settings: Sequence[Setting]) -> list[Mode]:
        """Run the file in each setting and compare it with the simulation, batch by batch."""
        codes = [point.codes for point in self.points]
        model = with_outputs(self.path, [*codes, *self.floats])
        sessions = [setting.open(model) for setting in settings]
        totals = [Tallies() for _ in settings]
        alive = False
        for batch in self.batches:
            expected = self.simulation.expect(batch)
            alive = alive or any(bool(expected.floats[name].any()) for name in self.outputs)
            known: dict[bytes, Tallies] = {}
            for session, total in zip(sessions, totals, strict=True):
                got = run(session, batch, [*self.floats, *codes])
                key = _digest(got)  # settings that change nothing need no second comparison
                if key not in known:
                    known[key] = self._compare(batch, expected, _tensors(got))
                total.merge(known[key])
        if not alive:
            raise ExportError("all simulated outputs are zero; agreement would prove nothing")
        return [self._judge(*pair) for pair in zip(settings, totals, strict=True)]

    def runnable_modes(self) -> list[Mode]:
        """The modes of a verification; without exact kernels where only they refuse the file.

        Raises:
            ExportError: ONNX Runtime refuses the file; with the setting that lets it run.
        """
        try:
            return self.modes(MODES)
        except ExportError as error:
            if not self._runs(Setting("off")):
                raise
            if self._runs(Setting("on")):
                self.notes += (f"exact kernels do not run this file ({error})",)
                return self.modes(MODES[:2])
            cures = [e.cure for e in EXPERIMENTS if e.setting.config and self._runs(e.setting)]
            cure = (*cures, EXPERIMENTS[-1].cure)[0]
            raise ExportError(
                f"'{self.path.name}' is valid, but the optimised graph does not run "
                f"({error}); {cure}, or quantize its weights per channel"
            ) from error

    def _runs(self, setting: Setting) -> bool:
        try:
            self.modes([setting])
        except ExportError:
            return False
        return True

    def cause(self, modes: Sequence[Mode]) -> tuple[str, str, tuple[Suspect, ...]]:
        """Cause and cure of what users get, and the tensors at which experiments showed them."""
        off, on, *exact = modes
        if off.verdict == "differs":
            saturates = on.verdict == "differs" and exact and not self.departing(exact[0])
            if not saturates:
                return *(self.simulation.excuse() or UNKNOWN), ()
        if on.verdict == "differs":
            return self._experiments(off, on, *exact)
        if "within one step" in (off.verdict, on.verdict):
            rows = [row for mode in (off, on) for row in mode.sites]
            ties = all(row.ties for row in rows)
            return ("rounding ties" if ties else "not established"), "", ()
        return "", "", ()

    def departing(self, mode: Mode) -> list[str]:
        """Tensors at which a difference arises that is worse than one step, in order."""
        sites = [row.name for row in mode.sites if self._site_verdict(row) == "differs"]
        floats = [row.name for row in mode.floats if self._float_verdict(row) == "differs"]
        return sites + floats[::-1]

    def _experiments(
        self, off: Mode, on: Mode, exact: Mode | None = None
    ) -> tuple[str, str, tuple[Suspect, ...]]:
        """Change one setting after the other until each departing tensor is mended by one."""
        known = {("on", "exact"): exact, ("off", "default"): off}
        left = self.departing(on)
        found: list[Experiment] = []
        suspects: list[Suspect] = []
        for experiment in EXPERIMENTS:
            if not left:
                break
            setting = experiment.setting
            key = (setting.optimisations, setting.kernels)
            mode = self.modes([setting])[0] if setting.config else known[key]
            if mode is None:
                continue
            still = set(self.departing(mode))
            mended = [name for name in left if name not in still]
            if mended:
                found.append(experiment)
                suspects += [self._suspect(name, experiment.cause, on, mode) for name in mended]
                left = [name for name in left if name in still]
        if not found:
            return *UNKNOWN, ()
        order = {name: index for index, name in enumerate(self.departing(on))}
        suspects.sort(key=lambda suspect: order[suspect.tensor])
        causes = [experiment.cause for experiment in found] + [UNKNOWN[0]] * bool(left)
        return "; ".join(causes), "; ".join(e.cure for e in found), tuple(suspects)

    def _suspect(self, name: str, cause: str, on: Mode, mended: Mode) -> Suspect:
        layers = self.simulation.blame(name)
        before, after = on.site(name), mended.site(name)
        if before is None or after is None:
            return Suspect(name, layers, cause, None, None, None)
        return Suspect(
            name, layers, cause, before.local_max_steps, before.local_share, after.local_share
        )

    def _compare(self, batch: Batch, expected: Expected, got: dict[str, Tensor]) -> Tallies:
        """One batch end to end and, if anything differs there, locally."""
        tallies = Tallies()
        codes = {point.name: integers(got[point.codes]) for point in self.points}
        for point in self.points:
            tallies.site(point.name).add(expected.codes[point.name], codes[point.name])
        same = not any(tally.off for tally in tallies.sites.values())
        local = expected.floats if same else self._compare_locally(batch, codes, tallies)
        for name in self.floats:
            tallies.float(name).add(expected.floats[name], got[name], local[name])
        tallies.top1.add(expected.floats[self.outputs[0]], got[self.outputs[0]])
        return tallies

    def _compare_locally(
        self, batch: Batch, codes: dict[str, Tensor], tallies: Tallies
    ) -> dict[str, Tensor]:
        """Compare with the runtime's values at every point; the floats that follow from them."""
        received, floats = self.simulation.follow(batch, codes)
        for point in self.points:
            tally = tallies.site(point.name)
            tally.add_local(received[point.name], point.quantizer, codes[point.name])
        return floats

    def _judge(self, setting: Setting, tallies: Tallies) -> Mode:
        sites = tuple(tallies.sites[p.name].row(p.name, p.quantizer.grid) for p in self.points)
        floats = tuple(tallies.floats[name].row(name) for name in self.floats)
        verdicts = [(row.name, self._site_verdict(row)) for row in sites]
        verdicts += [(row.name, self._float_verdict(row)) for row in reversed(floats)]
        worst = WORST[max(WORST.index(verdict) for _, verdict in verdicts)]
        first = next((name for name, v in verdicts if v == worst), None)
        return Mode(
            setting.optimisations,
            setting.kernels,
            worst,
            sites,
            floats,
            tallies.top1.share(),
            None if worst == "equal" else first,
        )

    def _site_verdict(self, row: SiteRow) -> Verdict:
        if row.max_steps == 0 and row.local_max_steps == 0:
            return "equal"
        small = row.local_share <= self.limits.share or row.ties
        return "within one step" if row.local_max_steps <= 1 and small else "differs"

    def _float_verdict(self, row: FloatRow) -> Verdict:
        tolerance = self.limits.tolerance
        if not row.local_relative <= tolerance:
            return "differs"
        return "equal" if row.relative <= tolerance else "within one step"


def _with_single(
    simulation: Simulation, batches: list[Batch]
) -> tuple[list[Batch], tuple[str, ...]]:
    """The batches, led by the first example alone if the model takes any batch size."""
    specs, first = simulation.graph.inputs, batches[0]
    if not simulation.free_batch:
        return batches, ("the batch size is fixed in the model, so one size was run",)
    if count_examples(specs, first) == 1:
        return batches, ()
    return [first_examples(specs, first, 1), *batches], ()


def _overall(modes: Sequence[Mode]) -> Verdict:
    """Equal if the graph is, optimisations off, and what users get is no worse than ties."""
    off, on = modes[0], modes[1]
    if on.verdict == "within one step" and on.sites and all(row.ties for row in on.sites):
        return off.verdict
    return WORST[max(WORST.index(mode.verdict) for mode in (off, on))]


def _departure(verdict: Verdict, modes: Sequence[Mode]) -> str | None:
    """First departing tensor of the first mode that shows the verdict."""
    return next((m.first_departure for m in modes[:2] if m.verdict == verdict), None)


def _digest(arrays: Mapping[str, Array]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.digest()


def _tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
