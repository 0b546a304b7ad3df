"""Does the file do in ONNX Runtime what the simulation did? By tensor, in steps, with a cause.

Three modes are run: graph optimisations off; on, as a user gets them; and on with exact integer
kernels. The verdict is

    equal             optimisations off, not one code differs; on, nothing worse than ties
    within one step   codes differ by one step at most where both sides had the same input
    differs           anything else, with the first tensor that departs, and a cause if a second
                      run with one setting changed removes the difference

With optimisations off no integer kernel is used, so exact kernels would change nothing there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from workbench.deploy.compare import (
    FloatRow,
    SiteRow,
    Tallies,
    codes_of,
    integers,
    values_of,
    watched,
)
from workbench.deploy.runtime import (
    FLOAT_MATMUL,
    NO_INTEGER_FUSION,
    Array,
    open_session,
    run,
    stored_tensors,
    with_outputs,
)
from workbench.deploy.verification import Mode, Verdict, Verification
from workbench.foundation.errors import ExportError
from workbench.graph.quantized import QuantizedGraph
from workbench.graph.sites import layers
from workbench.graph.taps import capture

Batch = tuple[Tensor, ...]

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
        tolerance: largest float difference, relative to the tensor's largest magnitude, that
            counts as none (sums taken in another order).
        share: largest share of a site's codes that may be one step off without lying at a tie.

    Raises:
        ExportError: nothing to compare, all outputs zero, or ONNX Runtime does not run the file.
    """
    with _quiet(reference):
        study = _Study(Path(path), reference, batches, tolerance, share)
        modes = tuple(study.modes(MODES))
        wrong = study.differing_stored()
        verdict: Verdict = "differs" if wrong else _overall(modes)
        cause, cure = WRONG_FILE if wrong else study.cause(modes)
    return Verification(
        verdict,
        modes,
        len(reference.sites),
        wrong,
        wrong[0] if wrong else _departure(verdict, modes),
        cause,
        cure,
        study.sizes,
        study.examples,
        study.notes,
    )


WRONG_FILE = ("the file stores other codes or scales", "export it again")
SOFT = (
    "the simulation computes with weights off their grid, such as unfinished rounding",
    "finish the method, then export again",
)
MODES = (Setting("off"), Setting("on"), Setting("on", "exact"))


@dataclass(frozen=True)
class Experiment:
    """A second run with one setting changed; agreement then establishes the cause."""

    setting: Setting
    cause: str
    cure: str


EXPERIMENTS = (
    Experiment(
        Setting("on", "exact"),
        "saturating int8 kernels of this processor",
        "open the session with session.x64quantprecision=1, or use 7-bit weights",
    ),
    Experiment(
        Setting("on", config=FLOAT_MATMUL),
        "fused MatMulNBits quantizes its input to 8 bits",
        "open the session with session.qdq_matmulnbits_accuracy_level=1",
    ),
    Experiment(
        Setting("on", config=NO_INTEGER_FUSION),
        "fusion into integer kernels changes rounding",
        "open the session with session.disable_quant_qdq=1 (slower)",
    ),
    Experiment(
        Setting("off"),
        "graph optimisation changes rounding or fusion",
        "open the session without graph optimisations (slower)",
    ),
)


@dataclass(frozen=True)
class _Expected:
    """What the simulation gives for one batch: int32 codes by site, floats by tensor."""

    codes: dict[str, Tensor]
    floats: dict[str, Tensor]


class _Study:
    """A file, the simulation and the batches, and how to compare them in one setting or more."""

    def __init__(
        self,
        path: Path,
        reference: QuantizedGraph,
        batches: Iterable[Batch],
        tolerance: float,
        share: float,
    ) -> None:
        self.reference, self.tolerance, self.share = reference, tolerance, share
        self.path = path
        self.frozen = reference.frozen()
        self.batches, self.notes = _with_single(reference, [tuple(batch) for batch in batches])
        self.sizes = tuple(sorted({len(batch[0]) for batch in self.batches}))
        self.examples = sum(len(batch[0]) for batch in self.batches)
        self.stored = [s for s in reference.sites.values() if s.kind != "activation"]
        self.active = sorted(reference.of_kind("activation"), key=_position(reference))
        self.outputs = [str(value.name) for value in reference.graph.model.graph.outputs]
        self.floats = self._float_names()

    def modes(self, settings: Sequence[Setting]) -> list[Mode]:
        """Run the file in each setting and compare it with the simulation, batch by batch."""
        codes = [f"{site.tensor}__q" for site in self.active]
        model = with_outputs(self.path, [*codes, *self.floats])
        sessions = [setting.open(model) for setting in settings]
        totals = [Tallies() for _ in settings]
        alive = False
        for batch in self.batches:
            expected = self._expect(batch)
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

    def differing_stored(self) -> tuple[str, ...]:
        """Sites for which the file does not hold, bit for bit, what the simulation froze."""
        wrong = {*self._differing_values(), *self._differing_scales()}
        return tuple(name for name in self.reference.sites if name in wrong)

    def _differing_values(self) -> Iterator[str]:
        """Weights and biases as the runtime dequantizes them."""
        names = {site.name: f"{site.tensor}__dq" for site in self.stored}
        if not names:
            return
        session = open_session(with_outputs(self.path, list(names.values())), optimise=False)
        got = _tensors(run(session, self.batches[0], list(names.values())))
        for site, name in names.items():
            if not torch.equal(got[name], self.frozen[site].values().cpu()):
                yield site

    def _differing_scales(self) -> Iterator[str]:
        """Activations' scales and zero-points, as stored."""
        held = stored_tensors(self.path)
        for site in self.active:
            frozen = self.frozen[site.name]
            pairs = (("scale", frozen.scale), ("zero_point", frozen.zero_point))
            if any(not _same(held.get(f"{site.tensor}__{key}"), value) for key, value in pairs):
                yield site.name

    def _soft_weights(self) -> bool:
        """True where the simulation's forward does not use the values that are exported."""
        return any(
            not torch.allclose(
                self.reference.quantizer(site.name)(self.reference.weight(site.name)).cpu(),
                self.frozen[site.name].values().cpu(),
                rtol=1e-5,
            )
            for site in self.stored
        )

    def cause(self, modes: Sequence[Mode]) -> tuple[str, str]:
        """Cause and cure of what users get, found by changing one setting after the other."""
        off, on, exact = modes
        if off.verdict == "differs":
            return SOFT if self._soft_weights() else ("not established", "")
        if on.verdict == "differs":
            return self._experiment(off, exact)
        if "within one step" in (off.verdict, on.verdict):
            rows = [row for mode in (off, on) for row in mode.sites]
            ties = all(row.ties for row in rows)
            return ("rounding ties" if ties else "not established"), ""
        return "", ""

    def _experiment(self, off: Mode, exact: Mode) -> tuple[str, str]:
        known = {("on", "exact"): exact, ("off", "default"): off}
        for experiment in EXPERIMENTS:
            setting = experiment.setting
            plain = not setting.config
            key = (setting.optimisations, setting.kernels)
            mode = known[key] if plain else self.modes([setting])[0]
            if mode.verdict != "differs":
                return experiment.cause, experiment.cure
        return "not established", ""

    def _expect(self, batch: Batch) -> _Expected:
        """The simulation on its own, from the graph's inputs."""
        with watched(self.reference) as seen:
            floats = self._floats(batch)
        codes = {
            site.name: codes_of(seen[site.name], self.frozen[site.name], site.grid)
            for site in self.active
        }
        return _Expected(codes, floats)

    def _floats(self, batch: Batch) -> dict[str, Tensor]:
        found = capture(self.reference.module, batch, self.floats)
        return {name: found[name].cpu() for name in self.floats}

    def _compare(self, batch: Batch, expected: _Expected, got: dict[str, Tensor]) -> Tallies:
        """One batch end to end and, if anything differs there, locally."""
        tallies = Tallies()
        codes = {site.name: integers(got[f"{site.tensor}__q"]) for site in self.active}
        for site in self.active:
            tallies.site(site.name).add(expected.codes[site.name], codes[site.name])
        same = not any(tally.off for tally in tallies.sites.values())
        local = expected.floats if same else self._compare_locally(batch, codes, tallies)
        for name in self.floats:
            tallies.float(name).add(expected.floats[name], got[name], local[name])
        tallies.top1.add(expected.floats[self.outputs[0]], got[self.outputs[0]])
        return tallies

    def _compare_locally(
        self, batch: Batch, codes: dict[str, Tensor], tallies: Tallies
    ) -> dict[str, Tensor]:
        """Compare with the runtime's values at every site; the floats that follow from them."""
        forced = {
            site.name: values_of(codes[site.name], self.frozen[site.name], site.grid)
            for site in self.active
        }
        with watched(self.reference, forced) as seen:
            floats = self._floats(batch)
        for site in self.active:
            quantizer = self.reference.quantizer(site.name)
            tallies.site(site.name).add_local(seen[site.name], quantizer, codes[site.name])
        return floats

    def _judge(self, setting: Setting, tallies: Tallies) -> Mode:
        sites = tuple(tallies.sites[site.name].row(site.name, site.grid) for site in self.active)
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
        small = row.local_share <= self.share or row.ties
        return "within one step" if row.local_max_steps <= 1 and small else "differs"

    def _float_verdict(self, row: FloatRow) -> Verdict:
        if not row.local_relative <= self.tolerance:
            return "differs"
        return "equal" if row.relative <= self.tolerance else "within one step"

    def _float_names(self) -> list[str]:
        """Outputs; and the layers' outputs where no activation site would show a difference."""
        if self.active:
            return list(self.outputs)
        found = [layer.output for layer in layers(self.reference.graph) if layer.output]
        return list(dict.fromkeys([*self.outputs, *reversed(found)]))


def _with_single(
    reference: QuantizedGraph, batches: list[Batch]
) -> tuple[list[Batch], tuple[str, ...]]:
    """The batches, led by the first example alone if the model takes any batch size."""
    if not batches or not all(len(batch) and batch[0].numel() for batch in batches):
        raise ExportError("there is nothing to compare; give at least one example")
    first = batches[0]
    free = all(spec.shape and not isinstance(spec.shape[0], int) for spec in reference.graph.inputs)
    if not free:
        return batches, ("the batch size is fixed in the model, so one size was run",)
    if len(first[0]) == 1:
        return batches, ()
    return [tuple(tensor[:1] for tensor in first), *batches], ()


def _position(reference: QuantizedGraph) -> Callable[[Any], int]:
    """Sort key: where in the graph a site's tensor is made; graph inputs come first."""
    made = {
        output.name: index
        for index, node in enumerate(reference.graph.model.graph)
        for output in node.outputs
    }
    return lambda site: made.get(site.tensor, -1)


@contextmanager
def _quiet(reference: QuantizedGraph) -> Iterator[None]:
    """Evaluation mode without gradients, and back."""
    training = reference.training
    reference.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        reference.train(training)


def _overall(modes: Sequence[Mode]) -> Verdict:
    """Equal if the graph is, optimisations off, and what users get is no worse than ties."""
    off, on = modes[0], modes[1]
    if "differs" in (off.verdict, on.verdict):
        return "differs"
    return off.verdict


def _departure(verdict: Verdict, modes: Sequence[Mode]) -> str | None:
    """First departing tensor of the first mode that shows the verdict."""
    return next((m.first_departure for m in modes[:2] if m.verdict == verdict), None)


def _digest(arrays: Mapping[str, Array]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.digest()


def _same(stored: Array | None, value: Tensor) -> bool:
    return stored is not None and np.array_equal(stored, value.cpu().numpy())


def _tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
